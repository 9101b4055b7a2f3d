"""What a measured pass costs on real models, against the plain compiled gradient step: time, memory, and tracing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo_models as zoo
from interleaved import estimate_ratio

from initcheck.probe import Probe
from initcheck.probe.measure import random_loss

SIDE, BATCH, CLASSES = 96, 32, 1000
LAYERS = 500


def make_plain_step(model, inputs):
    """The gradient step that anybody would write: forward in training mode, loss, gradients of the weights."""
    batch = tf.constant(inputs)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = random_loss(model(batch, training=True))
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    return lambda: step(batch)[0].numpy()


def build(name):
    """Build a model and pixels for it: MobileNetV3 scales them to [-1, 1] by itself."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
    inputs = pixels if name.startswith("MobileNetV3") else (pixels - 127.5) / 74.0
    return zoo.build_application(name, side=SIDE, classes=CLASSES), inputs


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV3Small"])
def test_a_measured_pass_takes_little_longer_than_a_plain_step(benchmark, compare, name):
    model, inputs = build(name)
    probe = Probe(model, inputs)
    measured = probe.measure_current
    name = f"{name}, {BATCH} x {SIDE} x {SIDE}: measured pass / plain step"
    ratio = compare(name, measured, make_plain_step(model, inputs), rounds=12, limit="at most 1.35")
    benchmark.pedantic(measured, rounds=2)
    assert ratio.value <= 1.35


MEMORY_PROGRAM = """
    import json, pathlib, re, sys
    import psutil
    sys.path[:0] = {paths}
    import test_real_models as benchmark
    from initcheck.backend.runtime import import_keras
    import_keras()
    import tensorflow
    model, inputs = benchmark.build({name!r})
    model(inputs[:1])
    start = psutil.Process().memory_info().rss
    run = benchmark.{maker}(model, inputs)
    for _ in range(3):
        run()
    # Not getrusage: what it reports begins with the peak of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024
    print(json.dumps({{"peak": peak / 2**20, "above the built model": (peak - start) / 2**20}}))
"""


def make_measured_pass(model, inputs):
    return Probe(model, inputs).measure_current


def find_peak(name, maker):
    """Peak resident memory in MiB of a process of its own, since a peak cannot be taken back."""
    paths = [str(Path(__file__).parent), *sys.path]
    program = textwrap.dedent(MEMORY_PROGRAM).format(paths=paths, name=name, maker=maker.__name__)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV3Small"])
def test_a_measured_pass_needs_little_more_memory_than_a_plain_step(benchmark, name, capsys):
    """The limit is for the whole process; the ratio above the built model, a stricter one, is kept beside it."""
    plain, measured = find_peak(name, make_plain_step), find_peak(name, make_measured_pass)
    ratios = {kind: measured[kind] / plain[kind] for kind in plain}
    benchmark.extra_info.update({"plain MiB": plain, "measured MiB": measured, "ratios": ratios})
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: plain {plain}, measured {measured}, ratios {ratios}\n")
    benchmark.pedantic(lambda: None, rounds=1)
    assert ratios["peak"] <= 1.25


def build_deep():
    layers = [keras.layers.Dense(32, activation="relu", kernel_initializer="he_normal") for _ in range(LAYERS)]
    inputs = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    return keras.Sequential([keras.Input((32,)), *layers]), inputs


def test_five_hundred_layers_are_traced_within_a_minute(benchmark, report_ratio):
    """The first measurement of a model is the one that traces it; the plain step's first call is its fair opponent.

    Other work on the machine can only add to a time. So the limit in seconds is for the quickest of three; and the
    ratio, in which the speed of the machine cancels, is taken over pairs in turns.
    """
    seconds = {"measured": [], "plain step": []}
    for turn in range(3):
        makers = {"measured": make_measured_pass, "plain step": make_plain_step}
        for name in sorted(makers, reverse=bool(turn % 2)):
            run = makers[name](*build_deep())
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    ratio = estimate_ratio(np.asarray(seconds["measured"]), np.asarray(seconds["plain step"]))
    report_ratio(f"{LAYERS} layers: first measurement / first plain step", ratio, "at most 6")
    benchmark.extra_info["seconds"] = seconds
    benchmark.pedantic(lambda: None, rounds=1)
    assert min(seconds["measured"]) < 60
    assert ratio.value <= 6
