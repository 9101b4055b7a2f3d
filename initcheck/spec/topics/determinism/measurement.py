"""What the trials of seeds and configurations share: their subjects, comparisons of draws, and planted defects."""

from __future__ import annotations

import functools
import inspect
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import INITIALIZERS
from initcheck.spec.claim import ExactRow, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM
from initcheck.spec.subjects import EPSILON, FAMILY, MODES_AND_DISTRIBUTIONS
from initcheck.spec.versions import initializers_take_axes

# --- subjects ---------------------------------------------------------------------------------------------------------

Arguments = tuple[tuple[str, Any], ...]
"""Names and values; a list of axes is a tuple here, because experiments are hashable."""


@dataclass(frozen=True)
class Constructor:
    """A constructor of initializers, or one of VarianceScaling's modes."""

    slug: str
    class_name: str
    defaults: Arguments
    aliases: tuple[str, ...]
    others: Arguments
    arguments: Arguments = ()
    shape: tuple[int, ...] = (24, 40)
    changed_shape: tuple[int, ...] = (24, 40)

    @property
    def random(self) -> bool:
        """Whether it draws its values, and takes a seed."""
        return ("seed", None) in self.defaults

    @property
    def normal(self) -> bool:
        """Whether its entries are normal numbers as they were drawn, neither truncated nor made orthogonal."""
        return self.class_name == "RandomNormal" or ("distribution", "untruncated_normal") in self.arguments

    @property
    def source(self) -> str:
        """Where it is documented."""
        return f"Keras, keras.initializers.{self.class_name}"


def _constructor(
    class_name: str, others: Mapping[str, Any], *aliases: str, fixed: tuple[str, ...] = (), **shapes: tuple[int, ...]
) -> Constructor:
    """Describe a class by arguments unlike its defaults, in their documented order, and those that a subject fixes."""
    known = INITIALIZERS[class_name]
    slug = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()
    defaults = {name: known.arguments[name] for name in others} | ({} if known.draw is None else {"seed": None})
    if known.scales and initializers_take_axes():
        defaults |= {"input_axes": None, "output_axes": None}
        others = {**others, "input_axes": (0,), "output_axes": (1, 2)}
        shapes = {"changed_shape": (6, 4, 5)}
    return Constructor(
        "_".join((slug, *(others[name] for name in fixed))),
        class_name,
        tuple(defaults.items()),
        (class_name, slug, *aliases),
        tuple(others.items()),
        tuple((name, others[name]) for name in fixed),
        **shapes,
    )


FIXED: Final = (
    _constructor("Zeros", {}, "zero"),
    _constructor("Ones", {}, "one"),
    _constructor("Constant", {"value": 0.37}),
    _constructor("Identity", {"gain": 1.7}, "IdentityInitializer"),
    _constructor(
        "STFT",
        {"side": "imag", "window": "hamming", "scaling": "spectrum", "periodic": True},
        "STFTInitializer",
        shape=(16, 1, 9),
        changed_shape=(16, 1, 9),
    ),
)
"""The initializers that leave nothing to chance."""

CLASSES: Final = (
    *FIXED,
    _constructor("RandomNormal", {"mean": 0.3, "stddev": 0.2}, "normal"),
    _constructor("RandomUniform", {"minval": -0.1, "maxval": 0.3}, "uniform"),
    _constructor("TruncatedNormal", {"mean": -0.3, "stddev": 0.2}),
    _constructor("VarianceScaling", {"scale": 1.7, "mode": "fan_avg", "distribution": "uniform"}),
    *(_constructor(subject.spec.class_name, {}) for subject in FAMILY),
    _constructor("Orthogonal", {"gain": 1.5}, "OrthogonalInitializer"),
)
"""One subject a class, with its default arguments."""

MODES: Final = tuple(
    _constructor(
        "VarianceScaling", {"scale": 1.7, "mode": mode, "distribution": distribution}, fixed=("mode", "distribution")
    )
    for mode, distribution in MODES_AND_DISTRIBUTIONS
)
"""VarianceScaling in all of its modes and distributions."""

ALL: Final = (*CLASSES, *MODES)
RANDOM: Final = tuple(subject for subject in ALL if subject.random)


# --- trials -----------------------------------------------------------------------------------------------------------

Values = NDArray[Any]

SHARE: Final = CLAIM_FALSE_ALARM / 20.0
"""False alarms of one limit on correlations: a claim has few, and their distributions are approximate."""


@dataclass(frozen=True)
class Factory:
    """Makes and draws initializers of one subject."""

    subject: Constructor
    seed: int
    variant: str = ""

    @property
    def type(self) -> Any:
        """The class of Keras."""
        return getattr(import_keras().initializers, self.subject.class_name)

    @property
    def seeded(self) -> dict[str, Any]:
        """The seed as an argument; nothing for a class that takes none."""
        return {"seed": self.seed} if self.subject.random else {}

    def make(self, **arguments: Any) -> Any:
        """Make an initializer with the subject's arguments and these."""
        return self.type(**(plain(self.subject.arguments) | arguments))

    def make_unlike_default(self, **arguments: Any) -> Any:
        """Make an initializer none of whose arguments has its default value, except those given."""
        return self.type(**(plain(self.subject.others) | arguments))

    def draw(self, initializer: Any, shape: tuple[int, ...] | None = None) -> Values:
        """Draw weights, of the subject's shape unless another is given."""
        return draw(initializer, shape or self.subject.shape)


@dataclass(frozen=True)
class Trial:
    """A trial of one initializer, by its name in ``trials``."""

    trials: ClassVar[Mapping[str, Callable[[Factory], list[ExactRow]]]]
    seeds: ClassVar[int]
    """The seed of the subject is below."""

    trial: str
    subject: Constructor
    defect: str = ""
    variant: str = ""

    def measure(self, context: RunContext) -> list[ExactRow]:
        seed = context.seed(f"determinism/{self.subject.slug}") % self.seeds
        # An initializer without a seed draws one from Python's state, which the run context restores afterwards.
        random.seed(context.seed(f"determinism/{self.subject.slug}/{self.trial}"))
        with planted(self.subject, self.defect):
            return self.trials[self.trial](Factory(self.subject, seed, self.variant))


def draw(initializer: Any, shape: tuple[int, ...], dtype: str = "float32") -> Values:
    """Call an initializer."""
    return np.asarray(import_keras().ops.convert_to_numpy(initializer(shape, dtype=dtype)))


def plain(arguments: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Give arguments as Keras takes them: axes as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in arguments}


def generator(seed: int) -> Any:
    """Make a seed generator."""
    return import_keras().random.SeedGenerator(seed)


def differing(left: Values, right: Values) -> float:
    """Count the entries that are not equal bit for bit; infinite for other shapes or types."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return float("inf")
    return float(np.count_nonzero((left != right) | (np.signbit(left) != np.signbit(right))))


def correlations(values: list[Values]) -> tuple[float, float, float, float]:
    """Correlate draws, each with each: the largest absolute correlation, its limit, the absolute mean, its limit."""
    # Of N independent entries, Fisher's transform of a correlation is nearly normal with variance 1 / (N - 3), and the
    # squared length of the sum of K unit vectors, over K / N, is nearly chi-squared with N degrees of freedom. For
    # orthogonal weights a correlation has the variance 1 / N too. A draw without variance correlates with all.
    flat = np.stack([value.ravel().astype(np.float64) for value in values])
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, length, out=np.full_like(flat, flat.shape[1] ** -0.5), where=length > 0.0)
    count, entries = unit.shape
    above = (unit @ unit.T)[np.triu_indices(count, 1)]
    largest = np.tanh(stats.norm.isf(SHARE / (2 * above.size)) / np.sqrt(entries - 4))
    mean = (stats.chi2.isf(SHARE / 2, entries - 1) / (entries - 1) - 1.0) / (count - 1)
    return float(np.abs(above).max()), float(largest), abs(float(above.mean())), float(mean)


def independence(member: str, values: list[Values]) -> list[ExactRow]:
    """Judge whether draws are independent of each other: the largest of their correlations, and their mean."""
    largest, limit, mean, mean_limit = correlations(values)
    pairs = len(values) * (len(values) - 1) // 2
    rows = [ExactRow(member, largest, limit, pairs, f"largest correlation of {pairs} pairs")]
    if pairs > 1:
        rows.append(ExactRow(f"{member}, mean", mean, mean_limit, pairs, f"mean correlation of {pairs} pairs"))
    return rows


def equality(member: str, left: Values, right: Values) -> ExactRow:
    """Judge whether two draws are equal bit for bit."""
    return ExactRow(member, differing(left, right), 0.0, left.size, "entries that differ")


def closeness(member: str, found: Values, expected: Values, rounding: float = 16.0) -> ExactRow:
    """Judge whether float32 weights are those expected, up to some roundings of the largest."""
    if found.shape != expected.shape:
        return ExactRow(member, float("inf"), 0.0, found.size, f"shape {found.shape}")
    limit = rounding * EPSILON["float32"] * float(np.abs(expected).max(initial=0.0))
    return ExactRow(member, float(np.abs(found - expected).max()), limit, found.size, "largest difference of an entry")


# --- defects ----------------------------------------------------------------------------------------------------------


@contextmanager
def planted(subject: Constructor, defect: str) -> Iterator[None]:
    """Plant a defect into the subject's class while the context lasts; none for the empty name."""
    if not defect:
        yield
        return
    cls = getattr(import_keras().initializers, subject.class_name)
    name, method = DEFECTS[defect](cls, subject)
    own = cls.__dict__.get(name)
    setattr(cls, name, method)
    try:
        yield
    finally:
        if own is None:
            delattr(cls, name)
        else:
            setattr(cls, name, own)


MethodDefect = Callable[[Any, Constructor], tuple[str, Any]]
"""From a class and its subject to the name of a method, and the method's defective version."""


def _init(change: Callable[[dict[str, Any], Constructor], object]) -> MethodDefect:
    """Make a defect of the constructor from a change of its arguments, all of which have their names and values."""

    def plant(cls: Any, subject: Constructor) -> tuple[str, Any]:
        original = cls.__init__
        signature = inspect.signature(original)

        @functools.wraps(original)
        def constructor(self: Any, *given: Any, **named: Any) -> None:
            bound = signature.bind(self, *given, **named)
            arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
            change(arguments, subject)
            original(self, **arguments)

        return "__init__", constructor

    return plant


def _seed_becomes(change: Callable[[Any], Any]) -> MethodDefect:
    """Make a defect of the constructor that takes another seed than it is given; None is no seed."""
    return _init(lambda arguments, _: arguments.update(seed=change(arguments.get("seed"))))


def _config_drops(cls: Any, subject: Constructor) -> tuple[str, Any]:
    original = cls.get_config

    def get_config(self: Any) -> dict[str, Any]:
        config = dict(original(self))
        if subject.others:
            config.pop(subject.others[0][0])
        else:
            config["surplus"] = 1
        return config

    return "get_config", get_config


def _config_repaired(cls: Any, subject: Constructor) -> tuple[str, Any]:
    original = cls.get_config

    def get_config(self: Any) -> dict[str, Any]:
        return {name: getattr(self, name) for name, _ in subject.defaults} | dict(original(self))

    return "get_config", get_config


def _default_changed(cls: Any, subject: Constructor) -> tuple[str, Any]:
    others = plain(subject.others)
    original = cls.__init__

    @functools.wraps(original)
    def constructor(self: Any, *given: Any, **named: Any) -> None:
        for name, value in others.items():
            named.setdefault(name, value)
        original(self, *given, **named)

    def with_surplus(self: Any, surplus: int = 0, **named: Any) -> None:  # noqa: ARG001 - its signature is the defect
        original(self, **named)

    return "__init__", constructor if others else with_surplus


def _changes_values(cls: Any, _: Constructor) -> tuple[str, Any]:
    original = cls.__call__

    def call(self: Any, shape: Any, dtype: Any = None) -> Any:
        return original(self, shape, dtype) + random.uniform(0.1, 0.2)

    return "__call__", call


def _seed_is_a_place(cls: Any, _: Constructor) -> tuple[str, Any]:
    original = cls.__call__

    def call(self: Any, shape: Any, dtype: Any = None) -> Any:
        keras = import_keras()
        count = int(np.prod(shape))
        stream = keras.random.normal((count + 64,), dtype=dtype, seed=7)
        place = self.seed % 64 if isinstance(self.seed, int) else 0
        return keras.ops.reshape(stream[place : place + count], shape)

    return "__call__", functools.wraps(original)(call)


DEFECTS: Final[dict[str, MethodDefect]] = {
    "seed ignored": _seed_becomes(lambda _: None),
    "seed 0 taken for none": _seed_becomes(lambda seed: seed or None),
    "seed constant": _seed_becomes(lambda seed: 7 if isinstance(seed, int) else seed),
    "seed cut to its lowest byte": _seed_becomes(lambda seed: seed & 0xFF if isinstance(seed, int) else seed),
    "sign of the seed dropped": _seed_becomes(lambda seed: abs(seed) if isinstance(seed, int) else seed),
    "seed taken for a place in one stream": _seed_is_a_place,
    "seed by default": _seed_becomes(lambda seed: 1337 if seed is None else seed),
    "seed generator frozen": _seed_becomes(
        lambda seed: seed if isinstance(seed, (int, dict, type(None))) else seed.get_config()["seed"]
    ),
    "seed of any type": _seed_becomes(lambda seed: int(seed) if isinstance(seed, (float, str, np.integer)) else seed),
    "random state used": _init(lambda *_: random.random()),
    "configuration drops an argument": _config_drops,
    "configuration made complete": _config_repaired,
    "configuration allowed to be empty": lambda *_: ("from_config", classmethod(lambda made, config: made(**config))),
    "argument ignored": _init(lambda arguments, subject: arguments.pop(subject.others[0][0], None)),
    "default changed": _default_changed,
    "values vary": _changes_values,
}
"""The defects by name."""
