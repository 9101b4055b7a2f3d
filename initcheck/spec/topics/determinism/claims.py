"""Claims on seeds, determinism and the configuration of initializers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from initcheck.spec.claim import Claim, Expectation
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin
from initcheck.spec.topics.determinism.arguments import ConfigurationTrial
from initcheck.spec.topics.determinism.measurement import ALL, CLASSES, RANDOM, Constructor
from initcheck.spec.topics.determinism.seeds import SeedTrial, general_claims, unseeded_claims

_EQUAL: Final = AllWithin("Entries that differ")
_CORRELATED: Final = AllWithin("Correlation, or entries that differ")
_CASES: Final = AllWithin("Cases that differ")


def claims() -> tuple[Claim, ...]:
    """List the claims of this topic."""
    found: list[Claim] = []
    for subject in RANDOM:
        found.extend(_of_seeds(subject))
    for subject in ALL:
        found.extend(_of_configuration(subject))
    return (*found, *unseeded_claims(), *general_claims())


def _of_seeds(subject: Constructor) -> Iterator[Claim]:
    def claim(
        trial: str,
        statement: str,
        defect: str,
        rows: tuple[str, ...],
        condition: str = "one process, TensorFlow backend",
        false_alarm: float = 0.0,
    ) -> Claim:
        return Claim(
            id=f"determinism.{subject.slug}.{trial}",
            statement=f"{_called(subject)}: {statement}",
            source=f"{subject.source}, argument seed",
            condition=condition,
            experiment=SeedTrial(trial, subject),
            decide=_CORRELATED if false_alarm else _EQUAL,
            control=SeedTrial(trial, subject, defect),
            control_note=f"the class with a defect: {defect}",
            false_alarm=false_alarm,
            rows=rows,
        )

    yield claim(
        "seed_repeats",
        "an integer seed, 0 included, gives the same values on every call, by every instance and whatever the state of "
        "the process.",
        "seed 0 taken for none",
        ("C1", "C5"),
        "six seeds, of up to 41 bits or negative; shapes (24, 40) and (3, 3, 4, 6)",
    )
    yield claim(
        "unseeded_repeats",
        "without a seed, one instance gives the same values on every call.",
        "values vary",
        ("C1",),
    )
    yield claim(
        "seed_sensitivity",
        "different integer seeds give different, uncorrelated values.",
        "seed cut to its lowest byte",
        ("C8",),
        "0 to 5, eight successive seeds, and a seed with any of its 30 bits flipped, all below 2147483646",
        CLAIM_FALSE_ALARM,
    )
    yield claim(
        "seed_generator_varies",
        "a SeedGenerator gives other values on every call, and an equal one the same sequence.",
        "seed generator frozen",
        ("C2",),
        "eight calls; two initializers that share a generator",
        CLAIM_FALSE_ALARM,
    )
    yield claim(
        "unseeded_instances_differ",
        "instances without a seed, also those made from its names, give different, uncorrelated values.",
        "seed by default",
        ("C1", "C3"),
        "six instances, and two for every alias",
        CLAIM_FALSE_ALARM,
    )
    yield claim(
        "seed_types",
        "the seed is a Python integer or a SeedGenerator: a NumPy integer, a float and a string raise ValueError.",
        "seed of any type",
        ("S4",),
    )
    yield claim(
        "seed_generator_start",
        "a new SeedGenerator's first values are those of the integer seed that it was made with.",
        "seed constant",
        ("S1",),
    )
    yield from _coincidences(subject)


def _coincidences(subject: Constructor) -> Iterator[Claim]:
    def claim(
        name: str,
        statement: str,
        trial: str,
        variants: tuple[str, str],
        control_note: str,
        expected: Expectation,
        condition: str,
        rows: tuple[str, ...],
    ) -> Claim:
        return Claim(
            id=f"determinism.{subject.slug}.{name}",
            statement=f"{_called(subject)}: {statement}",
            source=f"{subject.source}, argument seed",
            condition=condition,
            experiment=SeedTrial(trial, subject, variant=variants[0]),
            decide=_CORRELATED if expected == "refuted" else _EQUAL,
            control=SeedTrial(trial, subject, variant=variants[1]),
            control_note=control_note,
            expected=expected,
            # Of a refuted claim chance is in the control alone, whose two draws may correlate.
            false_alarm=CLAIM_FALSE_ALARM if expected == "refuted" else 0.0,
            rows=rows,
        )

    shapes = "(40, 4) and (60, 4)" if subject.class_name == "Orthogonal" else "(30, 20) and (40, 30)"
    what = "the first columns" if subject.class_name == "Orthogonal" else "the first entries, in order,"
    yield claim(
        "one_seed_two_shapes_independent",
        "one integer seed gives weights of different shapes independent values.",
        "shapes",
        ("", "other seed"),
        "two seeds",
        "refuted",
        shapes,
        ("C6", "S2"),
    )
    yield claim(
        "one_seed_two_shapes_proportional",
        f"with one integer seed, {what} of weights of different shapes are the same but for a factor.",
        "shapes",
        ("equal", "equal, other seed"),
        "two seeds",
        "holds",
        shapes,
        ("C6",),
    )
    yield claim(
        "all_seeds_distinct",
        "different integer seeds give different values, whatever the integers.",
        "period",
        ("period negative", "next"),
        "successive seeds",
        "refuted",
        "seeds that are 2147483646 apart",
        ("C8",),
    )
    yield claim(
        "seed_period",
        "seeds that are 2147483646 apart give the same values.",
        "period",
        ("equal period negative", "equal next"),
        "successive seeds",
        "holds",
        "0, 42 and another seed; TensorFlow backend",
        ("C8",),
    )


def _of_configuration(subject: Constructor) -> Iterator[Claim]:
    def claim(
        trial: str,
        statement: str,
        defect: str,
        rows: tuple[str, ...],
        false_alarm: float = 0.0,
        condition: str = "",
        expected: Expectation = "holds",
    ) -> Claim:
        return Claim(
            id=f"determinism.{subject.slug}.{trial}",
            statement=f"{_called(subject)}: {statement}",
            source=subject.source,
            condition=condition or "one process, TensorFlow backend",
            experiment=ConfigurationTrial(trial, subject),
            decide=_CORRELATED if false_alarm else _CASES,
            control=ConfigurationTrial(trial, subject, defect),
            control_note=f"the class with a defect: {defect}" if expected == "holds" else defect,
            expected=expected,
            false_alarm=false_alarm,
            rows=rows,
        )

    # Identity keeps the get_config of the base class, which is empty.
    complete = subject.class_name != "Identity"
    yield claim(
        "config_round_trip",
        "its configuration names every argument, and gives back an initializer of the same class, configuration and "
        "values.",
        "configuration drops an argument" if complete else "configuration made complete",
        ("C3",),
        condition="no argument with its default; the class and a registered subclass; integers and seed generators",
        expected="holds" if complete else "refuted",
    )
    if not complete:
        yield claim(
            "config_lost",
            "its configuration is empty: copies and clones have the default gain again.",
            "configuration made complete",
            (),
        )
    if subject in CLASSES:
        # Constant's from_config reads the value, so that its names alone do not do.
        named = subject.class_name != "Constant"
        yield claim(
            "aliases",
            "its names, its class and a dictionary give it, with the documented defaults.",
            "aliases of another class" if named else "configuration allowed to be empty",
            (),
            expected="holds" if named else "refuted",
        )
        if not named:
            yield claim(
                "alias_raises",
                "its names alone raise KeyError, and give it together with a value.",
                "configuration allowed to be empty",
                (),
            )
        yield claim(
            "defaults",
            "its constructor has the documented arguments, in their order and with their defaults.",
            "default changed",
            (),
        )
    yield claim(
        "clone",
        "a clone, alone or in a cloned model, has the same values with an integer seed and others without one."
        if subject.random
        else "a clone, alone or in a cloned model, has the same values.",
        "seed by default" if subject.random else "values vary",
        ("C3",),
        CLAIM_FALSE_ALARM if subject.random else 0.0,
    )
    yield claim(
        "arguments",
        "every argument of the constructor, and the dtype and shape of the call, change the values as documented.",
        "argument ignored" if subject.others else "values vary",
        ("A7",) if subject.random else (),
        condition="the same seed, against the standard law scaled and shifted in double precision",
    )
    yield Claim(
        id=f"determinism.{subject.slug}.python_random_state",
        statement=f"{_called(subject)}: made without a seed it takes one number from Python's random state, else none."
        if subject.random
        else f"{_called(subject)}: it leaves Python's random state alone.",
        source="Keras, keras.utils.set_random_seed and keras.random.SeedGenerator",
        condition="made and called, with and without a seed; NumPy's state is left alone",
        experiment=SeedTrial("python_random_state", subject),
        decide=_CASES,
        control=SeedTrial("python_random_state", subject, "random state used"),
        control_note="the class with a defect: random state used",
        rows=("S10",),
    )
    yield Claim(
        id=f"determinism.{subject.slug}.traced",
        statement=f"{_called(subject)}: inside a traced function it gives the values that it gives eagerly.",
        source=subject.source,
        condition="tensorflow.function without XLA",
        experiment=SeedTrial("traced", subject),
        decide=_CORRELATED,
        control=SeedTrial("traced", subject, "values vary"),
        control_note="the class with a defect: values vary",
        rows=("C10",),
    )


def _called(subject: Constructor) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in subject.arguments)
    return f"{subject.class_name}({given})" if given else subject.class_name
