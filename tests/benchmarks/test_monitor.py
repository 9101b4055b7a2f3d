"""What a monitor costs a training by ``model.fit``: at every hundredth step, and at every step."""

from __future__ import annotations

import time
from functools import cache

import keras
import numpy as np
import pytest
from interleaved import estimate_ratio

from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec, NotebookSpec

HE = InitializerSpec("HeNormal")
REFERENCE = 32
"""Samples of the monitor's batch, whatever the batches of the training: the price of measuring goes with them."""

NETWORKS = {
    "notebook, batches of 32": (NotebookSpec(initializer=HE), 32),
    "20 x 256, batches of 256": (MlpSpec(initializer=HE, activation="relu", depth=20, width=256), 256),
}
EPOCH = {"notebook, batches of 32": 1719, "20 x 256, batches of 256": 215}
"""Steps of an epoch of MNIST without the 5,000 samples that are kept back; that of the deep network as many samples."""

TOO_DEAR = pytest.mark.xfail(
    strict=True,
    reason="1.9 to 2.1: on a network this small a step is mostly calls of operations. The plain forward and backward "
    "pass on 32 samples is .4 of a step of fit by itself; the statistics, which are half as much again as that, cost "
    ".1 less in one graph without branches, and no less by XLA or in a single thread",
)


class Training:
    """Some steps of ``fit`` on one network, with and without a monitor that writes to a folder."""

    def __init__(self, name, steps):
        spec, batch_size = NETWORKS[name]
        random = np.random.default_rng(0)
        self._x = random.random((steps * batch_size, *spec.sample_shape)).astype(np.float32)
        self._y = random.integers(0, 10, len(self._x))
        self._batch_size = batch_size
        self.model = spec.build(spec.sample_shape, seed=0)
        self.model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")

    def run(self, *callbacks):
        self.model.fit(self._x, self._y, batch_size=self._batch_size, shuffle=False, verbose=0, callbacks=[*callbacks])

    def make_monitor(self, every, folder):
        from initcheck.callbacks import SignalMonitor

        return timed(SignalMonitor)(self._x[:REFERENCE], self._y[:REFERENCE], every=every, log_dir=folder)


@cache
def timed(monitor):
    """Derive a monitor that keeps the time spent in each of its own hooks."""

    def keep_time(hook):
        name = hook.__name__

        def kept(self, *args, **kwargs):
            start = time.perf_counter()
            try:
                hook(self, *args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return kept

    hooks = ["on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end"]
    hooks += ["on_train_batch_begin", "on_train_batch_end"]
    kept = {name: keep_time(getattr(monitor, name)) for name in hooks}
    return type("Timed", (monitor,), {**kept, "seconds": dict.fromkeys(hooks, 0.0)})


@pytest.mark.parametrize("name", NETWORKS)
def test_every_hundredth_step_costs_next_to_nothing(benchmark, report_ratio, tmp_path, name):
    """An epoch, by the time inside the monitor's hooks: two whole trainings differ by more than this by chance.

    The limit is for the steps and the ends of epochs. To write the table once more when ``fit`` ends takes some
    hundredths of a second, however long it was: the second ratio, of a fit of a single epoch, has that too.
    """
    run = Training(name, EPOCH[name])
    monitor = run.make_monitor(100, tmp_path)
    run.run(monitor)  # traces
    rest, running, closing = [], [], []
    for _ in range(12):
        monitor.seconds = dict.fromkeys(monitor.seconds, 0.0)
        start = time.perf_counter()
        run.run(monitor)
        whole = time.perf_counter() - start
        closing.append(monitor.seconds["on_train_end"])
        running.append(sum(monitor.seconds.values()) - closing[-1])
        rest.append(whole - running[-1] - closing[-1])
    rest, running, closing = (np.asarray(seconds) for seconds in (rest, running, closing))
    ratio = estimate_ratio(rest + running, rest)
    report_ratio(f"{name}: steps with a monitor, every=100 / without its hooks", ratio, "at most 1.02")
    together = estimate_ratio(rest + running + closing, rest)
    report_ratio(f"{name}: fit of one epoch with a monitor, every=100 / without its hooks", together)
    benchmark.extra_info[f"{name}: seconds at the end of fit"] = float(np.median(closing))
    benchmark.pedantic(lambda: run.run(monitor), rounds=1)
    assert ratio.value <= 1.02


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=TOO_DEAR if "notebook" in each else ()) for each in NETWORKS]
)
def test_every_step_costs_little_more_than_half_a_step(benchmark, compare, tmp_path, name):
    run = Training(name, EPOCH[name] // 3)
    monitor = run.make_monitor(1, tmp_path)
    name = f"{name}: fit with a monitor, every=1 / without"
    ratio = compare(name, lambda: run.run(monitor), run.run, rounds=10, limit="at most 1.6")
    benchmark.pedantic(lambda: run.run(monitor), rounds=1)
    assert ratio.value <= 1.6
