"""Counts how often the gate calls an unchanged model changed, and how often it sees a layer that is off.

Run it with ``tox run -e gate-power``. It leaves ``gate.csv`` and ``gate.md`` in ``reports/``. All figures are measured
on real Keras models, with seeds that no other gate uses: gate i holds block i of the seeds against block i + 1, so that
each block serves twice. A gain that is off is planted into the measured figures: in a network of ReLU units without
biases a kernel that is c times too large multiplies its own scale, the forward step into its layer and the backward
step out of it by c and changes nothing else. That this is so is measured too, on the model itself.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats
from unchanged_models import UNCHANGED

from initcheck.audit.findings import CheckResult
from initcheck.audit.rules import RULES
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.checking.check import Report, check, check_session
from initcheck.checking.gate.baseline import Baseline, Metric, Recipe, SiteRecord, read_baseline, write_baseline
from initcheck.checking.gate.comparison import DEFAULT_MARGIN, Comparison, compare
from initcheck.checking.gate.gate import follow_baseline
from initcheck.checking.gate.report import format_gate
from initcheck.checking.gate.seed_plan import plan_seeds
from initcheck.checking.session import CheckSession, prepare_session
from initcheck.checking.settings import CheckSettings
from initcheck.core.files import check_writable, publish_files
from initcheck.core.formatting import no_progress
from initcheck.core.statistics import MOST_ADVISED

CHUNK = 1600
EVERYTHING = "none, findings too"
REBUILT = 12
"""How often each unchanged model is built and gated."""
ADVISED = 50
"""How often each model is gated to see what the advice on seeds is worth."""
WAYS = ((8, 0), (8, 50), (3, 50))
"""How an unchanged model is gated: the draws, and how far apart their first seeds are from the baseline's."""
LAYERS, WIDTH = 20, 256
FLIPPED = 1e-3
"""A gain that is no power of two rounds elsewhere, and a unit that is almost zero may change its sign: so much does one
of the 32 x 256 outputs of a layer move a logarithm."""

_HEAD = """# How often the gate is right

Margin {margin:g}, levels as in `initcheck/checking/gate/comparison.py`: *same* at 5%, *changed* at 1 in 10,000 for all
metrics of a model together.

Rows without a change count false alarms under `changed`. Gate i compares block i of the seeds with block i + 1: each
block serves twice. Gains are planted into measured metrics, as `tests/power/gate_power.py` explains and checks; rows
that say *measured* are models with the wrong gain in one layer, each layer once. What the initializer's configuration
says is left out: the metrics alone decide. *Right ones* counts gates in which metrics that the gain moves were called
changed, and no other.

Rows *{everything}* gate the models of `tests/power/unchanged_models.py` as a test does that was given the model: it is
built anew each time, after another global seed, and all that makes the gate fail counts. `changed` are the false
alarms: a verdict *changed*, a finding that is new, gone or worse, or exit code 1. `inconclusive` is exit code 2
without any of these.

| model | change | seeds | compared | gates | changed | same | inconclusive | right ones | 95% interval of changed |
|---|---|---|---|---|---|---|---|---|---|
"""

_ADVICE_HEAD = """
## How many seeds decide

A gate that is inconclusive says how many seeds would decide: about so many to so many, or at least so many. Here each
of them is judged again with both numbers of seeds, in the baseline too where it says so. The interval is that of the
rate at which the second number decides.

| model | change | seeds | gates | inconclusive | advised | first number (median) | decides | with a second | \
second number (median) | decides | 95% interval |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One kind of gate.

    Attributes:
        seeds: draws on either side.
        pairing: whether both sides have the same seeds.
        right: of those called changed, how many named the layers that are off and no other.
        low, high: 95 % interval of the rate of ``changed`` (Clopper and Pearson).
    """

    model: str
    change: str
    seeds: int
    pairing: str
    gates: int
    changed: int
    same: int
    inconclusive: int
    right: int
    low: float
    high: float


@dataclass(frozen=True)
class AdviceRow:
    """How gates that were inconclusive come out with as many seeds as they advise.

    Attributes:
        seeds: draws on either side at first.
        advised: how many of the inconclusive ones named a number of seeds.
        ranged: how many of these named a second.
        lower, higher: medians of the first and the second number.
        decided_by_lower: how many were decided with the first.
        decided_by_higher: how many of those that named a second were decided with that.
        low, high: 95 % interval of the rate of ``decided_by_higher`` (Clopper and Pearson).
    """

    model: str
    change: str
    seeds: int
    gates: int
    inconclusive: int
    advised: int
    ranged: int
    lower: float
    higher: float
    decided_by_lower: int
    decided_by_higher: int
    low: float
    high: float


AnyRow = TypeVar("AnyRow", Row, AdviceRow)


def build_deep(factor: float = 1.0, layer: int = -1) -> Any:
    keras = import_keras()

    class Scaled(keras.initializers.HeNormal):
        def __call__(self, shape, dtype=None, **options):
            return factor * super().__call__(shape, dtype=dtype, **options)

    model = keras.Sequential([keras.Input((WIDTH,))])
    for place in range(LAYERS):
        kind = Scaled if place == layer else keras.initializers.HeNormal
        model.add(keras.layers.Dense(WIDTH, activation="relu", kernel_initializer=kind(), use_bias=False))
    model.add(keras.layers.Dense(10, use_bias=False))
    return model


def build_narrow() -> Any:
    keras = import_keras()
    layers = [keras.layers.Dense(16, activation="tanh") for _ in range(6)]
    return keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(1)])


def build_dying() -> Any:
    keras = import_keras()
    layers = [keras.layers.Dense(8, activation="relu", kernel_initializer="he_uniform") for _ in range(8)]
    return keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])


def build_convolutional() -> Any:
    keras = import_keras()
    inputs = keras.Input((12, 12, 3))
    hidden = inputs
    for filters in (8, 16):
        hidden = keras.layers.Conv2D(filters, 3, padding="same")(hidden)
        hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(hidden))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(hidden)))


def build_attention() -> Any:
    keras = import_keras()
    inputs = keras.Input((8, 16))
    hidden = keras.layers.MultiHeadAttention(2, 8)(*2 * (keras.layers.LayerNormalization()(inputs),))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Add()([inputs, hidden])))


def build_recurrent() -> Any:
    keras = import_keras()
    return keras.Sequential([keras.Input((6, 8)), keras.layers.LSTM(16), keras.layers.Dense(3)])


SMALL = {
    "6 x 16, tanh": build_narrow,
    "8 x 8, ReLU": build_dying,
    "convolutions, BatchNormalization": build_convolutional,
    "attention": build_attention,
    "LSTM": build_recurrent,
}


def measure(model: Any, count: int, first: int = 0) -> Baseline:
    """Measure one model for many seeds."""
    parts = []
    for start in range(first, first + count, CHUNK):
        size = min(CHUNK, first + count - start)
        report = check(model, seeds=size, first_seed=start, fixes=False, select=("IC601",))
        parts.append(Baseline.from_result(report.result, Recipe()))
    return join(parts)


def metric_of(baseline: Baseline, path: str, name: str) -> Metric:
    return baseline.weights[path].scale if name == "scale" else baseline.sites[path].metrics[name]


def with_metrics(baseline: Baseline, change: Callable[[str, str, Metric], Metric], **fields: Any) -> Baseline:
    """Change each metric of a baseline, given with its path and its name (``scale`` for that of a weight)."""
    return replace(
        baseline,
        weights={
            path: replace(weight, scale=change(path, "scale", weight.scale))
            for path, weight in baseline.weights.items()
        },
        sites={
            path: SiteRecord(site.kind, {name: change(path, name, metric) for name, metric in site.metrics.items()})
            for path, site in baseline.sites.items()
        },
        **fields,
    )


def join(parts: Sequence[Baseline]) -> Baseline:
    def joined(path: str, name: str, _: Metric) -> Metric:
        return Metric(tuple(log for part in parts for log in metric_of(part, path, name).logs))

    return with_metrics(parts[0], joined, seeds=tuple(seed for part in parts for seed in part.seeds))


def block(whole: Baseline, place: int, size: int) -> Baseline:
    """Take one block of seeds."""
    return take(whole, range(place * size, (place + 1) * size))


def take(whole: Baseline, places: Sequence[int]) -> Baseline:
    """Take some of the seeds."""

    def taken(path: str, name: str, metric: Metric) -> Metric:
        return Metric(tuple(metric.logs[place] for place in places))

    return with_metrics(whole, taken, seeds=tuple(whole.seeds[place] for place in places))


def off(baseline: Baseline, layer: int, factor: float) -> Baseline:
    """Plant a kernel that is some times too large into the figures of the deep network."""
    return move(baseline, figures_of(layer), math.log(factor))


def figures_of(layer: int) -> set[tuple[str, str]]:
    """List the figures that a kernel moves: the gradient at the layer before is what the kernel hands back."""
    own = _name(layer)
    found = {(f"{own}/kernel", "scale"), (own, "forward")}
    return found | {(_name(layer - 1), "backward")} if layer else found


def _name(layer: int) -> str:
    return f"dense_{layer}" if layer else "dense"


def move(baseline: Baseline, which: set[tuple[str, str]], by: float) -> Baseline:
    """Add an amount to some figures, given by path and quantity."""

    def moved(path: str, name: str, metric: Metric) -> Metric:
        return Metric(tuple(log + by for log in metric.logs)) if (path, name) in which else metric

    return with_metrics(baseline, moved)


def judge(
    label: str, change: str, pairs: Iterator[tuple[Baseline, Baseline]], right: Callable[[int], set[tuple[str, str]]]
) -> Row:
    """Judge gates and count; a change counts by its figures alone, not by what the initializer says of itself."""
    counts = {"changed": 0, "same": 0, "inconclusive": 0}
    named, size, paired = 0, 0, False
    for place, (before, after) in enumerate(pairs):
        comparison = compare(before, after, DEFAULT_MARGIN)
        assert not comparison.facts
        assert not comparison.structure
        counts[comparison.verdict] += 1
        changed = {(each.path, each.quantity) for each in comparison.of_verdict("changed")}
        named += bool(changed) and changed <= right(place)
        size, paired = len(before.seeds), comparison.paired
    return make_row(label, change, size, paired, counts, named)


def make_row(label: str, change: str, seeds: int, paired: bool, counts: Mapping[str, int], right: int) -> Row:
    gates = sum(counts.values())
    interval = stats.binomtest(counts["changed"], gates).proportion_ci(0.95, method="exact")
    return Row(
        model=label,
        change=change,
        seeds=seeds,
        pairing="the same seeds" if paired else "fresh seeds",
        gates=gates,
        **counts,
        right=right,
        low=float(interval.low),
        high=float(interval.high),
    )


def fresh(whole: Baseline, size: int, gates: int) -> Iterator[tuple[Baseline, Baseline]]:
    """Pair block i with block i + 1."""
    before = block(whole, 0, size)
    for place in range(gates):
        after = block(whole, (place + 1) % gates, size)
        yield before, after
        before = after


def judge_unchanged(label: str, build: Callable[[], Any], gates: int) -> Iterator[Row]:
    """Gate one model that is built anew each time, in each of the :data:`WAYS`: all that makes a gate fail counts."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    recorded = prepare_session(build(), None, None, CheckSettings())
    counts = {way: dict.fromkeys(("changed", "same", "inconclusive"), 0) for way in WAYS}
    for place in range(gates):
        first = 100 * place
        known = {size: write_and_read(check_seeds(recorded, first, size)) for size, _ in WAYS}
        keras.utils.set_random_seed(place + 1)
        rebuilt = prepare_session(build(), None, None, follow_baseline(CheckSettings(), known[WAYS[0][0]]))
        for size, apart in WAYS:
            result = check_seeds(rebuilt, first + apart, size)
            comparison = compare(known[size], Baseline.from_result(result, known[size].recipe))
            outcome = find_outcome(Report(result, comparison), comparison)
            counts[size, apart][outcome] += 1
            if outcome == "changed":
                print(label, size, apart, place, format_gate(comparison))  # noqa: T201 - why it was blamed
    for (size, apart), found in counts.items():
        yield make_row(label, EVERYTHING, size, apart == 0, found, right=0)


def check_seeds(session: CheckSession, first: int, size: int) -> CheckResult:
    """Check some seeds of a model; it is traced once for all of them."""
    with preserved_random_state():
        seeds = tuple(range(first, first + size))
        return check_session(session.with_seeds(seeds), CheckSettings(fixes=False), no_progress, time.perf_counter())


def write_and_read(result: CheckResult) -> Baseline:
    """Make the baseline of a check, by way of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "baseline.json")
        write_baseline(Baseline.from_result(result, Recipe()), path)
        return read_baseline(path)


def find_outcome(report: Report, comparison: Comparison) -> str:
    """Say what a gate came to: ``changed`` where it blames, ``inconclusive`` where it fails without that."""
    codes = [*(code for code, _ in comparison.new_findings), *(each.code for each in comparison.gone_findings)]
    blamed = comparison.worse_findings or any(not RULES[code].inconclusive for code in codes)
    if comparison.verdict == "changed" or report.exit_code == 1 or blamed:
        return "changed"
    return "inconclusive" if report.exit_code else "same"


def collect(gates: int) -> Iterator[Row]:
    size = 16
    for label, build in SMALL.items():
        whole = measure(build(), gates * size)
        yield judge(label, "none", fresh(whole, size, gates), lambda _: set())
        yield judge(label, "none", fresh(whole, 5, gates), lambda _: set())
    deep = f"{LAYERS} x {WIDTH}, ReLU"
    whole = measure(build_deep(), gates * size)
    yield judge(deep, "none", fresh(whole, size, gates), lambda _: set())
    yield judge(deep, "none", fresh(whole, 5, gates), lambda _: set())
    place_of = [int(each) for each in np.random.default_rng(0).integers(0, LAYERS, gates)]
    for percent in (10, -10, 30, -30):
        factor = 1.0 + percent / 100
        pairs = (
            (before, off(after, place_of[place], factor))
            for place, (before, after) in enumerate(fresh(whole, size, gates))
        )
        change = f"kernel gain {percent:+d} % in one layer"
        yield judge(deep, change, pairs, lambda place: figures_of(place_of[place]))
    yield from measured_changes(deep)
    for label, build in UNCHANGED.items():
        yield from judge_unchanged(label, build, REBUILT)


def measured_changes(deep: str) -> Iterator[Row]:
    """Measure models that really have the change: each of the layers once, with the same seeds, as a user gates."""
    before = measure(build_deep(), 16)
    for percent in (10, 30):
        factor = 1.0 + percent / 100
        after = [named_alike(measure(build_deep(factor, layer), 16), before) for layer in range(LAYERS)]
        for layer, measured in enumerate(after):
            assert_homogeneous(before, measured, layer, factor)
        pairs = ((before, each) for each in after)
        yield judge(deep, f"kernel gain {percent:+d} % in one layer, measured", pairs, figures_of)


def named_alike(after: Baseline, before: Baseline) -> Baseline:
    """Take what the weights say of themselves from before: the figures alone are to show the change."""
    return replace(
        after,
        weights={path: replace(before.weights[path], scale=each.scale) for path, each in after.weights.items()},
    )


def assert_homogeneous(before: Baseline, after: Baseline, layer: int, factor: float) -> None:
    """Assert that planting a gain into the figures gives what the model itself measures."""
    planted = off(before, layer, factor)
    for path, weight in planted.weights.items():
        if weight.scale.state == "finite":
            assert np.allclose(weight.scale.logs, after.weights[path].scale.logs, atol=5e-6), path
    for path, site in planted.sites.items():
        for name, metric in site.metrics.items():
            assert np.allclose(metric.logs, after.sites[path].metrics[name].logs, atol=FLIPPED), (path, name)


def collect_advice(gates: int) -> Iterator[AdviceRow]:
    for label, build in SMALL.items():
        whole = measure(build(), 2 * MOST_ADVISED)
        for size in (5, 16):
            yield judge_advice(label, "none", whole, whole, size, gates)
    deep = f"{LAYERS} x {WIDTH}, ReLU"
    whole = measure(build_deep(), 2 * MOST_ADVISED)
    yield judge_advice(deep, "none", whole, whole, 3, gates)
    for percent in (3, 7, 10):
        change = f"kernel gain {percent:+d} % in one layer"
        yield judge_advice(deep, change, whole, off(whole, 7, 1.0 + percent / 100), 5, gates)


def judge_advice(label: str, change: str, whole: Baseline, changed: Baseline, size: int, gates: int) -> AdviceRow:
    """Judge gates, and those that are inconclusive again with as many seeds as each of the numbers that it advises.

    The baselines are drawn from the first half of the seeds, what is compared with them from the second.
    """
    half = len(whole.seeds) // 2

    def judge_with(place: int, then: int, now: int) -> Comparison:
        sides = [[(place * size + each) % half for each in range(count)] for count in (then, now)]
        return compare(take(whole, sides[0]), take(changed, [half + each for each in sides[1]]), DEFAULT_MARGIN)

    first = [judge_with(place, size, size) for place in range(gates)]
    undecided = [place for place, each in enumerate(first) if each.verdict == "inconclusive"]
    numbers: tuple[list[int], list[int]] = ([], [])
    decided = [0, 0]
    for place in undecided:
        plan = plan_seeds(first[place])
        for end, count in enumerate(() if plan is None else (plan.low, plan.high)):
            if plan is not None and count is not None:
                numbers[end].append(count)
                then = count if plan.renew else size
                decided[end] += judge_with(place, then, count).verdict != "inconclusive"
    interval = stats.binomtest(decided[1], max(1, len(numbers[1]))).proportion_ci(0.95, method="exact")
    lower, higher = (float(np.median(each)) if each else math.nan for each in numbers)
    return AdviceRow(
        model=label,
        change=change,
        seeds=size,
        gates=gates,
        inconclusive=len(undecided),
        advised=len(numbers[0]),
        ranged=len(numbers[1]),
        lower=lower,
        higher=higher,
        decided_by_lower=decided[0],
        decided_by_higher=decided[1],
        low=float(interval.low),
        high=float(interval.high),
    )


def write(rows: Sequence[Row], advice: Sequence[AdviceRow]) -> dict[str, str]:
    head = _HEAD.format(margin=DEFAULT_MARGIN, everything=EVERYTHING)
    lines = [
        f"| {row.model} | {row.change} | {row.seeds} | {row.pairing} | {row.gates} | {row.changed} | {row.same} | "
        f"{row.inconclusive} | {row.right} | [{row.low:.4f}, {row.high:.4f}] |"
        for row in rows
    ]
    advised = [
        f"| {row.model} | {row.change} | {row.seeds} | {row.gates} | {row.inconclusive} | {row.advised} | "
        f"{_number(row.lower)} | {row.decided_by_lower} | {row.ranged} | {_number(row.higher)} | "
        f"{row.decided_by_higher} | [{row.low:.3f}, {row.high:.3f}] |"
        for row in advice
    ]
    return {
        "gate.csv": pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"),
        "gate-advice.csv": pd.DataFrame(advice).to_csv(index=False, lineterminator="\n"),
        "gate.md": head + "\n".join(lines) + "\n" + _ADVICE_HEAD + "\n".join(advised) + "\n",
    }


def _number(median: float) -> str:
    return "none" if math.isnan(median) else f"{median:g}"


def collect_printed(rows: Iterator[AnyRow]) -> list[AnyRow]:
    """Collect rows, and print each once it is there."""
    found = []
    for row in rows:
        found.append(row)
        print(row, flush=True)  # noqa: T201 - a script's progress
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("reports"))
    options = parser.parse_args()
    check_writable(options.out)
    rows = collect_printed(collect(options.gates))
    publish_files(options.out, write(rows, collect_printed(collect_advice(ADVISED))))


if __name__ == "__main__":
    main()
