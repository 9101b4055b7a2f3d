"""Experiments on what initializers share: random states, one seed, one instance, a compiled function; pinned values."""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from scipy import stats

from initcheck.backend.interface import backend
from initcheck.backend.runtime import backend_name, import_keras, import_tensorflow
from initcheck.spec.claim import ExactRow, FitRow, RunContext
from initcheck.spec.topics.determinism.measurement import (
    CLASSES,
    Arguments,
    Values,
    closeness,
    draw,
    equality,
    generator,
    independence,
)


@dataclass(frozen=True)
class BuildTwice:
    """Build a model of all random initializers, without seeds, after setting a seed; and once more."""

    setter: str
    other_seed: bool = False
    independent: bool = False
    global_generator: bool = False

    def measure(self, context: RunContext) -> list[ExactRow]:
        built = ("determinism/build", replace(self, independent=False))
        first, second = context.remember(built, lambda: self._build_twice(context))
        if self.independent:
            return [row for name in first for row in independence(name, [first[name], second[name]])]
        return [equality(name, second[name], first[name]) for name in first]

    def _build_twice(self, context: RunContext) -> tuple[dict[str, Values], dict[str, Values]]:
        seed = context.seed("determinism/build") % (2**31)
        random.seed(seed + 17)  # Python's state is where the seeds come from; what it was before must not matter
        _set_seed(self.setter, seed)
        first = self._build()
        _set_seed(self.setter, seed + self.other_seed)
        return first, self._build()

    def _build(self) -> dict[str, Values]:
        keras = import_keras()
        found: dict[str, Values] = {}
        for subject in CLASSES:
            if subject.random:
                layer = keras.layers.Dense(40, kernel_initializer=subject.aliases[-1])
                layer.build((None, 24))
                found[f"Dense, {subject.slug}"] = backend().as_array(layer.kernel)
        layers = {
            "Conv2D": (keras.layers.Conv2D(8, 3), (None, 8, 8, 6)),
            "LSTM": (keras.layers.LSTM(6), (None, 5, 12)),
            "Embedding": (keras.layers.Embedding(30, 16), (None, 5)),
        }
        for name, (layer, shape) in layers.items():
            layer.build(shape)
            found[name] = backend().as_array(layer.weights[0])
        if self.global_generator:
            found["keras.random.normal"] = np.asarray(keras.random.normal((24, 40)))
            found["keras.random.uniform"] = np.asarray(keras.random.uniform((24, 40)))
        return found


def _set_seed(setter: str, seed: int) -> None:
    match setter:
        case "keras":
            import_keras().utils.set_random_seed(seed)
        case "python":
            random.seed(seed)
        case "numpy":
            np.random.seed(seed)
        case "tensorflow":
            import_tensorflow().random.set_seed(seed)
        case "torch":
            importlib.import_module("torch").manual_seed(seed)


DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {
    "truncated_normal": ("TruncatedNormal", "VarianceScaling", "GlorotNormal", "HeNormal", "LecunNormal"),
    "uniform": ("RandomUniform", "GlorotUniform", "HeUniform", "LecunUniform"),
    "normal": ("RandomNormal", "Orthogonal"),
}
"""The classes that draw from one distribution, and so from one sequence."""


@dataclass(frozen=True)
class OneSeedClasses:
    """Draw from the classes of one distribution with one seed, for Orthogonal the first column."""

    distribution: str
    proportional: bool = False
    other_seeds: bool = False

    def measure(self, context: RunContext) -> list[ExactRow]:
        seed = context.seed(f"determinism/classes/{self.distribution}") % (2**30)
        initializers = import_keras().initializers
        values = []
        for index, name in enumerate(DISTRIBUTIONS[self.distribution]):
            made = getattr(initializers, name)(seed=seed + index * self.other_seeds)
            column = draw(made, (300, 2))[:, 0].astype(np.float64)
            values.append(column / np.linalg.norm(column))
        (leader, *names), (first, *others) = DISTRIBUTIONS[self.distribution], values
        rows: list[ExactRow] = []
        for name, other in zip(names, others, strict=True):
            member = f"{leader} and {name}"
            if self.proportional:
                # A factor leaves one rounding; the QR factorization of two columns a few more.
                rows.append(closeness(member, other, first, 64.0))
            else:
                rows += independence(member, [first, other])
        return rows


_SHARING: Final = ("GlorotUniform", "HeNormal", "Orthogonal")
_CELLS: Final = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}


def _layer_kernels(layer_name: str, make: Callable[[], Any]) -> list[Values]:
    """Build a layer and give those of its weights that the same initializer made, in one shape."""
    layers = import_keras().layers
    match layer_name:
        case "multi_head_attention":
            layer = layers.MultiHeadAttention(4, 8, kernel_initializer=make())
            layer.build((None, 5, 32), (None, 5, 32))
        case "group_query_attention":
            layer = layers.GroupQueryAttention(8, 4, 4, kernel_initializer=make())
            layer.build((None, 5, 32), (None, 5, 32))
        case "bidirectional_lstm" | "bidirectional_gru" | "bidirectional_simple_rnn":
            cell = getattr(layers, _CELLS[layer_name.removeprefix("bidirectional_")])
            layer = layers.Bidirectional(cell(24, kernel_initializer=make()))
            layer.build((None, 5, 32))
        case "lstm_kernels" | "gru_kernels" | "simple_rnn_kernels":
            cell = getattr(layers, _CELLS[layer_name.removesuffix("_kernels")])
            shared = make()
            layer = cell(24, kernel_initializer=shared, recurrent_initializer=shared)
            layer.build((None, 5, 24))
        case _:
            shared = make()
            several = [layers.Dense(24, kernel_initializer=shared) for _ in range(3)]
            for layer in several:
                layer.build((None, 32))
            return [backend().as_array(layer.kernel) for layer in several]
    kernels = [backend().as_array(weight) for weight in layer.weights if weight.path.endswith("kernel")]
    return [kernel for kernel in kernels if kernel.shape == kernels[0].shape]


@dataclass(frozen=True)
class SharedInitializer:
    """Compare the weights that one initializer gives several layers, or several weights of a layer."""

    sharer: str
    seed_kind: str
    equal: bool = False

    def measure(self, context: RunContext) -> list[ExactRow]:
        seed = context.seed(f"determinism/sharing/{self.sharer}") % (2**30)
        random.seed(seed)
        rows: list[ExactRow] = []
        for name in _SHARING:
            cls = getattr(import_keras().initializers, name)
            make: Callable[[], Any] = {
                "integer": lambda cls=cls: cls(seed=seed),
                "generator": lambda cls=cls: cls(seed=generator(seed)),
                "none": cls,
                "alias": lambda name=name: name,
            }[self.seed_kind]
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                first, *others = kernels = _layer_kernels(self.sharer, make)
            if not others:
                rows.append(ExactRow(name, float("nan"), 0.0, 0, "no two weights of one shape"))
            elif self.equal:
                rows += [equality(f"{name}, weight {index + 2}", other, first) for index, other in enumerate(others)]
                rows.append(ExactRow(f"{name}, warnings", float(len(warned)), seen="warnings"))
            else:
                rows += independence(name, kernels)
        return rows


COMPILED: Final = ("RandomNormal", "RandomUniform", "TruncatedNormal")
"""The three distributions; all other initializers draw from them."""


def _compile_by_xla(function: Callable[[], Any]) -> Callable[[], Any]:
    if backend_name() != "tensorflow":
        return backend().compile_once(function, [])  # on JAX always by XLA
    compiled: Callable[[], Any] = import_tensorflow().function(function, jit_compile=True).get_concrete_function()
    return compiled


def _compiled(context: RunContext, name: str) -> dict[str, Values]:
    """Draw eagerly, by another seed too, with XLA, and with XLA by a second function."""

    def make() -> dict[str, Values]:
        seed = context.seed(f"determinism/compiled/{name}") % (2**30)
        initializer, other = (getattr(import_keras().initializers, name)(seed=seed + more) for more in (0, 1))
        drawn = [draw(other, (200, 100)), draw(initializer, (200, 100))]
        for _ in range(2):
            function = _compile_by_xla(lambda: initializer((200, 100), dtype="float32"))
            drawn.append(backend().as_array(function()))
        return dict(zip(("other seed", "eager", "itself", "compiled"), drawn, strict=True))

    return context.remember(("determinism/compiled", name), make)


@dataclass(frozen=True)
class CompiledEqual:
    """Compare the values of one seed that a function compiled by XLA gives, with others."""

    name: str
    compare: str

    def measure(self, context: RunContext) -> list[ExactRow]:
        drawn = _compiled(context, self.name)
        first = drawn["itself"]
        right = np.nextafter(first, 1.0) if self.compare == "changed" else drawn[self.compare]
        judge = equality if self.compare in ("compiled", "changed") else closeness
        return [judge(self.name, first, right)]


@dataclass(frozen=True)
class CompiledDistribution:
    """Test whether the values of a compiled function have the distribution of the eager ones (Kolmogorov-Smirnov)."""

    name: str
    scale: float = 1.0

    def measure(self, context: RunContext) -> list[FitRow]:
        drawn = _compiled(context, self.name)
        eager, compiled = drawn["eager"], drawn["itself"]
        found = stats.ks_2samp(eager.ravel(), compiled.ravel() * self.scale)
        # The quantile of the two-sample distance at the level of the claim, plus that of its chance deviation.
        size = eager.size / 2.0
        detectable = (np.sqrt(np.log(2.0 / 1e-6) / 2.0) + np.sqrt(np.log(2.0 / 1e-3) / 2.0)) / np.sqrt(size)
        return [FitRow(self.name, float(found.pvalue), float(found.statistic), float(detectable), 2 * eager.size)]


PINNED: Final[dict[str, dict[str, tuple[float, ...]]]] = {
    "tensorflow": {
        "random_normal": (0.015817076, -1.5900869, 0.10359446, 0.81174594),
        "random_uniform": (0.28243315, 0.4984169, 0.7154585, 0.02020204),
        "truncated_normal": (0.015817076, -1.5900869, 0.10359446, 0.81174594),
        "variance_scaling": (0.010381681, -1.043668, 0.06799516, 0.5327968),
        "glorot_normal": (0.009611569, -0.9662488, 0.06295129, 0.493274),
        "glorot_uniform": (-0.40285552, -0.0029313564, 0.39895165, -0.8884132),
        "he_normal": (0.014681915, -1.4759694, 0.09615968, 0.7534885),
        "he_uniform": (-0.61537194, -0.0044777393, 0.60940874, -1.3570735),
        "lecun_normal": (0.010381681, -1.043668, 0.06799516, 0.5327968),
        "lecun_uniform": (-0.4351337, -0.0031661987, 0.43091702, -0.9595959),
        "orthogonal": (0.007243991, 0.37176356, 0.30415645, 0.8770567),
        "variance_scaling_fan_in_truncated_normal": (0.010381681, -1.043668, 0.06799516, 0.5327968),
        "variance_scaling_fan_in_untruncated_normal": (0.009131993, -0.9180371, 0.05981029, 0.46866173),
        "variance_scaling_fan_in_uniform": (-0.4351337, -0.0031661987, 0.43091702, -0.9595959),
        "variance_scaling_fan_out_truncated_normal": (0.0089908, -0.903843, 0.058885537, 0.46141556),
        "variance_scaling_fan_out_untruncated_normal": (0.007908538, -0.79504347, 0.05179723, 0.40587297),
        "variance_scaling_fan_out_uniform": (-0.37683684, -0.0027419925, 0.3731851, -0.8310344),
        "variance_scaling_fan_avg_truncated_normal": (0.009611569, -0.9662488, 0.06295129, 0.493274),
        "variance_scaling_fan_avg_untruncated_normal": (0.008454583, -0.8499372, 0.055373568, 0.43389645),
        "variance_scaling_fan_avg_uniform": (-0.40285552, -0.0029313564, 0.39895165, -0.8884132),
    },
    "jax": {
        "random_normal": (0.16805424, -1.5097888, -0.3010914, 0.55913025),
        "random_uniform": (0.56672966, 0.06554866, 0.38167238, 0.71196353),
        "truncated_normal": (0.16034018, -1.3701739, -0.28699958, 0.5310824),
        "variance_scaling": (0.10524073, -0.8993261, -0.18837479, 0.34858075),
        "glorot_normal": (0.097433984, -0.8326142, -0.17440116, 0.32272306),
        "glorot_uniform": (0.12355933, -0.8044476, -0.21910018, 0.3924802),
        "he_normal": (0.14883286, -1.2718391, -0.26640216, 0.4929676),
        "he_uniform": (0.18873999, -1.2288139, -0.33468103, 0.5995234),
        "lecun_normal": (0.10524073, -0.8993261, -0.18837479, 0.34858075),
        "lecun_uniform": (0.13345933, -0.8689027, -0.23665524, 0.42392707),
        "orthogonal": (0.2877195, 0.9572666, -0.0002940349, 0.029286867),
        "variance_scaling_fan_in_truncated_normal": (0.10524073, -0.8993261, -0.18837479, 0.34858075),
        "variance_scaling_fan_in_untruncated_normal": (0.097026154, -0.8716769, -0.1738352, 0.322814),
        "variance_scaling_fan_in_uniform": (0.13345933, -0.8689027, -0.23665524, 0.42392707),
        "variance_scaling_fan_out_truncated_normal": (0.09114114, -0.77883923, -0.16313735, 0.3018798),
        "variance_scaling_fan_out_untruncated_normal": (0.08402712, -0.7548944, -0.1505457, 0.27956513),
        "variance_scaling_fan_out_uniform": (0.115579166, -0.7524918, -0.20494944, 0.3671316),
        "variance_scaling_fan_avg_truncated_normal": (0.097433984, -0.8326142, -0.17440116, 0.32272306),
        "variance_scaling_fan_avg_untruncated_normal": (0.08982877, -0.807016, -0.16094013, 0.29886767),
        "variance_scaling_fan_avg_uniform": (0.12355933, -0.8044476, -0.21910018, 0.3924802),
    },
    "torch": {
        "random_normal": (0.33669037, 0.1288094, 0.23446237, 0.23033303),
        "random_uniform": (0.88226926, 0.91500396, 0.38286376, 0.95930564),
        "truncated_normal": (1.9269153, 0.67841846, -0.7521353, -0.7278813),
        "variance_scaling": (1.2647483, 0.44528612, -0.49367082, -0.4777515),
        "glorot_normal": (1.1709294, 0.41225484, -0.45705035, -0.44231194),
        "glorot_uniform": (0.7078252, 0.768438, -0.21689415, 0.85046875),
        "he_normal": (1.7886243, 0.6297296, -0.69815594, -0.67564267),
        "he_uniform": (1.0812207, 1.1738085, -0.33131135, 1.2991124),
        "lecun_normal": (1.2647483, 0.44528612, -0.49367082, -0.4777515),
        "lecun_uniform": (0.7645385, 0.8300079, -0.23427248, 0.9186113),
        "orthogonal": (0.14888418, 0.101853035, 0.97646445, 0.118222296),
        "variance_scaling_fan_in_truncated_normal": (1.2647483, 0.44528612, -0.49367082, -0.4777515),
        "variance_scaling_fan_in_untruncated_normal": (0.19438827, 0.07436814, 0.1353669, 0.13298284),
        "variance_scaling_fan_in_uniform": (0.7645385, 0.8300079, -0.23427248, 0.9186113),
        "variance_scaling_fan_out_truncated_normal": (1.0953041, 0.3856291, -0.42753145, -0.41374493),
        "variance_scaling_fan_out_untruncated_normal": (0.16834518, 0.0644047, 0.11723118, 0.115166515),
        "variance_scaling_fan_out_uniform": (0.6621098, 0.7188079, -0.20288593, 0.79554075),
        "variance_scaling_fan_avg_truncated_normal": (1.1709294, 0.41225484, -0.45705035, -0.44231194),
        "variance_scaling_fan_avg_untruncated_normal": (0.17996857, 0.06885152, 0.12532541, 0.123118185),
        "variance_scaling_fan_avg_uniform": (0.7078252, 0.768438, -0.21689415, 0.85046875),
    },
}
"""The first entries of a float32 weight of shape (3, 4) with seed 42, by backend and constructor.

Recorded once from Keras 3.15.1 on a CPU, with TensorFlow 2.21, JAX 0.10.2 and PyTorch 2.13. TensorFlow's stateless
generators (Philox) promise the same values for the same seed in every version; the others promise none.
"""

PINNED_ARGUMENTS: Final[dict[str, Arguments]] = {
    "random_normal": (("stddev", 1.0),),
    "random_uniform": (("minval", 0.0), ("maxval", 1.0)),
    "truncated_normal": (("stddev", 1.0),),
}
"""Where they are not the constructor's own."""


@dataclass(frozen=True)
class Pinned:
    """Compare the first values of seed 42 with those that were recorded."""

    class_name: str
    arguments: Arguments
    values: tuple[float, ...]
    seed: int = 42

    def measure(self, _: RunContext) -> list[ExactRow]:
        made = getattr(import_keras().initializers, self.class_name)(**dict(self.arguments), seed=self.seed)
        found = draw(made, (3, 4)).ravel()[: len(self.values)].astype(np.float64)
        return [closeness(self.class_name, found, np.array(self.values), 16.0)]


@dataclass(frozen=True)
class CustomInitializer:
    """Give a layer a user's own initializer, and see whether it builds."""

    kind: str
    """A ``function`` of shape and dtype, or a ``subclass`` of VarianceScaling that takes the seed alone."""
    layer: str
    raises: str = ""
    """The error that is expected; empty where it has to build."""

    def measure(self, context: RunContext) -> list[ExactRow]:
        keras = import_keras()
        seed = context.seed("determinism/custom") % (2**30)

        class Doubled(keras.initializers.VarianceScaling):  # type: ignore[misc, name-defined]
            def __init__(self, seed: int | None = None) -> None:
                super().__init__(scale=2.0, seed=seed)

            def get_config(self) -> dict[str, Any]:
                return {"seed": self.seed}

        def function(shape: Any, dtype: Any = None) -> Any:
            return keras.random.normal(shape, dtype=dtype, seed=seed)

        given = function if self.kind == "function" else Doubled(seed)
        seen = ""
        try:
            if self.layer == "EinsumDense":
                keras.layers.EinsumDense("abc,cd->abd", (None, 6), kernel_initializer=given).build((None, 5, 4))
            elif self.layer == "MultiHeadAttention":
                keras.layers.MultiHeadAttention(2, 4, kernel_initializer=given).build((None, 5, 8), (None, 5, 8))
            else:
                keras.layers.Dense(6, kernel_initializer=given).build((None, 4))
        except (TypeError, AttributeError) as error:
            seen = type(error).__name__
        return [ExactRow(f"{self.kind}, {self.layer}", float(seen != self.raises), seen=f"raised: {seen or 'nothing'}")]


@dataclass(frozen=True)
class OwnByName:
    """Ask for a user's own initializers by the names under which Keras knows them, in a scope or in its register."""

    by: Literal["name", "configuration"] = "name"
    known: bool = True
    """Whether Keras is told of them."""

    def measure(self, context: RunContext) -> list[ExactRow]:  # noqa: ARG002 - without chance
        keras = import_keras()
        initializers = keras.initializers

        class Own(initializers.Initializer):  # type: ignore[misc, name-defined]
            def __call__(self, shape: Any, dtype: Any = None) -> Any:
                return keras.ops.ones(shape, dtype)

        def own_function(shape: Any, dtype: Any = None) -> Any:
            return keras.ops.ones(shape, dtype)

        registered = type("OwnRegistered", (Own,), {})
        registers = keras.saving.get_custom_objects()
        before = dict(registers)
        own = {"Own": Own(), "own_function": own_function, "initcheck>OwnRegistered": registered()}
        rows = []
        try:
            if self.known:
                keras.saving.register_keras_serializable("initcheck")(registered)
            with keras.saving.custom_object_scope({"Own": Own, "own_function": own_function} if self.known else {}):
                for name, each in own.items():
                    asked = name if self.by == "name" else initializers.serialize(each)
                    try:
                        found = type(initializers.get(asked)).__name__
                        seen = "" if found == type(each).__name__ else f"get gives {found}"
                    except (TypeError, ValueError) as error:
                        seen = f"get raises {type(error).__name__}"
                    rows.append(ExactRow(name, float(bool(seen)), seen=seen))
        finally:
            registers.clear()
            registers.update(before)
        return rows
