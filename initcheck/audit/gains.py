"""By which factor does a signal change from layer to layer? The gains of a network, and verdicts on them.

Let v_0, v_1, ..., v_T be what is followed in one direction: q, the second moment of the hidden layers, from the input
to the output; or g, the squared norm of one sample's dL/dz, from the output to the input. The norm and not the moment
of single units: it is what an initializer that scales with fan_in preserves through layers of any width, whereas the
moment falls wherever a layer is wider than the next one, in a healthy network as well. In layers of equal width the two
gains are the same. Layer j has the ratio r_j = v_{j+1} / v_j. Two means of it are taken, since they answer two
questions.

The *gain* is the mean over seeds of the arithmetic mean over layers of r_j. For He initialization and ReLU its
expectation is the textbook's 1 exactly, at any width n. Flipping the sign of one unit's weights leaves its z^2 as it
is and turns which half of its inputs it passes; the two halves add up to z^2; so, given all z_l^2 of a layer,
E sum_i relu(z_i)^2 = (1/2) sum_i z_i^2, and n units of variance 2/n bring back the factor. For one input
r = (2/n) sum_i B_i g_i^2 with B_i ~ Bernoulli(1/2), g_i ~ N(0, 1), independently by layer (Hanin and Rolnick 2018).
Backward the same holds for one sample and a loss that is linear in the outputs with symmetric random coefficients.

The *log gain* is the mean over seeds and layers of ln r_j: the typical rate. A product of ratios grows by its
logarithms, and by Jensen's inequality E ln r < ln E r: for He and ReLU it is about -5 / (2n). So a critical but narrow
network keeps its mean and loses its median. Verdicts are about the log gain; its exponential, the geometric mean of the
ratios, is the factor that is printed, since over all layers it gives what was measured. The arithmetic mean stands
beside the textbook's number.

Rates are taken from ratios and not from levels: levels are a random walk, whose errors add up with depth.

Verdicts are about the *deep half*, the half of the layers nearer to the output, in both directions. What a deeper
network has more of is layers in which q has settled, and q settles on its way from the input. The gradient's rate
depends on it as well: in a wide network g gains chi_l = sigma_w^2 E phi'(sqrt(q_l) z)^2, z ~ N(0, 1), at layer l, and
q_l is still in its transient in the shallow half, where the gradient arrives last (Schoenholz et al. 2017).

References:
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015: the gain of 1.
    Hanin and Rolnick, "How to start training: the effect of initialization and architecture", NeurIPS 2018.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", ICLR 2017: chi.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.limits import INDISTINGUISHABLE_SHARE, PRESERVING_MARGIN
from initcheck.audit.total_change import SignalLevels
from initcheck.core import columns
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.statistics import Estimate, equivalence_test, estimate_mean
from initcheck.theory.thousandfold import THOUSANDFOLD, ThousandfoldChange

DirectionVerdict = Literal["preserves", "vanishes", "explodes", "dead", "inconclusive"]

PRESERVED_FACTOR: Final = 2.0
"""In a network of few layers, a signal that at that rate changes by less than this factor in all counts as preserved.

It is the more lenient of the two limits up to 14 layers (1.05^14 = 2).
"""

SYMMETRIC: Final = "symmetric: all units of a layer stay alike"
INDISTINGUISHABLE: Final = "inputs become indistinguishable"
UNKNOWN_SHARE: Final = "whether inputs stay distinguishable was not measured"

_Cut = Literal["overflow", "unmeasured", "zero"]


@dataclass(frozen=True)
class DirectionGains:
    """The gains of a signal in one direction.

    Attributes:
        gain: arithmetic mean ratio of a layer, with its 95% interval over seeds; low is at least 0.
        thousandfold: after how many of the measured layers the geometric mean over seeds has changed by a factor 1000:
            forward from the first layer to a later one, backward from a later one to the first; of a run cut short,
            from where the signal enters. None where it has not.
    """

    gain: Estimate
    log_gain: Estimate
    shallow_half: Estimate
    deep_half: Estimate
    steps: int
    thousandfold: ThousandfoldChange | None
    verdict: DirectionVerdict


def summarize_propagation(
    table: pd.DataFrame,
    signal_layers: Mapping[str, Sequence[str]],
    *,
    margin: float = PRESERVING_MARGIN,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Summarize how the signal changes, forward and backward, with intervals over seeds: a row per combination of keys.

    The change from the input to the first hidden layer does not count: no activation function stands before it.
    """
    rows = [_summarize(network, margin, alpha) for network in trace_networks(table, signal_layers)]
    summary = pd.DataFrame(rows, columns=[column.name for column in columns.SUMMARY_COLUMNS])
    return summary.astype({column.name: column.dtype for column in columns.SUMMARY_COLUMNS})


def _summarize(network: NetworkLevels, margin: float, alpha: float) -> dict[str, object]:
    forward = measure_gains(network.forward, margin=margin, alpha=alpha)
    backward = measure_gains(network.backward, margin=margin, alpha=alpha)
    share = _geometric_mean(network.batch_variance_share)
    return {
        **network.keys,
        "seeds": network.seeds,
        **_name_columns("forward", forward),
        **_name_columns("backward", backward),
        "batch_variance_share": share,
        "dead_fraction": estimate_mean(network.dead_fraction).value,
        "saturated_fraction": estimate_mean(network.saturated_fraction).value,
        "nonfinite_from_position": network.nonfinite_from_position,
        "symmetric": network.symmetric,
        "verdict": describe_propagation(
            forward.verdict, backward.verdict, symmetric=network.symmetric, batch_variance_share=share
        ),
    }


def _name_columns(direction: str, gains: DirectionGains) -> dict[str, object]:
    values: dict[str, object] = {
        "gain": gains.gain.value,
        "gain_low": gains.gain.low,
        "gain_high": gains.gain.high,
        "log_gain": gains.log_gain.value,
        "log_gain_low": gains.log_gain.low,
        "log_gain_high": gains.log_gain.high,
        "log_gain_shallow_half": gains.shallow_half.value,
        "log_gain_deep_half": gains.deep_half.value,
        "steps": gains.steps,
        "layers_until_thousandth": math.nan if gains.thousandfold is None else gains.thousandfold.layers,
        "thousandfold_change": None if gains.thousandfold is None else gains.thousandfold.direction,
        "verdict": gains.verdict,
    }
    return {f"{direction}_{name}": value for name, value in values.items()}


def _geometric_mean(shares: NDArray[np.float64]) -> float:
    """Take exp of the mean logarithm: 0 where one is 0, NaN where one is undefined."""
    if not np.isfinite(shares).all():
        return math.nan
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(shares).mean()))


def measure_gains(levels: SignalLevels, *, margin: float = PRESERVING_MARGIN, alpha: float = 0.05) -> DirectionGains:
    """Measure how squares change from layer to layer, and judge it.

    A ratio needs two squares that are finite and above 0. Of each seed the initial run of such layers counts; all
    seeds use the length of the shortest run. What cut it short decides the verdict whatever the rate was before:

    - a non-finite square (``inf``): ``explodes``;
    - a square that was not measured (NaN): ``inconclusive``;
    - an exact zero: ``vanishes`` if the log gain before it was negative, so that the signal faded until it
      underflowed; else ``dead``. Without a ratio before it: ``dead``.

    One such seed is enough, since a mean log gain over seeds with one dead network among them is minus infinity. Where
    seeds differ in what cut them short, the first of this list decides.

    Otherwise the log gain of the deep half decides, by an equivalence test over seeds (TOST) against a limit of
    ln(1 + margin), or ln(PRESERVED_FACTOR) / ratios if that is more: a network of three layers that halves its signal
    once has not lost it. ``preserves`` if it is shown to lie within; ``vanishes`` or ``explodes`` if its 1 - 2 alpha
    interval lies entirely below or above; else ``inconclusive``. A power law (tanh at gain 1: q_l ~ 1 / (2l)) slows
    down so that it passes in deep networks; its loss is in ``shallow_half`` and ``log_gain``.

    The degenerate cases: of a run cut short the halves are those of the layers before the cut; of one ratio both halves
    are that ratio; without a ratio (one layer) or with one seed the verdict is ``inconclusive``, unless a square is
    zero or non-finite; seeds that agree (a deterministic initializer such as Identity, whose seeds are no replicates)
    give intervals of width zero and a verdict without doubt.

    Args:
        levels: the squares by seed and layer; ``inf`` marks overflow, NaN no measurement.
    """
    squares = levels.squares
    if squares.ndim != 2 or 0 in squares.shape:
        raise UsageError(f"moments need the shape [seeds, layers], neither 0. Received: shape {squares.shape}")
    if (squares < 0.0).any():
        raise UsageError(f"a second moment cannot be negative. Received: {float(squares[squares < 0.0][0])!r}")
    if not (0.0 < margin < math.inf):
        raise UsageError(f"margin must be finite and above 0. Received: margin={margin!r}")

    steps, cut = _find_run(squares)
    ratios = _divide_layers(squares, steps)
    logs = np.diff(np.log(squares[:, : steps + 1]), axis=1) if steps else ratios
    from_input = logs if levels.direction == "forward" else logs[:, ::-1]
    half = steps // 2
    deep_logs = _average_layers(from_input[:, half:])

    gain = estimate_mean(_average_layers(ratios))
    # max() of Python would turn NaN into 0.
    gain = replace(gain, low=float(np.maximum(gain.low, 0.0)))
    log_gain = estimate_mean(_average_layers(logs))
    deep_half = estimate_mean(deep_logs)
    limit = max(math.log1p(margin), math.log(PRESERVED_FACTOR) / max(steps, 1))
    rate_verdict = _judge_rate(deep_logs, limit, alpha)
    return DirectionGains(
        gain=gain,
        log_gain=log_gain,
        shallow_half=estimate_mean(_average_layers(from_input[:, : max(half, 1)])),
        deep_half=deep_half,
        steps=steps,
        thousandfold=_find_thousandfold(from_input if cut is None else logs),
        verdict=rate_verdict if cut is None else _judge_cut(cut, log_gain.value),
    )


def average_ratios(levels: SignalLevels) -> NDArray[np.float64]:
    """Average the ratios of each seed over the layers, as the gain does; NaN without a ratio."""
    steps, _ = _find_run(levels.squares)
    return _average_layers(_divide_layers(levels.squares, steps))


def _divide_layers(squares: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Divide the square of each layer of a run by that of the layer before it."""
    # Two finite squares 308 orders of magnitude apart have no finite ratio: that is inf, not an error.
    with np.errstate(over="ignore"):
        return squares[:, 1 : steps + 1] / squares[:, :steps]


def _find_run(moments: NDArray[np.float64]) -> tuple[int, _Cut | None]:
    """Find over how many layers all seeds can be followed, and what cut the run short."""
    unusable = ~(np.isfinite(moments) & (moments > 0.0))
    cut_seeds = unusable.any(axis=1)
    if not cut_seeds.any():
        return moments.shape[1] - 1, None
    first = unusable.argmax(axis=1)[cut_seeds]
    causes = moments[cut_seeds, first]
    steps = max(int(first.min()) - 1, 0)
    if np.isinf(causes).any():
        return steps, "overflow"
    return steps, "unmeasured" if np.isnan(causes).any() else "zero"


def _average_layers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the layers of each seed; NaN where there is none."""
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    return np.asarray(values.mean(axis=1), dtype=np.float64)


def _judge_rate(logs: NDArray[np.float64], limit: float, alpha: float) -> DirectionVerdict:
    test = equivalence_test(logs, -limit, limit, alpha)
    if test.verdict == "pass":
        return "preserves"
    if test.verdict == "inconclusive":
        return "inconclusive"
    return "vanishes" if test.estimate.value < 0.0 else "explodes"


def _judge_cut(cut: _Cut, log_gain_before: float) -> DirectionVerdict:
    if cut == "overflow":
        return "explodes"
    if cut == "unmeasured":
        return "inconclusive"
    return "vanishes" if log_gain_before < 0.0 else "dead"


def _find_thousandfold(logs: NDArray[np.float64]) -> ThousandfoldChange | None:
    changes = np.cumsum(logs.mean(axis=0))
    beyond = np.flatnonzero(np.abs(changes) >= THOUSANDFOLD)
    if not beyond.size:
        return None
    return ThousandfoldChange(int(beyond[0]) + 1, "explodes" if changes[beyond[0]] > 0.0 else "vanishes")


def describe_propagation(
    forward: DirectionVerdict, backward: DirectionVerdict, *, symmetric: bool | None, batch_variance_share: float
) -> str:
    """Put the verdicts of both directions and the flags into one phrase.

    Symmetric comes before dead, and dead before the rates: a signal among identical units, or none at all, has no rate
    worth reading. A healthy pooled second moment does not mean a healthy signal, so that a flag is added where the
    second moment is nearly the same for all inputs, or where that is not known (a share of NaN).
    """
    dead = _name_dead(forward, backward)
    if symmetric:
        return f"{SYMMETRIC}; {dead}" if dead else SYMMETRIC
    if dead:
        alive = [f"{word} {way}" for word, way in ((forward, "forward"), (backward, "backward")) if word != "dead"]
        return "; ".join([dead, *alive])
    if forward != backward:
        phrase = f"{forward} forward, {backward} backward"
    elif forward == "preserves":
        phrase = "preserves in both directions"
    else:
        phrase = f"{forward} forward and backward"
    if forward == "preserves" and not (batch_variance_share >= INDISTINGUISHABLE_SHARE):
        return f"{phrase}; {UNKNOWN_SHARE if math.isnan(batch_variance_share) else INDISTINGUISHABLE}"
    return phrase


def _name_dead(forward: DirectionVerdict, backward: DirectionVerdict) -> str:
    """Name where there is no signal at all; empty where there is one in both directions."""
    if forward == backward == "dead":
        return "dead: no signal"
    if forward == "dead":
        return "dead: no signal forward"
    return "dead: no signal backward" if backward == "dead" else ""


# --- from the measurement table to levels along the hidden layers -----------------------------------------------------


# All gaps are found here: a layer that one seed lacks, a column or a key that is missing, a layer called twice is an
# error that names it, since a gap that is skipped would read as health.

GROUP_KEYS: Final = tuple(column.name for column in columns.KEY_COLUMNS if column.name != "seed")

NULLABLE_KEYS: Final = ("depth", "width")
"""Keys that need not apply: a network whose layers differ in width has no one width."""

_QUANTITIES: Final = (
    "preactivation_second_moment",
    "activation_second_moment",
    "activation_batch_variance",
    "gradient_norm",
    "weight_gradient_norm",
    "weight_variance",
    "nonfinite_fraction",
    "dead_fraction",
    "saturated_fraction",
)
_SITE: Final = ("layer", "call", "position")

_OVERFLOW_TRACES: Final = (
    "preactivation_second_moment",
    "activation_second_moment",
    "gradient_norm",
    "weight_gradient_norm",
)

_Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class NetworkLevels:
    """One network x initializer x activation, along its hidden layers; ``inf`` marks overflow, NaN no measurement."""

    keys: Mapping[str, object]
    seeds: int
    forward: SignalLevels
    backward: SignalLevels
    batch_variance_share: NDArray[np.float64]
    dead_fraction: NDArray[np.float64]
    saturated_fraction: NDArray[np.float64]
    nonfinite_from_position: int | None
    symmetric: bool | None


def trace_networks(table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> Iterator[NetworkLevels]:
    """Follow the signal through every network x initializer x activation of a measurement table."""
    _check_columns(table)
    if len(table) == 0:
        return
    sites = _Sites(table, signal_layers)
    groups = table.groupby(list(GROUP_KEYS), sort=True, dropna=False).ngroup().to_numpy(dtype=np.intp)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    keys = table[list(GROUP_KEYS)].iloc[order[starts]].to_dict("records")
    for group_keys, rows in zip(keys, np.split(order, starts[1:]), strict=True):
        yield sites.trace(rows, {str(name): value for name, value in group_keys.items()})


def _check_columns(table: pd.DataFrame) -> None:
    needed = (*GROUP_KEYS, "seed", *_SITE, *_QUANTITIES)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise UsageError(f"the measurement table lacks the columns {', '.join(missing)}. Measure it again.")
    for name in (*GROUP_KEYS, "seed", *_SITE):
        if name not in NULLABLE_KEYS and bool(table[name].isna().any()):
            count = int(table[name].isna().sum())
            raise UsageError(f"the measurement table has {count} rows without {name!r}: every row needs its key.")


class _Sites:
    """The table's columns as arrays, and the hidden layers among its rows."""

    def __init__(self, table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> None:
        self._quantity: dict[str, NDArray[np.float64]] = {
            name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _QUANTITIES
        }
        self._seed = table["seed"].to_numpy(dtype=np.int64)
        self._call = table["call"].to_numpy(dtype=np.int64)
        self._position = table["position"].to_numpy(dtype=np.int64)
        self._signal_layers = signal_layers
        self._place = _place_on_path(table, signal_layers)
        infinite = np.logical_or.reduce([np.isinf(self._quantity[name]) for name in _OVERFLOW_TRACES])
        self._nonfinite = self._quantity["nonfinite_fraction"] > 0.0
        self._overflowed = self._nonfinite | infinite

    def trace(self, rows: _Rows, keys: Mapping[str, object]) -> NetworkLevels:
        seeds, seed_index = np.unique(self._seed[rows], return_inverse=True)
        path = self._arrange(rows, seed_index, seeds, keys)
        overflowed = np.zeros(len(seeds), dtype=np.bool_)
        np.logical_or.at(overflowed, seed_index, self._overflowed[rows])
        last = path[:, -1]
        nonfinite = self._position[rows[self._nonfinite[rows]]]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self._quantity["activation_batch_variance"][last] / self._quantity["activation_second_moment"][last]
        layers = tuple(self._signal_layers[str(keys["network"])])
        positions = tuple(int(each) for each in self._position[path[0]])
        forward = _mark_overflow(self._follow_signal(path), overflowed)
        backward = _mark_overflow(np.square(self._quantity["gradient_norm"][path]), overflowed)
        return NetworkLevels(
            keys=keys,
            seeds=len(seeds),
            forward=SignalLevels("forward", layers, positions, forward),
            backward=SignalLevels("backward", layers[::-1], positions[::-1], backward[:, ::-1]),
            batch_variance_share=share,
            dead_fraction=self._quantity["dead_fraction"][last],
            saturated_fraction=self._quantity["saturated_fraction"][last],
            nonfinite_from_position=int(nonfinite.min()) if nonfinite.size else None,
            symmetric=self._find_symmetry(rows, path),
        )

    def _arrange(
        self, rows: _Rows, seed_index: NDArray[np.intp], seeds: NDArray[np.int64], keys: Mapping[str, object]
    ) -> _Rows:
        """Arrange the path's rows as [seeds, layers]."""
        layers = self._signal_layers[str(keys["network"])]
        where = ", ".join(f"{name}={keys[name]}" for name in ("network", "initializer", "activation"))
        place = self._place[rows]
        on_path = place >= 0
        repeated = on_path & (self._call[rows] > 0)
        if repeated.any():
            layer = layers[place[repeated][0]]
            raise UsageError(
                f"signal layer {layer!r} is called more than once ({where}): a path needs layers called once."
            )
        path = np.full((len(seeds), len(layers)), -1, dtype=np.intp)
        path[seed_index[on_path], place[on_path]] = rows[on_path]
        if int(on_path.sum()) != int((path >= 0).sum()):
            raise UsageError(f"a layer has two rows for one seed ({where}): join tables without repeating seeds.")
        for seed, layer in np.argwhere(path < 0)[:1]:
            raise UsageError(
                f"signal layer {layers[layer]!r} is not measured for seed {seeds[seed]} ({where}): "
                "measure all seeds, or leave the incomplete seed out."
            )
        if not (np.diff(self._position[path], axis=1) > 0).all():
            raise UsageError(f"signal_layers are not in the order of execution ({where}). Received: {list(layers)}")
        return path

    def _follow_signal(self, path: _Rows) -> NDArray[np.float64]:
        """Take q: of the pre-activation in layers that have one, else of the output.

        An overflowing layer has null moments. Its output may be finite all the same (tanh of inf is 1), so it must
        not stand in for the pre-activation there.
        """
        before = self._quantity["preactivation_second_moment"][path]
        after = self._quantity["activation_second_moment"][path]
        without = np.isnan(before).all(axis=0) & ~self._nonfinite[path]
        return np.where(without, after, before)

    def _find_symmetry(self, rows: _Rows, path: _Rows) -> bool | None:
        """Find whether all hidden kernels are constant.

        Where no signal layer has a kernel, as with the Add layers of a residual network, all kernels of the network
        count but those at the last position that has one: the head's initializer is not under test.
        """
        variances = self._quantity["weight_variance"][path]
        variances = variances[:, ~np.isnan(variances).all(axis=0)].ravel()
        if variances.size == 0:
            kernels = rows[~np.isnan(self._quantity["weight_variance"][rows])]
            if kernels.size == 0:
                return None
            positions = self._position[kernels]
            variances = self._quantity["weight_variance"][kernels[positions < positions.max()]]
        if variances.size == 0:
            return None
        if (variances > 0.0).any():
            return False
        return None if np.isnan(variances).any() else True


def _place_on_path(table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> NDArray[np.intp]:
    """Give each row its layer's place among the signal layers of its network; -1 for the others."""
    networks = table["network"].astype(str).to_numpy(dtype=object)
    layers = table["layer"].astype(str).to_numpy(dtype=object)
    place = np.full(len(table), -1, dtype=np.intp)
    for network in sorted(set(networks)):
        if network not in signal_layers:
            raise name_unknown("network in signal_layers", network, signal_layers)
        path = signal_layers[network]
        if isinstance(path, str) or len(path) == 0 or len(set(path)) != len(path):
            raise UsageError(
                f"signal_layers[{network!r}] needs the names of one or more layers, each once. Received: {path!r}"
            )
        rows = np.flatnonzero(networks == network)
        measured = set(layers[rows])
        for layer in path:
            if layer not in measured:
                raise name_unknown(f"signal layer of network {network!r}", layer, measured)
        index = {layer: number for number, layer in enumerate(path)}
        place[rows] = [index.get(layer, -1) for layer in layers[rows]]
    return place


def _mark_overflow(moments: NDArray[np.float64], overflowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mark a null moment of a seed that shows a non-finite value as inf; others were not measured and stay NaN."""
    return np.where(np.isnan(moments) & overflowed[:, np.newaxis], np.inf, moments)
