"""A model ready to be checked: its batch, its loss, and what measures it for any weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from initcheck.audit.findings import Conditions
from initcheck.audit.paths import SiteNode
from initcheck.checking.input_specs import flatten
from initcheck.checking.inputs import make_batch
from initcheck.checking.labels import compiled_loss
from initcheck.checking.load_model import LoadedModel, adopt_model, load_model
from initcheck.checking.settings import CheckSettings, default_seeds
from initcheck.core.errors import ModelError
from initcheck.core.files import digest_arrays
from initcheck.core.progress import Progress, no_progress
from initcheck.core.seeds import BATCH_SEED
from initcheck.probe import Probe, RedrawPlan
from initcheck.probe.draw import find_initializers
from initcheck.probe.paths import PathNamer
from initcheck.probe.session import Session

LARGE_BATCH: Final = 32
SMALL_BATCH: Final = 8
LARGE_SAMPLE: Final = 20_000

_RANDOM: Final = "a fixed random linear functional of the outputs, of unit variance at each"
_COMPILED: Final = "the model's compiled loss, with the labels given"


@dataclass
class CheckSession:
    """One model, ready to be measured on its batch and with its loss.

    Attributes:
        loss_function: from outputs to a scalar; None for the random loss.
    """

    label: str
    inputs: Any
    conditions: Conditions
    loss_function: Callable[[Any], Any] | None
    initializers: Mapping[str, Any]
    probe: Probe
    seeds: tuple[int, ...]
    redrawn: bool

    @property
    def model(self) -> Any:
        """The built model."""
        return self.probe.model

    @property
    def plan(self) -> RedrawPlan:
        """How the weights are drawn."""
        return self.probe.plan

    @property
    def steps(self) -> int:
        """How many steps the progress display counts: one a draw."""
        return len(self.seeds)

    def measure(self, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Measure the model for all seeds."""
        progress(0, self.steps, "tracing the model")
        if not self.redrawn:
            measured = self.probe.measure_current_all(self.seeds[0])
            return measured.table, measured.weights
        return self._measure_plan(self.plan, self.seeds, progress)

    def measure_with(self, changes: Mapping[str, Any], seeds: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Measure with other initializers: same graph, same batch, the same random numbers behind the weights."""
        return self._measure_plan(RedrawPlan(self.model, {**self.initializers, **changes}), seeds, no_progress)

    def nodes(self) -> list[SiteNode]:
        """Describe the graph of the measured sites; known after the first measurement."""
        return [
            SiteNode(site.layer, site.kind, site.weighted, position in self.probe.output_sites, parents)
            for position, (site, parents) in enumerate(zip(self.probe.sites, self.probe.parents, strict=True))
        ]

    def _measure_plan(
        self, plan: RedrawPlan, seeds: Sequence[int], progress: Progress
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        def report(done: float, _: int) -> None:
            if done:
                progress(int(done), len(seeds), "measuring")

        (measured,) = Session([self.probe]).measure_all(plan.sample, seeds, report)
        progress(len(seeds), len(seeds), "measuring")
        return measured.table, measured.weights


def default_batch_size(model: Any) -> int:
    """Choose how many samples a batch that is made holds: 32, or 8 where a sample holds more than 20,000 numbers.

    A large sample has many positions, which say as much of a layer as many small samples do.
    """
    shapes = [tensor.shape for tensor in getattr(model, "inputs", None) or ()]
    numbers = sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)
    return LARGE_BATCH if numbers <= LARGE_SAMPLE else SMALL_BATCH


def prepare_session(model: Any, x: Any, y: Any, settings: CheckSettings) -> CheckSession:
    """Load the model, make its batch and its loss, and plan the draws."""
    if isinstance(model, LoadedModel):
        loaded = model
    else:
        loaded = load_model(model) if isinstance(model, str) else adopt_model(model)
    batch = make_batch(
        loaded.model,
        x,
        y,
        batch_size=settings.batch_size or default_batch_size(loaded.model),
        input_shapes=settings.input_shapes,
        seed=BATCH_SEED,
    )
    built = loaded.model
    if not built.trainable_weights:
        raise ModelError(
            f"The model {loaded.label!r} has no trainable weights: there is no initialization to check. "
            f"Received: {len(built.weights)} weights in all. Set model.trainable = True, or give a model with weights."
        )
    loss = None if y is None else compiled_loss(built, batch.labels)
    known = find_initializers(built, PathNamer(built))
    initializers = {**known, **(loaded.initializers or {}), **batch.initializers}
    redrawn = settings.weights == "redraw"
    count = settings.seeds or default_seeds(sum(int(np.prod(weight.shape)) for weight in built.weights))
    first_seed = settings.first_seed or 0
    seeds = tuple(range(first_seed, first_seed + (count if redrawn else 1)))
    return CheckSession(
        label=loaded.label,
        inputs=batch.inputs,
        conditions=Conditions(
            batch=batch.description,
            batch_digest=digest_arrays(flatten([batch.inputs, batch.labels])),
            loss=_RANDOM if loss is None else _COMPILED,
            dtype_policy=str(built.dtype_policy.name),
        ),
        loss_function=loss,
        initializers=initializers,
        probe=Probe(built, batch.inputs, loss=loss, initializers=initializers, every_weight=True, precision_range=True),
        seeds=seeds,
        redrawn=redrawn,
    )
