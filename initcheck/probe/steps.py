"""A probe for the middle of training: it measures the model's weights as they are, in one compiled call.

The tables of :class:`initcheck.probe.Probe` cost several training steps of a small network. Here the same forward and
backward pass, reduced in the same way, reads the model's own variables and returns one vector, which becomes rows of a
table later, many steps at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.keras_private import sync_variables
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import dtype_name, import_keras, is_float_dtype
from initcheck.probe.capture import Capture
from initcheck.probe.layer_kinds import main_kernel
from initcheck.probe.measure import Loss, Probe
from initcheck.probe.reduce import PARTS, reduce_norms


class StepProbe(Probe):
    """Measures one model on one batch again and again while its weights change; the model itself is never changed."""

    def __init__(self, model: Any, inputs: Any, *, loss: Loss | None = None, seed: int = 0) -> None:
        super().__init__(model, inputs, loss=loss)
        index = {id(weight): place for place, weight in enumerate(model.weights)}
        kernels = (main_kernel(member) for _, member in self._namer.members())
        places = {index[id(kernel)] for kernel in kernels if kernel is not None and id(kernel) in index}
        self._kernels = [place for place in sorted(places) if is_float_dtype(model.weights[place].dtype)]
        self._states = self.plan.derive([seed])[0]
        self._measure_now: Callable[..., Any] | None = None
        self._read_now: Callable[..., Any] | None = None

    def trace(self) -> None:
        """Trace the graph, unless it is traced already."""
        if self._measure_now is not None:
            return
        kernels = [self.model.weights[place] for place in self._kernels]
        with preserved_random_state():
            self._read_now = backend().trace(
                lambda: [
                    import_keras().ops.copy(backend().read_variable(self.model.weights[place]))
                    for place in self._kernels
                ],
                [],
            )
            self._measure_now = backend().trace(
                self._measure_change, [(tuple(kernel.shape), kernel.dtype) for kernel in kernels]
            )

    def read_kernels(self) -> list[Any]:
        """Hold the kernels as they are, for :meth:`measure_change` after the step.

        On TensorFlow nothing is copied by that: it gives a variable new memory when it is assigned to while someone
        else holds the old.
        """
        self.trace()
        sync_variables(self.model)
        return list(self._read_now()) if self._read_now is not None and self._kernels else []

    def measure_change(self, before: Sequence[Any]) -> Any:
        """Measure the model as it is, and how far its kernels are from what they were."""
        self.trace()
        sync_variables(self.model)
        assert self._measure_now is not None
        return self._measure_now(*before)

    def find_frozen(self) -> frozenset[int]:
        """Find the sites whose kernel is not to be trained, as the model is set now."""
        places = enumerate(self._kernel_places)
        return frozenset(
            site for site, place in places if place is not None and not self.model.weights[place].trainable
        )

    def find_inner_kernels(self) -> frozenset[int]:
        """Find the sites whose kernels lie in a layer inside them, the cell of a recurrent layer: none is measured."""
        kernels = enumerate(zip(self.sites, self._kernel_places, strict=True))
        return frozenset(place for place, (site, kernel) in kernels if site.weighted and kernel is None)

    def find_connected(self) -> frozenset[int]:
        """Find the sites from whose kernel a path leads to the loss, whatever the gradient is."""
        return self._connected

    def has_half_precision(self) -> bool:
        """Whether a layer computes in float16, where small gradients become 0 unless the loss is scaled."""
        return any(getattr(member, "compute_dtype", None) == "float16" for _, member in self._namer.members())

    def unpack(
        self, vectors: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Turn what :meth:`measure_change` returned into quantities, the norm of each kernel's change, and the loss.

        Their shapes are [steps, sites, quantities], [steps, sites] and [steps]; NaN where a quantity is undefined.
        """
        sites = self.sites
        end = len(sites) * len(PARTS)
        order = {place: number for number, place in enumerate(self._kernels)}
        changes = np.full((len(vectors), len(sites)), np.nan)
        for position, place in enumerate(self._kernel_places):
            if place in order:
                changes[:, position] = vectors[:, order[place] - len(self._kernels)]  # the last ones
        return self._finish(vectors[:, :end]), changes, vectors[:, -len(self._kernels) - 1]

    @property
    def batch_size(self) -> int:
        """Samples in the batch."""
        return self._batch_size

    @cached_property
    def _kernel_places(self) -> list[int | None]:
        """Find for each site the place of its kernel among the model's weights."""
        index = {id(weight): place for place, weight in enumerate(self.model.weights)}
        by_path = dict(self._namer.members())
        places: list[int | None] = []
        for site in self.sites:
            # A second tensor of the same call is a site of its own, with ":1" behind the path.
            member = by_path.get(site.key, by_path.get(site.key.rpartition(":")[0]))
            kernel = None if member is None else main_kernel(member)
            places.append(None if kernel is None else index.get(id(kernel)))
        return places

    def _watch_inputs(self, capture: Capture, flat: Sequence[Any]) -> Any:  # noqa: ARG002 - the probe's signature
        """Feed the inputs without a site for them: they are the same at every step."""
        return import_keras().tree.pack_sequence_as(self._inputs, list(flat))

    def _measure_change(self, *before: Any) -> Any:
        """Measure once and reduce the changes of the kernels. Called while the graph is traced."""
        ops = import_keras().ops
        values = [backend().read_variable(weight) for weight in self.model.weights]
        measured = self._measure_one(values, ops.convert_to_tensor(self._states), every_weight=False)
        with backend().double_precision():
            changes = [_difference(values[place], old) for place, old in zip(self._kernels, before, strict=True)]
            loss = ops.full((1,), np.nan, "float64") if self._loss is None else ops.reshape(self._loss_value, (1,))
            return ops.concatenate([measured, ops.cast(loss, "float64"), reduce_norms(changes)])


def _difference(after: Any, before: Any) -> Any:
    """Subtract in at least float32, in which the difference of two half-precision numbers is exact."""
    ops = import_keras().ops
    dtype = "float64" if dtype_name(after) == "float64" else "float32"
    return ops.cast(after, dtype) - ops.cast(before, dtype)
