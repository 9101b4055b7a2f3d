"""Why claims are known to be false: one cause for many claims, with the words they contradict and code that shows it.

Each claim that is expected to be refuted names its cause. The quotations are compared with the docstrings of the
installed Keras by a test, and the lines of code are run by another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from initcheck.backend.runtime import BACKENDS
from initcheck.spec.versions import INITIALIZER_AXES, KerasVersions

Basis = Literal["stated", "applied", "assumed"]

BASES: Final[Mapping[Basis, str]] = MappingProxyType(
    {
        "stated": "Keras’ documentation says otherwise",
        "applied": "The documented rule, read for what a layer computes",
        "assumed": "Assumed by many, stated by nobody at Keras",
    }
)
"""What the false claims rest on, the firmest first, each with its heading."""

FIRST_TRIED: Final = "3.1"
"""The oldest version of Keras under which the code was run."""
_ALL_TRIED: Final = KerasVersions(since=FIRST_TRIED)

_SITE: Final = "https://keras.io/api"
_FOLDERS: Final = {
    "attention_layers": ("MultiHeadAttention",),
    "convolution_layers": (
        *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        *("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
    ),
    "core_layers": ("Dense", "EinsumDense", "Embedding"),
    "normalization_layers": ("BatchNormalization",),
    "recurrent_layers": (
        *("Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
        *("GRU", "GRUCell", "LSTM", "LSTMCell", "SimpleRNN", "SimpleRNNCell"),
    ),
}
"""Where keras.io keeps the pages of layers."""
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=D)(?=T)")


@dataclass(frozen=True)
class Quotation:
    """Words of Keras' documentation, and the name of the object whose docstring has them."""

    name: str
    words: str


@dataclass(frozen=True)
class KnownCause:
    """Why claims are false."""

    slug: str
    title: str
    """A sentence without its full stop."""
    label: str
    """What is wrong in a few words, for pictures."""
    text: str
    """What happens, in one sentence or two."""
    basis: Basis
    quotations: tuple[Quotation, ...] = ()
    code: str = ""
    """Lines that show it after ``import keras``, the last of which prints one line."""
    prints: str = ""
    keras: KerasVersions = _ALL_TRIED
    """The versions of Keras under which the code prints that: each minor one from 3.1 on was tried, and the nightly."""
    backends: tuple[str, ...] = ()
    """The backends on which it does; empty for all."""
    issues: tuple[str, ...] = ()
    """Addresses of issues and pull requests that are about it."""


def setups_without(cause: KnownCause) -> tuple[dict[str, Any], ...]:
    """Give where a cause of one backend is not, as fields of a claim: before it came, and on the other backends."""
    others = tuple(each for each in BACKENDS if each not in cause.backends)
    return {"backends": others}, {"backends": cause.backends, "keras": KerasVersions(until=cause.keras.since)}


def documentation_address(name: str) -> str:
    """Give the page of keras.io about a class, a function or a method, ``keras.layers.Dense``; empty for none."""
    _, module, exported, *_ = name.split(".")
    if module == "initializers":
        return f"{_SITE}/layers/initializers/" + (f"#{exported.lower()}-class" if exported[0].isupper() else "")
    folder = next((folder for folder, names in _FOLDERS.items() if exported in names), "")
    if not folder:
        return ""
    page = re.sub(r"conv(?=\dd)", "convolution", _WORDS.sub("_", exported).lower())
    return f"{_SITE}/layers/{folder}/{page}/"


_FAN_IN: Final = Quotation(
    "keras.initializers.HeNormal",
    "`stddev = sqrt(2 / fan_in)` where `fan_in` is the number of input units in the weight tensor",
)
_FAN_OUT: Final = Quotation(
    "keras.initializers.GlorotNormal",
    "where `fan_in` is the number of input units in the weight tensor and `fan_out` is the number of output units in "
    "the weight tensor",
)
_REPEATS: Final = (
    "an initializer seeded with an integer or `None` (unseeded) will produce the same random values across multiple "
    "calls"
)
_GENERATOR: Final = (
    "To get different random values across multiple calls, use as seed an instance of `keras.backend.SeedGenerator`"
)

# --- Keras' own words -------------------------------------------------------------------------------------------------

TRANSPOSED: Final = KnownCause(
    slug="transposed",
    title="Transposed convolutions count their outputs as inputs",
    label="transposed convolution",
    text="The kernel of a transposed convolution has its outputs before its inputs. The initializer takes the last "
    "axis but one for the inputs all the same, and ignores the strides, for which fewer inputs reach each output.",
    basis="stated",
    quotations=(_FAN_IN, _FAN_OUT),
    code="""\
layer = keras.layers.Conv2DTranspose(64, 3, kernel_initializer=keras.initializers.HeNormal(seed=1))
layer.build((None, 8, 8, 32))  # 32 channels in, 64 out
print(round(float(layer.kernel.numpy().var() / (2 / (3 * 3 * 32))), 1))""",
    prints="0.5",
    issues=("https://github.com/tensorflow/tensorflow/issues/31192",),
)

NONE_FOR_BIAS: Final = KnownCause(
    slug="none_for_bias",
    title="None for the bias initializer of a convolution means glorot_uniform, not zeros",
    label="bias_initializer=None",
    text="None reaches add_weight as it is, whose own default is glorot_uniform.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.layers.Conv2D",
            'Initializer for the bias vector. If `None`, the default initializer (`"zeros"`) will be used.',
        ),
    ),
    code="""\
layer = keras.layers.Conv2D(64, 3, bias_initializer=None)
layer.build((None, 8, 8, 3))
print(bool((layer.bias.numpy() == 0).all()))""",
    prints="False",
)

FORGET_BIAS: Final = KnownCause(
    slug="forget_bias",
    title="unit_forget_bias sets the forget gate to 1, adds nothing and forces no zeros",
    label="unit_forget_bias",
    text="The bias of the forget gate is 1 whatever bias_initializer gives, and the other gates keep what it gives.",
    basis="stated",
    quotations=(
        Quotation("keras.layers.LSTM", "If `True`, add 1 to the bias of the forget gate at initialization."),
        Quotation("keras.layers.LSTM", 'Setting it to `True` will also force `bias_initializer="zeros"`.'),
    ),
    code="""\
layer = keras.layers.LSTM(1, bias_initializer=keras.initializers.Constant(0.5), unit_forget_bias=True)
layer.build((None, None, 1))
print(layer.cell.bias.numpy().tolist())""",
    prints="[0.5, 1.0, 0.5, 0.5]",
)

TRUNCATED_DEVIATION: Final = KnownCause(
    slug="truncated_deviation",
    title="TruncatedNormal’s stddev is that of the normal before truncation",
    label="TruncatedNormal’s stddev",
    text="The values beyond two standard deviations are drawn again, which leaves a smaller standard deviation than "
    "the argument says. VarianceScaling makes up for it, TruncatedNormal does not.",
    basis="stated",
    quotations=(
        Quotation("keras.initializers.TruncatedNormal", "Standard deviation of the random values to generate."),
    ),
    code="""\
values = keras.initializers.TruncatedNormal(stddev=1.0, seed=1)((1000, 1000))
print(round(float(keras.ops.std(values)), 2))""",
    prints="0.88",
    issues=(
        "https://github.com/keras-team/keras/issues/8048",
        "https://github.com/tensorflow/tensorflow/issues/13686",
    ),
)

COPIED_GENERATOR: Final = KnownCause(
    slug="copied_generator",
    title="Attention and Bidirectional copy a SeedGenerator, so that its kernels are equal",
    label="copied SeedGenerator",
    text="These layers copy the initializer for each of their kernels, and each copy’s generator starts again: query, "
    "key and value kernels of one shape are equal bit for bit.",
    basis="stated",
    quotations=(Quotation("keras.initializers.GlorotUniform", _GENERATOR),),
    code="""\
initializer = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(1))
layer = keras.layers.MultiHeadAttention(2, 8, kernel_initializer=initializer)
layer.build((None, 4, 16), (None, 4, 16))
print(bool((layer.query_dense.kernel.numpy() == layer.key_dense.kernel.numpy()).all()))""",
    prints="True",
    keras=KerasVersions(since="3.6"),
)

OWN_FUNCTION: Final = KnownCause(
    slug="own_function",
    title="MultiHeadAttention refuses a function as initializer",
    label="functions as initializers",
    text="It copies its initializer by from_config, which a function does not have.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.get",
            "You may also pass a callable function with a signature that includes `shape` and `dtype=None` as an "
            "identifier.",
        ),
    ),
    code="""\
layer = keras.layers.MultiHeadAttention(2, 8, kernel_initializer=lambda shape, dtype=None: keras.ops.ones(shape, dtype))
try:
    layer.build((None, 4, 16), (None, 4, 16))
except AttributeError as error:
    print(error)""",
    prints="type object 'function' has no attribute 'from_config'",
)

CONSTANT_BY_NAME: Final = KnownCause(
    slug="constant_by_name",
    title="Constant cannot be had by its name",
    label="get('constant')",
    text="Its from_config reads the value from the configuration, which was empty where only the name was given.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.get",
            "The `identifier` may be the string name of a initializers function or class (case-sensitively).",
        ),
    ),
    code="""\
try:
    keras.initializers.get("constant")
except KeyError as error:
    print(repr(error))""",
    prints="KeyError('value')",
    keras=KerasVersions(since=FIRST_TRIED, until="3.16.0.dev2026101504"),
)

CONSTANT_ARRAY: Final = KnownCause(
    slug="constant_array",
    title="Constant takes arrays, and repeats them along the last axis",
    label="arrays for Constant",
    text="An array is broadcast to the shape that is asked for, without an error.",
    basis="stated",
    quotations=(Quotation("keras.initializers.Constant", "Only scalar values are allowed."),),
    code="""\
print(keras.ops.convert_to_numpy(keras.initializers.Constant([1.0, 2.0, 3.0])((2, 3))).tolist())""",
    prints="[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]",
)

UPPER_BOUND: Final = KnownCause(
    slug="upper_bound",
    title="RandomUniform returns its upper bound where float32 is coarse",
    label="RandomUniform’s maxval",
    text="Numbers from 0 to 1 are scaled and shifted in float32, which rounds the largest of them up to maxval.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.RandomUniform", "Upper bound of the range of random values to generate (exclusive)."
        ),
    ),
    code="""\
values = keras.initializers.RandomUniform(minval=100.0, maxval=101.0, seed=1)((1000, 1000))
print(bool(keras.ops.any(values == 101.0)))""",
    prints="True",
)

IDENTITY_CONFIGURATION: Final = KnownCause(
    slug="identity_configuration",
    title="Identity’s configuration is empty, so that copies lose the gain",
    label="Identity’s configuration",
    text="Identity had no get_config of its own: what is cloned, saved or loaded again is the plain identity.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.Identity.get_config",
            "Returns the initializer's configuration as a JSON-serializable dict.",
        ),
    ),
    code="""\
print(keras.initializers.Identity(gain=2.0).clone().gain)""",
    prints="1.0",
    keras=KerasVersions(since=FIRST_TRIED, until="3.16.0.dev2026100704"),
)

GLOBAL_GENERATOR: Final = KnownCause(
    slug="global_generator",
    title="set_random_seed does not restart the generator of keras.random",
    label="set_random_seed",
    text="What keras.random draws without a seed comes from a generator of Keras’ own, which went on as it was before "
    "Keras 3.13.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.utils.set_random_seed",
            "You can use this utility to make almost any Keras program fully deterministic.",
        ),
    ),
    code="""\
keras.utils.set_random_seed(1)
first = keras.random.normal((4,)).numpy()
keras.utils.set_random_seed(1)
print(bool((first == keras.random.normal((4,)).numpy()).all()))""",
    prints="False",
    keras=KerasVersions(since=FIRST_TRIED, until="3.13"),
    issues=("https://github.com/keras-team/keras/pull/21874",),
)

AXES_ALONE: Final = KnownCause(
    slug="axes_alone",
    title="VarianceScaling ignores input_axes without output_axes",
    label="input_axes alone",
    text="Only both together are used. One alone is dropped without a word, and the fans are those of the shape.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.VarianceScaling",
            "The axes of the input tensor that should be considered for computing the fan-in.",
        ),
    ),
    code="""\
alone = keras.initializers.VarianceScaling(seed=1, input_axes=[1])((40, 12))
neither = keras.initializers.VarianceScaling(seed=1)((40, 12))
print(bool(keras.ops.all(alone == neither)))""",
    prints="True",
    keras=INITIALIZER_AXES,
)

# --- Keras' rule, read for what a layer computes ----------------------------------------------------------------------

DEPTHWISE: Final = KnownCause(
    slug="depthwise",
    title="Depthwise kernels count all channels as inputs of each output",
    label="depthwise kernels",
    text="Each output of a depthwise convolution sums one channel, the fans are those of an ordinary convolution: the "
    "weights shrink with the number of channels.",
    basis="applied",
    quotations=(_FAN_IN,),
    code="""\
layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=keras.initializers.HeNormal(seed=1))
layer.build((None, 8, 8, 1024))
print(round(float(layer.kernel.numpy().var() / (2 / 9)), 3))""",
    prints="0.001",
    issues=(
        "https://github.com/keras-team/keras/issues/11773",
        "https://github.com/keras-team/keras/pull/11996",
        "https://github.com/tensorflow/tfjs/issues/8568",
    ),
)

EMBEDDING: Final = KnownCause(
    slug="embedding",
    title="Embeddings count all rows as inputs of each output",
    label="embeddings",
    text="An embedding returns one row of its matrix and sums nothing, so that the weights shrink with the vocabulary.",
    basis="applied",
    quotations=(_FAN_IN,),
    code="""\
layer = keras.layers.Embedding(512, 64, embeddings_initializer=keras.initializers.HeNormal(seed=1))
layer.build()
print(round(float(layer.embeddings.numpy().var() / 2), 3))""",
    prints="0.002",
)

BIAS: Final = KnownCause(
    slug="bias",
    title="A bias counts its own length as its inputs",
    label="drawn biases",
    text="A bias is a vector, and its one axis counts as inputs and as outputs. What the layer sums does not matter.",
    basis="applied",
    quotations=(_FAN_IN,),
    code="""\
layer = keras.layers.Dense(4096, bias_initializer=keras.initializers.HeNormal(seed=1))
layer.build((None, 64))
print(round(float(layer.bias.numpy().var() / (2 / 4096)), 1))""",
    prints="1.0",
)

GROUPS: Final = KnownCause(
    slug="groups",
    title="Convolutions with groups count the outputs of all groups",
    label="groups",
    text="An input feeds the outputs of its own group alone, and fan_out counts those of all.",
    basis="applied",
    quotations=(_FAN_OUT,),
    code="""\
layer = keras.layers.Conv2D(64, 3, groups=16, kernel_initializer=keras.initializers.GlorotNormal(seed=1))
layer.build((None, 8, 8, 64))
print(round(float(layer.kernel.numpy().var() / (2 / (9 * 4 + 9 * 4))), 2))""",
    prints="0.12",
)

SHARED_AXIS: Final = KnownCause(
    slug="shared_axis",
    title="EinsumDense counts the experts as outputs that each input feeds",
    label="axis of experts",
    text="An axis that input, kernel and output share multiplies neither inputs nor outputs of a unit. It is counted "
    "as an axis of outputs.",
    basis="applied",
    quotations=(_FAN_OUT,),
    code="""\
initializer = keras.initializers.GlorotNormal(seed=1)
layer = keras.layers.EinsumDense("bed,edf->bef", (16, 64), kernel_initializer=initializer)
layer.build((None, 16, 64))
print(float(layer.kernel.numpy().var()) < 0.25 * 2 / (64 + 64))""",
    prints="True",
)

HEADS: Final = KnownCause(
    slug="heads",
    title="Kernels with an axis of heads are counted as if it were the area of a convolution",
    label="axis of heads",
    text="Before Keras 3.15 EinsumDense, and with it attention, did not tell initializers which axes are inputs.",
    basis="applied",
    quotations=(_FAN_IN, _FAN_OUT),
    code="""\
layer = keras.layers.MultiHeadAttention(8, 16, kernel_initializer=keras.initializers.HeNormal(seed=1))
layer.build((None, 4, 128), (None, 4, 128))
print(round(float(layer.query_dense.kernel.numpy().var() / (2 / 128)), 1))""",
    prints="0.1",
    keras=KerasVersions(since=FIRST_TRIED, until="3.15"),
    issues=("https://github.com/keras-team/keras/pull/22789",),
)

GATES: Final = KnownCause(
    slug="gates",
    title="The gates of LSTM and GRU are initialized as one matrix",
    label="gates",
    text="Kernel and recurrent kernel hold the gates side by side. GlorotUniform counts the units of all gates as "
    "outputs, and Orthogonal makes the whole matrix orthogonal, not the recurrent matrix of each gate.",
    basis="applied",
    quotations=(_FAN_OUT,),
    code="""\
layer = keras.layers.LSTM(64, kernel_initializer=keras.initializers.GlorotNormal(seed=1))
layer.build((None, None, 64))
print(round(float(layer.cell.kernel.numpy().var() / (2 / (64 + 64))), 1))""",
    prints="0.4",
)

BORDERS: Final = KnownCause(
    slug="borders",
    title="At padded borders a convolution has fewer inputs than are counted",
    label="padded borders",
    text="Zeros stand in for some of the inputs there. No one variance of the kernel can serve both the border and the "
    "inside.",
    basis="applied",
    quotations=(_FAN_IN,),
)

ORTHOGONAL_LAYERS: Final = KnownCause(
    slug="orthogonal_layers",
    title="Orthogonal is orthogonal in the shape of the kernel, not in what the layer multiplies",
    label="Orthogonal in layers",
    text="A convolution of more filters than inputs, and the query kernel of MultiHeadAttention, are flattened "
    "otherwise than the layer multiplies: what goes through keeps neither its size nor its angles.",
    basis="applied",
    quotations=(
        Quotation(
            "keras.initializers.Orthogonal",
            "a matrix of shape `(shape[0] * ... * shape[n - 2], shape[n - 1])` is initialized",
        ),
    ),
    code="""\
kernel = keras.ops.convert_to_numpy(keras.initializers.Orthogonal(seed=1)((3, 3, 4, 256)))
print(round(float((kernel**2).sum() / 256), 2))  # the mean square of a filter’s output over that of its inputs""",
    prints="0.14",
)

# --- what is assumed --------------------------------------------------------------------------------------------------

ONE_SEED: Final = KnownCause(
    slug="one_seed",
    title="One integer seed gives several weights the same numbers",
    label="one seed for all layers",
    text="Weights of one shape are equal, those of other shapes and of other classes proportional. A network whose "
    "layers share a seed does not behave like one of independent layers.",
    basis="assumed",
    quotations=(Quotation("keras.initializers.GlorotUniform", _REPEATS),),
    code="""\
initializer = keras.initializers.GlorotUniform(seed=1)
first, second = (keras.layers.Dense(8, kernel_initializer=initializer) for _ in range(2))
first.build((None, 8)), second.build((None, 8))
print(bool((first.kernel.numpy() == second.kernel.numpy()).all()))""",
    prints="True",
)

SEED_PERIOD: Final = KnownCause(
    slug="seed_period",
    title="Seeds that are 2,147,483,646 apart give the same numbers on TensorFlow",
    label="period of seeds on TensorFlow",
    text="Keras takes seeds modulo 2^31 - 2 there.",
    basis="assumed",
    code="""\
one, other = (keras.initializers.GlorotUniform(seed=seed)((4, 4)) for seed in (1, 1 + 2147483646))
print(bool(keras.ops.all(one == other)))""",
    prints="True",
    keras=KerasVersions(since="3.5"),
    backends=("tensorflow",),
)

SEED_BITS: Final = KnownCause(
    slug="seed_bits",
    title="Seeds that are 2^32 apart give the same numbers on PyTorch, a seed of -1 those of 2^32 - 1",
    label="period of seeds on PyTorch",
    text="Keras keeps the lowest 32 bits of the sum of a seed and of the number of draws. From 3.5 to 3.13 it refused "
    "seeds of more than 31 bits.",
    basis="assumed",
    code="""\
one, other = (keras.initializers.GlorotUniform(seed=seed)((4, 4)) for seed in (-1, 2**32 - 1))
print(bool(keras.ops.all(one == other)))""",
    prints="True",
    keras=KerasVersions(since="3.14"),
    backends=("torch",),
)

SEED_INT32: Final = KnownCause(
    slug="seed_int32",
    title="Seeds of more than 31 bits are refused on PyTorch",
    label="range of seeds on PyTorch",
    text="The state of a SeedGenerator had 32 bits with a sign there. The error is PyTorch’s RuntimeError.",
    basis="stated",
    quotations=(
        Quotation("keras.initializers.GlorotUniform", "A Python integer or instance of `keras.backend.SeedGenerator`."),
    ),
    code="""\
try:
    keras.initializers.GlorotUniform(seed=2**32)((4, 4))
except RuntimeError as error:
    print(error)""",
    prints="value cannot be converted to type int32 without overflow",
    keras=KerasVersions(since="3.5", until="3.14"),
    backends=("torch",),
)

SHIFTED_GENERATOR: Final = KnownCause(
    slug="shifted_generator",
    title="The second draw of a SeedGenerator is the first of the next seed on PyTorch",
    label="calls of a SeedGenerator",
    text="The number of draws is added to the seed: layers with generators of neighbouring seeds get the same weights, "
    "one draw later.",
    basis="assumed",
    code="""\
generator = keras.random.SeedGenerator(5)
_, second = (keras.random.normal((4,), seed=generator) for _ in range(2))
print(bool(keras.ops.all(second == keras.random.normal((4,), seed=6))))""",
    prints="True",
    backends=("torch",),
)

SEED_RANGE: Final = KnownCause(
    slug="seed_range",
    title="Negative seeds, and seeds from 2^32 on, are refused on JAX",
    label="range of seeds on JAX",
    text="The state of a SeedGenerator has 32 bits without a sign there. The error is NumPy’s OverflowError.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.GlorotUniform",
            "A Python integer or instance of `keras.backend.SeedGenerator`. Used to make the behavior of the "
            "initializer deterministic.",
        ),
    ),
    code="""\
try:
    keras.initializers.GlorotUniform(seed=-1)((4, 4))
except OverflowError as error:
    print(error)""",
    prints="Python integer -1 out of bounds for uint32",
    backends=("jax",),
)

TRUNCATION: Final = KnownCause(
    slug="truncation",
    title="Four in a million entries of truncated normals lie beyond the truncation on PyTorch",
    label="truncated normals",
    text="Keras draws four normal numbers for each entry and takes the first that is within two standard deviations; "
    "where none is, it takes the first, whatever it is.",
    basis="stated",
    quotations=(
        Quotation(
            "keras.initializers.TruncatedNormal",
            "values more than two standard deviations from the mean are discarded and re-drawn",
        ),
    ),
    code="""\
values = keras.initializers.TruncatedNormal(stddev=1.0, seed=1)((3000, 1000))
print(bool(keras.ops.any(keras.ops.abs(values) > 2.01)))""",
    prints="True",
    backends=("torch",),
)

OTHER_SEEDS: Final = KnownCause(
    slug="other_seeds",
    title="The seeds of NumPy and of the backend do not reach Keras’ initializers",
    label="seeds of NumPy and backends",
    text="An initializer without a seed draws one from Python’s random state, which keras.utils.set_random_seed sets.",
    basis="assumed",
    quotations=(
        Quotation(
            "keras.utils.set_random_seed", "Sets all random seeds (Python, NumPy, and backend framework, e.g. TF)."
        ),
    ),
)

COMPILED: Final = KnownCause(
    slug="compiled",
    title="Compiled by XLA, a seed gives other numbers on TensorFlow",
    label="XLA",
    text="The numbers are those of another generator, of the same distribution.",
    basis="assumed",
    backends=("tensorflow",),
)

OWN_SUBCLASS: Final = KnownCause(
    slug="own_subclass",
    title="EinsumDense refuses subclasses of VarianceScaling whose constructor takes the seed alone",
    label="subclasses as initializers",
    text="It makes a copy of the initializer with its own axes from the configuration, which names arguments that such "
    "a constructor does not take.",
    basis="assumed",
)

CUSTOM_NAME: Final = KnownCause(
    slug="custom_name",
    title="keras.initializers.get does not know the names of the user’s own initializers",
    label="names of own initializers",
    text="It looks a name up among Keras’ own initializers alone. Before, it also asked custom_object_scope and the "
    "register of serializable objects. A configuration still does.",
    basis="assumed",
    code="""\
class Own(keras.initializers.Zeros): pass
try:
    with keras.saving.custom_object_scope({"Own": Own}):
        print(type(keras.initializers.get("Own")).__name__)
except ValueError as error:
    print(error)""",
    prints="Could not interpret initializer identifier: Own",
    keras=KerasVersions(since="3.16.0.dev2026101504"),
)

BFLOAT16: Final = KnownCause(
    slug="bfloat16",
    title="Half precision is coarser than it must be, or refused",
    label="bfloat16",
    text="Uniform numbers are made in bfloat16 itself, where 0 to 1 has 128 equal steps, with a mean that is off by "
    "half a step; Orthogonal needs a decomposition that backends do not have for bfloat16.",
    basis="assumed",
    quotations=(Quotation("keras.initializers.Orthogonal.__call__", "dtype: Optional dtype of the tensor."),),
    code="""\
try:
    keras.initializers.Orthogonal(seed=1)((4, 4), dtype="bfloat16")
except Exception:
    print("refused")""",
    prints="refused",
    issues=("https://github.com/keras-team/keras/issues/16970",),
)

CONSTANT_PRECISION: Final = KnownCause(
    slug="constant_precision",
    title="Constant rounds its value to float32 on the way to float64",
    label="Constant in float64",
    text="The value goes through a float32 tensor first.",
    basis="assumed",
    code="""\
values = keras.initializers.Constant(0.37)((1,), dtype="float64")
print(keras.backend.standardize_dtype(values.dtype), float(values[0]))""",
    prints="float64 0.3700000047683716",
    backends=("tensorflow",),
)

FLOAT64_OFF: Final = KnownCause(
    slug="float64_off",
    title="float64 is float32 on JAX, where it is not switched on",
    label="float64 on JAX",
    text="JAX has float64 only where jax_enable_x64 is set, and Keras does not set it. A warning is all that is said.",
    basis="stated",
    quotations=(Quotation("keras.initializers.HeNormal.__call__", "dtype: Optional dtype of the tensor."),),
    code="""\
values = keras.initializers.HeNormal(seed=1)((4, 4), dtype="float64")
print(keras.backend.standardize_dtype(values.dtype))""",
    prints="float32",
    backends=("jax",),
)

STFT_FLOAT64: Final = KnownCause(
    slug="stft_float64",
    title="STFT gives float32 where float64 is asked for on PyTorch",
    label="STFT in float64 on PyTorch",
    text="Its arithmetic narrows float64 to float32 there. The nightly version of 2026-08-06 did not, that of "
    "2026-09-10 does.",
    basis="stated",
    quotations=(Quotation("keras.initializers.STFT.__call__", "dtype: Optional dtype of the tensor."),),
    code="""\
values = keras.initializers.STFT()((16, 1, 9), dtype="float64")
print(keras.backend.standardize_dtype(values.dtype))""",
    prints="float32",
    keras=KerasVersions(since="3.16.0.dev2026091004"),
    backends=("torch",),
)

TWO_TABLES: Final = KnownCause(
    slug="two_tables",
    title="The two tables of an untied ReversibleEmbedding start with the same numbers",
    label="ReversibleEmbedding",
    text="One initializer without a seed of its own draws both, each in the order of its own shape.",
    basis="assumed",
    quotations=(
        Quotation(
            "keras.layers.ReversibleEmbedding",
            "If `tie_weights=False`, the model will use a separate, trainable variable for reverse projection.",
        ),
    ),
)

GLOROT: Final = KnownCause(
    slug="glorot",
    title="GlorotUniform keeps a signal in linear layers alone",
    label="GlorotUniform with relu and tanh",
    text="Its derivation takes the activation function for linear. ReLU sets half of the inputs to zero and tanh "
    "shrinks them, so that the signal fades from layer to layer.",
    basis="assumed",
)

HE: Final = KnownCause(
    slug="he",
    title="HeNormal is made for ReLU, and not for other rectifiers",
    label="HeNormal with gelu, silu, elu, selu",
    text="Its factor 2 makes up for the half of the inputs that ReLU sets to zero. Others let more or less pass.",
    basis="assumed",
)

SIZE_ALONE: Final = KnownCause(
    slug="size_alone",
    title="The size of a signal or of a weight’s gradient does not show that a signal is kept",
    label="size alone",
    text="Activations may be of order 1 and the same for every sample; a mean other than zero counts as variance; and "
    "in square layers what fades backward grows forward, so that weight gradients stay level.",
    basis="assumed",
)

TINY_INPUTS: Final = KnownCause(
    slug="tiny_inputs",
    title="elu and selu are exactly 0 at negative inputs above -3e-8 on TensorFlow",
    label="elu of tiny inputs",
    text="TensorFlow computes exp(x) - 1, and exp(x) is rounded to 1. The function expm1 would keep them.",
    basis="assumed",
    quotations=(Quotation("keras.activations.elu", "alpha * `exp(x) - 1` if `x < 0`"),),
    code="""\
print(float(keras.activations.elu(keras.ops.convert_to_tensor([-1e-8]))[0]))""",
    prints="0.0",
    backends=("tensorflow",),
)

FIRST_LOSS: Final = KnownCause(
    slug="first_loss",
    title="A new classifier’s cross-entropy is above the chance level",
    label="first cross-entropy",
    text="Logits of unit variance are not all alike: the loss exceeds ln C unless the last kernel is small.",
    basis="assumed",
)

NORMALIZATION: Final = KnownCause(
    slug="normalization",
    title="BatchNormalization does not normalize before it was trained",
    label="BatchNormalization at inference",
    text="At inference it divides by the moving variance, which starts at 1.",
    basis="assumed",
    quotations=(
        Quotation(
            "keras.layers.BatchNormalization",
            "the layer will only normalize its inputs during inference *after having been trained on data that has "
            "similar statistics as the inference data*",
        ),
    ),
)

NOTEBOOK: Final = KnownCause(
    slug="notebook",
    title="Statements of the notebook with which initcheck began",
    label="the notebook",
    text="On zero, random and Xavier’s initialization. Keras has no part in them.",
    basis="assumed",
)

CAUSES: Final[Mapping[str, KnownCause]] = MappingProxyType(
    {
        cause.slug: cause
        for cause in (
            *(TRANSPOSED, NONE_FOR_BIAS, FORGET_BIAS, TRUNCATED_DEVIATION, COPIED_GENERATOR, OWN_FUNCTION),
            *(CONSTANT_BY_NAME, CONSTANT_ARRAY, UPPER_BOUND, IDENTITY_CONFIGURATION, GLOBAL_GENERATOR, AXES_ALONE),
            *(DEPTHWISE, EMBEDDING, BIAS, GROUPS, SHARED_AXIS, HEADS, GATES, BORDERS, ORTHOGONAL_LAYERS),
            *(
                ONE_SEED,
                SEED_PERIOD,
                SEED_BITS,
                SEED_INT32,
                SHIFTED_GENERATOR,
                SEED_RANGE,
                TRUNCATION,
                OTHER_SEEDS,
                COMPILED,
                OWN_SUBCLASS,
                CUSTOM_NAME,
                BFLOAT16,
                CONSTANT_PRECISION,
                FLOAT64_OFF,
                STFT_FLOAT64,
                TWO_TABLES,
            ),
            *(GLOROT, HE, SIZE_ALONE, TINY_INPUTS, FIRST_LOSS, NORMALIZATION, NOTEBOOK),
        )
    }
)
"""All causes, by slug."""
