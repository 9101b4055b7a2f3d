"""Claims on what initializers share: the random states of the process, a seed, an instance; and pinned values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin, NoDifference
from initcheck.claims.determinism_pinned import PINNED
from initcheck.claims.determinism_process import (
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
from initcheck.claims.rates import CLAIM_FALSE_ALARM

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
