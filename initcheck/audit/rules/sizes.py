"""Rules about sizes: of inputs that the user gave, of outputs and the initial loss, of what is added to what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Cause, Finding, GivenInput, Measured, ModelMeasurement, Rule, example
from initcheck.core.formatting import count, exponential, format_interval, format_number, format_share

if TYPE_CHECKING:
    from initcheck.audit.findings import InitialLoss
    from initcheck.audit.paths import SignalPath
    from initcheck.audit.sizes import OutputSize, Unscaled
    from initcheck.core.statistics import Estimate

_CERTAIN: Final = 0.9
"""From this share of the way on it is said how near to one-hot a softmax is."""

_SIZE: Final = 10.0
"""A branch that begins at a normalized signal is of size 1 or less: one below this is not large."""


def _find_unscaled_inputs(measurement: ModelMeasurement) -> Iterator[Finding]:
    from initcheck.audit.sizes import find_unscaled

    for each in find_unscaled(measurement):
        layer = measurement.nodes[each.given.position].layer
        message = f"{_describe_input(each.given)}, and {_describe_way(each)}; about 1 is expected"
        measured = Measured("root mean square of the input", each.given.size)
        yield Finding("IC104", layer, message, measured, (layer,), note=True)


def _describe_input(given: GivenInput) -> str:
    name = given.name if given.name.startswith("input") else f"the input {given.name}"
    if given.columns:
        largest, size = given.columns[0]
        column = f"column {largest} of {name} has"
        if len(given.columns) > 1:
            column = f"{count(len(given.columns), 'column')} of {name} stand out, column {largest} with"
        typical = format_number(given.typical)
        return f"{column} a root mean square of {format_number(size)} (the median column {typical})"
    values = f"values from {format_number(given.low)} to {format_number(given.high)}"
    return f"{name} has a root mean square of {format_number(given.size)} ({values})"


def _describe_way(unscaled: Unscaled) -> str:
    if unscaled.identity:
        return (
            f"{unscaled.identity} passes it on to {unscaled.receiver} unchanged: a Normalization with mean 0 and "
            "variance 1, as before adapt()"
        )
    return f"{unscaled.receiver} receives it without a rescaling"


def explain_by_inputs(
    found: Sequence[Finding], scaled: Sequence[Finding], measurement: ModelMeasurement
) -> tuple[Finding, ...]:
    """Name the inputs as the cause of what is gone once they are of size 1; then they are wrong, and no note.

    Args:
        scaled: what the same draws of the model have with the inputs divided by their root mean squares.
    """
    from initcheck.audit.sizes import find_unscaled

    unscaled = find_unscaled(measurement)
    names = [measurement.nodes[each.given.position].layer for each in unscaled]
    described = [f"{_describe_input(each.given)}, and {_describe_way(each)}" for each in unscaled]
    at = (*names, *(each.identity for each in unscaled if each.identity))
    proof = "with the inputs divided by their root mean squares"
    cause = Cause("inputs", at, f"{'; '.join(described)}; {proof} the same draws do not have this finding")
    left = [(each.code, set(each.named)) for each in scaled if not each.note]
    gone = [
        not each.note and not any(each.code == code and set(each.named) & layers for code, layers in left)
        for each in found
    ]
    explained = [replace(each, cause=cause) if is_gone else each for each, is_gone in zip(found, gone, strict=True)]
    if not any(gone):
        return tuple(explained)
    effect = replace(cause, message=f"{proof}, {count(sum(gone), 'finding is', 'findings are')} gone")
    return tuple(replace(each, note=False, cause=effect) if each.code == "IC104" else each for each in explained)


# --- outputs ----------------------------------------------------------------------------------------------------------


def _find_large_outputs(measurement: ModelMeasurement) -> Iterator[Finding]:
    from initcheck.audit.sizes import measure_outputs

    outputs = measure_outputs(measurement)
    if not outputs:
        return
    if measurement.initial_loss is not None:
        yield from _judge_loss(measurement, measurement.initial_loss, outputs)
        return
    limit = measurement.limits.output_size
    large = [each for each in outputs if each.variance.low > limit and not _is_explained(measurement, each)]
    if large:
        worst = max(large, key=lambda each: each.variance.value)
        others = f", and {count(len(large) - 1, 'more output')} likewise" if len(large) > 1 else ""
        message = (
            f"{_describe_size(worst)}{others}, where logits and standardized targets are of size 1"
            f"{_describe_certainty(worst)}"
        )
        measured = _measured(f"variance of {worst.subject}", worst.variance, limit)
        from initcheck.audit.causes import CauseFinder

        cause = CauseFinder(measurement).explain_large_output(worst.position)
        yield Finding("IC105", worst.layer, message, measured, tuple(each.layer for each in large), cause=cause)


def _is_explained(measurement: ModelMeasurement, output: OutputSize) -> bool:
    """Find whether the path into an output is one along which the signal explodes, or whether its weights are kept."""
    if any(facts.kept and facts.layer == output.layer for facts in measurement.facts):
        return True  # loaded or trained: large outputs may be what was learned
    return _explodes(measurement, output)


def _explodes(measurement: ModelMeasurement, output: OutputSize) -> bool:
    return any(
        judged.levels.direction == "forward"
        and judged.outcome in ("grows", "nonfinite")
        and output.position in judged.levels.positions
        for judged in measurement.paths
    )


def _judge_loss(measurement: ModelMeasurement, loss: InitialLoss, outputs: Sequence[OutputSize]) -> Iterator[Finding]:
    import numpy as np

    from initcheck.audit.site_estimates import estimate_geometric

    ratios = np.asarray(loss.values) / loss.chance
    if not np.isfinite(ratios).all():
        return  # reported as non-finite where it begins
    ratio = estimate_geometric(ratios)
    largest = max(outputs, key=lambda each: each.variance.value)
    if not (ratio.low if ratio.count > 1 else ratio.value) > loss.limit or _explodes(measurement, largest):
        return
    times = f"{format_number(ratio.value)} {format_interval(ratio.low, ratio.high)}".rstrip()
    message = (
        f"the initial loss is {format_number(ratio.value * loss.chance)}, {times} times chance level "
        f"({format_number(loss.chance)}, of outputs that do not depend on the input)"
    )
    measured = _measured("initial loss over chance level", ratio, loss.limit)
    large = largest.variance.value > measurement.limits.output_size
    if loss.of_classes or large:
        message += f"; {_describe_size(largest)}{_describe_certainty(largest)}"
        yield Finding("IC105", largest.layer, message, measured, (largest.layer,))
        return
    far = loss.at_zero > 0.5 * ratio.value * loss.chance
    reason = "outputs of 0 would give as much: the labels are far from 0" if far else "the labels are small"
    yield Finding("IC105", largest.layer, f"{message}; {reason}", measured, (largest.layer,), note=True)


def _describe_size(output: OutputSize) -> str:
    return f"{output.subject} have a root mean square of {format_number(math.sqrt(output.size))}"


def _describe_certainty(output: OutputSize) -> str:
    if not output.certainty > _CERTAIN:
        return ""
    return f"; its softmax is {format_share(output.certainty)} of the way from even to one-hot"


def _measured(quantity: str, estimate: Estimate, limit: float) -> Measured:
    return Measured(quantity, estimate.value, estimate.low, estimate.high, limit, estimate.count)


# --- sums -------------------------------------------------------------------------------------------------------------


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
            yield Finding("IC107", layer, message, _measured_sum(ratio, limit), (layer,), cause=cause)
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
        yield Finding("IC107", layer, message, _measured_sum(ratio, -limit), (layer,), cause=cause)


def _is_added(path: SignalPath, measurement: ModelMeasurement) -> bool:
    entry, exit_ = path.ends
    nodes = measurement.nodes
    return entry >= 0 and exit_ < len(nodes) and entry in nodes[exit_].parents and nodes[exit_].adds


def _measured_sum(ratio: Estimate, limit: float) -> Measured:
    value, low, high = map(exponential, (ratio.value, ratio.low, ratio.high))
    return Measured("branch over what it is added to, in squares", value, low, high, exponential(limit), ratio.count)


# --- the rules --------------------------------------------------------------------------------------------------------


UNSCALED_INPUTS = Rule(
    code="IC104",
    name="unscaled-inputs",
    what=(
        "An input that was given has a root mean square above 10, or no value above 0.1, and reaches a layer with "
        "weights before any normalization or rescaling. It is a note; it is wrong if the same draws of the model, "
        "measured once more with the inputs divided by their root mean squares, lose a finding: then the inputs are "
        "its cause, and it says so."
    ),
    why=(
        "Initializers keep a signal at the size at which it enters: raw pixels (0 to 255) or an income of 50,000 "
        "saturate tanh and sigmoid, overflow exponentials and make logits and gradients hundreds of times too large."
    ),
    example=example(
        """
import numpy

x = numpy.random.default_rng(0).uniform(0, 255, (32, 64)).astype("float32")
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "tanh"), keras.layers.Dense(8)])
"""
    ),
    fix=(
        "Scale the inputs: keras.layers.Rescaling(1 / 255) for pixels; for columns keras.layers.Normalization(), with "
        "adapt(x) before the model is used."
    ),
    source="LeCun et al. 1998, section 4.3; Glorot and Bengio 2010, section 4.2.1 (inputs of variance 1)",
    find=_find_unscaled_inputs,
    limits=("input_size",),
    directions=("forward",),
)

LARGE_OUTPUTS = Rule(
    code="IC105",
    name="large-outputs",
    what=(
        "With labels and a compiled loss: the initial loss is more than 4 times chance level, which is the "
        "cross-entropy of an even choice among the classes; for squared and absolute errors 100 times that of the best "
        "constant, and a note only where the labels rather than the outputs are off-scale. Without labels: the outputs "
        "of drawn weights, or what their softmax or sigmoid receives, have a variance above 100. The 95% interval over "
        "seeds lies wholly above the limit. Outputs that grow along a path are reported as IC102 alone."
    ),
    why=(
        "A softmax of such logits is certain of a random class for every sample. The first steps only undo that, with "
        "huge gradients."
    ),
    example=example(
        """
tokens = keras.Input((8,), dtype="int32")
hidden = keras.layers.Embedding(1000, 64, embeddings_initializer=keras.initializers.RandomNormal(stddev=50.0))(tokens)
hidden = keras.layers.GlobalAveragePooling1D()(hidden)
model = keras.Model(tokens, keras.layers.Dense(10, activation="softmax")(hidden))
"""
    ),
    fix=(
        "Reduce the variance of the last layer's weights, scale the inputs, or put a normalization layer in front of "
        "the last layer; standardize targets that are numbers."
    ),
    source="Karpathy 2019, A recipe for training neural networks (verify the loss at initialization)",
    find=_find_large_outputs,
    limits=("output_size", "chance_ratio"),
    directions=("forward",),
)

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
