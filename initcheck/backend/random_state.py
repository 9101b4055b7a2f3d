"""Random number generators of the process, left as they were found.

Making a Keras initializer or seed generator without a seed draws one from Python's ``random``, and a
model's factory may call ``keras.utils.set_random_seed``. Measuring must change neither what the caller
draws next nor what the caller's own models are initialized with.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from initcheck.backend.runtime import import_keras

_GENERATOR = "global_seed_generator"
_SEED = "global_random_seed"


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore every global random state when the context ends, also by an exception.

    Preserved are Python's ``random``, NumPy's legacy global generator (``numpy.random.seed``), Keras'
    global seed generator and the seed given to ``keras.utils.set_random_seed``, TensorFlow's eager
    global seed with the generator of operation seeds that depends on it, and PyTorch's default generators;
    JAX has no such state. What did not exist before does not exist afterwards. Libraries that are not imported
    are not imported for this. Keras keeps its state by thread, so the context belongs to the thread that enters
    it; and it reads the state eagerly, so it cannot be entered while a graph is traced.

    Out of reach are the counters inside the kernels of TensorFlow's stateful random operations
    (``tensorflow.random.normal``): one that is called inside the context has counted on, and
    ``tensorflow.random.set_seed`` restarts them all. Keras uses none of these operations.
    """
    with ExitStack() as restored:
        for save in (_save_python, _save_numpy, _save_keras, _save_tensorflow, _save_torch):
            restored.callback(save())
        yield


def set_random_seed(seed: int) -> None:
    """Seed all that ``keras.utils.set_random_seed`` seeds, and start Keras' global seed generator again.

    Keras itself does the latter from 3.13 on; before, ``keras.random`` went on where it was.
    """
    import_keras().utils.set_random_seed(seed)
    _keras_store().set_global_attribute(_GENERATOR, None)


def _save_python() -> Callable[[], None]:
    state = random.getstate()
    return lambda: random.setstate(state)


def _save_numpy() -> Callable[[], None]:
    import numpy as np

    state = np.random.get_state(legacy=False)
    return lambda: np.random.set_state(state)


def _save_keras() -> Callable[[], None]:
    store = _keras_store()
    seed = None if store is None else store.get_global_attribute(_SEED)
    generator = None if store is None else store.get_global_attribute(_GENERATOR)
    state = None if generator is None else generator.state.numpy().copy()

    def restore() -> None:
        store = _keras_store()  # again: Keras may have been imported inside the context
        if store is None:
            return
        # Keras itself removes a global attribute by setting it to None.
        store.set_global_attribute(_SEED, seed)
        store.set_global_attribute(_GENERATOR, generator)
        if generator is not None:
            generator.state.assign(state)

    return restore


def _save_tensorflow() -> Callable[[], None]:
    context = _tensorflow_context()
    seed = getattr(context, "_seed", None)
    operation_seeds = getattr(context, "_rng", None)
    state = None if operation_seeds is None else operation_seeds.getstate()

    def restore() -> None:
        context = _tensorflow_context()
        if context is None:
            return
        # Not by tensorflow.random.set_seed, which would restart both generators from their seed.
        context._seed = seed
        if operation_seeds is not None:
            operation_seeds.setstate(state)
            context._rng = operation_seeds
        elif hasattr(context, "_rng"):
            del context._rng

    return restore


def _save_torch() -> Callable[[], None]:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return lambda: None
    state = torch.get_rng_state()
    # A device that nothing has used yet has no state: asking for one would start it.
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore() -> None:
        torch.set_rng_state(state)
        if devices:
            torch.cuda.set_rng_state_all(devices)

    return restore


def _keras_store() -> Any:
    """Return Keras' module of global attributes; None while Keras is not imported."""
    return sys.modules.get("keras.src.backend.common.global_state")


def _tensorflow_context() -> Any:
    """Return TensorFlow's eager context; None while TensorFlow is not imported or has made none."""
    module = sys.modules.get("tensorflow.python.eager.context")
    return None if module is None else module.context_safe()
