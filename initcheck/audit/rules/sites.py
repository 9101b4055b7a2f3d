"""Rules about single sites: non-finite values, collapsed samples, dead and saturated units, float16's range, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Finding, FixPlan, Measured, ModelMeasurement, Rule, example, stack_example
from initcheck.core.columns import Direction
from initcheck.core.formatting import format_interval, format_names, format_share

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from initcheck.audit.paths import SiteNode
    from initcheck.audit.site_estimates import SiteTable

_FEWEST_SAMPLES: Final = 8
"""Below this many samples a variance across them says little about the next batch."""

_PRECISION: Final = {
    "activation_overflow_fraction": "outputs exceed float16's largest number, 65504",
    "activation_underflow_fraction": "outputs are too small for float16 and become zero",
    "gradient_overflow_fraction": "gradients exceed float16's largest number, 65504",
    "gradient_underflow_fraction": "gradients are too small for float16 even at a loss scale of 2^15",
}


def _find_nonfinite(measurement: ModelMeasurement) -> Iterator[Finding]:
    shares = _sites(measurement)["nonfinite_fraction"]
    found = [position for position in range(shares.shape[1]) if (shares[:, position] > 0.0).any()]
    if not found:
        return
    first = found[0]
    seeds = int((shares[:, first] > 0.0).sum())
    layer = measurement.nodes[first].layer
    worst = float(shares[:, first].max())
    message = (
        f"{layer} is the first of {len(found)} layer calls with inf or NaN: up to {format_share(worst)} of its "
        f"values, in {seeds} of {len(shares)} seeds"
    )
    from initcheck.audit.causes import CauseFinder

    measured = Measured("share of non-finite values, worst seed", worst, limit=0.0, seeds=len(shares))
    layers = tuple(measurement.nodes[position].layer for position in found)
    cause = CauseFinder(measurement).explain_overflow(first)
    yield Finding("IC501", layer, message, measured, layers, cause=cause)


def _find_nonfinite_gradients(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find the layer in which the gradient ceases to be finite on the way back, in draws whose values are all finite.

    What is measured is the gradient with respect to each site's output, or to what its fused activation function
    receives. So where it is finite at all that take an output, and not finite there, one of those that take it does
    it, or the activation function of the site itself.
    """
    import numpy as np

    if not measurement.nodes:
        return
    sites = _sites(measurement)
    squares, values, nodes = sites["gradient_second_moment"], sites["nonfinite_fraction"], measurement.nodes
    finite_forward = np.asarray(~(values > 0.0).any(axis=1), dtype=np.bool_)
    # A square is NaN without a gradient too; the share of gradients that underflow is then missing.
    known = ~np.isnan(sites["gradient_underflow_fraction"])
    broken = np.asarray(known & ~np.isfinite(squares) & finite_forward[:, None])
    draws = int(broken.any(axis=1).sum())
    if draws:
        last = int(np.flatnonzero(broken.any(axis=0))[-1])
        finite = np.asarray(np.isfinite(squares).any(axis=0))
        takers = [place for place, node in enumerate(nodes) if last in node.parents and finite[place]]
        z, h = sites["preactivation_second_moment"][:, last], sites["activation_second_moment"][:, last]
        own = [last] if not (np.isnan(z) | (z == h)).all() or not takers else []
        named = tuple(dict.fromkeys(nodes[place].layer for place in [*own, *takers]))
        inside = format_names(named, 6).replace(" and ", " or ")
        where = f"the gradient ceases to be finite in {inside} on the way back: inf or NaN at {nodes[last].layer}"
        if takers:
            behind = format_names([nodes[place].layer for place in takers], 6)
            where += f", finite at {behind}, where its output goes"
        layers = tuple(dict.fromkeys((*named, nodes[last].layer)))
    else:
        bad = _weights_with_nonfinite_gradients(measurement.gradients, finite_forward)
        if bad.empty:
            return
        draws = int(bad["seed"].nunique())
        layers = tuple(map(str, bad["weight"].unique()))
        where = f"the gradient of {format_names(layers)} is inf or NaN"
    from initcheck.core.statistics import estimate_proportion

    share = estimate_proportion(draws, len(squares))
    often = f"in {draws} of {len(squares)} draws {format_interval(share.low, share.high, format_share)}".rstrip()
    message = f"{where}, {often}, though all values on the way forward are finite"
    measured = Measured("share of draws with such a gradient", share.value, share.low, share.high, 0.0, share.count)
    yield Finding("IC503", layers[0], message, measured, layers)


def _weights_with_nonfinite_gradients(gradients: pd.DataFrame, finite_forward: NDArray[np.bool_]) -> pd.DataFrame:
    """Take the rows of weights whose gradient is not finite, of draws whose values are all finite."""
    import numpy as np
    import pandas as pd

    norms = gradients["gradient_norm"].to_numpy(dtype=np.float64, na_value=np.nan)
    seeds = np.unique(gradients["seed"].to_numpy())[finite_forward]
    broken = gradients["has_gradient"].to_numpy(dtype=np.bool_) & ~np.isfinite(norms)
    return pd.DataFrame(gradients[broken & gradients["seed"].isin(seeds).to_numpy()])


def _find_collapsed(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find the layer from which on, to the end of the main path, the samples of the batch are nearly alike."""
    from initcheck.audit.site_estimates import find_collapse

    sites, limit = _sites(measurement), measurement.limits.sample_share
    whole = max((each.path for each in measurement.paths), key=lambda path: len(path.positions), default=None)
    main = next((each.path for each in measurement.paths if each.path.is_main), whole)
    positions = [] if main is None else list(main.positions)
    if len(positions) > 2 and measurement.nodes[positions[-1]].weighted:
        positions = positions[:-1]  # the head
    if sites.samples < _FEWEST_SAMPLES or not positions:
        return
    collapse = find_collapse(sites, positions, limit)
    if collapse is None:
        return
    first, share = collapse
    layers = tuple(measurement.nodes[position].layer for position in positions[first:])
    message = (
        f"from {layers[0]} on, less than {format_share(limit)} of the second moment varies across the samples; at "
        f"{layers[-1]} it is {format_share(share.value)}: the network hardly distinguishes its inputs"
    )
    quantity = f"share that varies across samples, at {layers[-1]}"
    measured = Measured(quantity, share.value, share.low, share.high, limit, share.count)
    yield Finding("IC103", layers[0], message, measured, layers)


def _find_dead(measurement: ModelMeasurement) -> Iterator[Finding]:
    from initcheck.audit.site_estimates import dead_shares

    sites = _sites(measurement)
    chance = 2.0 * 0.5**sites.samples  # of a unit with a symmetric input and independent samples, doubled
    limit = max(measurement.limits.dead_fraction, chance)
    yield from _find_shares("IC303", measurement, dead_shares(sites), limit, "units are zero on the whole batch")


def _find_saturated(measurement: ModelMeasurement) -> Iterator[Finding]:
    import numpy as np

    from initcheck.audit.causes import CauseFinder
    from initcheck.audit.site_estimates import saturated_shares

    what = "outputs lie at the ends of the activation function's range"
    shares, finder = saturated_shares(_sites(measurement)), CauseFinder(measurement)
    for position, node in enumerate(measurement.nodes):
        # What is seldom or frequent by nature starts so: the bias of an output is set on purpose.
        if node.feeds_output and np.nanmax(shares[:, position], initial=0.0) > measurement.limits.saturated_fraction:
            cause = finder.explain_site(position)
            if cause is not None and cause.kind == "bias":
                shares[:, position] = np.nan
    yield from _find_shares("IC304", measurement, shares, measurement.limits.saturated_fraction, what)


def _find_one_hot(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Find the softmaxes inside a model, as in attention, that pick one entry and let no gradient through."""
    from initcheck.audit.causes import CauseFinder
    from initcheck.audit.site_estimates import find_above

    nodes, sites = measurement.nodes, _sites(measurement)
    if not sites.has("softmax_certainty"):
        return
    limit = measurement.limits.saturated_fraction
    found = [each for each in find_above(sites["softmax_certainty"], limit) if _is_inside(nodes, each[0])]
    if not found:
        return
    first, share = found[0]
    layers = tuple(dict.fromkeys(nodes[position].softmax_layer for position, _ in found))
    others = f", and so in {len(layers) - 1} more layers" if len(layers) > 1 else ""
    message = (
        f"a softmax in {layers[0]} is {format_share(share.value)} of the way from even to one-hot{others}: it picks "
        "one entry, and hardly lets a gradient through"
    )
    measured = Measured("share of the way to one-hot", share.value, share.low, share.high, limit, share.count)
    yield Finding("IC305", layers[0], message, measured, layers, cause=CauseFinder(measurement).explain_one_hot(first))


def _is_inside(nodes: Sequence[SiteNode], position: int) -> bool:
    """Find whether layers with weights follow: a classifier's own softmax is judged by its size."""
    behind = {position}
    for place in range(position + 1, len(nodes)):
        if not behind.isdisjoint(nodes[place].parents):
            behind.add(place)
    return any(nodes[place].weighted for place in behind - {position}) or nodes[position].merges_by_softmax


def _find_low_precision(measurement: ModelMeasurement) -> Iterator[Finding]:
    sites = _sites(measurement)
    for quantity, what in _PRECISION.items():
        if sites.has(quantity):
            shares = sites.layers_only(quantity)
            found = _find_shares("IC502", measurement, shares, measurement.limits.float16_fraction, what)
            # In another precision nothing is lost: it is worth knowing before float16 is chosen.
            in_float16 = measurement.dtype_policy.removeprefix("mixed_") == "float16"
            yield from (replace(each, note=not in_float16) for each in found)


def _find_shares(
    code: str, measurement: ModelMeasurement, shares: NDArray[np.float64], limit: float, what: str
) -> Iterator[Finding]:
    """Make one finding of all sites whose share is shown to exceed the limit."""
    from initcheck.audit.site_estimates import find_above

    found = find_above(shares, limit)
    if not found:
        return
    first, estimate = found[0]
    worst_position, worst = max(found, key=lambda each: each[1].value)
    layers = tuple(dict.fromkeys(measurement.nodes[position].layer for position, _ in found))
    others = f", and so in {len(layers) - 1} more layers" if len(layers) > 1 else ""
    worst_layer = measurement.nodes[worst_position].layer
    at_worst = f" (at worst {format_share(worst.value)}, in {worst_layer})" if worst_position != first else ""
    message = f"{format_share(estimate.value)} of the {what} in {layers[0]}{others}{at_worst}"
    measured = Measured(f"share of {what}", estimate.value, estimate.low, estimate.high, limit, estimate.count)
    cause = None
    if code in ("IC303", "IC304"):
        from initcheck.audit.causes import CauseFinder

        cause = CauseFinder(measurement).explain_site(first)
    yield Finding(code, layers[0], message, measured, layers, cause=cause)


def _sites(measurement: ModelMeasurement) -> SiteTable:
    from initcheck.audit.site_estimates import SiteTable

    return SiteTable(measurement.table, measurement.nodes)


def _direction_of_share(measured: Measured) -> Direction:
    return "backward" if "gradient" in measured.quantity else "forward"


def _find_unmeasured(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Make one finding of each reason for which something was not measured."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in measurement.gaps:
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        layers = tuple(dict.fromkeys(paths))
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        yield Finding("IC601", layers[0], f"{layers[0]}{more} not measured: {reason}", None, layers)


# --- the rules --------------------------------------------------------------------------------------------------------


NON_FINITE = Rule(
    code="IC501",
    name="non-finite",
    what="A layer's output, or what its activation function receives, is inf or NaN.",
    why="Nothing after it can be measured, and nothing can be learned.",
    example=stack_example(20, "linear", "keras.initializers.RandomNormal(stddev=100.0)"),
    fix="Find the first layer named here: reduce the variance of its weights, or compute it in float32.",
    source="IEEE 754",
    brings=("IC102", "IC103", "IC202", "IC203", "IC303", "IC304", "IC502", "IC503", "IC603"),
    find=_find_nonfinite,
    directions=("forward",),
    fix_plan=FixPlan("initializers", share="nonfinite"),
)

NON_FINITE_GRADIENT = Rule(
    code="IC503",
    name="non-finite-gradient",
    what="All values on the way forward are finite, and a gradient on the way back is inf or NaN.",
    why="The first update turns every weight before that layer into NaN, and with them the model.",
    example=example(
        """
inputs = keras.Input((8,))
hidden = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
outputs = keras.layers.Dense(2)(keras.ops.sqrt(hidden))
model = keras.Model(inputs, outputs)
"""
    ),
    fix=(
        "Look for a derivative that is infinite where the value is not: a square root or a norm of zero, a power below "
        "1, a logarithm or a quotient in the branch of a where that is not taken. Add a small constant inside the "
        "root, or replace the argument before the function, not the result after it."
    ),
    source="IEEE 754: 0 times infinity is NaN",
    brings=("IC201", "IC202", "IC203", "IC502", "IC603"),
    find=_find_nonfinite_gradients,
    directions=("backward",),
)

COLLAPSED_SAMPLES = Rule(
    code="IC103",
    name="collapsed-samples",
    what=(
        "At the last layer with weights before the outputs, and in every layer from the first one named, the "
        "variance across the samples of the batch is less than 1% of the second moment: the network gives nearly "
        "the same output for every input."
    ),
    why=(
        "Inputs that cannot be distinguished cannot be classified: the gradient only moves what all inputs share. "
        "Statistics pooled over the batch look healthy all the while."
    ),
    example=stack_example(12, "sigmoid", '"glorot_uniform"'),
    fix=(
        "Choose an activation function with mean zero (tanh, SELU) and the initializer that fits it, or add a "
        "normalization layer, which subtracts the common part."
    ),
    source="Schoenholz et al. 2017, section 3 (the correlation's fixed point)",
    brings=("IC603",),
    find=_find_collapsed,
    limits=("sample_share",),
    directions=("forward",),
    fix_plan=FixPlan("initializers", share="varying", at_last=True),
)

DEAD_UNITS = Rule(
    code="IC303",
    name="dead-units",
    what=(
        "More units of a layer than the limit (50%) are exactly zero on the whole batch: the 95% interval over seeds "
        "lies wholly above it."
    ),
    why="A unit that is zero on every sample has no gradient and does not learn.",
    example=example(
        """
model = keras.Sequential([keras.Input((64,))])
model.add(keras.layers.Dense(64, activation="relu", bias_initializer=keras.initializers.Constant(-8.0)))
model.add(keras.layers.Dense(4))
"""
    ),
    fix="Use biases of zero and inputs of mean zero; replace ReLU by LeakyReLU, ELU or GELU.",
    source="Lu et al. 2019, section 2",
    brings=("IC101", "IC103", "IC201", "IC203", "IC502", "IC603"),
    find=_find_dead,
    limits=("dead_fraction",),
    directions=("forward",),
    fix_plan=FixPlan("initializers", share="dead"),
)

SATURATED_UNITS = Rule(
    code="IC304",
    name="saturated-units",
    what=(
        "More of a layer's outputs than the limit (50%) lie within 2.5% of the range from one of the two ends of "
        "a bounded activation function: the 95% interval over seeds lies wholly above it."
    ),
    why="There the derivative is nearly zero, and the gradient vanishes.",
    example=stack_example(4, "tanh", "keras.initializers.RandomNormal(stddev=1.0)"),
    fix="Reduce the variance of the weights (GlorotUniform for tanh and sigmoid), or scale the inputs to variance 1.",
    source="Glorot and Bengio 2010, section 3.1",
    brings=("IC103", "IC201", "IC203", "IC502", "IC603"),
    find=_find_saturated,
    limits=("saturated_fraction",),
    directions=("forward",),
    fix_plan=FixPlan("initializers", share="saturated"),
)

ONE_HOT_SOFTMAX = Rule(
    code="IC305",
    name="one-hot-softmax",
    what=(
        "A softmax inside the model, as in attention or in a router, is more than half of the way from even weights to "
        "a single one, (sum p^2 - 1/n) / (1 - 1/n) > 0.5 in the mean: the 95% interval over seeds lies wholly above it."
    ),
    why=(
        "Each position looks at one other, picked at random, and the softmax has almost no derivative there: queries "
        "and keys do not learn."
    ),
    example=example(
        """
class Attention(keras.layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.query, self.key, self.value = (keras.layers.Dense(64) for _ in range(3))

    def call(self, inputs):
        scores = keras.ops.matmul(self.query(inputs), keras.ops.swapaxes(self.key(inputs), 1, 2))
        return keras.ops.matmul(keras.ops.softmax(scores), self.value(inputs))


inputs = keras.Input((12, 64))
model = keras.Model(inputs, keras.layers.Dense(4)(Attention()(inputs)))
"""
    ),
    fix="Divide the scores by the root of the keys' size, and draw queries and keys by GlorotUniform.",
    source="Vaswani et al. 2017, section 3.2.1",
    find=_find_one_hot,
    limits=("saturated_fraction",),
    brings=("IC103", "IC201", "IC203", "IC502", "IC603"),
    directions=("forward",),
)

LOW_PRECISION_RANGE = Rule(
    code="IC502",
    name="low-precision-range",
    what=(
        "More than 1% of the values of a layer's outputs or of its gradients lie outside the range of float16: above "
        "65504, or so small that they turn to zero, which is below 2^-25 (3e-8) for outputs and, at the loss scale of "
        "2^15 that Keras begins with, below 2^-40 (9e-13) for gradients. bfloat16 has the range of float32. It is a "
        "note unless the model computes in float16."
    ),
    why="In mixed precision on float16 they become inf or zero. Gradients are those of the loss in use.",
    example=stack_example(12, "relu", "keras.initializers.RandomNormal(stddev=1.0)"),
    fix="Fix the propagation first; otherwise use bfloat16, or loss scaling for gradients.",
    source="Micikevicius et al. 2018, section 3.2",
    find=_find_low_precision,
    limits=("float16_fraction",),
    direction_of=_direction_of_share,
)

UNMEASURED = Rule(
    code="IC601",
    name="unmeasured",
    what="A layer call or a weight was not measured, with the reason.",
    why="What was not measured is not known to be healthy.",
    example=example(
        """
class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.scale = keras.Variable(keras.random.uniform((shape[-1],)))

    def call(self, inputs):
        return inputs * self.scale


model = keras.Sequential([keras.Input((8,)), Scaled(), keras.layers.Dense(2)])
"""
    ),
    fix="Measure it alone, or accept it by name: --waive LAYER.",
    source="initcheck's own rule: coverage is a verdict",
    find=_find_unmeasured,
    severity="unjudged",
    directions=(),
)
