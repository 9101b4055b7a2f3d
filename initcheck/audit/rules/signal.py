"""Rules about the signal and the gradient along the paths of a model: do they vanish, explode, or is it undecided?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Finding, FixPlan, Measured, ModelMeasurement, Rule, example, stack_example
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import (
    count,
    exponential,
    format_change,
    format_factor,
    format_interval,
    format_names,
    format_number,
    format_share,
)

if TYPE_CHECKING:
    from initcheck.audit.limits import Limits
    from initcheck.audit.total_change import JudgedPath
    from initcheck.core.statistics import Estimate

_SUBJECT: Final = {"forward": "the signal", "backward": "the gradient"}


def _find_changes(
    measurement: ModelMeasurement, *, code: str, direction: Direction, outcomes: tuple[str, ...]
) -> Iterator[Finding]:
    """Make a finding of each path whose change in one direction is wrong, unless its levels are not finite."""
    from initcheck.audit.causes import CauseFinder  # NumPy, which whoever reads the rules does without

    finder = CauseFinder(measurement)
    for judged in measurement.paths:
        if judged.levels.direction != direction or judged.outcome not in outcomes or judged.wakes:
            continue
        cause = finder.explain_path(judged)
        if judged.outcome == "dead":
            found = _dead(code, judged)
        elif judged.step is not None and judged.step_change is not None and not judged.total_is_wrong:
            found = _single_layer(code, judged, measurement.limits)
        else:
            found = _gradual(code, judged)
        named = judged.outcome == "dead" or judged.doers or (judged.step is not None and not judged.total_is_wrong)
        if cause is not None and named:
            # Few layers did it: the finding is about them, and not about where the limit was passed.
            found = replace(found, layer=cause.layers[0], layers=cause.layers)
        yield replace(found, cause=cause)


def format_rate(judged: JudgedPath) -> str:
    """Format the factor of the root mean square a layer with its interval, such as ``0.560 [0.550, 0.570]``.

    Without an interval if no draw differs.
    """
    value, low, high = map(math.sqrt, judged.rate)
    return f"{format_number(value)} {format_interval(low, high) if low < high else ''}".rstrip()


def describe_rate(judged: JudgedPath) -> str:
    """Write the factor a layer in words, such as ``a factor of 0.560 [0.550, 0.570] a layer``."""
    return f"a factor of {format_rate(judged)} a layer"


def format_amplitude(log_change: float) -> str:
    """Write a change of the root mean square in words, given the logarithm of that of the square."""
    return format_change(0.5 * log_change)


def _measured_total(judged: JudgedPath) -> Measured:
    """Give the total change as the value of a finding."""
    return _measured_change("factor over the whole path, in squares", judged.total, judged.limit)


def _add_branch(judged: JudgedPath, message: str) -> str:
    """Add to a message in which branch a path lies."""
    inside = judged.path.inside
    return f"{message} (in the branch between {inside[0]} and {inside[1]})" if inside else message


def _gradual(code: str, judged: JudgedPath) -> Finding:
    levels = judged.levels
    verb = "falls" if judged.outcome == "falls" else "grows"
    change = f"{_SUBJECT[levels.direction]} {verb} {format_amplitude(judged.total.value)}"
    end = levels.layers[levels.last_counted]
    if judged.doers:
        message = f"{change} from {levels.start} to {end}: {_describe_doers(judged)}"
        layers = tuple(levels.layers[place] for place in judged.doers)
    else:
        where = f"; beyond the limit from {judged.beyond[0]}" if judged.beyond else ""
        steps = count(judged.steps, "layer")
        message = f"{change} from {levels.start} to {end} ({steps}), {describe_rate(judged)}{where}"
        layers = judged.beyond or levels.layers
    return Finding(
        code,
        layers[0],
        _add_branch(judged, message) + _describe_allowance(judged),
        _measured_total(judged),
        layers,
    )


def _describe_doers(judged: JudgedPath) -> str:
    """Name the layers that make the change, each with its factor, and what the others do."""
    levels = judged.levels
    means = levels.steps.mean(axis=0)
    forward = levels.direction == "forward"
    # What changes the gradient on the way to a layer is the kernel of the one behind it, and its own activation.
    where = [
        levels.layers[place] if forward else f"between {levels.layers[place - 1]} and {levels.layers[place]}"
        for place in judged.doers
    ]
    named = ", ".join(
        f"{each} {format_amplitude(means[place])}" for each, place in zip(where, judged.doers, strict=True)
    )
    others = [means[place] for place in range(len(means)) if levels.counted[place] and place not in judged.doers]
    if not others:
        return named
    low, high = (format_number(exponential(0.5 * each)) for each in (min(others), max(others)))
    return f"{named}; the other{'s' if others[1:] else ''} × {low}" + ("" if low == high else f" to {high}")


def _single_layer(code: str, judged: JudgedPath, limits: Limits) -> Finding:
    before, after = judged.step or ("", "")
    change = judged.step_change
    assert change is not None
    verb = "falls" if judged.outcome == "falls" else "grows"
    message = (
        f"{_SUBJECT[judged.levels.direction]} {verb} {format_amplitude(change.value)} at one layer, "
        f"from {before} to {after}, and no later layer makes up for it"
    )
    measured = _measured_change("factor at this layer, in squares", change, math.log(limits.step_factor))
    return Finding(code, after, _add_branch(judged, message), measured, (after,))


def _dead(code: str, judged: JudgedPath) -> Finding:
    from initcheck.core.statistics import estimate_proportion  # SciPy, which whoever reads the rules does without

    levels = judged.levels
    draws = len(levels.squares)
    dead = round(levels.share_of_dead_seeds * draws)
    share = estimate_proportion(dead, draws)
    where = f"{_SUBJECT[levels.direction]} is exactly zero"
    if dead == draws:
        message = f"{where} at {judged.beyond[0]}" + (f" in all {draws} draws" if draws > 1 else "")
    else:
        of_all = format_interval(share.low, share.high, format_share)
        message = f"{where} in {dead} of {draws} draws {of_all}, first at {judged.beyond[0]}"
    measured = Measured("share of draws without a signal", share.value, share.low, share.high, seeds=draws)
    return Finding(code, judged.beyond[0], _add_branch(judged, message), measured, judged.beyond)


def _describe_allowance(judged: JudgedPath) -> str:
    if not judged.allowance > 0.0:
        return ""
    what = "normalization layers" if judged.total.value > 0.0 else "half-open gates"
    return f"; {what} alone account for {format_number(math.exp(judged.allowance))} of the limit"


def _measured_change(quantity: str, log_change: Estimate, log_limit: float) -> Measured:
    value, low, high = map(exponential, (log_change.value, log_change.low, log_change.high))
    limit = exponential(math.copysign(log_limit, log_change.value))
    return Measured(quantity, value, low, high, limit, log_change.count)


def _find_undecided(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Make a finding of the paths whose change the seeds do not decide, and of what lies on no path."""
    if not measurement.paths:
        yield Finding("IC603", "", "no measured layer reaches the outputs, so that propagation could not be followed")
    undecided = [judged for judged in measurement.paths if judged.outcome == "undecided"]
    for direction, beside in itertools.product(DIRECTIONS, (False, True)):
        found = [
            _undecided(judged)
            for judged in sorted(undecided, key=lambda each: -each.steps)
            if judged.levels.direction == direction and _is_beside_others(judged) == beside
        ]
        if found:
            first, *others = found
            named = tuple(dict.fromkeys(layer for each in found for layer in each.layers))
            more = f"; nor on {count(len(others), 'other path')}" if others else ""
            yield replace(first, message=f"{first.message}{more}", layers=named, note=beside)
    yield from _find_unjudged(measurement)


def _is_beside_others(judged: JudgedPath) -> bool:
    """Find whether a path is a branch whose change is known, beside others that carry the signal: it decides little."""
    known = math.isfinite(judged.total.value) and judged.total.count > 0
    return known and bool(judged.path.inside) and judged.path.ends[0] >= 0 and not judged.path.ends_in_outputs


def _find_unjudged(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find layers that get a gradient and lie on no path from the inputs to the outputs."""
    from initcheck.audit.paths import find_judged_weights

    if not len(measurement.gradients) or not measurement.paths:
        return
    judged = find_judged_weights(measurement.nodes, [each.path for each in measurement.paths])
    reached = measurement.gradients[measurement.gradients["has_gradient"].astype(bool)]
    learning = set(map(str, reached["layer"].unique()))
    nodes = [node for place, node in enumerate(measurement.nodes) if node.weighted and place not in judged]
    layers = tuple(dict.fromkeys(node.layer for node in nodes if node.layer in learning))
    if layers:
        message = f"{format_names(layers)} on no path from the inputs to the outputs that could be followed"
        yield Finding("IC603", layers[0], message, None, layers)


def _undecided(judged: JudgedPath) -> Finding:
    levels = judged.levels
    subject = _SUBJECT[levels.direction]
    if not math.isfinite(judged.total.value) or judged.total.count < 1:
        where = (judged.beyond or levels.layers)[0]
        message = f"{subject} could not be followed: {where} has no value"
        return Finding("IC603", where, _add_branch(judged, message), None, levels.layers)
    measured = _measured_total(judged)
    advice = (
        f"{judged.seeds_needed} seeds would decide"
        if judged.seeds_needed is not None
        else "it lies at the limit, and more seeds will not decide it"
    )
    message = (
        f"whether {subject} stays within the limit is not shown: it changes {format_amplitude(judged.total.value)} "
        f"from {levels.layers[0]} to {levels.layers[levels.last_counted]}, with the interval "
        f"{format_interval(math.sqrt(measured.low), math.sqrt(measured.high))} around a limit of "
        f"{format_factor(0.5 * judged.limit)}; {advice}"
    )
    return Finding("IC603", levels.layers[-1], _add_branch(judged, message), measured, levels.layers)


def _find_outliers(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find the layers of each path that multiply the signal by far more or less than the others do.

    Its gain is compared with the median of the others' on its path; the interval over seeds has to lie beyond. What a
    normalization gives is compared with 1.
    """
    import numpy as np

    from initcheck.audit.causes import CauseFinder
    from initcheck.audit.total_change import GATES, SiteSquares
    from initcheck.core.statistics import estimate_mean

    limits = measurement.limits
    squares = SiteSquares(measurement.table, len(measurement.nodes)) if measurement.paths else None
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = np.log(squares.signal / squares.received) if squares is not None else np.zeros((0, 0))
    for judged in measurement.paths:
        levels = judged.levels
        with np.errstate(invalid="ignore"):
            grown = levels.only_growth & (levels.steps.mean(axis=0) > 0.0)
        places = np.flatnonzero(levels.counted | grown)
        if levels.direction != "forward" or judged.outcome not in ("within", "undecided") or len(places) < _FEWEST:
            continue
        gates = [GATES.get(measurement.nodes[levels.positions[place]].kind, 0.0) for place in places]
        # What the activation function before it loses is not the layer's own.
        own = gains[:, [levels.positions[place] for place in places]]
        steps = np.where(np.isnan(own), levels.steps[:, places], own) + np.asarray(gates)
        apart = [steps[:, i] - np.median(np.delete(steps, i, axis=1), axis=1) for i in range(len(places))]
        order = sorted(range(len(places)), key=lambda i: -abs(float(apart[i].mean())))
        for i in order[:_MOST_OUTLIERS]:
            off = estimate_mean(apart[i])
            bound = off.value if off.count == 1 else (off.high if off.value < 0.0 else off.low)
            if not math.copysign(1.0, off.value) * bound > math.log(limits.outlier_factor):
                continue
            layer = levels.layers[places[i]]
            gain = format_number(exponential(float(steps[:, i].mean())))
            ratio = format_number(exponential(abs(off.value)))
            size = "less" if off.value < 0.0 else "more"
            message = (
                f"{layer} multiplies the second moment by {gain}, {ratio} times {size} than the other layers on its "
                "path; the path as a whole keeps within its limit"
            )
            yield Finding(
                "IC106",
                layer,
                _add_branch(judged, message),
                _measured_change(
                    "gain over that of the other layers, in squares", off, math.log(limits.outlier_factor)
                ),
                (layer,),
                note=not math.copysign(1.0, off.value) * bound > math.log(limits.step_factor),
                cause=CauseFinder(measurement).blame_layer(levels.positions[places[i]], off.value),
            )
    yield from _find_starved(measurement)


def _find_starved(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find the normalizations that receive less than their epsilon, each first one before others."""
    from initcheck.audit.causes import CauseFinder

    limits = measurement.limits
    finder = CauseFinder(measurement)
    for first in dict.fromkeys(finder.starving.values()):
        off = finder.starved[first]
        layers = tuple(measurement.nodes[each].layer for each, origin in finder.starving.items() if origin == first)
        cause = finder.explain_normalization(first)
        others = count(len(layers) - 1, "more normalization")
        more = f"; behind it {others} {'give' if layers[2:] else 'gives'} too little as well" if layers[1:] else ""
        share = format_number(exponential(off.value))
        bound = off.value if off.count == 1 else off.high
        yield Finding(
            "IC106",
            layers[0],
            f"what {layers[0]} gives has {share} of the second moment of a normalized signal{more}",
            _measured_change("second moment over that of a normalized signal", off, math.log(limits.outlier_factor)),
            layers,
            note=not bound < -math.log(limits.step_factor),
            cause=cause,
        )


_FEWEST: Final = 4
"""On a path of fewer steps there is no telling which layer is the odd one."""

_MOST_OUTLIERS: Final = 2
"""Layers of a path that are said to stand out: a large one is often made up for by a small one."""

_LIMITS: Final = ("total_factor", "layer_margin", "step_factor")

VANISHING_ACTIVATIONS = Rule(
    code="IC101",
    name="vanishing-activations",
    what=(
        "Along the main path of the model (the layers that every path from its inputs to its outputs passes), or "
        "along a tower, a head or a branch, the second moment of the pre-activations falls from what the first "
        "layer receives to the last layer by more than the limit: a factor of 100 in total (10 in standard "
        "deviation), or 5% a layer where that is more. Where a layer's output goes into a normalization and "
        "nowhere else, the output of the normalization is followed. The 95% interval over seeds lies wholly "
        "beyond the limit. A drop by more than the factor at a single layer, which no later layer makes up for, "
        "is reported too. A small last layer of a head, or of a branch beside others, is a choice and does not "
        "count."
    ),
    why=(
        "The output hardly depends on the input, the gradients of the last layers shrink with it, and in float16 "
        "the signal is lost. Training starts with a long plateau, or never starts."
    ),
    example=stack_example(12, "relu", '"glorot_uniform"'),
    fix=(
        "Give layers before a ReLU the initializer HeNormal or HeUniform; before SELU LecunNormal; or put a "
        "normalization layer between the layers."
    ),
    source="He et al. 2015, section 2.2; Glorot and Bengio 2010, section 4.2.1",
    brings=("IC103", "IC201", "IC203", "IC502", "IC603"),
    find=partial(_find_changes, code="IC101", direction="forward", outcomes=("falls", "dead")),
    limits=_LIMITS,
    directions=("forward",),
    fix_plan=FixPlan("initializers", rate="forward"),
    of_paths=True,
)

EXPLODING_ACTIVATIONS = Rule(
    code="IC102",
    name="exploding-activations",
    what="As IC101, but growing: the second moment of the pre-activations grows by more than the limit.",
    why=(
        "Outputs and gradients are huge at the first step: a softmax is certain of a random class, the loss "
        "starts far above chance level, and the first update destroys the initialization. In float16 the signal "
        "overflows."
    ),
    example=stack_example(8, "relu", "keras.initializers.RandomNormal(stddev=1.0)"),
    fix=(
        "Let the standard deviation shrink with the number of inputs, as HeNormal and GlorotUniform do; in residual "
        "networks scale the last layer of each branch by 1 / sqrt(number of blocks)."
    ),
    source="He et al. 2015, section 2.2; Hanin and Rolnick 2018, theorem 5; Zhang et al. 2019 for residual networks",
    brings=("IC103", "IC202", "IC203", "IC303", "IC304", "IC501", "IC502", "IC603"),
    find=partial(_find_changes, code="IC102", direction="forward", outcomes=("grows",)),
    limits=_LIMITS,
    directions=("forward",),
    fix_plan=FixPlan("initializers", rate="forward"),
    of_paths=True,
)

VANISHING_GRADIENTS = Rule(
    code="IC201",
    name="vanishing-gradients",
    what=(
        "Along the same layers, from the outputs back to the inputs, the squared norm of one sample's gradient "
        "dL/dz falls by more than the limit of IC101."
    ),
    why="The first layers learn more slowly than the last ones by that factor, or not at all.",
    example=stack_example(8, "sigmoid", '"glorot_uniform"'),
    fix=(
        "Choose an initializer that fits the activation function; replace saturating activation functions; add skip "
        "connections or normalization."
    ),
    source="Glorot and Bengio 2010, section 4.2; Schoenholz et al. 2017, section 4",
    brings=("IC103", "IC203", "IC502", "IC603"),
    find=partial(_find_changes, code="IC201", direction="backward", outcomes=("falls", "dead")),
    limits=_LIMITS,
    directions=("backward",),
    fix_plan=FixPlan("initializers", rate="backward"),
    of_paths=True,
)

EXPLODING_GRADIENTS = Rule(
    code="IC202",
    name="exploding-gradients",
    what=(
        "As IC201, but growing: the gradient grows towards the inputs by more than the limit. Each normalization "
        "layer that subtracts the mean may let it grow by a further factor of pi / (pi - 1); up to 50 of them "
        "count where no skip connection leads around them."
    ),
    why=(
        "The first updates change the first layers far too much and the last ones hardly; training needs a tiny "
        "learning rate or gradient clipping."
    ),
    example=stack_example(8, "tanh", "keras.initializers.RandomNormal(stddev=0.5)"),
    fix=(
        "Reduce the variance of the weights to that of an initializer that fits the activation function. With "
        "normalization layers some growth with depth is expected; skip connections limit it."
    ),
    source="Schoenholz et al. 2017, section 4; Yang et al. 2019 for batch normalization",
    brings=("IC103", "IC502", "IC603"),
    find=partial(_find_changes, code="IC202", direction="backward", outcomes=("grows",)),
    limits=_LIMITS,
    directions=("backward",),
    fix_plan=FixPlan("initializers", rate="backward"),
    of_paths=True,
)

OUTLYING_LAYER = Rule(
    code="IC106",
    name="outlying-layer",
    what=(
        "One layer multiplies the second moment by over ten times more, or less, than the other layers on its path do, "
        "and the path as a whole keeps within its limit. Or a normalization gives a second moment of less than a tenth "
        "of 1, since what it receives is below its epsilon. It is a note, and from a hundred times on a finding."
    ),
    why=(
        "The layer was probably not meant to be drawn so: its sums saturate what follows or drown in its biases, and "
        "its weights change by another share in each step than those of all other layers. A normalization that "
        "receives less than its epsilon normalizes nothing."
    ),
    example=example(
        """
spread = {2: keras.initializers.RandomNormal(stddev=2.0), 4: keras.initializers.RandomNormal(stddev=0.015)}
model = keras.Sequential([keras.Input((64,))])
for number in range(7):
    model.add(keras.layers.Dense(64, activation="relu", kernel_initializer=spread.get(number, "he_normal")))
"""
    ),
    fix="Give the layer the initializer that the others have; a normalization an epsilon below what it receives.",
    source="He et al. 2015, section 2.2; initcheck's own comparison",
    brings=("IC603",),
    find=_find_outliers,
    limits=("outlier_factor", "step_factor"),
    directions=("forward",),
    fix_plan=FixPlan("initializers", rate="forward"),
)

UNDECIDED = Rule(
    code="IC603",
    name="undecided",
    what=(
        "The interval over seeds contains a limit: neither healthy nor wrong is shown. In a branch beside others, "
        "which carry the signal as well, it is a note."
    ),
    why="Inconclusive is not a pass.",
    example=stack_example(16, "relu", "keras.initializers.VarianceScaling(1.4, 'fan_in', 'truncated_normal')"),
    fix=(
        "Draw more seeds: the message says between how many would decide, or that it lies at the limit and no number "
        "will. Or "
        "accept it: --allow-inconclusive."
    ),
    source="Schuirmann 1987 (two one-sided tests)",
    find=_find_undecided,
    limits=("total_factor", "layer_margin"),
    severity="unjudged",
    inconclusive=True,
    directions=(),
    of_paths=True,
)
