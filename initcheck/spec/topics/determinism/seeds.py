"""Claims on what initializers share: the random states of the process, a seed, an instance; and pinned values."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from initcheck.backend.runtime import import_keras, import_tensorflow
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, NoDifference
from initcheck.spec.subjects import to_numpy
from initcheck.spec.topics.determinism.measurement import (
    Bench,
    Constructor,
    Row,
    closeness,
    draw,
    equality,
    generator,
    independence,
    planted,
    table,
)
from initcheck.spec.topics.determinism.process import (
    COMPILED,
    LAWS,
    SHARERS,
    BuildTwice,
    CompiledEqual,
    CompiledLaw,
    CustomInitializer,
    OneSeedClasses,
    Pinned,
    SharedInitializer,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.spec.claim import RunContext


PINNED: Final[tuple[tuple[str, str, tuple[tuple[str, Any], ...], tuple[float, ...]], ...]] = (
    ("random_normal", "RandomNormal", (("stddev", 1.0),), (0.015817076, -1.5900869, 0.10359446, 0.81174594)),
    (
        "random_uniform",
        "RandomUniform",
        (("minval", 0.0), ("maxval", 1.0)),
        (0.28243315, 0.4984169, 0.7154585, 0.02020204),
    ),
    ("truncated_normal", "TruncatedNormal", (("stddev", 1.0),), (0.015817076, -1.5900869, 0.10359446, 0.81174594)),
    ("variance_scaling", "VarianceScaling", (), (0.010381681, -1.043668, 0.06799516, 0.5327968)),
    ("glorot_normal", "GlorotNormal", (), (0.009611569, -0.9662488, 0.06295129, 0.493274)),
    ("glorot_uniform", "GlorotUniform", (), (-0.40285552, -0.0029313564, 0.39895165, -0.8884132)),
    ("he_normal", "HeNormal", (), (0.014681915, -1.4759694, 0.09615968, 0.7534885)),
    ("he_uniform", "HeUniform", (), (-0.61537194, -0.0044777393, 0.60940874, -1.3570735)),
    ("lecun_normal", "LecunNormal", (), (0.010381681, -1.043668, 0.06799516, 0.5327968)),
    ("lecun_uniform", "LecunUniform", (), (-0.4351337, -0.0031661987, 0.43091702, -0.9595959)),
    ("orthogonal", "Orthogonal", (), (0.007243991, 0.37176356, 0.30415645, 0.8770567)),
    (
        "variance_scaling_fan_in_truncated_normal",
        "VarianceScaling",
        (("mode", "fan_in"), ("distribution", "truncated_normal")),
        (0.010381681, -1.043668, 0.06799516, 0.5327968),
    ),
    (
        "variance_scaling_fan_in_untruncated_normal",
        "VarianceScaling",
        (("mode", "fan_in"), ("distribution", "untruncated_normal")),
        (0.009131993, -0.9180371, 0.05981029, 0.46866173),
    ),
    (
        "variance_scaling_fan_in_uniform",
        "VarianceScaling",
        (("mode", "fan_in"), ("distribution", "uniform")),
        (-0.4351337, -0.0031661987, 0.43091702, -0.9595959),
    ),
    (
        "variance_scaling_fan_out_truncated_normal",
        "VarianceScaling",
        (("mode", "fan_out"), ("distribution", "truncated_normal")),
        (0.0089908, -0.903843, 0.058885537, 0.46141556),
    ),
    (
        "variance_scaling_fan_out_untruncated_normal",
        "VarianceScaling",
        (("mode", "fan_out"), ("distribution", "untruncated_normal")),
        (0.007908538, -0.79504347, 0.05179723, 0.40587297),
    ),
    (
        "variance_scaling_fan_out_uniform",
        "VarianceScaling",
        (("mode", "fan_out"), ("distribution", "uniform")),
        (-0.37683684, -0.0027419925, 0.3731851, -0.8310344),
    ),
    (
        "variance_scaling_fan_avg_truncated_normal",
        "VarianceScaling",
        (("mode", "fan_avg"), ("distribution", "truncated_normal")),
        (0.009611569, -0.9662488, 0.06295129, 0.493274),
    ),
    (
        "variance_scaling_fan_avg_untruncated_normal",
        "VarianceScaling",
        (("mode", "fan_avg"), ("distribution", "untruncated_normal")),
        (0.008454583, -0.8499372, 0.055373568, 0.43389645),
    ),
    (
        "variance_scaling_fan_avg_uniform",
        "VarianceScaling",
        (("mode", "fan_avg"), ("distribution", "uniform")),
        (-0.40285552, -0.0029313564, 0.39895165, -0.8884132),
    ),
)
"""Constructor, class, arguments, and the first entries of a float32 weight of shape (3, 4) with seed 42.

Recorded once from Keras 3.15.1 and TensorFlow 2.21 on a CPU: TensorFlow's stateless generators (Philox) promise the
same values for the same seed in every version. Other backends give other values.
"""


_EQUAL: Final = AllWithin("Entries that differ")
_CORRELATED: Final = AllWithin("Correlation, or entries that differ")
_CLOSE: Final = AllWithin("Largest difference")
_CASES: Final = AllWithin("Cases that differ")
_SAME_LAW: Final = NoDifference("Distance of the distributions", largest_detectable=0.05)


def general_claims() -> Iterator[Claim]:
    """List the claims that are not of one initializer."""
    yield from _of_builds()
    for law in LAWS:
        yield from _of_classes(law)
    for name in COMPILED:
        yield from _of_compilation(name)
    for sharer in SHARERS:
        yield from _of_sharing(sharer)
    yield from _of_custom_initializers()
    for slug, class_name, arguments, values in PINNED:
        yield Claim(
            id=f"determinism.{slug}.pinned_values",
            statement=f"{class_name}: seed 42 gives the values that it gave in earlier versions.",
            source="TensorFlow, tf.random.stateless_normal and stateless_uniform",
            condition="TensorFlow backend on a CPU, float32, shape (3, 4), up to the rounding of a few operations",
            experiment=Pinned(class_name, arguments, values),
            decide=_CLOSE,
            control=Pinned(class_name, arguments, values, seed=43),
            control_note="seed 43",
            rows=("C9",),
        )


def _of_builds() -> Iterator[Claim]:
    built = "Dense with every random initializer, Conv2D, LSTM and Embedding, none with a seed"
    yield Claim(
        id="determinism.set_random_seed.build_repeats",
        statement="keras.utils.set_random_seed makes layers, and what keras.random draws without a seed, repeat.",
        source="Keras, keras.utils.set_random_seed",
        condition=built,
        experiment=BuildTwice("keras", global_generator=True),
        decide=_EQUAL,
        control=BuildTwice("python", global_generator=True),
        control_note="random.seed alone, which does not restart Keras' global generator",
        rows=("C4",),
    )
    yield Claim(
        id="determinism.set_random_seed.other_seed_differs",
        statement="After another seed of keras.utils.set_random_seed the weights are others.",
        source="Keras, keras.utils.set_random_seed",
        condition=built,
        experiment=BuildTwice("keras", other_seed=True, independent=True, global_generator=True),
        decide=_CORRELATED,
        control=BuildTwice("keras", independent=True, global_generator=True),
        control_note="the same seed",
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("C4",),
    )
    yield Claim(
        id="determinism.python_seed.build_repeats",
        statement="random.seed alone makes layers repeat: initializers without a seed take it from Python's state.",
        source="Keras, keras.random.SeedGenerator",
        condition=built,
        experiment=BuildTwice("python"),
        decide=_EQUAL,
        control=BuildTwice("nothing"),
        control_note="no seed is set",
        rows=("C4", "S10"),
    )
    for setter, call in (("tensorflow", "tf.random.set_seed"), ("numpy", "np.random.seed")):
        yield Claim(
            id=f"determinism.{setter}_seed.build_repeats",
            statement=f"{call} alone makes the weights of layers repeat.",
            source="Keras, keras.utils.set_random_seed; common advice on reproducibility",
            condition=built,
            experiment=BuildTwice(setter),
            decide=_EQUAL,
            control=BuildTwice("keras"),
            control_note="keras.utils.set_random_seed",
            expected="refuted",
            rows=("C4",),
        )
        yield Claim(
            id=f"determinism.{setter}_seed.no_effect",
            statement=f"After {call} with the same seed the weights of layers are others, and uncorrelated.",
            source="Keras, keras.random.SeedGenerator",
            condition=built,
            experiment=BuildTwice(setter, independent=True),
            decide=_CORRELATED,
            control=BuildTwice("keras", independent=True),
            control_note="keras.utils.set_random_seed",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("C4",),
        )


def _of_classes(law: str) -> Iterator[Claim]:
    names = ", ".join(LAWS[law])
    condition = f"{names}; shape (300, 2), first column"
    yield Claim(
        id=f"determinism.one_seed_classes.{law}_independent",
        statement=f"One integer seed gives independent values in different classes: {names}.",
        source="Keras, keras.initializers, argument seed",
        condition=condition,
        experiment=OneSeedClasses(law),
        decide=_CORRELATED,
        control=OneSeedClasses(law, other_seeds=True),
        control_note="a seed for each class",
        expected="refuted",
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("C7",),
    )
    yield Claim(
        id=f"determinism.one_seed_classes.{law}_proportional",
        statement=f"With one integer seed the values of these classes are the same but for a factor: {names}.",
        source="Keras, keras.initializers, argument seed",
        condition=condition,
        experiment=OneSeedClasses(law, proportional=True),
        decide=_CLOSE,
        control=OneSeedClasses(law, proportional=True, other_seeds=True),
        control_note="a seed for each class",
        rows=("C7",),
    )


def _of_compilation(name: str) -> Iterator[Claim]:
    slug = {"RandomNormal": "random_normal", "RandomUniform": "random_uniform"}.get(name, "truncated_normal")
    source = "Keras, keras.Model.compile, argument jit_compile; TensorFlow, tf.function"
    condition = "one seed, a call inside tf.function(jit_compile=True), CPU"
    yield Claim(
        id=f"determinism.{slug}.compiled_equals_eager",
        statement=f"{name}: compiled by XLA, a seed gives the values that it gives eagerly.",
        source=source,
        condition=condition,
        experiment=CompiledEqual(name, "eager"),
        decide=_CLOSE,
        control=CompiledEqual(name, "itself"),
        control_note="compiled values against themselves",
        expected="refuted",
        rows=("C10",),
    )
    yield Claim(
        id=f"determinism.{slug}.compiled_repeats",
        statement=f"{name}: compiled by XLA twice, a seed gives the same values.",
        source=source,
        condition=condition,
        experiment=CompiledEqual(name, "compiled"),
        decide=_EQUAL,
        control=CompiledEqual(name, "changed"),
        control_note="every value off by one rounding",
        rows=("C10",),
    )
    yield Claim(
        id=f"determinism.{slug}.compiled_law",
        statement=f"{name}: compiled by XLA, the values have the distribution of the eager ones.",
        source=source,
        condition=condition,
        experiment=CompiledLaw(name),
        decide=_SAME_LAW,
        control=CompiledLaw(name, spread=1.5),
        control_note="a spread 1.5 times as large",
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("C10",),
    )


_SHARED: Final = {
    "dense_layers": "three Dense layers that share an initializer",
    "multi_head_attention": "the query, key and value kernels of MultiHeadAttention",
    "group_query_attention": "the query, key and value kernels of GroupQueryAttention",
    "bidirectional_simple_rnn": "the forward and backward kernels of Bidirectional(SimpleRNN)",
    "bidirectional_gru": "the forward and backward kernels of Bidirectional(GRU)",
    "bidirectional_lstm": "the forward and backward kernels of Bidirectional(LSTM)",
    "simple_rnn_kernels": "the kernel and the recurrent kernel of a SimpleRNN that share an initializer",
    "gru_kernels": "the kernel and the recurrent kernel of a GRU that share an initializer",
    "lstm_kernels": "the kernel and the recurrent kernel of an LSTM that share an initializer",
}
_COPIES: Final = ("multi_head_attention", "group_query_attention")
"""Layers that copy the initializer for each of their weights, Bidirectional too: a seed generator starts again."""


def _of_sharing(sharer: str) -> Iterator[Claim]:
    what = _SHARED[sharer]
    source = "Keras, keras.layers, argument kernel_initializer; keras.random.SeedGenerator"
    condition = "GlorotUniform, HeNormal, Orthogonal; weights of one shape"
    copies = sharer in _COPIES or sharer.startswith("bidirectional")
    for kind, called in (("integer", "an integer seed"), ("generator", "a SeedGenerator")):
        equal = kind == "integer" or copies
        yield Claim(
            id=f"determinism.{sharer}.{kind}_seed_independent",
            statement=f"With {called}, the weights are independent of each other: {what}.",
            source=source,
            condition=condition,
            experiment=SharedInitializer(sharer, kind),
            decide=_CORRELATED,
            control=SharedInitializer(sharer, "alias" if equal else "integer"),
            control_note="the initializer's name instead of an instance" if equal else "an integer seed",
            expected="refuted" if equal else "holds",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("S1",),
        )
        if equal:
            yield Claim(
                id=f"determinism.{sharer}.{kind}_seed_identical",
                statement=f"With {called}, the weights are equal bit for bit, without a warning: {what}.",
                source=source,
                condition=condition,
                experiment=SharedInitializer(sharer, kind, equal=True),
                decide=_EQUAL,
                control=SharedInitializer(sharer, "alias", equal=True),
                control_note="the initializer's name instead of an instance",
                rows=("S1",),
            )
    yield Claim(
        id=f"determinism.{sharer}.alias_independent",
        statement=f"With an initializer's name, the weights are independent of each other: {what}.",
        source=source,
        condition=condition,
        experiment=SharedInitializer(sharer, "alias"),
        decide=_CORRELATED,
        control=SharedInitializer(sharer, "integer"),
        control_note="an instance with an integer seed",
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("S1", "C3"),
    )
    unseeded = SharedInitializer(sharer, "none", equal=not copies)
    yield Claim(
        id=f"determinism.{sharer}.unseeded_{'independent' if copies else 'identical'}",
        statement=f"With one instance without a seed, the weights are independent of each other: {what}."
        if copies
        else f"With one instance without a seed, the weights are equal bit for bit, without a warning: {what}.",
        source=source,
        condition=condition,
        experiment=unseeded,
        decide=_CORRELATED if copies else _EQUAL,
        control=SharedInitializer(sharer, "integer" if copies else "alias", equal=not copies),
        control_note="an integer seed" if copies else "the initializer's name instead of an instance",
        false_alarm=CLAIM_FALSE_ALARM if copies else 0.0,
        rows=("S1", "C1", "C3"),
    )


def _of_custom_initializers() -> Iterator[Claim]:
    for kind, layer, error, what in (
        ("function", "MultiHeadAttention", "AttributeError", "a function of shape and dtype"),
        (
            "subclass",
            "EinsumDense",
            "TypeError",
            "a subclass of VarianceScaling whose constructor takes the seed alone",
        ),
    ):
        slug = {"EinsumDense": "einsum_dense"}.get(layer, "multi_head_attention")
        yield Claim(
            id=f"determinism.custom_{kind}.{slug}_builds",
            statement=f"{layer} takes {what} as its kernel_initializer.",
            source="Keras, keras.initializers, creating custom initializers",
            condition="built, not called",
            experiment=CustomInitializer(kind, layer),
            decide=_CASES,
            control=CustomInitializer(kind, "Dense"),
            control_note="Dense, which takes it",
            expected="refuted",
            rows=("S4",),
        )
        yield Claim(
            id=f"determinism.custom_{kind}.{slug}_raises",
            statement=f"{layer} raises {error} for {what} as its kernel_initializer, and Dense takes it.",
            source="Keras, keras.initializers, creating custom initializers",
            condition="built, not called",
            experiment=CustomInitializer(kind, layer, error),
            decide=_CASES,
            control=CustomInitializer(kind, "Dense", error),
            control_note="Dense, which takes it",
            rows=("S4",),
        )


PERIOD: Final = 2**31 - 2
"""Keras' TensorFlow backend reduces seeds modulo ``int32.max - 1``."""

_SMALL: Final = 2**30 - 2
"""Seeds below, with any one of 30 bits flipped, are below the period."""

_SHAPES: Final = ((24, 40), (3, 3, 4, 6))


@dataclass(frozen=True)
class SeedTrial:
    """A trial of the seeds of one initializer.

    Attributes:
        trial: one of :data:`TRIALS`.
        subject: the initializer.
        defect: planted into its class, for a control; one of
            :data:`~initcheck.spec.topics.determinism.measurement.DEFECTS`, or empty.
        variant: what a trial compares, where it compares several things.
    """

    trial: str
    subject: Constructor
    defect: str = ""
    variant: str = ""

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.AllWithin` for the columns."""
        seed = context.seed(f"determinism/{self.subject.slug}") % _SMALL
        # An initializer without a seed draws one from Python's state, which the run context restores afterwards.
        random.seed(context.seed(f"determinism/{self.subject.slug}/{self.trial}"))
        with planted(self.subject, self.defect):
            return table(TRIALS[self.trial](Bench(self.subject, seed), self.variant))


def _seed_repeats(bench: Bench, _: str) -> list[Row]:
    rows: list[Row] = []
    for seed in (0, 1, bench.seed, PERIOD - 1, 2**40 + 1, -1):
        shape = _SHAPES[len(rows) % 4 // 2]
        member = f"seed {seed}, shape {shape}"
        initializer = bench.make(seed=seed)
        first = bench.draw(initializer, shape)
        bench.draw(initializer, (5, 3))
        rows.append(equality(f"{member}, second call", bench.draw(initializer, shape), first))
        random.random()
        rows.append(equality(f"{member}, second instance", bench.draw(bench.make(seed=seed), shape), first))
    initializer = bench.make(seed=bench.seed)
    first = bench.draw(initializer)
    import_keras().utils.set_random_seed(bench.seed % 1000)
    rows.append(equality("after set_random_seed", bench.draw(initializer), first))
    return rows


def _unseeded_repeats(bench: Bench, _: str) -> list[Row]:
    rows = []
    for index in range(3):
        initializer = bench.make()
        first = bench.draw(initializer)
        rows.append(equality(f"instance {index}", bench.draw(initializer), first))
    return rows


def _seed_sensitivity(bench: Bench, _: str) -> list[Row]:
    near = [bench.seed + step for step in range(8)]
    bits = [bench.seed ^ (1 << bit) for bit in range(30)]
    seeds = sorted({*near, *bits, *range(6), PERIOD - 1})
    return independence(f"{len(seeds)} seeds", [bench.draw(bench.make(seed=seed)) for seed in seeds])


def _seed_generator_varies(bench: Bench, _: str) -> list[Row]:
    first, shared = bench.make(seed=generator(bench.seed)), generator(bench.seed)
    values = [bench.draw(first) for _ in range(8)]
    again = bench.make(seed=generator(bench.seed))
    one, other = bench.make(seed=shared), bench.make(seed=shared)
    rows = independence("eight calls", values)
    rows += independence("two initializers of one generator", [bench.draw(one), bench.draw(other)])
    rows += [equality(f"call {index + 1}, repeated", bench.draw(again), value) for index, value in enumerate(values)]
    return rows


def _unseeded_differ(bench: Bench, _: str) -> list[Row]:
    keras = import_keras()
    instances = [bench.draw(bench.make()) for _ in range(6)]
    made = [
        instance
        for alias in bench.subject.aliases
        for instance in (keras.initializers.get(alias), keras.initializers.get(alias))
    ]
    return [
        *independence("six instances", instances),
        *independence("by their aliases", [bench.draw(instance) for instance in made]),
    ]


def _python_state(bench: Bench, _: str) -> list[Row]:
    start = random.getstate()
    random.randint(1, 10**9)
    once = random.getstate()

    def after(action: Callable[[], Any]) -> Any:
        random.setstate(start)
        before = _numpy_state()
        action()
        same = _numpy_state() == before
        return random.getstate() if same else None

    unseeded, seeded = bench.make(), bench.make(**bench.seeded)
    taken = once if bench.subject.random else start
    found = {
        "made without a seed": (after(bench.make), taken),
        "called without a seed": (after(lambda: bench.draw(unseeded)), start),
        "called with a seed": (after(lambda: bench.draw(seeded)), start),
    }
    if bench.subject.random:
        found["made with a seed"] = (after(lambda: bench.make(seed=bench.seed)), start)
    return [(member, float(state != expected), 0.0, 1, "other state") for member, (state, expected) in found.items()]


def _numpy_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=True)
    return state[1].tobytes(), int(state[2])


def _seed_types(bench: Bench, _: str) -> list[Row]:
    rows = []
    for seed in (1.0, "1", np.int64(1), np.uint32(1)):
        try:
            bench.make(seed=seed)
            refused = False
        except ValueError:
            refused = True
        rows.append((f"{type(seed).__name__} {seed!r}", float(not refused), 0.0, 1, "not refused"))
    return rows


def _shapes(bench: Bench, variant: str) -> list[Row]:
    """Compare the values of one seed in two shapes: the first entries in order, for Orthogonal the first columns."""
    small, large = ((40, 4), (60, 4)) if bench.subject.class_name == "Orthogonal" else ((30, 20), (40, 30))
    seeds = (bench.seed, bench.seed + (variant.endswith("other seed")))
    left = bench.draw(bench.make(seed=seeds[0]), small)
    right = bench.draw(bench.make(seed=seeds[1]), large)
    if bench.subject.class_name == "Orthogonal":
        left, right = left[:, 0], right[: left.shape[0], 0]
    else:
        left, right = left.ravel(), right.ravel()[: left.size]
    return _compare(f"{small} and {large}", left, right, equal=variant.startswith("equal"))


def _compare(member: str, left: Any, right: Any, *, equal: bool) -> list[Row]:
    """Judge whether two draws are proportional, or whether they are independent."""
    if not equal:
        return independence(member, [left, right])
    left, right = (value / np.linalg.norm(value.astype(np.float64)) for value in (left, right))
    return [closeness(member, left, right, 64.0)]


def _periodic(bench: Bench, variant: str) -> list[Row]:
    rows = []
    for seed in (0, 42, bench.seed):
        far = {"period": seed + PERIOD, "negative": seed - PERIOD, "next": seed + 1}
        first = bench.draw(bench.make(seed=seed))
        for name in variant.removeprefix("equal ").split():
            other = bench.draw(bench.make(seed=far[name]))
            member = f"{seed} and {far[name]}"
            if variant.startswith("equal"):
                rows.append(equality(member, other, first))
            else:
                rows += independence(member, [first, other])
    return rows


def _generator_start(bench: Bench, _: str) -> list[Row]:
    return [
        equality(f"seed {seed}", bench.draw(bench.make(seed=generator(seed))), bench.draw(bench.make(seed=seed)))
        for seed in (0, 42, bench.seed)
    ]


def _traced(bench: Bench, _: str) -> list[Row]:
    tensorflow = import_tensorflow()

    initializer = bench.make(**bench.seeded)
    shape = bench.subject.shape
    function = tensorflow.function(lambda: initializer(shape, dtype="float32"), autograph=False)
    traced = function.get_concrete_function()
    first, second = np.asarray(traced()), np.asarray(traced())
    eager = draw(initializer, shape)
    return [closeness("traced", first, eager), equality("traced, second call", second, first)]


TRIALS: Final[dict[str, Callable[[Bench, str], list[Row]]]] = {
    "seed_repeats": _seed_repeats,
    "unseeded_repeats": _unseeded_repeats,
    "seed_sensitivity": _seed_sensitivity,
    "seed_generator_varies": _seed_generator_varies,
    "seed_generator_start": _generator_start,
    "unseeded_instances_differ": _unseeded_differ,
    "python_random_state": _python_state,
    "seed_types": _seed_types,
    "shapes": _shapes,
    "period": _periodic,
    "traced": _traced,
}
"""The trials by name: each gives the rows of its members."""


_CLASSES: Final = ("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal")
_INSTANCES: Final = 200


@dataclass(frozen=True)
class Coincidences:
    """How many of several instances without a seed give the values of an earlier one.

    Keras draws a seed from a thousand million. Of 200 instances two share one with probability 2e-5, and twice that
    happens with probability 2e-10 in a class; one coincidence is allowed. Among a thousand seeds there would be
    twenty, and one or none with probability 5e-8.

    Attributes:
        seeds: for a control, the number of seeds that instances are given at random; None for Keras' own choice.
    """

    seeds: int | None = None

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.AllWithin` for the columns."""
        import pandas as pd

        initializers = import_keras().initializers
        # Keras draws from Python's state, which the run context restores afterwards.
        random.seed(context.seed("determinism/unseeded"))
        chance = np.random.default_rng(context.seed("determinism/few seeds"))
        rows = []
        for name in _CLASSES:
            found: Counter[bytes] = Counter()
            for _ in range(_INSTANCES):
                arguments: dict[str, Any] = {} if self.seeds is None else {"seed": int(chance.integers(self.seeds))}
                found[to_numpy(getattr(initializers, name)(**arguments)((2, 3))).tobytes()] += 1
            rows.append((name, float(_INSTANCES - len(found)), 1.0, _INSTANCES))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


def unseeded_claims() -> list[Claim]:
    """List the claims."""
    return [
        Claim(
            id="determinism.unseeded.seldom_coincide",
            statement="Initializers without a seed draw one from so many that hundreds of instances all differ.",
            source="Keras, keras.random.SeedGenerator: without a seed, a random one",
            condition=f"{_INSTANCES} instances of {', '.join(_CLASSES)}; one coincidence of a class is allowed",
            experiment=Coincidences(),
            decide=AllWithin("instances that repeat an earlier one", "instances"),
            control=Coincidences(seeds=1000),
            control_note="a thousand seeds to choose from",
            false_alarm=1e-9,  # five classes, 2e-10 each
            rows=("C1", "C3"),
        )
    ]
