"""Defects of seeds and of dtypes: what repeats, what differs, what is returned in which precision."""

from __future__ import annotations

import functools
import math
import random as python_random
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
from planted_values import TRUNCATED_SD
from planting import Plant, Planted, call_wrapped, replaced, source, together

from initcheck.backend.runtime import import_keras

RANDOM = (
    "RandomNormal RandomUniform TruncatedNormal VarianceScaling GlorotNormal GlorotUniform HeNormal HeUniform "
    "LecunNormal LecunUniform Orthogonal"
)


def seeds(change: Any) -> Plant:
    """Plant a change of the seed that an initializer is made with; what it tells of itself stays as it was."""

    def make(init: Any) -> Any:
        @functools.wraps(init)
        def changed(self: Any, seed: Any = None) -> None:
            init(self, change(seed))
            self._init_seed = seed

        return changed

    return replaced("initializers.random_initializers.RandomInitializer.__init__", make)


def only_integers(change: Any) -> Any:
    return lambda seed: change(seed) if isinstance(seed, int) else seed


def _next_repeated(following: Any) -> Any:
    """Every second call of a seed generator gives the value of the one before."""

    @functools.wraps(following)
    def changed(self: Any, ordered: bool = True) -> Any:
        kept = getattr(self, "_kept", None)
        if kept is None:
            self._kept = following(self, ordered)
            return self._kept
        self._kept = None
        return kept

    return changed


def _advancing(call: Any) -> Any:
    """An integer seed counts on with each call."""

    @functools.wraps(call)
    def changed(self: Any, shape: Any, dtype: Any = None) -> Any:
        drawn = call(self, shape, dtype=dtype)
        if isinstance(self.seed, int):
            self.seed += 1
        return drawn

    return changed


def _shared(get: Any) -> Any:
    """Layers that name an initializer by a string all get the same instance."""
    instances: dict[str, Any] = {}

    @functools.wraps(get)
    def changed(identifier: Any) -> Any:
        if isinstance(identifier, str):
            return instances.setdefault(identifier, get(identifier))
        return get(identifier)

    return changed


def _without_python() -> AbstractContextManager[None]:
    """``set_random_seed`` leaves Python's generator alone, which draws the seeds of unseeded initializers."""
    silent = SimpleNamespace(seed=lambda seed: None)
    return replaced("utils.rng_utils.random", lambda _: silent)()


def _keeps_global_generator() -> AbstractContextManager[None]:
    def make(state: Any) -> Any:
        return SimpleNamespace(
            set_global_attribute=lambda name, value: None if value is None else state.set_global_attribute(name, value)
        )

    return replaced("utils.rng_utils.global_state", make)()


SEEDS = (
    Planted(
        "seed_ignored",
        "an integer seed is ignored",
        seeds(only_integers(lambda _: None)),
        ("determinism.he_normal.seed_repeats",),
        named_first=("determinism.*.seed_repeats",),
    ),
    Planted(
        "seed_constant",
        "every initializer has the seed 1337",
        seeds(lambda _: 1337),
        ("determinism.he_normal.seed_sensitivity", "determinism.he_normal.unseeded_instances_differ"),
        named_first=(
            "determinism.*.draws_differ",
            "determinism.*.seed_sensitivity",
            "determinism.*.unseeded_instances_differ",
        ),
    ),
    Planted(
        "seed_zero_is_none",
        "seed=0 counts as no seed",
        seeds(lambda seed: seed if isinstance(seed, dict) else seed or None),
        ("determinism.he_normal.seed_repeats",),
        named_first=("determinism.*.seed_repeats",),
    ),
    Planted(
        "seed_of_eight_bits",
        "seeds repeat after 256",
        seeds(only_integers(lambda s: s % 256)),
        ("determinism.he_normal.seed_sensitivity",),
        named_first=("determinism.*.draws_differ", "determinism.*.seed_sensitivity"),
    ),
    Planted(
        "even_seeds",
        "the last bit of a seed is lost",
        seeds(only_integers(lambda s: s & ~1)),
        ("determinism.he_normal.seed_sensitivity",),
        named_first=("determinism.*.draws_differ", "determinism.*.seed_sensitivity"),
    ),
    Planted(
        "unseeded_are_equal",
        "initializers without a seed all have the same one",
        together(
            replaced("random.seed_generator.make_default_seed", lambda _: lambda: 7),
            replaced("backend.tensorflow.random.make_default_seed", lambda _: lambda: 7),
            replaced("initializers.random_initializers.random.make_default_seed", lambda _: lambda: 7),
        ),
        ("determinism.he_normal.unseeded_instances_differ", "layer_defaults.dense.independent_weights"),
        named_first=("determinism.*.draws_differ", "determinism.*.unseeded_instances_differ"),
        not_shown=("determinism.python_seed.build_repeats",),
    ),
    Planted(
        "unseeded_from_the_system",
        "initializers without a seed draw it past Python's generator",
        together(
            *(
                replaced(
                    f"{module}.make_default_seed", lambda _: lambda: python_random.SystemRandom().randint(1, int(1e9))
                )
                # Where seed generators look it up, and where initializers do.
                for module in ("random.seed_generator", "backend.tensorflow.random")
            )
        ),
        ("determinism.set_random_seed.build_repeats",),
        named_first=("determinism.set_random_seed.build_repeats", "determinism.*.python_random_state"),
    ),
    Planted(
        "generator_repeats",
        "every second call of a seed generator repeats the one before",
        replaced("random.seed_generator.SeedGenerator.next", _next_repeated),
        ("determinism.he_normal.seed_generator_varies",),
        named_first=("determinism.*.draws_differ", "determinism.*.seed_generator_varies"),
    ),
    Planted(
        "integer_seed_advances",
        "an initializer with an integer seed gives other values on its second call",
        call_wrapped(RANDOM, _advancing),
        ("determinism.he_normal.seed_repeats", "determinism.he_normal.unseeded_repeats"),
        named_first=("determinism.*.seed_repeats", "determinism.*.unseeded_repeats"),
    ),
    Planted(
        "shared_instances",
        "layers that name their initializer by a string share one instance",
        replaced("initializers.get", _shared),
        ("determinism.dense_layers.alias_independent", "layer_defaults.dense.independent_weights"),
        named_first=(
            "determinism.*.draws_differ",
            "determinism.*.alias_independent",
            "determinism.*.unseeded_instances_differ",
        ),
    ),
    Planted(
        "clone_keeps_state",
        "the clone of an unseeded initializer draws what the original draws",
        call_wrapped(RANDOM, lambda get_config: lambda self: {**get_config(self), "seed": self.seed}, "get_config"),
        ("determinism.he_normal.clone",),
        named_first=("determinism.*.draws_differ", "determinism.*.clone", "determinism.*.config_round_trip"),
    ),
    Planted(
        "clone_is_the_original",
        "clone returns the initializer itself",
        replaced("initializers.initializer.Initializer.clone", lambda _: lambda self: self),
        ("determinism.he_normal.clone",),
        named_first=("determinism.*.draws_differ", "determinism.*.clone"),
    ),
    Planted(
        "python_not_seeded",
        "set_random_seed does not seed Python's generator",
        _without_python,
        ("determinism.set_random_seed.build_repeats",),
    ),
    Planted(
        "global_generator_kept",
        "set_random_seed does not start the global seed generator again",
        _keeps_global_generator,
        ("determinism.set_random_seed.build_repeats",),
    ),
)


def _in_dtype(choose: Any) -> Any:
    """Draw in one dtype, return in another."""

    def wrap(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype: Any = None) -> Any:
            keras = import_keras()
            wanted = keras.backend.standardize_dtype(dtype) if dtype is not None else keras.config.floatx()
            drawn_in, returned_in = choose(str(wanted))
            return keras.ops.cast(call(self, shape, dtype=drawn_in), returned_in)

        return changed

    return wrap


def _through(drawn: Any, dtype: str) -> Any:
    """Round through a coarser dtype, and return the dtype that was drawn."""
    ops = import_keras().ops
    return ops.cast(ops.cast(drawn, dtype), drawn.dtype)


DTYPES = (
    Planted(
        "float64_from_float32",
        "float64 values were computed in float32",
        call_wrapped(RANDOM, _in_dtype(lambda wanted: ("float32" if wanted == "float64" else wanted, wanted))),
        ("dtype.he_normal.resolution", "dtype.glorot_uniform.resolution"),
        named_first=("dtype.*.resolution",),
    ),
    Planted(
        "dtype_ignored",
        "values are float32 whatever dtype is asked for",
        call_wrapped(f"{RANDOM} Zeros Ones Constant Identity", _in_dtype(lambda _: ("float32", "float32"))),
        ("dtype.he_normal.returned", "dtype.zeros.returned"),
        named_first=("dtype.*.returned",),
    ),
    Planted(
        "floatx_ignored",
        "without a dtype values are float32 whatever keras.config.floatx says",
        call_wrapped(
            RANDOM,
            lambda call: lambda self, shape, dtype=None: call(self, shape, dtype=dtype or "float32"),
        ),
        ("dtype.he_normal.returned",),
        named_first=("dtype.*.returned",),
    ),
    Planted(
        "half_precision_scaled",
        "float16 values of HeNormal have a variance that is off by +5%",
        call_wrapped(
            "HeNormal",
            lambda call: (
                lambda self, shape, dtype=None: (
                    call(self, shape, dtype=dtype) * (1.05**0.5 if dtype == "float16" else 1.0)
                )
            ),
        ),
        ("dtype.he_normal.float16_calibrated",),
    ),
    Planted(
        "float64_scaled",
        "float64 values of GlorotUniform have a variance that is off by -5%",
        call_wrapped(
            "GlorotUniform",
            lambda call: (
                lambda self, shape, dtype=None: (
                    call(self, shape, dtype=dtype) * (0.95**0.5 if dtype == "float64" else 1.0)
                )
            ),
        ),
        ("dtype.glorot_uniform.float64_calibrated",),
    ),
    Planted(
        "orthogonal_in_half_precision",
        "Orthogonal computes in float16 and returns float32",
        call_wrapped(
            "Orthogonal",
            lambda call: lambda self, shape, dtype=None: _through(call(self, shape, dtype=dtype), "float16"),
        ),
        ("distribution.orthogonal.orthonormal", "dtype.orthogonal.resolution"),
        named_first=("dtype.orthogonal*.resolution",),
    ),
)

CHOICES = (
    Planted(
        "few_unseeded",
        "initializers without a seed choose among a thousand of them",
        # Where initializers look it up; seed generators have it from another module.
        replaced("backend.tensorflow.random.make_default_seed", lambda make: lambda: make() % 1000 + 1),
        ("determinism.unseeded.seldom_coincide",),
    ),
)


def _in_float32(seed: int) -> int:
    return int(np.float32(seed))


def _place_in_one_stream(step: int) -> Any:
    """An integer seed is a place in a stream of numbers: the next seed's are the same ones, so many further."""

    def wrap(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype: Any = None) -> Any:
            if not isinstance(self.seed, int):
                return call(self, shape, dtype=dtype)
            keras = import_keras()
            block, place = divmod(self.seed, 1024)
            count = int(np.prod(shape))
            fan_in = source("initializers.random_initializers.compute_fans")(shape)[0]
            draw = keras.random.uniform if self.distribution == "uniform" else keras.random.truncated_normal
            ends = (-math.sqrt(3.0), math.sqrt(3.0)) if self.distribution == "uniform" else (0.0, 1.0 / TRUNCATED_SD)
            stream = draw((step * place + count,), *ends, dtype=dtype, seed=block)
            return keras.ops.reshape(stream[step * place :], shape) * math.sqrt(self.scale / max(1.0, fan_in))

        return changed

    return wrap


_DIFFER = "determinism.*.draws_differ"
_FAR = "determinism.he_normal.far_seeds_differ"

FAR_SEEDS = (
    Planted(
        "sign_of_seed_lost",
        "a seed and its negative are the same",
        seeds(only_integers(abs)),
        (_FAR,),
        ("determinism.he_normal.seed_sensitivity",),
        (_DIFFER, "determinism.*.far_seeds_differ"),
    ),
    Planted(
        "seed_of_31_bits",
        "seeds that are 2^31 apart are the same",
        seeds(only_integers(lambda seed: seed % 2**31)),
        (_FAR,),
        ("determinism.he_normal.seed_sensitivity",),
        (_DIFFER, "determinism.*.far_seeds_differ"),
    ),
    Planted(
        "seed_of_32_bits",
        "seeds that are 2^32 apart are the same",
        seeds(only_integers(lambda seed: seed % 2**32)),
        (_FAR,),
        ("determinism.he_normal.seed_sensitivity",),
        (_DIFFER, "determinism.*.far_seeds_differ"),
    ),
    Planted(
        "large_seeds_cut_off",
        "all seeds beyond 2^31 - 1 are that number",
        seeds(only_integers(lambda seed: min(seed, 2**31 - 1))),
        (_FAR,),
        ("determinism.he_normal.seed_sensitivity",),
        (_DIFFER, "determinism.*.far_seeds_differ"),
    ),
    Planted(
        "complement_of_seed",
        "a seed and its complement are the same",
        seeds(only_integers(lambda seed: max(seed, ~seed))),
        (_FAR,),
        ("determinism.he_normal.seed_sensitivity",),
        (_DIFFER, "determinism.*.far_seeds_differ"),
    ),
    Planted(
        "seed_in_float32",
        "seeds go through float32, where large neighbours are the same",
        seeds(only_integers(_in_float32)),
        ("determinism.he_normal.seed_sensitivity",),
        (),
        (_DIFFER, "determinism.*.seed_sensitivity"),
    ),
)

STREAMS = (
    Planted(
        "seeds_are_places",
        "seeds of HeNormal are places in one stream: the next seed's values are the same ones, one further",
        call_wrapped("HeNormal", _place_in_one_stream(1)),
        ("determinism.he_normal.streams_are_no_shifts",),
        ("determinism.he_normal.seed_repeats", "determinism.he_uniform.streams_are_no_shifts"),
    ),
    Planted(
        "seeds_are_distant_places",
        "seeds of LecunUniform are places in one stream, 40 numbers apart",
        call_wrapped("LecunUniform", _place_in_one_stream(40)),
        ("determinism.lecun_uniform.streams_are_no_shifts",),
        ("determinism.lecun_uniform.seed_repeats", "determinism.he_uniform.streams_are_no_shifts"),
    ),
)

DEFECTS = (*SEEDS, *DTYPES, *CHOICES, *FAR_SEEDS, *STREAMS)
