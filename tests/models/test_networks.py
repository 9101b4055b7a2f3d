import itertools
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from tape import to_array

from initcheck.core.errors import InitializerError, ModelError, UsageError
from initcheck.core.seeds import derive_seeds
from initcheck.models.initializers import InitializerSpec, study_initializers
from initcheck.models.networks import (
    NETWORKS,
    STUDY_ACTIVATIONS,
    ConvSpec,
    MlpSpec,
    NetworkSpec,
    NotebookSpec,
    ResidualSpec,
    check_activation,
    find_network,
    make_network,
)
from initcheck.probe import RedrawPlan
from initcheck.probe.paths import PathNamer

HE = InitializerSpec("HeNormal")


def small(name: str, **settings: Any) -> NetworkSpec:
    initializer = settings.pop("initializer", HE)
    if name != "notebook":
        settings = {"depth": 3, "width": 8, **settings}
    return make_network(name, initializer=initializer, activation=settings.pop("activation", "relu"), **settings)


def weights_of(model: Any) -> list[np.ndarray]:
    return [weight.numpy() for weight in model.weights]


def equal_weights(first: Any, second: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(weights_of(first), weights_of(second), strict=True))


every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
def test_a_network_bears_its_registered_name_and_runs_on_its_default_samples(name: str) -> None:
    spec = small(name)
    model = spec.build(spec.sample_shape, 0)
    assert spec.name == model.name == name
    outputs = model(np.ones((2, *spec.sample_shape), dtype="float32"))
    assert tuple(outputs.shape) == (2, 10)


@every_network
def test_the_paths_known_before_the_build_are_the_models_weights_in_order(name: str) -> None:
    spec = small(name)
    model = spec.build(spec.sample_shape, 0)
    layer_of = {id(weight): layer.name for layer in model.layers for weight in layer.weights}
    assert list(spec.variable_paths()) == [f"{layer_of[id(weight)]}/{weight.name}" for weight in model.weights]
    structural = PathNamer(model).variable_paths()
    assert list(spec.variable_paths()) == [structural[id(weight)] for weight in model.weights]


@every_network
def test_every_kernel_is_what_its_initializer_draws_with_the_seed_derived_from_its_path(name: str) -> None:
    spec = replace(small(name), head_initializer=InitializerSpec("Orthogonal"))
    model = spec.build(spec.sample_shape, 21)
    paths = spec.variable_paths()
    kernels = 0
    for path, seed, weight in zip(paths, derive_seeds(21, paths), model.weights, strict=True):
        if path.endswith("/kernel"):
            initializer = spec.head_initializer if path == "output/kernel" else spec.initializer
            assert np.array_equal(weight.numpy(), initializer.create(seed)(weight.shape)), path
            kernels += 1
        elif path.endswith(("/bias", "/beta", "/moving_mean")):
            assert not weight.numpy().any(), path
        else:
            assert path.endswith(("/gamma", "/moving_variance"))
            assert (weight.numpy() == 1).all(), path
    assert kernels == spec.depth + (2 if name.startswith("residual") else 1)


@every_network
@pytest.mark.parametrize("class_name", ["HeNormal", "RandomNormal", "RandomUniform"])
def test_the_kernels_of_one_network_are_pairwise_uncorrelated(name: str, class_name: str) -> None:
    initializer = InitializerSpec(class_name)
    spec = replace(small(name, initializer=initializer), head_initializer=initializer)
    model = spec.build(spec.sample_shape, 1)
    kernels = [weight.numpy().ravel() for weight in model.weights if weight.name == "kernel"]
    for first, second in itertools.combinations(kernels, 2):
        count = min(first.size, second.size)
        correlation = np.corrcoef(first[:count], second[:count])[0, 1]
        # One integer seed for both gives 1 (CLAIMS C6, C7); independent kernels have a spread of 1/sqrt(count).
        assert abs(correlation) < 5 / np.sqrt(count)


def test_the_test_above_would_notice_one_seed_for_all_kernels() -> None:
    first, second = (np.ravel(HE.create(5)(shape)) for shape in [(28, 30), (30, 10)])
    assert np.corrcoef(first[:300], second)[0, 1] > 0.999


@every_network
def test_the_same_seed_gives_the_same_model_and_another_seed_another(name: str) -> None:
    spec = small(name)
    first, again, other = (spec.build(spec.sample_shape, seed) for seed in (3, np.int64(3), 4))
    assert equal_weights(first, again)
    for path, one, two in zip(spec.variable_paths(), weights_of(first), weights_of(other), strict=True):
        assert np.array_equal(one, two) is not path.endswith("/kernel"), path


@every_network
def test_a_pickled_spec_is_equal_and_builds_the_same_weights(name: str) -> None:
    spec = small(name, initializer=InitializerSpec("RandomNormal", (("stddev", 1.0),)))
    restored = pickle.loads(pickle.dumps(spec))
    assert restored == spec
    assert hash(restored) == hash(spec)
    assert equal_weights(restored.build(spec.sample_shape, 6), spec.build(spec.sample_shape, 6))


def test_specs_differ_by_every_field_and_cannot_be_changed() -> None:
    spec = ResidualSpec(initializer=HE, activation="relu")
    others = [
        replace(spec, initializer=InitializerSpec("Zeros")),
        replace(spec, head_initializer=HE),
        replace(spec, activation="tanh"),
        replace(spec, depth=11),
        replace(spec, width=255),
        replace(spec, normalized=True),
        replace(spec, outputs=9),
        MlpSpec(initializer=HE, activation="relu", depth=10, width=256),
    ]
    assert len({spec, *others}) == 9
    assert replace(others[0], initializer=HE) == spec
    with pytest.raises(FrozenInstanceError):
        spec.depth = 3  # type: ignore[misc]


def test_the_first_kernels_do_not_change_when_a_network_gets_deeper() -> None:
    shallow, deep = (small("mlp", depth=depth).build((8,), 0) for depth in (2, 5))
    assert np.array_equal(shallow.get_layer("hidden_02").kernel, deep.get_layer("hidden_02").kernel)


@pytest.mark.parametrize("spec", study_initializers(), ids=lambda spec: spec.label)
def test_every_initializer_of_the_study_builds_on_the_mlp_and_the_notebook(spec: InitializerSpec) -> None:
    for name in ("mlp", "notebook"):
        model = small(name, initializer=spec).build((8, 8), 0)
        assert np.isfinite(np.concatenate([weight.ravel() for weight in weights_of(model)])).all()


@pytest.mark.parametrize("activation", STUDY_ACTIVATIONS)
def test_every_activation_of_the_study_is_fused_into_the_hidden_layers(activation: str) -> None:
    model = small("mlp", activation=activation).build((8,), 0)
    function = getattr(keras.activations, activation)
    assert [model.get_layer(f"hidden_0{number}").activation for number in (1, 2, 3)] == [function] * 3
    assert model.get_layer("output").activation is keras.activations.linear


def test_the_mlp_has_the_named_hidden_layers_of_its_width() -> None:
    spec = MlpSpec(initializer=HE, activation="tanh", depth=12, width=7, outputs=4)
    model = spec.build((7,), 0)
    assert [layer.name for layer in model.layers] == ["input", *spec.signal_layers(), "output"]
    assert spec.signal_layers()[0] == "hidden_01"
    assert spec.signal_layers()[-1] == "hidden_12"
    assert {tuple(model.get_layer(name).kernel.shape) for name in spec.signal_layers()} == {(7, 7)}
    assert tuple(model.output.shape) == (None, 4)
    assert (spec.depth, spec.width, spec.sample_shape) == (12, 7, (7,))


def test_the_mlp_flattens_samples_of_several_axes() -> None:
    model = small("mlp").build((4, 3, 2), 0)
    assert [layer.name for layer in model.layers][:3] == ["input", "flatten", "hidden_01"]
    assert tuple(model.get_layer("hidden_01").kernel.shape) == (24, 8)


def test_the_notebook_network_is_that_of_the_notebook() -> None:
    spec = NotebookSpec(initializer=HE)
    model = spec.build((28, 28), 0)
    dense = [model.get_layer(name) for name in ("hidden_1", "hidden_2", "output")]
    assert [layer.units for layer in dense] == [300, 100, 10]
    assert [layer.activation.__name__ for layer in dense] == ["relu", "relu", "softmax"]
    assert model.count_params() == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert spec.signal_layers() == ("hidden_1", "hidden_2")
    assert (spec.depth, spec.width) == (2, 300)
    assert type(dense[-1].kernel_initializer) is type(keras.layers.Dense(1).kernel_initializer)


@every_network
def test_the_heads_initializer_does_not_follow_the_one_under_test(name: str) -> None:
    default = "GlorotUniform" if name == "notebook" else "LecunNormal"
    for class_name in ("Zeros", "HeUniform"):
        spec = small(name, initializer=InitializerSpec(class_name))
        assert spec.head_initializer == InitializerSpec(default)
        assert type(spec.build(spec.sample_shape, 0).get_layer("output").kernel_initializer).__name__ == default


@pytest.mark.parametrize(("sample_shape", "channels"), [((6, 5), 1), ((6, 5, 3), 3)])
def test_the_convolutions_keep_height_and_width(sample_shape: tuple[int, ...], channels: int) -> None:
    spec = small("conv")
    model = spec.build(sample_shape, 0)
    layers = [model.get_layer(name) for name in spec.signal_layers()]
    assert spec.signal_layers() == ("conv_01", "conv_02", "conv_03")
    assert tuple(layers[0].kernel.shape) == (3, 3, channels, 8)
    assert {tuple(layer.output.shape) for layer in layers} == {(None, 6, 5, 8)}
    assert all(layer.activation is keras.activations.relu for layer in layers)


@every_network
@pytest.mark.parametrize("sample_shape", [(), (4, 0)])
def test_samples_without_numbers_are_refused(name: str, sample_shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="needs samples of at least one number"):
        small(name).build(sample_shape, 0)


@pytest.mark.parametrize("normalized", [False, True])
def test_a_residual_block_adds_a_linear_layer_of_the_activation_to_its_input(normalized: bool) -> None:
    spec = ResidualSpec(initializer=HE, activation="tanh", depth=2, width=5, normalized=normalized)
    model = spec.build((5,), 0)
    block = ["normalization", "activation", "dense", "add"] if normalized else ["activation", "dense", "add"]
    names = [f"block_{number}_{part}" for number in ("01", "02") for part in block]
    assert [layer.name for layer in model.layers] == ["input", "stem", *names, "output"]
    assert spec.signal_layers() == ("block_01_add", "block_02_add")
    if normalized:
        assert isinstance(model.get_layer("block_01_normalization"), keras.layers.BatchNormalization)

    x = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
    expected = x @ to_array(model.get_layer("stem").kernel)
    for number in ("01", "02"):
        branch = expected
        if normalized:
            branch = (branch - branch.mean(axis=0)) / np.sqrt(branch.var(axis=0) + 1e-3)
        expected = expected + np.tanh(branch) @ to_array(model.get_layer(f"block_{number}_dense").kernel)
    expected = expected @ to_array(model.get_layer("output").kernel)
    np.testing.assert_allclose(to_array(model(x, training=True)), expected, rtol=1e-4, atol=1e-5)


@every_network
def test_building_leaves_pythons_and_numpys_random_state_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = keras.layers.Dense.__init__
    used = []

    def careless(self: Any, *args: Any, **kwargs: Any) -> None:
        # With every initializer given, the layers of today's Keras draw no seed; those of another version may.
        used.append((random.random(), np.random.normal(), keras.random.normal(())))
        original(self, *args, **kwargs)

    monkeypatch.setattr(keras.layers.Dense, "__init__", careless)
    python, numpy = random.getstate(), np.random.get_state()
    spec = small(name)
    spec.build(spec.sample_shape, 1)
    assert used
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy[1])
    assert np.random.get_state()[2:] == numpy[2:]


def test_an_initializer_that_cannot_make_a_kernel_is_named_with_the_layer_in_one_line() -> None:
    with pytest.raises(InitializerError) as raised:
        small("conv", initializer=InitializerSpec("Identity")).build((6, 6), 0)
    message = str(raised.value)
    assert message.startswith("Identity cannot make the kernel of layer 'conv_01' of the conv network: ")
    assert "only be used for 2D" in message
    assert "\n" not in message


@every_network
def test_networks_that_differ_in_the_initializer_under_test_can_share_one_model(name: str) -> None:
    head = InitializerSpec("RandomUniform")
    spec = replace(small(name), head_initializer=head)
    other = replace(spec, initializer=InitializerSpec("Orthogonal"))
    shared = other.build(other.sample_shape, 0)
    drawn = RedrawPlan(shared, spec.weight_initializers(shared)).sample([4])
    for expected, values in zip(weights_of(spec.build(spec.sample_shape, 4)), drawn, strict=True):
        np.testing.assert_array_equal(np.asarray(values)[0], expected)


def test_a_shared_model_refuses_what_building_refuses_in_the_same_words() -> None:
    spec = small("conv", initializer=InitializerSpec("Identity"))
    shared = small("conv").build(spec.sample_shape, 0)
    with pytest.raises(InitializerError) as shared_error:
        spec.weight_initializers(shared)
    with pytest.raises(InitializerError) as own_error:
        spec.build(spec.sample_shape, 0)
    assert str(shared_error.value) == str(own_error.value)


def test_a_network_that_does_not_fit_into_the_memory_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(_self: Any, shape: Any, dtype: Any = None) -> Any:
        # What the backend raises, TensorFlow after ten seconds, for a kernel of this size.
        message = f"OOM when allocating {shape} of {dtype}\n[Op:Mul]"
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(message)
        import tensorflow as tf

        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(keras.initializers.HeNormal, "__call__", exhaust)
    with pytest.raises(ModelError, match=r"^Cannot build layer 'hidden_01' of the mlp network: OOM .* \[Op:Mul\]$"):
        small("mlp").build((8,), 0)


@every_network
def test_the_registry_makes_every_network_with_its_settings(name: str) -> None:
    default = make_network(name, initializer=HE, activation="relu")
    if default.ADJUSTABLE:
        spec = make_network(name, initializer=HE, activation="relu", depth=np.int64(4), width=6)
        assert (spec.depth, spec.width, type(spec.depth)) == (4, 6, int)
        assert make_network(name, initializer=HE, activation="relu", depth=4).width == default.width
    else:
        assert name == "notebook"
    assert default.head_initializer == NETWORKS[name](initializer=HE, activation="relu").head_initializer


@pytest.mark.parametrize("value", [0, -3, 1.5, True, "4"])
@pytest.mark.parametrize("setting", ["depth", "width"])
@pytest.mark.parametrize("name", ["mlp", "conv", "residual", "residual_normalized"])
def test_a_depth_or_width_below_one_is_refused(name: str, setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"--{setting} must be at least 1\. Received: {value!r}\."):
        make_network(name, initializer=HE, activation="relu", **{setting: value})


def make(name: str, activation: str = "relu", **settings: Any) -> NetworkSpec:
    return make_network(name, initializer=HE, activation=activation, **settings)


PICTURES = r"needs pictures.*Received: shape \("
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: small("conv").build((64,), 0), ModelError, PICTURES),
    (lambda: small("conv").build((2, 2, 2, 2), 0), ModelError, PICTURES),
    (lambda: make("notebook", depth=5), UsageError, "network has a fixed depth. Leave --depth out.*: 5"),
    (lambda: make("notebook", width=5), UsageError, "network has a fixed width. Leave --width out.*: 5"),
    (lambda: ConvSpec(initializer=HE, activation="relu", depth=0), UsageError, "--depth must be at least 1"),
    (lambda: make("residul"), UsageError, r"Unknown network 'residul'\. Did you mean residual"),
    (lambda: make("mlp", "rellu"), UsageError, r"Unknown activation 'rellu'\. Did you mean relu"),
    (
        lambda: MlpSpec(initializer=HE, activation="rellu").build((8,), 0),
        UsageError,
        "Unknown activation 'rellu'",
    ),
    (
        lambda: small("mlp", initializer=InitializerSpec("HeNormall")).build((8,), 0),
        UsageError,
        "Unknown initializer 'HeNormall'",
    ),
    (
        lambda: replace(small("mlp"), head_initializer=InitializerSpec("STFT")).build((8,), 0),
        InitializerError,
        "STFT cannot make the kernel of layer 'output' of the mlp network",
    ),
    *((partial(small("mlp").build, (8,), seed), UsageError, "seed must be a whole number") for seed in (-1, 1.5, None)),
    *(
        (partial(check_activation, name), UsageError, "Unknown activation")
        for name in ("get", "serialize", "deserialize", "ReLU", "", "keras")
    ),
    (lambda: check_activation("glu"), UsageError, "'glu' changes the shape"),
    (lambda: check_activation("threshold"), UsageError, "'threshold' needs arguments of its own"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_no_network_can_be_made_of_is_refused(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


def test_aliases_of_an_activation_are_one_activation() -> None:
    assert check_activation("swish") == check_activation("silu") == "silu"
    assert small("mlp", activation="swish") == small("mlp", activation="silu")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cost_of_a_network_counts_what_its_hidden_kernels_hold_and_where_they_are_applied(name: str) -> None:
    kind = find_network(name)
    spec = make_network(name, initializer=HE, activation="relu")
    assert isinstance(spec, kind) and spec.name == name
    assert spec.description.endswith((".", "softmax."))
    if not kind.ADJUSTABLE:
        return
    model = spec.build(spec.sample_shape, 0)
    kernels = [weight for weight in model.weights if weight.path.endswith("kernel")]
    assert math.prod(kernels[1].shape) == kind.WINDOW * spec.width**2
    layer = next(layer for layer in model.layers if layer.weights and layer.weights[0] is kernels[1])
    assert np.prod(layer.output.shape[1:-1], dtype=int) == kind.POSITIONS
