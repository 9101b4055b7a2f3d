"""Rules about weights: their gradients, their initializers' fans, copies among them, and units that are alike."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Cause, Finding, FixPlan, Measured, ModelMeasurement, Rule, example, stack_example
from initcheck.core.formatting import count, format_interval, format_names, format_number, format_share

if TYPE_CHECKING:
    import pandas as pd

    from initcheck.audit.silent_weights import SilentWeight
    from initcheck.core.statistics import Estimate
    from initcheck.probe.weight_copies import CopyGroup, SymmetricUnits
    from initcheck.probe.weights import WeightFacts

_NAMED: Final = 6
"""Weights that a message names; the finding lists all of them."""


def _find_unused(measurement: ModelMeasurement) -> Iterator[Finding]:
    unused = _list_unused(measurement.gradients)
    if unused:
        more = f" and {len(unused) - 1} more trainable weights have" if len(unused) > 1 else " has"
        cause = _find_cut(unused, measurement)
        yield Finding("IC602", unused[0], f"{unused[0]}{more} no path to the loss", None, unused, cause=cause)


def _find_cut(unused: Sequence[str], measurement: ModelMeasurement) -> Cause | None:
    """Find where the gradient ends on its way to weights without one: the last layer that gets none."""
    nodes, table = measurement.nodes, measurement.table
    if not len(table):
        return None
    known = table.groupby("position")["gradient_norm"].count() > 0
    silent = {position for position in range(len(nodes)) if not known.get(position, False)}
    layers = {name.rpartition("/")[0] for name in unused}
    below = {position for position in silent if nodes[position].layer in layers}
    for position in range(len(nodes)):
        if position in silent and below & set(nodes[position].parents):
            below.add(position)
    if not below:
        return None
    last = max(below)
    takers = [node.layer for node in nodes if last in node.parents]
    where = f"between {nodes[last].layer} and {takers[0]}" if takers else f"behind {nodes[last].layer}"
    message = (
        f"the gradient ends {where}: what stands there has none, such as stop_gradient, argmax, rounding or a sign, or "
        "the output is not used"
    )
    return Cause("gradient", tuple(sorted(layers)), message)


def _find_zero_gradients(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find the weights that are as good as without a gradient, by the reason; first those that never get one."""
    from initcheck.audit.silent_weights import find_silent  # pandas, which whoever reads rules does without
    from initcheck.core.statistics import estimate_proportion

    gradients = measurement.gradients
    draws = int(gradients["seed"].nunique())
    tables = [each.weights for each in measurement.after]
    groups: dict[tuple[bool, bool, str], list[SilentWeight]] = {}
    for each in find_silent(gradients, tables, measurement.uses, measurement.rounding):
        wakes = each.wakes_after > 0
        # A gradient that is small because it falls on its way is reported where it falls.
        if wakes or each.silence != "negligible" or not _is_on_wrong_path(each.weight, measurement):
            share = estimate_proportion(each.draws, draws)
            shown = (share.value if draws == 1 else share.low) > measurement.limits.dead_draws
            groups.setdefault((wakes, not shown, each.silence), []).append(each)
    for (wakes, rare, _), members in sorted(groups.items(), key=lambda group: group[0][:2]):
        members.sort(key=lambda each: -each.draws)
        yield _describe_silent(members, estimate_proportion(members[0].draws, draws), wakes or rare, measurement)


def _is_on_wrong_path(weight: str, measurement: ModelMeasurement) -> bool:
    """Find whether a weight belongs to a path along which the gradient is found to be wrong or undecided."""
    layers = {
        layer
        for judged in measurement.paths
        if judged.levels.direction == "backward" and judged.outcome != "within"
        for layer in judged.levels.layers
    }
    return any(weight.startswith(f"{layer}/") for layer in layers)


def _describe_silent(
    members: Sequence[SilentWeight], share: Estimate, note: bool, measurement: ModelMeasurement
) -> Finding:
    """Make one finding of weights that are silent for one reason; the share is of the first one's draws, the most."""
    from initcheck.audit.silent_weights import NEGLIGIBLE

    first, names, draws = members[0], tuple(each.weight for each in members), share.count
    whose = f"gradient of {names[0]} is" if len(names) == 1 else f"gradients of {format_names(names, _NAMED)} are"
    size = max(each.share for each in members)
    small = f"at most {format_number(size, 2)} of the median over the kernels (root mean square of an entry)"
    what = "exactly zero" if first.silence == "zero" else small
    if members[-1].draws == draws:
        what += f" in all {draws} draws" if draws > 1 else ""
    else:
        up_to = "" if members[-1].draws == first.draws else "up to "
        interval = format_interval(share.low, share.high, format_share)
        what += f" in {up_to}{first.draws} of {draws} draws {interval}"
    if first.silence == "rounding":
        another = "it is another one" if len(names) == 1 else "they are others"
        what += f", and nothing but rounding errors: {another} when all weights change by a millionth"
    steps = max(each.wakes_after for each in members) or len(measurement.after)
    if steps and first.silence != "rounding":
        taken = "a small step" if steps == 1 else f"{steps} small steps"
        one, all_of_them = ("it wakes", "all are awake") if first.wakes_after else ("it stays so", "all stay so")
        what += f"; {one if len(names) == 1 else all_of_them} after {taken} of gradient descent"
    if first.silence == "zero":
        measured = Measured("gradient norm", 0.0, 0.0, 0.0, 0.0, draws)
    else:
        limit = NEGLIGIBLE if first.silence == "negligible" else math.nan
        measured = Measured("gradient over the median of the kernels", size, limit=limit, seeds=draws)
    if first.draws < draws:
        limit = measurement.limits.dead_draws
        measured = Measured("share of draws without a gradient", share.value, share.low, share.high, limit, draws)
    if first.wakes_after:
        cause = _find_zero_start(names, measurement)
    else:
        cause = _find_constant_softmax(names, measurement)
        if cause is None and first.silence == "zero" and first.draws == draws:
            from initcheck.audit.causes import CauseFinder

            cause = CauseFinder(measurement).explain_silence(names)
    return Finding(
        "IC203",
        names[0],
        f"the {whose} {what}",
        measured,
        names,
        note=note,
        cause=cause,
    )


def _find_zero_start(asleep: Sequence[str], measurement: ModelMeasurement) -> Cause | None:
    """Name the weights of zero that let no gradient through until they have moved; a bias of zero lets all through."""
    known = measurement.gradients[measurement.gradients["trainable"].astype(bool)]
    norms = known.groupby("weight", sort=False)["weight_norm"].max()
    zero = [
        str(name)
        for name in norms.index[norms == 0.0]
        if name not in asleep and measurement.uses.get(str(name), "kernel") != "added"
    ]
    if not zero:
        return None
    verb = "starts" if len(zero) == 1 else "start"
    message = f"{format_names(zero)} {verb} at zero: until the first step nothing passes there on the way back"
    return Cause("zero start", tuple(zero), message)


def _find_constant_softmax(silent: Sequence[str], measurement: ModelMeasurement) -> Cause | None:
    """Find a softmax over one entry that weights without a gradient feed."""
    nodes = measurement.nodes
    for position in measurement.constant_softmaxes:
        before = {position}
        for place in range(position, -1, -1):
            if place in before:
                before.update(nodes[place].parents)
        if any(name.startswith(f"{nodes[place].layer}/") for name in silent for place in before):
            layer = nodes[position].softmax_layer
            message = f"{layer} has a softmax over a single entry, which is 1 whatever it receives"
            return Cause("constant softmax", (layer,), message)
    return None


def _list_unused(gradients: pd.DataFrame) -> tuple[str, ...]:
    """Name the trainable weights that get no gradient."""
    by_weight = gradients[gradients["trainable"].astype(bool)].groupby("weight", sort=False)
    reached = by_weight["has_gradient"].all()
    return tuple(map(str, reached.index[~reached]))


def _find_fan_mismatches(measurement: ModelMeasurement) -> list[Finding]:
    """Find the weights whose initializer counts other fans than the layer really has.

    The value is the effective gain: the variance that the initializer gives, over the one that it would give with the
    true fans. With ``fan_avg`` the mean of both fans is formed on either side, so that a wrong fan of one direction
    counts as much as it moves the variance. Recurrent kernels count the units of all gates as outputs, and an input
    does feed them all; strides of plain convolutions are left out. So neither Dense nor Conv2D without groups nor a
    recurrent layer is ever found. An initializer that scales with no fan is not judged, nor a weight whose true fans
    are not known.

    It is a problem where it makes a path leave its limit, and where one weight does so alone; else a note.

    Returns:
        One finding for each kind of layer, weight and initializer, and for gains above and below 1; the worst first,
        and in each the worst weight first.
    """
    limit = measurement.limits.fan_ratio
    free, guilty = _list_free_layers(measurement), _list_guilty_layers(measurement)
    groups: dict[tuple[str, ...], list[WeightFacts]] = {}
    for each in measurement.facts:
        gain = _gain(each)
        if gain >= limit or gain <= 1.0 / limit:  # NaN is neither: no initializer that scales, or unknown fans
            key = (each.kind, each.role, each.initializer, "more" if gain > 1.0 else "less", str(each.layer in free))
            groups.setdefault(key, []).append(each)
    found = []
    for members in groups.values():
        members.sort(key=lambda each: -_factor(_gain(each)))
        is_free = members[0].layer in free
        alone = not is_free and _factor(_gain(members[0])) > measurement.limits.step_factor
        note = not (alone or any(each.layer in guilty for each in members))
        found.append(_describe_mismatch(members, limit, is_free, note))
    return sorted(found, key=lambda each: (each.note, -_factor(each.measured.value if each.measured else 1.0)))


def _list_free_layers(measurement: ModelMeasurement) -> set[str]:
    """Name the layers whose scale a normalization divides out wherever they are called, before any sum."""
    from initcheck.audit.paths import find_freedoms

    nodes = measurement.nodes
    sums = {place for place, node in enumerate(nodes) if node.adds}
    bound = {node.layer for node, each in zip(nodes, find_freedoms(nodes, sums), strict=True) if each != "any"}
    return {node.layer for node in nodes} - bound


def _list_guilty_layers(measurement: ModelMeasurement) -> set[str]:
    """Name the layers whose fans are the cause of a change along a path that is beyond its limit."""
    from initcheck.audit.causes import CauseFinder

    finder = CauseFinder(measurement)
    wrong = [each for each in measurement.paths if each.outcome in ("falls", "grows") and not each.wakes]
    causes = [finder.explain_path(each) for each in wrong]
    return {layer for each in causes if each is not None and each.kind == "fan" for layer in each.layers}


def _gain(weight: WeightFacts) -> float:
    return weight.variance / weight.ideal_variance


def _factor(gain: float) -> float:
    return max(gain, 1.0 / gain)


def _describe_mismatch(members: list[WeightFacts], limit: float, is_free: bool, note: bool) -> Finding:
    first = members[0]
    gain = _gain(first)
    where = f"the {first.role} of {first.layer or 'the model'} ({first.kind})"
    last = format_number(_gain(members[-1]))
    others = f", and so in {len(members) - 1} more, in the mildest {last}" if len(members) > 1 else ""
    message = (
        f"{first.initializer} counts {_format_fans(first, true=False)} for {where}, which really has "
        f"{_format_fans(first, true=True)}: its variance is {format_number(gain)} of what the true fans give{others}"
    )
    passed_on = "; nothing of it is passed on, for a normalization divides it out" if is_free else ""
    return Finding(
        code="IC401",
        layer=first.path,
        message=f"{message}{passed_on}",
        note=note,
        cause=Cause("fan", tuple(dict.fromkeys(each.layer for each in members)), message),
        measured=Measured(
            "variance over that of the true fans", gain, limit=limit if gain > 1.0 else 1.0 / limit, seeds=0
        ),
        layers=tuple(each.path for each in members),
    )


def _format_fans(weight: WeightFacts, true: bool) -> str:
    fan_in = weight.true_fan_in if true else weight.assumed_fan_in
    fan_out = weight.true_fan_out if true else weight.assumed_fan_out
    words = {
        "fan_in": f"a fan_in of {fan_in:g}",
        "fan_out": f"a fan_out of {fan_out:g}",
        "fan_avg": f"a fan_in of {fan_in:g} and a fan_out of {fan_out:g}",
    }
    return words[weight.mode]


def _find_identical(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find weights that hold the same numbers: the most entries in common first, of these the larger groups."""
    worst = sorted(measurement.comparison.copies, key=lambda group: (-group.share, -len(group.members), -group.entries))
    for group in worst:
        why = group.cause or "the initializers do not explain why"
        measured = Measured("share of the entries that are copies", group.share, limit=0.0, seeds=1)
        layers = (*group.members, *group.also)
        cause = Cause("copied", layers, why)
        yield Finding("IC301", group.members[0], f"{_describe_copies(group)}: {why}", measured, layers, cause=cause)


def _find_repeated(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Note the weights whose initializers draw the same numbers from every seed, by initializer."""
    groups: dict[str, list[str]] = {}
    for each in measurement.facts:
        if each.repeated:
            groups.setdefault(each.initializer, []).append(each.path)
    for initializer, paths in groups.items():
        message = (
            f"{initializer} gives the same numbers from every seed, in {format_names(paths, _NAMED)}: they are one "
            "draw, and no interval counts how another one would differ"
        )
        yield Finding("IC604", paths[0], message, None, tuple(paths), note=True)


def _find_symmetric(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find layers with units that are alike, the largest share of such units first."""
    worst = sorted(measurement.comparison.symmetric, key=lambda each: (-each.alike / each.units, -each.units))
    for each in worst:
        measured = Measured("share of units that have a twin", each.alike / each.units, limit=0.0, seeds=1)
        cause = Cause("constant", (each.layer,), f"{each.initializer} draws no random numbers")
        yield Finding(
            "IC302",
            each.layer,
            _describe_symmetry(each),
            measured,
            (each.layer,),
            cause=cause if each.initializer else None,
        )
    yield from _find_one_number(measurement, {each.layer for each in worst})


def _find_one_number(measurement: ModelMeasurement, known: Collection[str]) -> Iterator[Finding]:
    """Find hidden layers whose kernel is one number: their units are alike until training parts them.

    Zero is left to what it does to gradients, and a last layer may be anything.
    """
    if not measurement.facts:
        return
    norms = measurement.gradients.groupby("weight", sort=False)["weight_norm"].max()
    last = {node.layer for node in measurement.nodes if node.feeds_output}
    for each in measurement.facts:
        is_kernel = each.trainable and each.role.endswith("kernel") and len(each.shape) >= 2 and each.shape[-1] > 1
        if not (is_kernel and each.constant and each.variance == 0.0 and float(norms.get(each.path, 0.0)) > 0.0):
            continue
        if each.layer in known or each.layer in last:
            continue
        message = (
            f"all units of {each.layer} start alike ({each.initializer}), so that it passes on a single number; their "
            "gradients differ, and training has to part them first"
        )
        measured = Measured("share of units that have a twin", 1.0, limit=0.0, seeds=1)
        cause = Cause("constant", (each.layer,), f"{each.initializer} draws no random numbers")
        yield Finding("IC302", each.layer, message, measured, (each.layer,), cause=cause)


def _describe_copies(group: CopyGroup) -> str:
    names = format_names(group.members, _NAMED)
    if group.relation == "prefix":
        also = f" (and {len(group.also)} more)" if group.also else ""
        multiples = "" if set(group.factors) == {1.0} else " up to a factor"
        return (
            f"{names}{also} begin with the same {group.entries:,} numbers{multiples}, {group.share:.0%} of the largest"
        )
    if group.relation == "transposed":
        return f"{names} are transposes of each other{_format_factors(group)}"
    same = "hold the same numbers" if group.relation == "identical" else "are multiples of each other"
    factor = "" if group.relation == "identical" else _format_factors(group)
    if group.attention:
        return f"{_format_attention(group)}: the kernels of {_parent(group)} {same}"
    shapes = "" if all(group.same_shape) else ", read in another shape"
    return f"{names} {same}{factor}{shapes}"


def _format_attention(group: CopyGroup) -> str:
    names = [
        name if factor == 1.0 else f"{name} / {factor:.4g}"
        for name, factor in zip(group.attention, group.factors, strict=True)
    ]
    alike = [name for name, same in zip(names, group.same_shape, strict=True) if same]
    others = [name for name, same in zip(names, group.same_shape, strict=True) if not same]
    return " = ".join(alike + [f"{name} (read in another shape)" for name in others])


def _parent(group: CopyGroup) -> str:
    return group.members[0].rpartition("/")[0].rpartition("/")[0] or "the model"


def _format_factors(group: CopyGroup) -> str:
    factors = [f"{factor:.4g}" for factor in group.factors[1:_NAMED] if factor != 1.0]
    return f" (by {', '.join(factors)})" if factors else ""


def _describe_symmetry(found: SymmetricUnits) -> str:
    which = f"All {found.units}" if found.alike == found.units else f"{found.alike} of {found.units}"
    gradients = {
        "equal": " and gradients that are equal within rounding",
        "negligible": " and gradients that are no more than rounding errors",
        "zero": " and gradients of exactly zero",
        "unknown": "",
    }[found.gradients]
    classes = "" if found.largest == found.alike else f", up to {found.largest} of them the same"
    if found.gradients != "unknown":
        left = count(found.units - found.alike + found.classes, f"different {found.word.removesuffix('s')}")
        classes += f": a step of gradient descent leaves {left}"
    drawn = f" (drawn by {found.initializer})" if found.initializer else ""
    where = found.layer or "the model"
    return f"{which} {found.word} of {where} have twins with equal incoming weights{drawn}{gradients}{classes}"


REPEATED_DRAWS = Rule(
    code="IC604",
    name="repeated-draws",
    what="The initializer of a weight, which is not one of Keras', gives the same numbers from every seed.",
    why=(
        "A seed written into it, or a table: the weight is the same in every draw, so that intervals over draws say "
        "nothing of its chance. A note: it does not fail a check."
    ),
    example=example(
        """
def same_numbers(shape, dtype=None):
    return keras.random.normal(shape, stddev=0.2, dtype=dtype, seed=1337)


model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(32, kernel_initializer=same_numbers)])
model.add(keras.layers.Dense(4))
"""
    ),
    fix="Leave the seed out, or give the initializer an argument seed; nothing where the values are meant.",
    source="initcheck's own rule: intervals are over draws",
    find=_find_repeated,
    severity="unjudged",
    directions=(),
)

ZERO_GRADIENTS = Rule(
    code="IC203",
    name="zero-gradients",
    what=(
        "The gradient of a trainable weight is exactly zero, or as good as zero: the root mean square of its entries "
        "is less than a millionth of the median over the kernels. Small steps of gradient descent are taken: what then "
        "has a gradient is a note, as are weights without one in few draws, so that more than 5% are not shown. A bias "
        "or a scale whose effect is taken away again (a key's bias before a softmax) is no finding while its layer's "
        "kernel learns."
    ),
    why=(
        "The weight cannot learn from this batch: all its units are dead, the layers after it multiply by zero, or its "
        "effect cancels out (a gate normalized to a sum of 1 over the one expert that is kept), so that its gradient "
        "is nothing but rounding errors."
    ),
    example=example(
        """
model = keras.Sequential([keras.Input((16,))])
model.add(keras.layers.Dense(32, activation="relu", kernel_initializer="zeros"))
model.add(keras.layers.Dense(4, kernel_initializer="zeros"))
"""
    ),
    fix=(
        "Draw the weights of the layers after it at random; of two factors (low-rank adapters) one may start at zero. "
        "What is a note needs no fix: a branch that starts at zero on purpose learns from the second step on."
    ),
    source="Goodfellow, Bengio and Courville 2016, section 8.4; Goyal et al. 2017, section 5.1 for zeros on purpose",
    brings=("IC201", "IC103", "IC603"),
    find=_find_zero_gradients,
    limits=("dead_draws",),
    directions=("backward",),
)

UNUSED_WEIGHTS = Rule(
    code="IC602",
    name="unused-weights",
    what="A trainable weight has no path to the loss: it has no gradient.",
    why=(
        "It is saved, regularized and counted, and never learns: a layer that is not called, a branch that is cut "
        "off by stop_gradient, or an output that is not returned."
    ),
    example=example(
        """
class Forgetful(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(8)
        self.forgotten = keras.layers.Dense(8)

    def build(self, shape):
        self.first.build(shape)
        self.forgotten.build(shape)

    def call(self, inputs):
        return self.first(inputs)


model = Forgetful()
model.build((None, 4))
"""
    ),
    fix="Call the layer, return the output, or set trainable to False if this is intended.",
    source="initcheck's own rule; Keras warns of it in fit as 'Gradients do not exist for variables'",
    brings=("IC201", "IC203", "IC603"),
    find=_find_unused,
    directions=("backward",),
)

FAN_MISMATCH = Rule(
    code="IC401",
    name="fan-mismatch",
    what=(
        "The initializer scales with a number of inputs or outputs that it reads off the weight's shape, and the layer "
        "really sums another number: the variance of the layer's sums is off by the ratio. Noted from a factor of 2; "
        "a finding where such layers make a path leave its limit (IC101, IC102, IC201, IC202), or where one is off "
        "by a hundred times and no normalization divides that out."
    ),
    why="The gain that the initializer promises is not the one that the layer has.",
    example=example(
        """
model = keras.Sequential([keras.Input((16, 16, 32))])
model.add(keras.layers.DepthwiseConv2D(3, depthwise_initializer="he_normal"))
"""
    ),
    fix="Give the layer VarianceScaling with the scale that undoes the ratio.",
    source="Keras issue tracker on compute_fans; He et al. 2015, equation 7 for the fan that counts",
    find=_find_fan_mismatches,
    limits=("fan_ratio", "step_factor"),
    fix_plan=FixPlan("true fans"),
)

IDENTICAL_WEIGHTS = Rule(
    code="IC301",
    name="identical-weights",
    what=(
        "Two weights hold the same numbers, or multiples of them, though they are not one shared weight: all of "
        "their numbers, or the longest common beginning in the order in which they are drawn."
    ),
    why=(
        "Layers that should be independent are initialized as copies: in attention, query and key agree, so that "
        "every position attends to itself; both directions of a recurrent layer do the same. Theory assumes "
        "independent weights."
    ),
    example=example(
        """
inputs = keras.Input((10, 32))
outputs = keras.layers.MultiHeadAttention(
    num_heads=4, key_dim=8, kernel_initializer=keras.initializers.GlorotUniform(seed=1)
)(inputs, inputs)
model = keras.Model(inputs, outputs)
"""
    ),
    fix=(
        "Seed the whole program once with keras.utils.set_random_seed instead of single initializers, and not in "
        "functions that make parts of the model; give every layer an initializer of its own, without a seed or with "
        "its own, or share one keras.random.SeedGenerator."
    ),
    source=(
        "Keras documentation of the initializers' argument seed; Glorot and Bengio 2010 for the independence assumed"
    ),
    find=_find_identical,
    compares_weights=True,
    fix_plan=FixPlan("separate seeds"),
)

SYMMETRIC_UNITS = Rule(
    code="IC302",
    name="symmetric-units",
    what=(
        "Two or more units of a layer have equal incoming weights, and gradients of them that are equal but for "
        "rounding errors, also after the small steps of IC203 where they are zero."
    ),
    why=("They compute the same and receive the same updates, so they stay equal however long the model is trained."),
    example=stack_example(3, "tanh", '"ones"'),
    fix="Draw the weights at random. Biases may be constant.",
    source="Goodfellow, Bengio and Courville 2016, section 8.4",
    find=_find_symmetric,
    compares_weights=True,
    fix_plan=FixPlan("random kernels"),
)
