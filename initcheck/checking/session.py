"""A model ready to be measured: its batch, its loss and its draws, of which a slow model has no more than decide."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from initcheck.audit.findings import Conditions, InitialLoss
from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode
from initcheck.backend import runtime
from initcheck.checking.input_specs import flatten
from initcheck.checking.inputs import make_batch
from initcheck.checking.labels import compiled_loss
from initcheck.checking.load_model import LoadedModel, adopt_model, load_model
from initcheck.checking.settings import CheckSettings, default_seeds
from initcheck.checking.sizes import compare_loss
from initcheck.core.errors import ModelError
from initcheck.core.files import digest_arrays
from initcheck.core.formatting import Progress, format_duration, no_progress
from initcheck.core.seeds import BATCH_SEED
from initcheck.probe import Measurement, Probe, RedrawPlan
from initcheck.probe.draw import LOADED, find_initializers
from initcheck.probe.first_steps import find_rounding, take_step
from initcheck.probe.loaded_weights import PresentWeights, read_present_weights
from initcheck.probe.paths import PathNamer
from initcheck.probe.places import Construction, name_places, recorded_places
from initcheck.probe.session import Session, join_measurements

LARGE_BATCH: Final = 32
SMALL_BATCH: Final = 8
LARGE_SAMPLE: Final = 20_000

SLOW_START: Final = 2.0
"""Seconds for tracing and the first draw, up to which all others are measured at once."""
SLOW: Final = 10.0
"""Seconds for all draws from which on they are measured one at a time, and no more of them than decide."""
LONGEST: Final = 120.0
"""Seconds that the draws of a slow model may take together, unless their number was asked for."""
FEWEST_DRAWS: Final = 3
"""Draws before which nothing is decided: two say too little of how much draws differ."""
FEWEST_IN_TIME: Final = 5
"""Draws that are measured however long they take, unless fewer decide."""

_RANDOM: Final = "a fixed random linear functional of the outputs, of unit variance at each"
_COMPILED: Final = "the model's compiled loss, with the labels given"


@dataclass
class CheckSession:
    """One model, ready to be measured on its batch and with its loss.

    Attributes:
        loss_function: from outputs to a scalar; None for the random loss.
        present: what the weights hold before any draw; the loaded ones only where they are looked for.
        constructions: how the layers were made, by name.
        labels: what the user gave beside the inputs; None without.
        made: how everything was made while the user's code ran, part of the model or not.
        given: whether the inputs are the user's.
        open_ended: whether fewer seeds may be measured, since their number was left open.
        fewer: why fewer were measured, once they were; empty else.
        remake: makes the model once more; None where there is no factory.
        prepare: prepares another model likewise, on the same batch and from the same seeds.
    """

    label: str
    inputs: Any
    conditions: Conditions
    loss_function: Callable[[Any], Any] | None
    initializers: Mapping[str, Any]
    probe: Probe
    seeds: tuple[int, ...]
    redrawn: bool
    present: PresentWeights
    constructions: Mapping[str, Construction]
    remake: Callable[[], LoadedModel] | None
    prepare: Callable[[LoadedModel], CheckSession]
    made: Sequence[Construction] = ()
    labels: Any = None
    given: bool = False
    open_ended: bool = False
    fewer: str = ""

    @property
    def model(self) -> Any:
        """The built model."""
        return self.probe.model

    @property
    def plan(self) -> RedrawPlan:
        """How the weights are drawn."""
        return self.probe.plan

    @property
    def places(self) -> dict[str, str]:
        """Where the layers were made, by name: ``models.py:14``."""
        return {name: str(each.site) for name, each in self.constructions.items() if each.site is not None}

    @property
    def steps(self) -> int:
        """How many steps the progress display counts: one a draw."""
        return len(self.seeds)

    def measure(self, progress: Progress, is_decided_by: Callable[[Measurement], bool] | None = None) -> Measurement:
        """Measure the model for all seeds; a slow one draw by draw, on fewer seeds where the first decide.

        The seeds that were measured are the session's from then on.

        Args:
            is_decided_by: whether the first draws decide; it is asked only where the number of draws was left open.
        """
        progress(0, self.steps, "tracing the model")
        if not self.redrawn:
            return self.probe.measure_current_all(self.seeds[0])
        started = time.perf_counter()
        parts = [self._measure_plan(self.plan, self.seeds[:1], no_progress)]
        if time.perf_counter() - started > SLOW_START:
            # The first draw took the tracing along; the second shows how long each takes.
            started = time.perf_counter()
            parts.append(self._measure_plan(self.plan, self.seeds[1:2], no_progress))
            seconds = time.perf_counter() - started
            if seconds * self.steps > SLOW:
                self._measure_slowly(parts, seconds, progress, is_decided_by if self.open_ended else None)
        if others := self.seeds[len(parts) :]:
            parts.append(self._measure_plan(self.plan, others, progress, len(parts)))
        progress(self.steps, self.steps, "measuring")
        return join_measurements(parts)

    def _measure_slowly(
        self,
        parts: list[Measurement],
        seconds: float,
        progress: Progress,
        is_decided_by: Callable[[Measurement], bool] | None,
    ) -> None:
        """Measure the other seeds one at a time, and leave out those that are not needed or take too long."""
        planned = self.steps
        if is_decided_by is not None and (count := max(FEWEST_IN_TIME, int(LONGEST / seconds))) < planned:
            self.seeds = self.seeds[:count]
            self.fewer = f"not {planned}: each takes {format_duration(seconds)}"
        while len(parts) < self.steps:
            if is_decided_by is not None and len(parts) >= FEWEST_DRAWS and is_decided_by(join_measurements(parts)):
                self.seeds = self.seeds[: len(parts)]
                self.fewer = f"not {planned}: the first decide, and each takes {format_duration(seconds)}"
                break
            left = format_duration(float(round(seconds * (self.steps - len(parts)))))
            progress(len(parts), self.steps, f"about {left} left")
            parts.append(self._measure_plan(self.plan, self.seeds[len(parts) : len(parts) + 1], no_progress))

    def measure_after(self, steps: int, still: Collection[str]) -> Measurement:
        """Measure again after some small steps of gradient descent, in which some weights stay as they are."""
        unmoved = frozenset(self.plan.names.index(name) for name in still)

        def draw(seeds: Sequence[int]) -> list[Any]:
            ops = runtime.import_keras().ops
            replicates = []
            for values in self._draw_each(seeds):
                for _ in range(steps):
                    values = take_step(self.model, self.inputs, self.loss_function, values, unmoved)
                replicates.append(values)
            return [ops.stack(values) for values in zip(*replicates, strict=True)]

        (measured,) = Session([self.probe]).measure_all(draw, self.seeds)
        return measured

    def step_own_weights(self, steps: int, still: Collection[str]) -> list[Any]:
        """Take small steps from the model's own weights; return what they would be, and leave them as they are."""
        unmoved = frozenset(self.plan.names.index(name) for name in still)
        values = [weight.value for weight in self.model.weights]
        for _ in range(steps):
            values = take_step(self.model, self.inputs, self.loss_function, values, unmoved)
        return values

    def find_rounding(self, suspects: Sequence[str]) -> frozenset[str]:
        """Find the weights among suspects whose gradient is nothing but rounding errors, on the first draw."""
        places = {self.plan.names.index(name): name for name in suspects}
        (values,) = self._draw_each(self.seeds[:1])
        return find_rounding(self.model, self.inputs, self.loss_function, values, places)

    def _draw_each(self, seeds: Sequence[int]) -> Iterator[list[Any]]:
        """Draw the values of all weights, or take the model's own, one seed at a time."""
        drawn = self.plan.sample(seeds) if self.redrawn else [weight.value[None] for weight in self.model.weights]
        for place in range(len(seeds)):
            yield [each[place] for each in drawn]

    def compare_loss(self, measured: Measurement, limits: Limits) -> InitialLoss | None:
        """Compare the loss that was measured with chance level; None without labels, or where that is unknown."""
        if self.labels is None:
            return None
        return compare_loss(self.model, self.inputs, self.labels, measured.losses, limits)

    def with_seeds(self, seeds: tuple[int, ...]) -> CheckSession:
        """Draw from other seeds, and leave all else as it is: nothing is traced again."""
        return replace(self, seeds=seeds, fewer="")

    def with_initializers(self, changes: Mapping[str, Any]) -> CheckSession:
        """Draw some weights by other initializers, by structural path, and leave all else as it is."""
        initializers = {**self.initializers, **changes}
        return replace(
            self,
            initializers=initializers,
            probe=_make_probe(self.model, self.inputs, self.loss_function, initializers),
        )

    def with_inputs(self, inputs: Any) -> CheckSession:
        """Give the model other inputs, and leave all else as it is."""
        return replace(
            self, inputs=inputs, probe=_make_probe(self.model, inputs, self.loss_function, self.initializers)
        )

    def nodes(self) -> list[SiteNode]:
        """Describe the graph of the measured sites; known after the first measurement."""
        places = self.places
        return [
            SiteNode(
                layer=site.layer,
                kind=site.kind,
                weighted=site.weighted,
                feeds_output=position in self.probe.output_sites,
                parents=tuple(parent for parent, _ in parents),
                scale_effects=tuple(effect for _, effect in parents),
                clips_at_zero=site.clips_at_zero,
                activation=site.activation,
                place=places.get(site.layer.partition(":")[0], ""),
            )
            for position, (site, parents) in enumerate(zip(self.probe.sites, self.probe.parents, strict=True))
        ]

    def _measure_plan(self, plan: RedrawPlan, seeds: Sequence[int], progress: Progress, before: int = 0) -> Measurement:
        """Measure some seeds, of which others were measured before."""

        def report(done: float, _: int) -> None:
            progress(before + int(done), before + len(seeds), "measuring")

        (measured,) = Session([self.probe]).measure_all(plan.sample, seeds, report)
        return measured


def _make_probe(model: Any, inputs: Any, loss: Callable[[Any], Any] | None, initializers: Mapping[str, Any]) -> Probe:
    return Probe(
        model,
        inputs,
        loss=loss,
        initializers=initializers,
        every_weight=True,
        precision_range=True,
        over_time=True,
    )


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
    with recorded_places(loaded.constructions) as constructions:  # a subclassed model is built by its first call
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
    namer = PathNamer(built)
    known = find_initializers(built, namer)
    initializers = {**known, **(loaded.initializers or {}), **batch.initializers}
    present = read_present_weights(built, initializers if settings.weights == "auto" else {})
    partly = {**initializers, **dict.fromkeys(present.loaded, LOADED)}
    plan = RedrawPlan(built, partly)
    # Where no weight varies since all were loaded, or drawn alike by choice, there is one draw: that of the model.
    one_draw = (present.declared or plan.repeated) and not plan.varies
    redrawn = settings.weights == "redraw" or (settings.weights == "auto" and not one_draw)
    initializers = partly if redrawn else initializers
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
        probe=_make_probe(built, batch.inputs, loss, initializers),
        seeds=seeds,
        redrawn=redrawn,
        present=present,
        constructions=name_places(namer, constructions),
        remake=loaded.remake,
        made=tuple(constructions.values()),
        prepare=lambda other: prepare_session(other, x, y, settings),
        labels=batch.labels,
        given=x is not None,
        open_ended=settings.seeds is None and settings.stop_early,
    )
