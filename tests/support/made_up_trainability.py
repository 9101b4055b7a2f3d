"""A record of trainability that never was, whose every verdict is known."""

from __future__ import annotations

import math

import pandas as pd

from initcheck.training.trainability import TrainabilityRecord

DEPTHS = (4, 8, 16)
# What theory expects, and the loss at a rate of .1 by depth; chance is 2.
CASES = {
    "good": (math.inf, "xi_c", (0.2, 0.2, 0.2)),
    "bad": (12.0, "xi_gradient", (0.4, math.nan, 1.99)),
    "odd": (2.0, "xi_c", (0.1, 0.3, 0.5)),
    "silent": (math.nan, "", (2.0, 2.0, 2.0)),
}


def make_record() -> TrainabilityRecord:
    """Make the record: seeds 0 and 1, and a rate of .01 at which nothing is learned."""
    runs, predictions = [], []
    for name, (predicted, scale, losses) in CASES.items():
        for depth, loss in zip(DEPTHS, losses, strict=True):
            for rate in (0.01, 0.1):
                for seed in (0, 1):
                    end = 2.0 if rate == 0.01 and not math.isnan(loss) else loss + 0.1 * (2 * seed - 1)
                    figures = (-0.1 * depth, 0.2 * depth, -0.3 * depth)
                    runs.append(("relu", name, depth, rate, seed, *figures, 2.3, end))
            predictions.append(("relu", name, depth, 1.5, math.nan, 2.0, scale, predicted, ""))
    columns = ["activation", "initializer", "depth", "learning_rate", "seed"]
    columns += ["forward_change", "backward_change", "distinct_log_share", "start_loss", "loss"]
    predicted = ["activation", "initializer", "depth", "sigma_w2", "xi_c", "xi_gradient", "scale"]
    predicted += ["predicted_depth", "reason"]
    return TrainabilityRecord(
        runs=pd.DataFrame(runs, columns=columns),
        predictions=pd.DataFrame(predictions, columns=predicted),
        width=64,
        steps=200,
        seeds=(0, 1),
        learning_rates=(0.01, 0.1),
        batch_size=32,
        data="made up",
        chance=2.0,
        versions={"keras": "3"},
        command_line="initcheck trainability",
        seconds=100.0,
        processor_seconds=150.0,
    )
