"""The columns of initcheck's tables: the contract between the parts.

This is the only place that names columns. The measurement table has one row per seed x measured site
(a site is one call of one layer, or one input of the model) and one column per quantity. The summary has
one row per network x initializer x activation. CSV, Parquet and JSON carry the same names.

Notation. For a site with B samples and U elements a sample, ``z`` is the pre-activation (what the
layer's fused activation function receives), ``h`` the site's output, ``L`` the scalar loss, and ``W``
the site's own kernel. Variances use ddof=0 over all elements of one draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Direction = Literal["forward", "backward"]

DIRECTIONS: Final[tuple[Direction, ...]] = ("forward", "backward")

ScaleEffect = Literal["homogeneous", "division", "normalization", "softmax", "other"]
"""What becomes of a factor on what goes into an operation: it is a factor of the result, or a power of it; the same,
and divided out where the divisor has it too; it is divided out; it is where it is small; or anything else."""

Group = Literal["key", "site", "forward", "backward", "weight", "theory", "training"]


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    dtype: str
    unit: str
    meaning: str
    group: Group


def _column(group: Group, name: str, dtype: str, unit: str, meaning: str) -> Column:
    return Column(name=name, dtype=dtype, unit=unit, meaning=meaning, group=group)


def _numbers(group: Group, *rows: tuple[str, str, str]) -> tuple[Column, ...]:
    """Make the columns of a group that hold floating-point numbers, of name, unit and meaning."""
    return tuple(Column(name, "Float64", unit, meaning, group) for name, unit, meaning in rows)


KEY_COLUMNS: Final = (
    _column("key", "network", "string", "name", "reference network, or the user's model"),
    _column("key", "initializer", "string", "name", "initializer under test"),
    _column("key", "activation", "string", "name", "activation function of the hidden layers"),
    _column("key", "depth", "Int64", "layers", "number of hidden layers or blocks"),
    _column("key", "width", "Int64", "units", "units (or channels) of a hidden layer"),
    _column("key", "data", "string", "name", "what the input batch was drawn from"),
    _column("key", "batch_size", "Int64", "samples", "samples in the batch, B"),
    _column("key", "seed", "Int64", "1", "seed of this replicate; the weights derive from it"),
)

DTYPE_COLUMN: Final = _column("key", "dtype", "string", "name", "dtype policy of the layers")
"""Stands behind ``batch_size`` in the tables of a sweep; everywhere else all is float32."""

SITE_COLUMNS: Final = (
    _column("site", "layer", "string", "path", "path of the layer in the model"),
    _column("site", "call", "Int64", "1", "which call of that layer, from 0"),
    _column("site", "position", "Int64", "1", "place in the order of execution, from 0"),
    _column("site", "kind", "string", "class", "class of the layer; Input for an input of the model"),
    _column("site", "units", "Int64", "units", "size of the feature axis of the output"),
    _column("site", "fan_in", "Float64", "1", "inputs summed by one output unit"),
    _column("site", "fan_out", "Float64", "1", "outputs that one input unit feeds"),
)

FORWARD_COLUMNS: Final = _numbers(
    "forward",
    ("preactivation_mean", "1", "mean of z; null without an activation function"),
    ("preactivation_variance", "1", "mean of (z - mean z)^2"),
    ("preactivation_second_moment", "1", "mean of z^2"),
    ("activation_mean", "1", "mean of h"),
    ("activation_variance", "1", "mean of (h - mean h)^2"),
    ("activation_second_moment", "1", "mean of h^2"),
    (
        "activation_batch_variance",
        "1",
        "variance of h across the samples, by element, averaged over elements; null for one sample",
    ),
    ("zero_fraction", "share", "share of elements of h that are exactly 0"),
    ("dead_fraction", "share", "share of units whose h is exactly 0 on the whole batch"),
    (
        "saturated_fraction",
        "share",
        "share of elements of h within 2.5% of the range of a bounded activation from one of its ends; else null",
    ),
    ("nonfinite_fraction", "share", "share of elements that are inf or NaN, in z or in h, whichever has more"),
    ("activation_max_abs", "1", "largest |h|"),
)

INPUT_COLUMNS: Final = _numbers(
    "forward",
    (
        "input_second_moment",
        "1",
        "mean of x^2, of what a layer with weights receives; null where that is not one x, and in sweeps",
    ),
    (
        "softmax_certainty",
        "share",
        "how far a softmax in it is from even (0) to one-hot (1): (sum p^2 - 1/n) / (1 - 1/n), mean; null without one",
    ),
)
"""Taken from the site whose output it is, or measured beside the sites' own quantities."""

BACKWARD_COLUMNS: Final = _numbers(
    "backward",
    ("gradient_second_moment", "1", "mean of (dL/dz)^2, or of (dL/dh)^2 where there is no z"),
    (
        "gradient_norm",
        "1",
        "root mean square over the samples of the norm of one sample's dL/dz: sqrt(U * gradient_second_moment)",
    ),
    ("weight_gradient_norm", "1", "Frobenius norm of dL/dW, summed over the batch"),
    ("gradient_to_weight_ratio", "1", "weight_gradient_norm / weight_norm"),
)

RANGE_COLUMNS: Final = (
    *_numbers(
        "forward",
        (
            "activation_overflow_fraction",
            "share",
            "share of the finite elements of h with |h| > 65504, float16's largest number; null unless asked for",
        ),
        (
            "activation_underflow_fraction",
            "share",
            "share of elements with 0 < |h| < 2^-25, which float16 rounds to zero; null unless asked for",
        ),
    ),
    *_numbers(
        "backward",
        (
            "gradient_overflow_fraction",
            "share",
            "the same of dL/dz, or of dL/dh where there is no z: share above 65504; null unless asked for",
        ),
        (
            "gradient_underflow_fraction",
            "share",
            (
                "share of these gradients between 0 and 2^-40, "
                "which is 2^-25 at a loss scale of 2^15; null unless asked for"
            ),
        ),
    ),
)

WEIGHT_COLUMNS: Final = _numbers(
    "weight",
    ("weight_mean", "1", "mean of the entries of W"),
    ("weight_variance", "1", "mean of (W - mean W)^2"),
    ("weight_norm", "1", "Frobenius norm of W"),
)

QUANTITIES: Final = tuple(column.name for column in FORWARD_COLUMNS + BACKWARD_COLUMNS + WEIGHT_COLUMNS)

PREDICTED_QUANTITIES: Final = (
    "preactivation_second_moment",
    "activation_mean",
    "activation_second_moment",
    "activation_batch_variance",
    "gradient_second_moment",
    "gradient_norm",
    "weight_gradient_norm",
    "weight_variance",
    "weight_norm",
)
"""The quantities that theory predicts, where it can."""

PREDICTED_COLUMNS: Final = (
    *(
        column
        for name in PREDICTED_QUANTITIES
        for column in _numbers(
            "theory",
            (f"predicted_{name}", "1", f"{name} as theory expects it, mean over seeds"),
            (
                f"predicted_{name}_sd",
                "1",
                f"standard deviation of {name} from seed to seed as theory expects it; null where none is known",
            ),
        )
    ),
    _column(
        "theory", "prediction", "string", "words", "what the predictions of this row rest on, or why there are none"
    ),
)

MEASUREMENT_COLUMNS: Final = (
    KEY_COLUMNS
    + SITE_COLUMNS
    + FORWARD_COLUMNS
    + INPUT_COLUMNS
    + BACKWARD_COLUMNS
    + WEIGHT_COLUMNS
    + RANGE_COLUMNS
    + PREDICTED_COLUMNS
)

WEIGHTS_COLUMNS: Final = (
    _column("key", "seed", "Int64", "1", "seed of this replicate; the weights derive from it"),
    _column("weight", "weight", "string", "path", "path of the weight in the model"),
    _column("weight", "layer", "string", "path", "path of the layer that holds it; empty for the model itself"),
    _column("weight", "shape", "string", "sizes", "its shape, for example (3, 3, 64)"),
    _column("weight", "trainable", "boolean", "yes/no", "whether training changes it"),
    _column(
        "backward",
        "has_gradient",
        "boolean",
        "yes/no",
        "whether a differentiable path leads from the weight to the loss",
    ),
    _column("backward", "gradient_norm", "Float64", "1", "Frobenius norm of dL/dw; null without a path to the loss"),
    _column(
        "backward",
        "gradient_is_zero",
        "boolean",
        "yes/no",
        "whether dL/dw is exactly 0 everywhere; null without a path to the loss",
    ),
    _column("weight", "weight_norm", "Float64", "1", "Frobenius norm of w; null if it is not floating-point"),
)
"""The table of all weights: one row per seed x weight of the model."""


def _direction(direction: str, moment: str, order: str) -> tuple[Column, ...]:
    group: Group = "forward" if direction == "forward" else "backward"
    return (
        *_numbers(
            group,
            (
                f"{direction}_gain",
                "1",
                (
                    f"factor by which the {moment} changes from one layer to the next, {order}: "
                    "mean over layers, then seeds"
                ),
            ),
            (f"{direction}_gain_low", "1", "lower end of its 95% interval over seeds"),
            (f"{direction}_gain_high", "1", "upper end of its 95% interval over seeds"),
            (f"{direction}_log_gain", "nats", "mean over layers and seeds of ln(that factor)"),
            (f"{direction}_log_gain_low", "nats", "lower end of its 95% interval over seeds"),
            (f"{direction}_log_gain_high", "nats", "upper end of its 95% interval over seeds"),
            (
                f"{direction}_log_gain_shallow_half",
                "nats",
                f"{direction}_log_gain over the half of the steps nearer to the input",
            ),
            (
                f"{direction}_log_gain_deep_half",
                "nats",
                f"{direction}_log_gain over the half of the steps nearer to the output; the verdict is about this rate",
            ),
        ),
        _column(group, f"{direction}_steps", "Int64", "layers", "steps between layers that could be measured"),
        *_numbers(
            group,
            (
                f"{direction}_layers_until_thousandth",
                "layers",
                (
                    "layers over which the geometric mean over seeds changes by a factor 1000; where that is more than "
                    f"{direction}_steps, theory at this width goes on from the last measured layer; inf: not within "
                    "1,000 layers; null: not within the measured ones, and no theory"
                ),
            ),
        ),
        _column(
            group,
            f"{direction}_thousandfold_change",
            "string",
            "word",
            "vanishes (1/1000 is left), explodes (1000 times as large) or keeps; null as the number of layers",
        ),
        _column(
            group,
            f"{direction}_verdict",
            "string",
            "word",
            "preserves, vanishes, explodes, dead (exactly zero) or inconclusive",
        ),
    )


def _direction_prediction(direction: str) -> tuple[Column, ...]:
    return _numbers(
        "theory",
        (
            f"textbook_{direction}_gain",
            "1",
            f"{direction}_gain in an infinitely wide network; null where theory does not apply",
        ),
        (
            f"predicted_{direction}_gain",
            "1",
            f"{direction}_gain as theory expects it at this width, on this batch; null where only the limit is known",
        ),
        (f"predicted_{direction}_gain_sd", "1", "its standard deviation from seed to seed as theory expects it"),
        (
            f"{direction}_gain_z",
            "standard errors",
            (
                f"({direction}_gain - predicted_{direction}_gain) / standard error, measured over the seeds or "
                "predicted, whichever is larger; as a normal score: Student's t made standard normal; null where "
                "nothing varies from seed to seed"
            ),
        ),
    )


SUMMARY_COLUMNS: Final = (
    *(column for column in KEY_COLUMNS if column.name != "seed"),
    _column("key", "seeds", "Int64", "1", "number of seeds"),
    *_direction("forward", "second moment of the pre-activation", "from the input to the output"),
    *_direction("backward", "squared norm of one sample's dL/dz", "from the output to the input"),
    _column(
        "forward",
        "batch_variance_share",
        "Float64",
        "share",
        "activation_batch_variance / activation_second_moment at the last hidden layer, geometric mean over seeds",
    ),
    _column("forward", "dead_fraction", "Float64", "share", "dead units in the last hidden layer, mean over seeds"),
    _column("forward", "saturated_fraction", "Float64", "share", "saturated elements in the last hidden layer, mean"),
    _column("forward", "nonfinite_from_position", "Int64", "1", "first position with a non-finite value; else null"),
    _column("weight", "symmetric", "boolean", "yes/no", "every hidden kernel is constant, so all its units are alike"),
    _column("key", "verdict", "string", "words", "both directions in words"),
    *_direction_prediction("forward"),
    *_direction_prediction("backward"),
    _column("theory", "prediction", "string", "words", "what the predictions rest on, or why there are none"),
)

HISTORY_COLUMNS: Final = (
    _column("key", "initializer", "string", "name", "initializer of the hidden layers"),
    _column("key", "seed", "Int64", "1", "seed of this network: its weights and the order of its batches"),
    _column("key", "epoch", "Int64", "1", "epochs trained; 0 is the initialization"),
    _column("training", "loss", "Float64", "nats", "mean loss over the batches of the epoch, each before its step"),
    _column("training", "accuracy", "Float64", "share", "hits over the batches of the epoch, each before its step"),
    _column("training", "validation_loss", "Float64", "nats", "mean loss on the held-out samples, after the epoch"),
    _column("training", "validation_accuracy", "Float64", "share", "hits on the held-out samples, after the epoch"),
)
"""The learning curves: one row per initializer x seed x epoch."""

COMPARISON_COLUMNS: Final = (
    _column("key", "initializer", "string", "name", "initializer of the hidden layers"),
    _column("key", "seeds", "Int64", "1", "number of networks"),
    _column("training", "accuracy", "Float64", "share", "final accuracy on the held-out samples, mean over seeds"),
    _column("training", "accuracy_low", "Float64", "share", "lower end of its 95% interval over seeds"),
    _column("training", "accuracy_high", "Float64", "share", "upper end of its 95% interval over seeds"),
    _column("training", "loss", "Float64", "nats", "final loss on the held-out samples, mean over seeds"),
    _column("training", "loss_low", "Float64", "nats", "lower end of its 95% interval over seeds"),
    _column("training", "loss_high", "Float64", "nats", "upper end of its 95% interval over seeds"),
    _column("training", "first_loss", "Float64", "nats", "training loss of the first epoch, mean over seeds"),
    _column("training", "reached_90", "Int64", "1", "networks that reach an accuracy of .90 on the held-out samples"),
    _column("training", "epochs_to_90", "Float64", "epochs", "epochs until then, mean over those that do"),
    _column("training", "reached_95", "Int64", "1", "networks that reach .95"),
    _column("training", "epochs_to_95", "Float64", "epochs", "epochs until then, mean over those that do"),
)
"""The result of each initializer: one row each."""
