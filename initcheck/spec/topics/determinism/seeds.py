"""Trials of seeds: what a seed, a seed generator and no seed at all make of what an initializer draws."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from scipy import stats

from initcheck.backend.interface import backend
from initcheck.backend.runtime import backend_name, import_keras
from initcheck.spec.causes import SEED_BITS, SEED_INT32
from initcheck.spec.claim import ExactRow, RunContext
from initcheck.spec.subjects import to_numpy
from initcheck.spec.topics.determinism.measurement import (
    CLASSES,
    SHARE,
    Factory,
    Trial,
    closeness,
    correlations,
    draw,
    equality,
    generator,
    independence,
)
from initcheck.spec.versions import EVERY, KerasVersions, installed_keras


@dataclass(frozen=True)
class SeedRule:
    """Which integers a backend takes as seeds, and which of them are one seed to it."""

    taken: range
    period: int | None = None
    """Seeds that are so far apart give the same values; None where all differ."""

    def choose(self, seeds: Iterable[int]) -> list[int]:
        """Choose the seeds that are taken, and of those that are one the smallest in size."""
        chosen: dict[int, int] = {}
        for seed in sorted(seeds, key=abs):
            if seed in self.taken:
                chosen.setdefault(seed if self.period is None else seed % self.period, seed)
        return sorted(chosen.values())


_BITS_64: Final = range(-(2**63), 2**63)

SEED_RULES: Final[Mapping[str, tuple[tuple[KerasVersions, SeedRule], ...]]] = {
    "tensorflow": ((EVERY, SeedRule(_BITS_64, 2**31 - 2)),),  # Keras reduces them modulo int32.max - 1
    "jax": ((EVERY, SeedRule(range(2**32))),),
    "torch": (
        (SEED_BITS.keras, SeedRule(_BITS_64, 2**32)),
        (SEED_INT32.keras, SeedRule(range(-(2**31), 2**31))),
    ),
}
"""By the name of the backend, and by version of Keras."""


def _seed_rule() -> SeedRule:
    keras = installed_keras()
    return next(rule for versions, rule in SEED_RULES[backend_name()] if keras in versions)


_LARGEST: Final = 2**31 - 3
"""Every backend takes seeds up to here, and tells them apart."""

_SMALL: Final = 2**30 - 2
"""Seeds below, with any one of 30 bits flipped, are below the largest."""

_SHAPES: Final = ((24, 40), (3, 3, 4, 6))


def _seed_repeats(factory: Factory) -> list[ExactRow]:
    rows: list[ExactRow] = []
    for seed in _seed_rule().choose((0, 1, factory.seed, _LARGEST, 2**32 - 1, 2**40 + 2, -5)):
        shape = _SHAPES[len(rows) % 4 // 2]
        member = f"seed {seed}, shape {shape}"
        initializer = factory.make(seed=seed)
        first = factory.draw(initializer, shape)
        factory.draw(initializer, (5, 3))
        rows.append(equality(f"{member}, second call", factory.draw(initializer, shape), first))
        random.random()
        rows.append(equality(f"{member}, second instance", factory.draw(factory.make(seed=seed), shape), first))
    initializer = factory.make(seed=factory.seed)
    first = factory.draw(initializer)
    import_keras().utils.set_random_seed(factory.seed % 1000)
    rows.append(equality("after set_random_seed", factory.draw(initializer), first))
    return rows


def _unseeded_repeats(factory: Factory) -> list[ExactRow]:
    rows = []
    for index in range(3):
        initializer = factory.make()
        first = factory.draw(initializer)
        rows.append(equality(f"instance {index}", factory.draw(initializer), first))
    return rows


def _seed_sensitivity(factory: Factory) -> list[ExactRow]:
    seeds = _near(factory)
    return independence(f"{len(seeds)} seeds", [factory.draw(factory.make(seed=seed)) for seed in seeds])


def _near(factory: Factory) -> list[int]:
    """List small seeds, successive ones, and one with any of its bits flipped."""
    successive = [factory.seed + step for step in range(8)]
    bits = [factory.seed ^ (1 << bit) for bit in range(30)]
    return sorted({*successive, *bits, *range(6), _LARGEST})


def _far(factory: Factory) -> list[int]:
    """List seeds, their negatives and complements, and seeds 2^31 and 2^32 away, as far as the backend takes them."""
    near = (1, 42, factory.seed)
    changed = (change(seed) for seed in near for change in (int, int.__neg__, int.__invert__))
    further = (seed + 2**power for seed in near for power in (31, 32))
    return _seed_rule().choose({*changed, *further, 2**62 + 9, 2**63 - 1})


def _far_seeds(factory: Factory) -> list[ExactRow]:
    seeds = _far(factory)
    return independence(f"{len(seeds)} seeds", [factory.draw(factory.make(seed=seed)) for seed in seeds])


def _draws_differ(factory: Factory) -> list[ExactRow]:
    """Look for equal draws where none may be equal, whatever it is that is drawn."""
    keras = import_keras()
    rows: list[ExactRow] = []

    def compare(member: str, initializers: Iterable[tuple[Any, Any]]) -> None:
        found: dict[bytes, list[str]] = {}
        for name, initializer in initializers:
            values = factory.draw(initializer)
            # A constant weight shows nothing of its seed.
            if values.min() < values.max():
                found.setdefault(values.tobytes(), []).append(str(name))
        alike = [names for names in found.values() if len(names) > 1]
        seen = f"{' and '.join(alike[0][:2])} are equal" if alike else "all differ"
        rows.append(ExactRow(member, float(sum(map(len, alike)) - len(alike)), 0.0, len(found), seen))

    compare("integer seeds", ((f"seed {seed}", factory.make(seed=seed)) for seed in _near(factory)))
    compare("negative and large seeds", ((f"seed {seed}", factory.make(seed=seed)) for seed in _far(factory)))
    one, shared = factory.make(seed=generator(factory.seed)), generator(factory.seed)
    compare("calls with a seed generator", ((f"call {call}", one) for call in range(1, 9)))
    compare("initializers with one seed generator", ((number, factory.make(seed=shared)) for number in (1, 2)))
    compare("instances without a seed", ((f"instance {number}", factory.make()) for number in range(1, 7)))
    named = [(alias, keras.initializers.get(alias)) for alias in factory.subject.aliases for _ in (1, 2)]
    compare("instances by their names", named)
    unseeded = factory.make()
    compare("clone of an instance without a seed", (("instance", unseeded), ("clone", unseeded.clone())))
    return rows


def _shifted_streams(factory: Factory) -> list[ExactRow]:
    """Correlate the draws of neighbouring seeds at every distance but 0, around the end to the beginning."""
    shape = (64, 64) if factory.subject.class_name == "Orthogonal" else (4096,)
    streams = [factory.draw(factory.make(seed=factory.seed + step), shape).ravel() for step in range(4)]
    scaled = np.stack([(values - values.mean()) / values.std() for values in streams]).astype(np.float64)
    spectra = np.fft.rfft(scaled)
    rows = []
    for step in range(1, len(streams)):
        found = np.fft.irfft(spectra[0] * spectra[step].conj(), scaled.shape[1])[1:] / scaled.shape[1]
        limit = stats.norm.isf(SHARE / (2 * found.size * (len(streams) - 1))) / np.sqrt(found.size)
        distance = int(np.argmax(np.abs(found))) + 1
        seen = f"largest correlation, {distance} apart"
        rows.append(ExactRow(f"seeds {step} apart", float(np.abs(found).max()), float(limit), found.size, seen))
    return rows


def _seed_generator_varies(factory: Factory) -> list[ExactRow]:
    first, shared = factory.make(seed=generator(factory.seed)), generator(factory.seed)
    values = [factory.draw(first) for _ in range(8)]
    again = factory.make(seed=generator(factory.seed))
    one, other = factory.make(seed=shared), factory.make(seed=shared)
    rows = independence("eight calls", values)
    rows += independence("two initializers of one generator", [factory.draw(one), factory.draw(other)])
    rows += [equality(f"call {index + 1}, repeated", factory.draw(again), value) for index, value in enumerate(values)]
    return rows


def _unseeded_differ(factory: Factory) -> list[ExactRow]:
    keras = import_keras()
    instances = [factory.draw(factory.make()) for _ in range(6)]
    made = [keras.initializers.get(alias) for alias in factory.subject.aliases for _ in range(2)]
    rows = independence("six instances", instances)
    return rows + independence("by their aliases", [factory.draw(instance) for instance in made])


def _python_state(factory: Factory) -> list[ExactRow]:
    start = random.getstate()
    random.randint(1, 10**9)
    once = random.getstate()

    def after(action: Callable[[], Any]) -> Any:
        random.setstate(start)
        before = _numpy_state()
        action()
        same = _numpy_state() == before
        return random.getstate() if same else None

    unseeded, seeded = factory.make(), factory.make(**factory.seeded)
    taken = once if factory.subject.random else start
    found = {
        "made without a seed": (after(factory.make), taken),
        "called without a seed": (after(lambda: factory.draw(unseeded)), start),
        "called with a seed": (after(lambda: factory.draw(seeded)), start),
    }
    if factory.subject.random:
        found["made with a seed"] = (after(lambda: factory.make(seed=factory.seed)), start)
    return [ExactRow(name, float(state != wanted), seen="other state") for name, (state, wanted) in found.items()]


def _numpy_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=True)
    return state[1].tobytes(), int(state[2])


def _seed_types(factory: Factory) -> list[ExactRow]:
    rows = []
    for seed in (1.0, "1", np.int64(1), np.uint32(1)):
        try:
            factory.make(seed=seed)
            refused = False
        except ValueError:
            refused = True
        rows.append(ExactRow(f"{type(seed).__name__} {seed!r}", float(not refused), seen="not refused"))
    return rows


def _shapes(factory: Factory) -> list[ExactRow]:
    """Compare the values of one seed in two shapes: the first entries in order, for Orthogonal the first columns."""
    small, large = ((40, 4), (60, 4)) if factory.subject.class_name == "Orthogonal" else ((30, 20), (40, 30))
    seeds = (factory.seed, factory.seed + (factory.variant.endswith("other seed")))
    left = factory.draw(factory.make(seed=seeds[0]), small)
    right = factory.draw(factory.make(seed=seeds[1]), large)
    if factory.subject.class_name == "Orthogonal":
        left, right = left[:, 0], right[: left.shape[0], 0]
    else:
        left, right = left.ravel(), right.ravel()[: left.size]
    return _compare(f"{small} and {large}", left, right, equal=factory.variant.startswith("equal"))


def _compare(member: str, left: Any, right: Any, *, equal: bool) -> list[ExactRow]:
    """Judge whether two draws are proportional, or whether they are independent."""
    if not equal:
        return independence(member, [left, right])
    left, right = (value / np.linalg.norm(value.astype(np.float64)) for value in (left, right))
    return [closeness(member, left, right, 64.0)]


def _periodic(factory: Factory) -> list[ExactRow]:
    rows = []
    period = _seed_rule().period
    assert period is not None
    for seed in (0, 42, factory.seed):
        far = {"period": seed + period, "negative": seed - period, "next": seed + 1}
        first = factory.draw(factory.make(seed=seed))
        for name in factory.variant.removeprefix("equal ").split():
            other = factory.draw(factory.make(seed=far[name]))
            member = f"{seed} and {far[name]}"
            if factory.variant.startswith("equal"):
                rows.append(equality(member, other, first))
            else:
                rows += independence(member, [first, other])
    return rows


def _generator_start(factory: Factory) -> list[ExactRow]:
    rows = []
    for seed in (0, 42, factory.seed):
        first = factory.draw(factory.make(seed=generator(seed)))
        rows.append(equality(f"seed {seed}", first, factory.draw(factory.make(seed=seed))))
    return rows


def _traced(factory: Factory) -> list[ExactRow]:
    initializer = factory.make(**factory.seeded)
    shape = factory.subject.shape
    traced = backend().compile_once(lambda: initializer(shape, dtype="float32"), [])
    first, second = backend().as_array(traced()), backend().as_array(traced())
    eager = draw(initializer, shape)
    return [closeness("traced", first, eager), equality("traced, second call", second, first)]


class SeedTrial(Trial):
    """A trial of the seeds of one initializer."""

    seeds = _SMALL
    trials: ClassVar[Mapping[str, Callable[[Factory], list[ExactRow]]]] = {
        "seed_repeats": _seed_repeats,
        "unseeded_repeats": _unseeded_repeats,
        "draws_differ": _draws_differ,
        "seed_sensitivity": _seed_sensitivity,
        "far_seeds_differ": _far_seeds,
        "streams_are_no_shifts": _shifted_streams,
        "seed_generator_varies": _seed_generator_varies,
        "seed_generator_start": _generator_start,
        "unseeded_instances_differ": _unseeded_differ,
        "python_random_state": _python_state,
        "seed_types": _seed_types,
        "shapes": _shapes,
        "period": _periodic,
        "traced": _traced,
    }


CLASSES_WITHOUT_SEED: Final = ("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal")
INSTANCES: Final = 200


@dataclass(frozen=True)
class Coincidences:
    """How many of several instances without a seed give the values of an earlier one."""

    # Keras draws a seed from a thousand million. Of 200 instances two share one with probability 2e-5, and twice that
    # happens with probability 2e-10 in a class; one coincidence is allowed. Among a thousand seeds there would be
    # twenty, and one or none with probability 5e-8.
    seeds: int | None = None
    """For a control, the number of seeds that instances are given at random; None for Keras' own choice."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        initializers = import_keras().initializers
        # Keras draws from Python's state, which the run context restores afterwards.
        random.seed(context.seed("determinism/unseeded"))
        chance = np.random.default_rng(context.seed("determinism/few seeds"))
        for name in CLASSES_WITHOUT_SEED:
            found: Counter[bytes] = Counter()
            for _ in range(INSTANCES):
                arguments: dict[str, Any] = {} if self.seeds is None else {"seed": int(chance.integers(self.seeds))}
                found[to_numpy(getattr(initializers, name)(**arguments)((2, 3))).tobytes()] += 1
            yield ExactRow(name, float(INSTANCES - len(found)), 1.0, INSTANCES)


_DRAWING: Final = tuple(subject.class_name for subject in CLASSES if subject.random)


@dataclass(frozen=True)
class TakesSeeds:
    """Whether the classes take seeds, made and called with each; the number that they refuse."""

    seeds: tuple[int, ...]
    names: tuple[str, ...] = _DRAWING

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - these seeds are those of the claim
        for name in self.names:
            refused, seen = 0, "all taken"
            for seed in self.seeds:
                try:
                    draw(getattr(import_keras().initializers, name)(seed=seed), (2, 3))
                # Each backend has errors of its own.
                except Exception as error:  # noqa: BLE001 - a refusal of any kind is the measurement
                    refused, seen = refused + 1, f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
            yield ExactRow(name, float(refused), 0.0, len(self.seeds), seen)


@dataclass(frozen=True)
class CallsAndSeeds:
    """The largest correlation of what a seed generator gives on its calls and what integer seeds give."""

    away: int = 0
    """The first of the integer seeds over the generator's own."""
    first_call: int = 1
    """The first of the calls that are compared; the very first, 0, gives what the generator's seed gives."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        first = context.seed("determinism/calls and seeds") % _SMALL
        for name in _DRAWING:
            made = getattr(import_keras().initializers, name)
            one = made(seed=generator(first))
            calls = [draw(one, (24, 40)) for _ in range(4)][self.first_call :]
            seeds = [draw(made(seed=first + self.away + step), (24, 40)) for step in range(4)]
            found = [abs(correlations([call, seed])[0]) for call in calls for seed in seeds]
            limit = np.tanh(stats.norm.isf(SHARE / (2 * len(found))) / np.sqrt(24 * 40 - 4))
            yield ExactRow(name, max(found), float(limit), len(found), f"largest correlation of {len(found)} pairs")
