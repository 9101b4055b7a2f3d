"""The reference networks: frozen specs, and the Keras models that they build.

Every kernel gets an initializer instance with a seed of its own, derived from the network's seed and the
kernel's path by :func:`initcheck.core.seeds.derive_seeds`. One instance shared by several layers, or one
integer seed given to all of them, would fill them with identical or proportional numbers.
"""

from __future__ import annotations

import inspect
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, cast

import numpy as np

from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import backend_errors, import_keras
from initcheck.core.errors import InitializerError, ModelError, UsageError, name_unknown
from initcheck.core.seeds import derive_seeds, whole_number
from initcheck.models.initializers import InitializerSpec, in_one_line

STUDY_ACTIVATIONS: Final = (
    "linear",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
)
"""The activation functions that the report measures by default."""

HEAD: Final = "output"
"""Name of the last layer of every reference network."""

_UNIT_GAIN: Final = InitializerSpec("LecunNormal")
_KERAS_DEFAULT: Final = InitializerSpec("GlorotUniform")
_DENSE: Final = ("kernel", "bias")
_NORMALIZATION: Final = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(ABC):
    """A reference network: what it is made of, without the data and the seed.

    Specs can be compared, hashed, pickled and made without Keras. Biases are zero, as in Keras.

    Attributes:
        head_initializer: the initializer of the output layer's kernel. By default one that is the same
            whatever is under test, so that networks differ in their hidden layers alone.
    """

    NAME: ClassVar[str]
    ADJUSTABLE: ClassVar[frozenset[str]] = frozenset()
    """The settings, of ``depth`` and ``width``, that this network takes."""
    DATA: ClassVar[str] = "gaussian"
    """The data that it is measured on when none are asked for; see :func:`initcheck.models.data.load_data`."""
    ACTIVATIONS: ClassVar[tuple[str, ...]] = STUDY_ACTIVATIONS
    """The activation functions that it is measured with when none are asked for."""
    WINDOW: ClassVar[int] = 1
    """Places of the input that a hidden unit sums: a hidden kernel has this many times width squared entries."""
    POSITIONS: ClassVar[int] = 1
    """Places of a sample at which a hidden kernel is applied."""

    initializer: InitializerSpec
    activation: str
    head_initializer: InitializerSpec = _UNIT_GAIN

    def __post_init__(self) -> None:
        for setting in sorted(self.ADJUSTABLE):
            object.__setattr__(self, setting, _at_least_one(setting, getattr(self, setting)))

    @property
    def name(self) -> str:
        """The network's name in :data:`NETWORKS`; the Keras model bears it as well."""
        return self.NAME

    @property
    @abstractmethod
    def description(self) -> str:
        """What the network is made of, in a sentence."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of hidden layers or blocks."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Units or channels of a hidden layer."""

    @property
    def calls(self) -> int:
        """Calls of layers that each hidden layer or block consists of."""
        return 1

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis, where no data prescribe it."""

    @abstractmethod
    def signal_layers(self) -> tuple[str, ...]:
        """Name the layers along which the signal is followed, from the input to the output."""

    def variable_paths(self) -> tuple[str, ...]:
        """List the paths of all weights, ``"layer/weight"``, in the order of the model's ``weights``.

        They are known before the model is, because every kernel's seed derives from them.
        """
        return tuple(f"{layer}/{weight}" for layer, weights in self._weighted_layers() for weight in weights)

    def build(self, sample_shape: tuple[int, ...], seed: int) -> Any:
        """Build the Keras model, whose kernels are drawn with seeds derived from that of the network and their paths.

        No global random state is disturbed.
        """
        shape = self._check_shape(sample_shape)
        check_activation(self.activation)
        paths = self.variable_paths()
        seeds = dict(zip(paths, derive_seeds(seed, paths), strict=True))
        keras = import_keras()
        with preserved_random_state():
            inputs = keras.Input(shape, name="input")
            outputs = self._connect(inputs, SeededLayers(self.name, self.initializer, self.head_initializer, seeds))
            return keras.Model(inputs, outputs, name=self.name)

    def weight_initializers(self, model: Any) -> dict[str, Any]:
        """Make the initializers of all weights, for a model that was built with another one."""
        paths = self.variable_paths()
        layers = SeededLayers(self.name, self.initializer, self.head_initializer, dict.fromkeys(paths, 0))
        initializers, tried = {}, set()
        with preserved_random_state():
            for path, variable in zip(paths, model.weights, strict=True):
                layer, _, weight = path.rpartition("/")
                if weight != "kernel":
                    initializers[path] = getattr(model.get_layer(layer), f"{weight}_initializer")
                    continue
                kind = (layer == HEAD, tuple(variable.shape), variable.dtype)
                if kind not in tried:
                    tried.add(kind)
                    layers.draw_kernel(layer, *kind[1:])
                initializers[path] = layers.kernel_initializer(layer)
        return initializers

    def _weighted_layers(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield name and weights of each layer that has weights, in the order of the model."""
        for name in (*self.signal_layers(), HEAD):
            yield name, _DENSE

    @abstractmethod
    def _connect(self, inputs: Any, layers: SeededLayers) -> Any:
        """Return the outputs as a symbolic tensor."""

    def _check_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = tuple(operator.index(size) for size in sample_shape)
        if not shape or min(shape) < 1:
            raise ModelError(f"The {self.name} network needs samples of at least one number. Received: shape {shape}.")
        return shape


@dataclass(frozen=True, kw_only=True)
class MlpSpec(NetworkSpec):
    """A plain fully connected network: ``depth`` Dense layers of ``width`` units, and a linear head."""

    NAME: ClassVar[str] = "mlp"
    ADJUSTABLE: ClassVar[frozenset[str]] = frozenset({"depth", "width"})

    depth: int = 20
    width: int = 256
    outputs: int = 10

    @property
    def description(self) -> str:
        """What the network is made of."""
        return f"Fully connected: {self.depth} hidden layers of {self.width} units each and a linear head."

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """As many inputs as units, so that all hidden kernels are square."""
        return (self.width,)

    def signal_layers(self) -> tuple[str, ...]:
        """Name the hidden layers."""
        return _numbered("hidden_{:02d}", self.depth)

    def _connect(self, inputs: Any, layers: SeededLayers) -> Any:
        x = layers.flatten(inputs)
        for name in self.signal_layers():
            x = layers.dense(x, name, self.width, self.activation)
        return layers.dense(x, HEAD, self.outputs)


@dataclass(frozen=True, kw_only=True)
class NotebookSpec(NetworkSpec):
    """The network of the notebook that the project started from: Flatten, 300, 100, and 10 outputs with softmax."""

    NAME: ClassVar[str] = "notebook"
    DATA: ClassVar[str] = "digits"
    ACTIVATIONS: ClassVar[tuple[str, ...]] = ("relu",)
    UNITS: ClassVar[tuple[int, int]] = (300, 100)

    activation: str = "relu"
    head_initializer: InitializerSpec = _KERAS_DEFAULT

    @property
    def description(self) -> str:
        """What the network is made of."""
        first, second = self.UNITS
        return (
            "The network of the notebook that the project started from: Flatten, "
            f"{first} and {second} hidden units, 10 outputs with softmax."
        )

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.UNITS)

    @property
    def width(self) -> int:
        """Units of the widest hidden layer."""
        return max(self.UNITS)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a picture of MNIST, on which the notebook trained."""
        return (28, 28)

    def signal_layers(self) -> tuple[str, ...]:
        """Name the hidden layers."""
        return _numbered("hidden_{}", self.depth)

    def _connect(self, inputs: Any, layers: SeededLayers) -> Any:
        x = layers.flatten(inputs)
        for name, units in zip(self.signal_layers(), self.UNITS, strict=True):
            x = layers.dense(x, name, units, self.activation)
        return layers.dense(x, HEAD, 10, "softmax")


@dataclass(frozen=True, kw_only=True)
class ConvSpec(NetworkSpec):
    """A plain stack of 3 x 3 convolutions with stride 1, global average pooling, and a linear head."""

    NAME: ClassVar[str] = "conv"
    ADJUSTABLE: ClassVar[frozenset[str]] = frozenset({"depth", "width"})
    WINDOW: ClassVar[int] = 9
    POSITIONS: ClassVar[int] = 256

    depth: int = 10
    width: int = 16
    outputs: int = 10

    @property
    def description(self) -> str:
        """What the network is made of."""
        return (
            f"A plain stack of {self.depth} 3 x 3 convolutions of {self.width} channels, global average pooling, a "
            "linear head."
        )

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """A small picture of three channels: wide enough that most of its pixels are not at the edge."""
        return (16, 16, 3)

    def signal_layers(self) -> tuple[str, ...]:
        """Name the convolutions."""
        return _numbered("conv_{:02d}", self.depth)

    def _connect(self, inputs: Any, layers: SeededLayers) -> Any:
        x = inputs
        if len(x.shape) == 3:  # height and width alone: a picture of one channel
            x = import_keras().layers.Reshape((*x.shape[1:], 1), name="reshape")(x)
        for name in self.signal_layers():
            x = layers.convolution(x, name, self.width, self.activation)
        x = import_keras().layers.GlobalAveragePooling2D(name="pooling")(x)
        return layers.dense(x, HEAD, self.outputs)

    def _check_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = super()._check_shape(sample_shape)
        if len(shape) not in (2, 3):
            raise ModelError(
                "The conv network needs pictures: samples of shape (height, width) or (height, width, channels). "
                f"Received: shape {shape}."
            )
        return shape


@dataclass(frozen=True, kw_only=True)
class ResidualSpec(NetworkSpec):
    """A residual network of Dense layers: x + Dense(activation(normalization(x))), ``depth`` times.

    A Dense stem brings the sample to ``width``; a linear head follows the last block. The blocks apply
    normalization and activation first ("pre-activation", He et al. 2016, arXiv:1603.05027), so that the sum
    runs through the network unchanged. Without normalization the variance grows from block to block by
    what the branch adds; with it, the branch adds a constant amount (De and Smith 2020, arXiv:2002.10444).

    The normalization is BatchNormalization: it is the one of those papers, and the one that behaves
    differently in training and at inference, where at initialization it does nothing.
    """

    NAME: ClassVar[str] = "residual"
    ADJUSTABLE: ClassVar[frozenset[str]] = frozenset({"depth", "width"})

    depth: int = 10
    width: int = 256
    normalized: bool = False
    outputs: int = 10

    @property
    def name(self) -> str:
        """The network's name in :data:`NETWORKS`: with normalization, ``residual_normalized``."""
        return f"{self.NAME}_normalized" if self.normalized else self.NAME

    @property
    def description(self) -> str:
        """What the network is made of."""
        branch = "activation(BatchNormalization(x))" if self.normalized else "activation(x)"
        return (
            f"{self.depth} residual blocks x + Dense({branch}) of {self.width} units after a dense stem; a linear head."
        )

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """As many inputs as units, so that all kernels but the head's are square."""
        return (self.width,)

    @property
    def calls(self) -> int:
        """Those of the activation function, the Dense layer and the sum, and of the normalization."""
        return 3 + self.normalized

    def signal_layers(self) -> tuple[str, ...]:
        """Name the sums at the end of the blocks."""
        return tuple(f"{block}_add" for block in self._blocks())

    def _blocks(self) -> tuple[str, ...]:
        return _numbered("block_{:02d}", self.depth)

    def _weighted_layers(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield "stem", _DENSE
        for block in self._blocks():
            if self.normalized:
                yield f"{block}_normalization", _NORMALIZATION
            yield f"{block}_dense", _DENSE
        yield HEAD, _DENSE

    def _connect(self, inputs: Any, layers: SeededLayers) -> Any:
        plain = import_keras().layers
        x = layers.dense(layers.flatten(inputs), "stem", self.width)
        for block in self._blocks():
            branch = plain.BatchNormalization(name=f"{block}_normalization")(x) if self.normalized else x
            branch = plain.Activation(self.activation, name=f"{block}_activation")(branch)
            branch = layers.dense(branch, f"{block}_dense", self.width)
            x = plain.Add(name=f"{block}_add")([x, branch])
        return layers.dense(x, HEAD, self.outputs)


NETWORKS: Final[Mapping[str, Callable[..., NetworkSpec]]] = {
    "mlp": MlpSpec,
    "notebook": NotebookSpec,
    "conv": ConvSpec,
    "residual": ResidualSpec,
    "residual_normalized": partial(ResidualSpec, normalized=True),
}
"""The reference networks by name: what makes a spec from ``initializer``, ``activation`` and settings."""


def find_network(name: str) -> type[NetworkSpec]:
    """Find the class of a reference network, with its data, activations and cost; UsageError for an unknown name."""
    if name not in NETWORKS:
        raise name_unknown("network", name, NETWORKS)
    made = NETWORKS[name]
    return cast("type[NetworkSpec]", made.func if isinstance(made, partial) else made)


def make_network(
    name: str, *, initializer: InitializerSpec, activation: str, depth: int | None = None, width: int | None = None
) -> NetworkSpec:
    """Make the spec of a reference network, with every name and setting checked; None is the network's default."""
    adjustable = find_network(name).ADJUSTABLE
    activation = check_activation(activation)
    settings = {key: value for key, value in (("depth", depth), ("width", width)) if value is not None}
    for setting, value in settings.items():
        if setting not in adjustable:
            raise UsageError(
                f"The {name} network has a fixed {setting}. Leave --{setting} out, or choose another network. "
                f"Received: {value}."
            )
    return NETWORKS[name](initializer=initializer, activation=activation, **settings)


def check_activation(name: str) -> str:
    """Check the name of an activation function that returns a tensor of the same shape."""
    activations = import_keras().activations
    helpers = {"get", "serialize", "deserialize"}
    known = [key for key in dir(activations) if key not in helpers and inspect.isfunction(getattr(activations, key))]
    if name not in known:
        raise name_unknown("activation", name, known)
    function = getattr(activations, name)
    sample = np.zeros((1, 4), dtype="float32")
    try:
        kept = tuple(function(sample).shape) == sample.shape
    except TypeError:
        raise UsageError(f"The activation {name!r} needs arguments of its own. Choose another.") from None
    if not kept:
        raise UsageError(f"The activation {name!r} changes the shape of a layer's output. Choose another.")
    return str(function.__name__)


def _numbered(pattern: str, count: int) -> tuple[str, ...]:
    return tuple(pattern.format(number) for number in range(1, count + 1))


def _at_least_one(setting: str, value: int) -> int:
    number = whole_number(value, 1)
    if number is None:
        raise UsageError(f"--{setting} must be at least 1. Received: {value!r}. Give a whole number such as 10.")
    return number


class SeededLayers:
    """Makes the layers of one network, whose kernels have an initializer and a seed of their own."""

    def __init__(
        self,
        network: str,
        initializer: InitializerSpec,
        head_initializer: InitializerSpec,
        seeds: Mapping[str, int],
    ) -> None:
        self._network = network
        self._initializer = initializer
        self._head_initializer = head_initializer
        self._seeds = seeds

    def flatten(self, x: Any) -> Any:
        """Make samples of several axes one-dimensional."""
        return x if len(x.shape) == 2 else import_keras().layers.Flatten(name="flatten")(x)

    def dense(self, x: Any, name: str, units: int, activation: str = "linear") -> Any:
        """Append a Dense layer with a fused activation, so that pre-activation and output can be distinguished."""
        return self._append(import_keras().layers.Dense, x, name, units=units, activation=activation)

    def convolution(self, x: Any, name: str, channels: int, activation: str) -> Any:
        """Append a 3 x 3 convolution with stride 1 and a fused activation."""
        convolution = import_keras().layers.Conv2D
        return self._append(
            convolution, x, name, filters=channels, kernel_size=3, padding="same", activation=activation
        )

    def kernel_initializer(self, name: str) -> Any:
        """Make the initializer of the kernel of a layer."""
        return self._spec(name).create(self._seeds[f"{name}/kernel"])

    def draw_kernel(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        """Draw a kernel, to see whether it can be had."""
        with self._refusals(name):
            return self.kernel_initializer(name)(shape, dtype=dtype)

    def _append(self, layer_class: Any, x: Any, name: str, **settings: Any) -> Any:
        initializer = self.kernel_initializer(name)
        with self._refusals(name):
            return layer_class(name=name, kernel_initializer=initializer, **settings)(x)

    def _spec(self, name: str) -> InitializerSpec:
        return self._head_initializer if name == HEAD else self._initializer

    @contextmanager
    def _refusals(self, layer: str) -> Iterator[None]:
        """Word in one line what goes wrong while Keras makes a layer's kernel."""
        initializer = self._spec(layer).label
        where = f"layer {layer!r} of the {self._network} network"
        try:
            yield
        except (TypeError, ValueError) as error:
            raise InitializerError(f"{initializer} cannot make the kernel of {where}: {in_one_line(error)}") from error
        except backend_errors() as error:
            raise ModelError(f"Cannot build {where}: {in_one_line(error)}") from error
