"""Claims on seeds, determinism and the configuration of initializers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

from initcheck.spec import causes
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, NoDifference
from initcheck.spec.topics.determinism.configuration import (
    ALIASES_OF_ANOTHER_CLASS,
    WITHOUT_FLOAT64,
    ConfigurationTrial,
)
from initcheck.spec.topics.determinism.measurement import ALL, CLASSES, RANDOM, SHARE, Constructor, Trial
from initcheck.spec.topics.determinism.seeds import (
    CLASSES_WITHOUT_SEED,
    INSTANCES,
    SEED_RULES,
    CallsAndSeeds,
    Coincidences,
    SeedTrial,
    TakesSeeds,
)
from initcheck.spec.topics.determinism.sharing import (
    COMPILED,
    DISTRIBUTIONS,
    PINNED,
    PINNED_ARGUMENTS,
    BuildTwice,
    CompiledDistribution,
    CompiledEqual,
    CustomInitializer,
    OneSeedClasses,
    OwnByName,
    Pinned,
    SharedInitializer,
)
from initcheck.spec.versions import EVERY, INITIALIZER_AXES, KerasVersions

_EQUAL: Final = AllWithin("Entries that differ")
_CORRELATED: Final = AllWithin("Correlation, or entries that differ", false_alarm=10 * SHARE)
"""Of ten limits on correlations at most."""
_CORRELATED_BUILDS: Final = AllWithin("Correlation, or entries that differ", false_alarm=CLAIM_FALSE_ALARM)
"""Of twenty: one for each layer that is built, or for each class that draws."""
_CASES: Final = AllWithin("Cases that differ")
_CLOSE: Final = AllWithin("Largest difference")
_PERIODS: Final = (("tensorflow", causes.SEED_PERIOD, EVERY), ("torch", causes.SEED_BITS, causes.SEED_BITS.keras))
"""Where seeds repeat: the backend, the cause and the versions."""
_PROPORTIONAL: Final[dict[bool, tuple[str, ...]]] = {False: (), True: ("tensorflow", "jax")}
"""Where one seed gives two shapes the same numbers: not for normals on PyTorch, which makes them sixteen at a time."""
_STREAMS: Final = {
    "tensorflow": "TensorFlow, tf.random.stateless_normal and stateless_uniform",
    "jax": "JAX, jax.random.normal and uniform",
    "torch": "PyTorch, torch.normal and torch.rand with a torch.Generator",
}
_SAME_DISTRIBUTION: Final = NoDifference("Distance of the distributions", largest_detectable=0.05)


def claims() -> Iterator[Claim]:
    """List the claims of this topic."""
    for subject in RANDOM:
        yield from _of_seeds(subject)
    for subject in ALL:
        yield from _of_configuration(subject)
    yield _unseeded()
    yield from _general()


def _claim(experiment: Trial, statement: str, defect: str = "", *, name: str = "", **fields: Any) -> Claim:
    """Claim something of one initializer; its control is the class with a defect, unless another is given."""
    subject = experiment.subject
    shared: dict[str, Any] = {
        "source": subject.source,
        "condition": "one process",
        "control": replace(experiment, defect=defect),
        "control_note": defect if fields.get("expected") == "refuted" else f"the class with a defect: {defect}",
    }
    given = ", ".join(f"{argument}={value!r}" for argument, value in subject.arguments)
    label = f"{subject.class_name}({given})" if given else subject.class_name
    claim_id = f"determinism.{subject.slug}.{name or experiment.trial}"
    return Claim(id=claim_id, statement=f"{label}: {statement}", experiment=experiment, **(shared | fields))


def _of_seeds(subject: Constructor) -> Iterator[Claim]:
    claim = partial(_claim, source=f"{subject.source}, argument seed")
    yield claim(
        SeedTrial("seed_repeats", subject),
        "an integer seed, 0 included, gives the same values on every call, by every instance and whatever the state of "
        "the process.",
        "seed 0 taken for none",
        condition="seeds of up to 41 bits, and a negative one, as far as the backend takes them; shapes (24, 40) and "
        "(3, 3, 4, 6)",
        decide=_EQUAL,
        rows=("C1", "C5"),
    )
    yield claim(
        SeedTrial("unseeded_repeats", subject),
        "without a seed, one instance gives the same values on every call.",
        "values vary",
        decide=_EQUAL,
        rows=("C1",),
    )
    yield claim(
        SeedTrial("draws_differ", subject),
        "no two draws are equal of different seeds, of the calls of a seed generator, of instances without a seed, and "
        "of their clones.",
        "seed constant",
        condition="44 integer seeds; negative ones and ones beyond 2^31 that the backend takes; eight calls; instances "
        "by the class and by its names",
        decide=AllWithin("Draws that repeat another"),
        rows=("C2", "C3", "C8"),
    )
    yield claim(
        SeedTrial("seed_sensitivity", subject),
        "different integer seeds give different, uncorrelated values.",
        "seed cut to its lowest byte",
        condition="0 to 5, eight successive seeds, and a seed with any of its 30 bits flipped, all below 2147483646",
        decide=_CORRELATED,
        rows=("C8",),
    )
    far = partial(claim, SeedTrial("far_seeds_differ", subject), decide=_CORRELATED, rows=("C8",))
    yield far(
        "a seed and its negative, and seeds beyond 2^31 up to almost 2^63, give different, uncorrelated values.",
        "sign of the seed dropped",
        condition="1, 42 and another seed, their negatives and complements, and 2^31 and 2^32 more; two of 2^62 and "
        "beyond; of those that are a period of the backend apart one",
        backends=("tensorflow", "torch"),
    )
    yield far(
        "seeds beyond 2^31, up to 2^32, give different, uncorrelated values.",
        "seed cut to its lowest byte",
        condition="1, 42 and another seed, and 2^31 more",
        backends=("jax",),
    )
    yield claim(
        SeedTrial("streams_are_no_shifts", subject),
        "the values of neighbouring seeds are not the same ones at another distance.",
        "seed taken for a place in one stream",
        condition="a seed and the three after it, 4,096 values each, correlated at every distance from 1 on",
        decide=_CORRELATED,
        rows=("C8",),
    )
    yield claim(
        SeedTrial("seed_generator_varies", subject),
        "a SeedGenerator gives other values on every call, and an equal one the same sequence.",
        "seed generator frozen",
        condition="eight calls; two initializers that share a generator",
        decide=_CORRELATED,
        rows=("C2",),
    )
    yield claim(
        SeedTrial("unseeded_instances_differ", subject),
        "instances without a seed, also those made from its names, give different, uncorrelated values.",
        "seed by default",
        condition="six instances, and two for every alias",
        decide=_CORRELATED,
        rows=("C1", "C3"),
    )
    yield claim(
        SeedTrial("seed_types", subject),
        "the seed is a Python integer or a SeedGenerator: a NumPy integer, a float and a string raise ValueError.",
        "seed of any type",
        decide=_EQUAL,
        rows=("S4",),
    )
    yield claim(
        SeedTrial("seed_generator_start", subject),
        "a new SeedGenerator's first values are those of the integer seed that it was made with.",
        "seed constant",
        pinned=True,
        decide=_EQUAL,
        rows=("S1",),
    )
    shapes = "(40, 4) and (60, 4)" if subject.class_name == "Orthogonal" else "(30, 20) and (40, 30)"
    what = "the first columns" if subject.class_name == "Orthogonal" else "the first entries, in order,"
    # Of the refuted claims chance is in the control alone, whose two draws may correlate.
    yield claim(
        SeedTrial("shapes", subject),
        "one integer seed gives weights of different shapes independent values.",
        name="one_seed_two_shapes_independent",
        pinned=True,
        condition=shapes,
        decide=_CORRELATED,
        control=SeedTrial("shapes", subject, variant="other seed"),
        control_note="two seeds",
        expected="refuted",
        cause=causes.ONE_SEED,
        rows=("C6", "S2"),
    )
    yield claim(
        SeedTrial("shapes", subject, variant="equal"),
        f"with one integer seed, {what} of weights of different shapes are the same but for a factor.",
        name="one_seed_two_shapes_proportional",
        pinned=True,
        condition=shapes,
        decide=_EQUAL,
        control=SeedTrial("shapes", subject, variant="equal, other seed"),
        control_note="two seeds",
        rows=("C6",),
        backends=_PROPORTIONAL[subject.normal],
    )
    for backend, cause, keras in _PERIODS:
        period = next(rule.period for versions, rule in SEED_RULES[backend] if versions == keras)
        yield claim(
            SeedTrial("period", subject, variant="period negative"),
            "different integer seeds give different values, whatever the integers.",
            name="all_seeds_distinct",
            pinned=True,
            condition=f"seeds that are {period} apart",
            decide=_CORRELATED,
            control=SeedTrial("period", subject, variant="next"),
            control_note="successive seeds",
            expected="refuted",
            cause=cause,
            rows=("C8",),
            keras=keras,
            backends=(backend,),
        )
        yield claim(
            SeedTrial("period", subject, variant="equal period negative"),
            f"seeds that are {period} apart give the same values.",
            name="seed_period",
            pinned=True,
            condition="0, 42 and another seed",
            decide=_EQUAL,
            control=SeedTrial("period", subject, variant="equal next"),
            control_note="successive seeds",
            rows=("C8",),
            keras=keras,
            backends=(backend,),
        )


def _of_configuration(subject: Constructor) -> Iterator[Claim]:
    round_trip = partial(
        _claim,
        ConfigurationTrial("config_round_trip", subject),
        "its configuration names every argument, and gives back an initializer of the same class, configuration and "
        "values.",
        condition="no argument with its default; the class and a registered subclass; integers and seed generators",
        decide=_CASES,
        rows=("C3",),
    )
    fixed = EVERY
    if subject.class_name == "Identity":  # it kept the get_config of the base class, which is empty
        cause, fixed = causes.IDENTITY_CONFIGURATION, KerasVersions(since=causes.IDENTITY_CONFIGURATION.keras.until)
        before = KerasVersions(until=fixed.since)
        yield round_trip("configuration made complete", expected="refuted", cause=cause, keras=before)
        yield _claim(
            ConfigurationTrial("config_lost", subject),
            "its configuration is empty: copies and clones have the default gain again.",
            "configuration made complete",
            decide=_CASES,
            keras=before,
        )
    yield round_trip("configuration drops an argument", keras=fixed)
    if subject in CLASSES:
        yield from _of_names(subject)
    yield _claim(
        ConfigurationTrial("clone", subject),
        "a clone, alone or in a cloned model, has the same values with an integer seed and others without one."
        if subject.random
        else "a clone, alone or in a cloned model, has the same values.",
        "seed by default" if subject.random else "values vary",
        decide=_CORRELATED if subject.random else _CASES,
        rows=("C3",),
    )
    arguments = partial(
        _claim,
        trial := ConfigurationTrial("arguments", subject),
        "every argument of the constructor, and the dtype and shape of the call, change the values as documented.",
        condition="the same seed, against the values with other arguments, scaled and shifted in double precision",
        decide=_CASES,
    )
    narrowed = subject.class_name == "STFT"
    for setup in causes.setups_without(causes.STFT_FLOAT64) if narrowed else ({},):
        yield arguments("argument ignored" if subject.others else "values vary", **setup)
    if narrowed:
        yield arguments(
            WITHOUT_FLOAT64,
            control=replace(trial, variant=WITHOUT_FLOAT64),
            expected="refuted",
            cause=causes.STFT_FLOAT64,
            keras=causes.STFT_FLOAT64.keras,
            backends=causes.STFT_FLOAT64.backends,
        )
    yield _claim(
        SeedTrial("python_random_state", subject),
        "made without a seed it takes one number from Python's random state, else none."
        if subject.random
        else "it leaves Python's random state alone.",
        "random state used",
        source="Keras, keras.utils.set_random_seed and keras.random.SeedGenerator",
        condition="made and called, with and without a seed; NumPy's state is left alone",
        decide=_CASES,
        rows=("S10",),
    )
    yield _claim(
        SeedTrial("traced", subject),
        "inside a traced function it gives the values that it gives eagerly.",
        "values vary",
        condition="tensorflow.function without XLA, or jax.jit",
        backends=("tensorflow", "jax"),
        decide=AllWithin(_CORRELATED.quantity),
        rows=("C10",),
    )


def _of_names(subject: Constructor) -> Iterator[Claim]:
    aliases = ConfigurationTrial("aliases", subject)
    claim = partial(_claim, aliases, "its names, its class and a dictionary give it, with the documented defaults.")
    fixed = EVERY
    if subject.class_name == "Constant":  # names gave it through from_config, which reads the value
        fixed = KerasVersions(since=causes.CONSTANT_BY_NAME.keras.until)
        before = KerasVersions(until=fixed.since)
        empty = "configuration allowed to be empty"
        yield claim(empty, decide=_CASES, expected="refuted", cause=causes.CONSTANT_BY_NAME, keras=before)
        yield _claim(
            ConfigurationTrial("alias_raises", subject),
            "its names alone raise KeyError, and give it together with a value.",
            empty,
            decide=_CASES,
            keras=before,
        )
    another = replace(aliases, variant=ALIASES_OF_ANOTHER_CLASS)
    yield claim(ALIASES_OF_ANOTHER_CLASS, decide=_CASES, control=another, keras=fixed)
    yield _claim(
        ConfigurationTrial("defaults", subject),
        "its constructor has the documented arguments, in their order and with their defaults.",
        "default changed",
        decide=_CASES,
    )


def _unseeded() -> Claim:
    return Claim(
        id="determinism.unseeded.seldom_coincide",
        statement="Initializers without a seed draw one from so many that hundreds of instances all differ.",
        source="Keras, keras.random.SeedGenerator: without a seed, a random one",
        condition=f"{INSTANCES} instances of {', '.join(CLASSES_WITHOUT_SEED)}; one coincidence of a class is allowed",
        experiment=Coincidences(),
        decide=AllWithin("instances that repeat an earlier one", "instances", false_alarm=5 * 2e-10),  # of five classes
        control=Coincidences(seeds=1000),
        control_note="a thousand seeds to choose from",
        rows=("C1", "C3"),
    )


def _general() -> Iterator[Claim]:
    """List the claims that are not of one initializer."""
    yield from _of_builds()
    for distribution in DISTRIBUTIONS:
        yield from _of_classes(distribution)
    for name in COMPILED:
        yield from _of_compilation(name)
    for sharer in _SHARED:
        yield from _of_sharing(sharer)
    yield from _of_custom_initializers()
    yield from _of_seeds_alone()
    constructors = {subject.slug: subject for subject in RANDOM}
    for backend, pinned in PINNED.items():
        for slug, values in pinned.items():
            subject = constructors[slug]
            arguments = PINNED_ARGUMENTS.get(slug, subject.arguments)
            yield Claim(
                id=f"determinism.{slug}.pinned_values",
                statement=f"{subject.class_name}: seed 42 gives the values that it gave in earlier versions.",
                source=_STREAMS[backend],
                condition="on a CPU, float32, shape (3, 4), up to the rounding of a few operations",
                experiment=Pinned(subject.class_name, arguments, values),
                decide=_CLOSE,
                control=Pinned(subject.class_name, arguments, values, seed=43),
                control_note="seed 43",
                pinned=True,
                rows=("C9",),
                backends=(backend,),
            )


def _of_builds() -> Iterator[Claim]:
    built = "Dense with every random initializer, Conv2D, LSTM and Embedding, none with a seed"
    claim = partial(Claim, condition=built, rows=("C4",))
    repeats = partial(
        claim,
        id="determinism.set_random_seed.build_repeats",
        statement="keras.utils.set_random_seed makes layers, and what keras.random draws without a seed, repeat.",
        source="Keras, keras.utils.set_random_seed",
        experiment=BuildTwice("keras", global_generator=True),
        decide=_EQUAL,
    )
    fixed = causes.GLOBAL_GENERATOR.keras.until
    yield repeats(
        control=BuildTwice("keras"),
        control_note="layers alone",
        expected="refuted",
        cause=causes.GLOBAL_GENERATOR,
        keras=KerasVersions(until=fixed),
    )
    yield repeats(
        control=BuildTwice("python", global_generator=True),
        control_note="random.seed alone, which does not restart Keras' global generator",
        keras=KerasVersions(since=fixed),
    )
    yield claim(
        id="determinism.set_random_seed.other_seed_differs",
        statement="After another seed of keras.utils.set_random_seed the weights are others.",
        source="Keras, keras.utils.set_random_seed",
        experiment=BuildTwice("keras", other_seed=True, independent=True, global_generator=True),
        decide=_CORRELATED_BUILDS,
        control=BuildTwice("keras", independent=True, global_generator=True),
        control_note="the same seed",
    )
    yield claim(
        id="determinism.python_seed.build_repeats",
        statement="random.seed alone makes layers repeat: initializers without a seed take it from Python's state.",
        source="Keras, keras.random.SeedGenerator",
        experiment=BuildTwice("python"),
        decide=_EQUAL,
        control=BuildTwice("nothing"),
        control_note="no seed is set",
        rows=("C4", "S10"),
    )
    setters: dict[str, tuple[str, tuple[str, ...]]] = {
        "tensorflow": ("tf.random.set_seed", ("tensorflow",)),
        "torch": ("torch.manual_seed", ("torch",)),
        "numpy": ("np.random.seed", ()),
    }
    for setter, (call, backends) in setters.items():
        yield claim(
            id=f"determinism.{setter}_seed.build_repeats",
            statement=f"{call} alone makes the weights of layers repeat.",
            source="Keras, keras.utils.set_random_seed; common advice on reproducibility",
            experiment=BuildTwice(setter),
            decide=_EQUAL,
            control=BuildTwice("keras"),
            control_note="keras.utils.set_random_seed",
            expected="refuted",
            cause=causes.OTHER_SEEDS,
            backends=backends,
        )
        yield claim(
            id=f"determinism.{setter}_seed.no_effect",
            statement=f"After {call} with the same seed the weights of layers are others, and uncorrelated.",
            source="Keras, keras.random.SeedGenerator",
            experiment=BuildTwice(setter, independent=True),
            decide=_CORRELATED_BUILDS,
            control=BuildTwice("keras", independent=True),
            control_note="keras.utils.set_random_seed",
            backends=backends,
        )


def _of_seeds_alone() -> Iterator[Claim]:
    """List the claims on what seeds are, whatever is drawn."""
    members = "each class that draws"
    taken = partial(
        Claim,
        id="determinism.seeds.any_integer",
        statement="Every integer of 64 bits with a sign is taken as a seed.",
        source="Keras, keras.initializers, argument seed: a Python integer",
        condition=f"-2^63, -1, 2^32 and 2^63 - 1; {members}",
        decide=AllWithin("seeds refused"),
        rows=("C8",),
    )
    every = TakesSeeds((-(2**63), -1, 2**32, 2**63 - 1))
    for backends, keras in ((("tensorflow",), EVERY), (("torch",), causes.SEED_BITS.keras)):
        yield taken(
            experiment=every,
            control=replace(every, names=("Zeros",)),
            control_note="Zeros, which takes no seed",
            keras=keras,
            backends=backends,
        )
    for cause, seeds in ((causes.SEED_RANGE, (0, 1, 2**31, 2**32 - 1)), (causes.SEED_INT32, (-5, 0, 1, 2**30))):
        yield taken(
            experiment=every,
            control=TakesSeeds(seeds),
            control_note=f"the seeds {', '.join(map(str, seeds))}",
            expected="refuted",
            cause=cause,
            keras=KerasVersions(until=cause.keras.until),
            backends=cause.backends,
        )
    calls = partial(
        Claim,
        id="determinism.seed_generator.calls_are_no_seeds",
        statement="What a SeedGenerator gives on later calls is not what a neighbouring integer seed gives.",
        source="Keras, keras.random.SeedGenerator",
        condition=f"four calls, correlated with the four seeds from the generator's own on; {members}",
        experiment=CallsAndSeeds(),
        decide=_CORRELATED_BUILDS,
        rows=("C2",),
    )
    yield calls(control=CallsAndSeeds(first_call=0), control_note="the first call too", backends=("tensorflow", "jax"))
    yield calls(
        control=CallsAndSeeds(away=1000),
        control_note="seeds that are 1000 more",
        expected="refuted",
        cause=causes.SHIFTED_GENERATOR,
        backends=("torch",),
    )


def _of_classes(distribution: str) -> Iterator[Claim]:
    names = ", ".join(DISTRIBUTIONS[distribution])
    independent, proportional = OneSeedClasses(distribution), OneSeedClasses(distribution, proportional=True)
    claim = partial(
        Claim,
        source="Keras, keras.initializers, argument seed",
        condition=f"{names}; shape (300, 2), first column",
        pinned=True,
        control_note="a seed for each class",
        rows=("C7",),
    )
    yield claim(
        id=f"determinism.one_seed_classes.{distribution}_independent",
        statement=f"One integer seed gives independent values in different classes: {names}.",
        experiment=independent,
        decide=_CORRELATED,
        control=replace(independent, other_seeds=True),
        expected="refuted",
        cause=causes.ONE_SEED,
    )
    yield claim(
        id=f"determinism.one_seed_classes.{distribution}_proportional",
        statement=f"With one integer seed the values of these classes are the same but for a factor: {names}.",
        experiment=proportional,
        decide=_CLOSE,
        control=replace(proportional, other_seeds=True),
    )


def _of_compilation(name: str) -> Iterator[Claim]:
    slug = {each.class_name: each.slug for each in CLASSES}[name]
    source = "Keras, keras.Model.compile, argument jit_compile; TensorFlow, tf.function; JAX, jax.jit"
    condition = "one seed, a call inside tf.function(jit_compile=True) or jax.jit, CPU"
    claim = partial(Claim, source=source, condition=condition, rows=("C10",), backends=("tensorflow", "jax"))
    equal = partial(
        claim,
        id=f"determinism.{slug}.compiled_equals_eager",
        statement=f"{name}: compiled by XLA, a seed gives the values that it gives eagerly.",
        experiment=CompiledEqual(name, "eager"),
        decide=_CLOSE,
    )
    yield equal(
        control=CompiledEqual(name, "itself"),
        control_note="compiled values against themselves",
        expected="refuted",
        cause=causes.COMPILED,
        backends=("tensorflow",),
    )
    yield equal(
        control=CompiledEqual(name, "other seed"),
        control_note="the eager values of another seed",
        backends=("jax",),
    )
    yield claim(
        id=f"determinism.{slug}.compiled_repeats",
        statement=f"{name}: compiled by XLA twice, a seed gives the same values.",
        experiment=CompiledEqual(name, "compiled"),
        decide=_EQUAL,
        control=CompiledEqual(name, "changed"),
        control_note="every value off by one rounding",
    )
    yield claim(
        id=f"determinism.{slug}.compiled_law",
        statement=f"{name}: compiled by XLA, the values have the distribution of the eager ones.",
        experiment=CompiledDistribution(name),
        decide=_SAME_DISTRIBUTION,
        control=CompiledDistribution(name, scale=1.5),
        control_note="a standard deviation 1.5 times as large",
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
    claim = partial(Claim, source=source, condition=condition)
    for kind, called in (("integer", "an integer seed"), ("generator", "a SeedGenerator")):
        equal = kind == "integer" or copies
        yield claim(
            id=f"determinism.{sharer}.{kind}_seed_independent",
            statement=f"With {called}, the weights are independent of each other: {what}.",
            experiment=SharedInitializer(sharer, kind),
            decide=_CORRELATED,
            control=SharedInitializer(sharer, "alias" if equal else "integer"),
            control_note="the initializer's name instead of an instance" if equal else "an integer seed",
            expected="refuted" if equal else "holds",
            cause=causes.COPIED_GENERATOR if kind == "generator" else causes.ONE_SEED,
            rows=("S1",),
        )
        if equal:
            yield claim(
                id=f"determinism.{sharer}.{kind}_seed_identical",
                statement=f"With {called}, the weights are equal bit for bit, without a warning: {what}.",
                experiment=SharedInitializer(sharer, kind, equal=True),
                decide=_EQUAL,
                control=SharedInitializer(sharer, "alias", equal=True),
                control_note="the initializer's name instead of an instance",
                rows=("S1",),
            )
    yield claim(
        id=f"determinism.{sharer}.alias_independent",
        statement=f"With an initializer's name, the weights are independent of each other: {what}.",
        experiment=SharedInitializer(sharer, "alias"),
        decide=_CORRELATED,
        control=SharedInitializer(sharer, "integer"),
        control_note="an instance with an integer seed",
        rows=("S1", "C3"),
    )
    unseeded = SharedInitializer(sharer, "none", equal=not copies)
    yield claim(
        id=f"determinism.{sharer}.unseeded_{'independent' if copies else 'identical'}",
        statement=f"With one instance without a seed, the weights are "
        f"{'independent of each other' if copies else 'equal bit for bit, without a warning'}: {what}.",
        experiment=unseeded,
        decide=_CORRELATED if copies else _EQUAL,
        control=SharedInitializer(sharer, "integer" if copies else "alias", equal=not copies),
        control_note="an integer seed" if copies else "the initializer's name instead of an instance",
        rows=("S1", "C1", "C3"),
    )


def _of_custom_initializers() -> Iterator[Claim]:
    seed_alone = "a subclass of VarianceScaling whose constructor takes the seed alone"
    claim = partial(
        Claim,
        source="Keras, keras.initializers, creating custom initializers",
        condition="built, not called",
        decide=_CASES,
        control_note="Dense, which takes it",
        rows=("S4",),
    )
    function = "a function of shape and dtype"
    for kind, layer, slug, error, what, keras in (
        ("function", "MultiHeadAttention", "multi_head_attention", "AttributeError", function, EVERY),
        # EinsumDense hands the axes to a copy.
        ("subclass", "EinsumDense", "einsum_dense", "TypeError", seed_alone, INITIALIZER_AXES),
    ):
        yield claim(
            id=f"determinism.custom_{kind}.{slug}_builds",
            statement=f"{layer} takes {what} as its kernel_initializer.",
            experiment=CustomInitializer(kind, layer),
            control=CustomInitializer(kind, "Dense"),
            expected="refuted",
            cause=causes.OWN_FUNCTION if kind == "function" else causes.OWN_SUBCLASS,
            keras=keras,
        )
        yield claim(
            id=f"determinism.custom_{kind}.{slug}_raises",
            statement=f"{layer} raises {error} for {what} as its kernel_initializer, and Dense takes it.",
            experiment=CustomInitializer(kind, layer, error),
            control=CustomInitializer(kind, "Dense", error),
            keras=keras,
        )
    broke = causes.CUSTOM_NAME.keras.since
    by_name = partial(
        claim,
        id="determinism.custom_names.given_by_name",
        statement="keras.initializers.get gives the user's own class and function by the names that "
        "keras.saving.custom_object_scope gives them, and a registered class by its registered name.",
        source="Keras, keras.initializers.get and keras.saving.custom_object_scope",
        condition="a class and a function in a scope, and a registered class",
        experiment=OwnByName(),
    )
    yield by_name(
        control=OwnByName(known=False), control_note="neither scope nor register", keras=KerasVersions(until=broke)
    )
    yield by_name(
        control=OwnByName(by="configuration"),
        control_note="the configuration that keras.initializers.serialize gives, in place of the name",
        expected="refuted",
        cause=causes.CUSTOM_NAME,
        keras=KerasVersions(since=broke),
    )
