"""The rule about sums: a branch that drowns what it is added to, and a signal that drowns all branches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Cause, Finding, Measured, ModelMeasurement, Rule, example
from initcheck.core.formatting import count, exponential, format_number

if TYPE_CHECKING:
    from initcheck.audit.paths import SignalPath
    from initcheck.core.statistics import Estimate

_SIZE: Final = 10.0
"""A branch that begins at a normalized signal is of size 1 or less: one below this is not large."""


def _find_unbalanced(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Compare each branch with the signal that passes beside it, where the two are added."""
    import numpy as np

    from initcheck.audit.causes import CauseFinder
    from initcheck.audit.site_estimates import SiteTable
    from initcheck.core.statistics import estimate_mean

    limit = math.log(measurement.limits.step_factor)
    branches = list(dict.fromkeys(each.path for each in measurement.paths if _is_added(each.path, measurement)))
    if not branches:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(SiteTable(measurement.table, measurement.nodes)["activation_second_moment"])
    growing = {
        each.path for each in measurement.paths if each.outcome == "grows" and each.levels.direction == "forward"
    }
    finder = CauseFinder(measurement)
    drowned: list[tuple[int, Estimate]] = []
    for path in branches:
        entry, exit_ = path.ends
        ends = [parent for parent in measurement.nodes[exit_].parents if parent != entry]
        ratio = estimate_mean(logs[:, ends].max(axis=1) - logs[:, entry])
        low = ratio.value if ratio.count == 1 else ratio.low
        high = ratio.value if ratio.count == 1 else ratio.high
        size = float(np.exp(logs[:, ends].mean(axis=0)).max())
        if low > limit and size > _SIZE and path not in growing:
            cause = finder.blame_branch(path)
            layer = measurement.nodes[path.positions[-1]].layer if cause is None else cause.layers[0]
            message = (
                f"the branch that ends in {measurement.nodes[path.positions[-1]].layer} is "
                f"{format_number(exponential(ratio.value))} times what it is added to, in squares: behind "
                f"{measurement.nodes[exit_].layer} nothing of that is left to be seen"
            )
            yield Finding("IC107", layer, message, _measured(ratio, limit), (layer,), cause=cause)
        drowned.append((entry, ratio) if high < -limit else (-1, ratio))
    first = min(path.ends[0] for path in branches)
    start = logs[:, first]
    if all(entry >= 0 for entry, _ in drowned) and estimate_mean(start).low > limit:
        origin = finder.find_table(first)
        layer = measurement.nodes[origin].layer
        ratio = max((each for _, each in drowned), key=lambda each: each.value)
        root = format_number(math.sqrt(exponential(float(start.mean()))))
        sums = count(len(branches), "branch", "branches")
        message = (
            f"{layer} gives the signal a root mean square of {root}, and none of {sums} adds more than "
            f"{format_number(exponential(ratio.value))} of its square: the layers in them hardly count"
        )
        kind = "embedding" if measurement.nodes[origin].kind == "Embedding" else "spread"
        cause = Cause(kind, (layer,), f"{layer} starts at a root mean square of {root}, where about 1 is expected")
        yield Finding("IC107", layer, message, _measured(ratio, -limit), (layer,), cause=cause)


def _is_added(path: SignalPath, measurement: ModelMeasurement) -> bool:
    entry, exit_ = path.ends
    nodes = measurement.nodes
    return entry >= 0 and exit_ < len(nodes) and entry in nodes[exit_].parents and nodes[exit_].adds


def _measured(ratio: Estimate, limit: float) -> Measured:
    value, low, high = map(exponential, (ratio.value, ratio.low, ratio.high))
    return Measured("branch over what it is added to, in squares", value, low, high, exponential(limit), ratio.count)


UNBALANCED_SUM = Rule(
    code="IC107",
    name="unbalanced-sum",
    what=(
        "Where a branch is added to the signal that passes beside it, the branch has more than a hundred times its "
        "second moment; or, in every sum of a model, less than a hundredth of it, while that signal is large itself. A "
        "branch that is small beside a signal of ordinary size is a choice: many residual branches start near zero."
    ),
    why=(
        "A normalization behind the sum divides by what is largest: the other part is lost, forward and backward, "
        "though every size looks sound."
    ),
    example=example(
        """
inputs = keras.Input((64,))
signal = keras.layers.Dense(64)(inputs)
for spread in ("he_normal", keras.initializers.RandomNormal(stddev=5.0), "he_normal"):
    branch = keras.layers.LayerNormalization()(signal)
    branch = keras.layers.Dense(64, activation="relu", kernel_initializer="he_normal")(branch)
    signal = keras.layers.Add()([signal, keras.layers.Dense(64, kernel_initializer=spread)(branch)])
model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.LayerNormalization()(signal)))
"""
    ),
    fix=(
        "Give the branch's layers the initializer that the others have; draw tables of embeddings with a standard "
        "deviation of 1 or less."
    ),
    source="Zhang et al. 2019 (Fixup), section 2; Xiong et al. 2020, section 3, for normalization before the branch",
    find=_find_unbalanced,
    limits=("step_factor",),
    brings=("IC103", "IC201", "IC202", "IC502", "IC603"),
    directions=("forward",),
)
