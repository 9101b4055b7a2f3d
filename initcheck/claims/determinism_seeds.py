"""Experiments on the seeds of one initializer: what repeats, what varies, and what coincides although it should not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from initcheck.claims.determinism_bench import (
    Bench,
    Row,
    closeness,
    draw,
    equality,
    generator,
    independence,
    planted,
    table,
)
from initcheck.claims.determinism_subjects import Constructor
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

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
            :data:`~initcheck.claims.determinism_bench.DEFECTS`, or empty.
        variant: what a trial compares, where it compares several things.
    """

    trial: str
    subject: Constructor
    defect: str = ""
    variant: str = ""

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.AllWithin` for the columns."""
        seed = laboratory.seed(f"determinism/{self.subject.slug}") % _SMALL
        # An initializer without a seed draws one from Python's state, which the laboratory restores afterwards.
        random.seed(laboratory.seed(f"determinism/{self.subject.slug}/{self.trial}"))
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
    import tensorflow

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
