"""Callbacks for ``model.fit``. Importing this module imports Keras."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from initcheck.backend.keras_private import sync_variables
from initcheck.backend.runtime import import_keras
from initcheck.checking.inputs import make_batch
from initcheck.checking.labels import compiled_loss
from initcheck.core.errors import ModelError, UsageError
from initcheck.core.files import check_writable
from initcheck.core.seeds import whole_number
from initcheck.monitor import quantities
from initcheck.monitor.diagnosis import diagnose
from initcheck.monitor.record import Moment, MonitorRecord
from initcheck.probe.steps import StepProbe

if TYPE_CHECKING:
    from pandas import DataFrame


class SignalMonitor(import_keras().callbacks.Callback):  # type: ignore[misc]
    """Follows the signal through a model while ``model.fit`` trains it, forward and backward.

    Before the first step and after every so many training steps the weights as they are then are measured on the same
    batch: the activations of each layer call, the gradients dL/dz and dL/dW, dead, zero, saturated and non-finite
    shares; and, of the step just made, the change of each layer's kernel in proportion to its norm. Keras' own
    TensorBoard callback has shown no gradients since ``write_grads`` was removed from it.

    The training run is left as it is, bit for bit: weights, optimizer, seed generators and moving statistics come out
    as without the monitor. Dropout and BatchNormalization are measured as in training, with the same dropped units each
    time and the statistics of the batch.

    Callbacks behind this one find the largest values over the layers in Keras' ``logs``: put it first.

    One callback goes with one model. Several calls of ``fit`` continue its table; ``step`` counts on, while ``epoch``
    is as each ``fit`` counts. With ``steps_per_execution`` of more than one the weights can be seen only when an
    execution has ended: what falls due within it is measured then, and the update is that of all its steps
    (``update_steps``).

    Args:
        x: one batch in the structure that the model takes, arrays of shape [B, ...]. Measuring costs about what
            training on this batch costs, so a few dozen samples will do.
        y: its labels: gradients are those of the model's compiled loss then. Without labels they are those of a fixed
            random linear functional of the outputs.
        every: training steps from one measurement to the next.
        log_dir: folder for ``monitor.csv`` and TensorBoard's events, both written at the end of epochs, though not
            more often than every ten seconds, and of each ``fit``; and ``monitor.parquet``, written at the end of each
            ``fit``. A table that an earlier monitor left there is replaced. None keeps all in memory.
        seed: seeds the model's random layers (Dropout) in all measurements.
        logs: what goes into Keras' ``logs``, so that History and every tracker behind this callback have it: names of
            quantities, ``dead`` for the largest over the layers, ``dead/h2`` for a layer, ``dead/*`` for each. The logs
            of an epoch hold the last measurement, under ``signal/dead``; so do those of each batch unless ``fit`` draws
            its progress bar, whose line would overflow.
        stop_on: what stops the training run: ``nonfinite``, or a quantity of some layer above or below a number, such
            as ``dead>0.9`` or ``gradient/h1<1e-6``. The reason is kept in ``stopped``.
        verbose: 0 prints nothing; 1 prints at the end why the training run was stopped and what went wrong.

    Attributes:
        stopped: why the last ``fit`` was stopped; None if it was not.

    Raises:
        UsageError: ``every`` is not a whole number of at least 1, or ``logs`` or ``stop_on`` cannot be read.
        OutputError: nothing can be written to ``log_dir``.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        every: int = 100,
        log_dir: str | os.PathLike[str] | None = None,
        seed: int = 0,
        logs: str | Sequence[str] = quantities.LOGGED,
        stop_on: str | Sequence[str] = (),
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self._every = _check_every(every)
        if x is None:
            raise UsageError("A monitor needs a batch to measure on. Received: x=None. Give x, such as x_train[:32].")
        self._x, self._y, self._seed = x, y, seed
        folder = None if log_dir is None else Path(log_dir)
        if folder is not None:
            check_writable(folder)
        self._record = MonitorRecord(folder)
        self._probe: StepProbe | None = None
        self._step = self._epoch = self._first_of_execution = self._iterations = 0
        self._ahead, self._due = 1, self._every  # steps of an execution; the step at which the next measurement is due
        self._before: list[Any] | None = None
        self._logged, self._conditions = quantities.read_selections(logs), quantities.read_conditions(stop_on)
        self._plan: quantities.LogPlan = {}
        self._labels: list[str] = []
        self._roles = quantities.Roles()
        self._in_batches = False
        self._logs: dict[str, float] = {}
        self._verbose = verbose
        self.stopped: str | None = None

    @property
    def table(self) -> DataFrame:
        """All measurements so far, one row per step and layer call; null where a quantity is undefined.

        The columns are ``step``, ``epoch``, those of the measurement table about the layer, its activations,
        gradients and weights, and ``update_steps``, ``update_norm`` and ``update_to_weight_ratio``.
        """
        return self._record.collect(self._probe)

    @property
    def diagnosis(self) -> list[str]:
        """What went wrong so far, in sentences, the earliest first; empty where nothing did.

        Reported are units that died, activations that became saturated, gradients that vanished or grew, steps as large
        as the weights, a loss that rose, and values that are inf or NaN; each with the measured steps between which it
        happened.
        """
        return [] if self._probe is None else diagnose(self.table, quantities.find_roles(self._probe))

    def plot(self) -> str:
        """Draw what was measured, over the steps.

        Returns:
            The text of an SVG file: one picture a quantity, one line a layer, at most six layers.

        Raises:
            UsageError: nothing was measured yet.
        """
        from initcheck.monitor.report import draw_monitor
        from initcheck.pages.svg import compose_file

        table = self.table
        if not len(table):
            raise UsageError("Nothing was measured yet. Pass the monitor to model.fit(callbacks=[...]) first.")
        return compose_file(draw_monitor(table))

    def to_html(self) -> str:
        """Write the diagnosis and the same pictures as a page that needs nothing from elsewhere."""
        from initcheck.pages.html import render_html

        return render_html(self._build_document())

    def _repr_html_(self) -> str:
        from initcheck.pages.html import render_fragment

        return render_fragment(self._build_document())

    def _build_document(self) -> Any:
        from initcheck.monitor.report import build_monitor_document

        frozen, inner = ([], []) if self._probe is None else quantities.name_unjudged(self._probe)
        return build_monitor_document(self.table, self._describe(), frozen, inner)

    def flush(self) -> None:
        """Write to ``log_dir`` what has been measured and not been written, after an interruption say.

        Raises:
            OutputError: it cannot be written.
        """
        self._record.close(self._probe)

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002, D102 - Keras' own hook
        self._ahead = int(getattr(self.model, "steps_per_execution", 1))
        self._before = None
        self.stopped = None
        # A progress bar shows all that is in the logs of a batch, on one line, and fit draws one unless asked not to.
        self._in_batches = bool(self._logged) and (self.params or {}).get("verbose") not in (1, "auto")
        if self._probe is None:
            self._probe = self._prepare()
            self._measure(self._probe.read_kernels(), 0)
        elif self._probe.model is not self.model:
            raise ModelError(
                f"This SignalMonitor belongs to the model {self._probe.model.name!r}. Received: another one, "
                f"{self.model.name!r}. Make a monitor for each model."
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002, D102
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002, D102
        # Called at every step, of which hardly any is measured: nothing is done here that need not be.
        self._first_of_execution = batch
        if self._ahead > 1:
            self._iterations = self._read_iterations()
        if self._step + self._ahead >= self._due and self._probe is not None:
            self._before = self._probe.read_kernels()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        steps = 1 if self._ahead == 1 else self._count_steps(batch)
        self._step += steps
        if self._step >= self._due:
            self._due = (self._step // self._every + 1) * self._every
            before, self._before = self._before, None
            if before is not None:
                self._measure(before, steps)
        if self._in_batches and logs is not None:
            logs.update(self._logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002, D102
        self._record.write_now_and_then(self._probe)
        if logs is not None:
            logs.update(self._logs)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002, D102
        self._record.close(self._probe)
        for sentence in self._describe() if self._verbose else ():
            click.echo(sentence)

    def _prepare(self) -> StepProbe:
        batch = make_batch(self.model, self._x, self._y)
        loss = None if self._y is None else compiled_loss(self.model, batch.labels)
        probe = StepProbe(self.model, batch.inputs, loss=loss, seed=self._seed)
        probe.trace()
        return probe

    def _describe(self) -> list[str]:
        return [*([self.stopped] if self.stopped else []), *self.diagnosis]

    def _count_steps(self, last: int) -> int:
        """Count the steps of the execution that has just ended, the last step of which is ``last`` to Keras.

        Keras counts a last execution that has run out of data as a whole one; how many steps it really made, the
        optimizer knows.
        """
        steps = last - self._first_of_execution + 1
        of_epoch = (self.params or {}).get("steps")
        if steps > 1 and (of_epoch is None or last >= of_epoch):
            made = self._read_iterations() - self._iterations
            return made if 1 <= made < steps else steps
        return steps

    def _read_iterations(self) -> int:
        sync_variables(self.model)
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations)

    def _measure(self, before: list[Any], update_steps: int) -> None:
        if self._probe is not None:
            moment = Moment(self._step, self._epoch, update_steps, time.time())
            vector = self._probe.measure_change(before)
            self._record.add(moment, vector)
            if self._logged or self._conditions:
                self._judge(self._probe, vector, update_steps)

    def _judge(self, probe: StepProbe, vector: Any, update_steps: int) -> None:
        """Take from a measurement what goes into the logs, and stop the training run where a condition is met."""
        measured, changes, _ = probe.unpack(np.asarray(vector)[np.newaxis])
        first = not self._labels
        if first:
            self._labels, self._roles = quantities.label_sites(probe), quantities.find_roles(probe)
        updated = update_steps > 0
        values = quantities.name_values(measured[0], changes[0], self._roles, updated=updated)
        if first:
            self._plan = quantities.plan_logs(self._logged, self._labels, values)
        self._logs = quantities.read_logs(self._plan, values)
        for condition in self._conditions:
            where = condition.describe_where_met(values, self._labels)
            if where is not None and self.stopped is None:
                self.stopped = f"Stopped at step {self._step} by stop_on={condition.text!r}: {where}."
                self.model.stop_training = True


def _check_every(every: Any) -> int:
    number = whole_number(every, 1)
    if number is None:
        raise UsageError(
            f"every must be a whole number of steps, at least 1. Received: every={every!r}. Try every=100."
        )
    return number
