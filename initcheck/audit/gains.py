"""How a signal changes from layer to layer in one direction of travel.

Let v_0, v_1, ..., v_T be what is followed along the way: q, the second moment of the hidden layers, from the input to
the output; or g, the squared norm of one sample's dL/dz, from the output to the input. The norm and not the moment of
single units: it is what an initializer that scales with fan_in preserves through layers of any width, whereas the
moment falls wherever a layer is wider than the next one, in a healthy network as well. In layers of equal width the two
gains are the same. Step j has the ratio r_j = v_{j+1} / v_j. Two means of it are taken, since
they answer two questions.

The *gain* is the mean over seeds of the arithmetic mean over steps of r_j. For He initialization and ReLU its
expectation is the textbook's 1 exactly, at any width n. Flipping the sign of one unit's weights leaves its z^2 as it
is and turns which half of its inputs it passes; the two halves add up to z^2; so, given all z_l^2 of a layer,
E sum_i relu(z_i)^2 = (1/2) sum_i z_i^2, and n units of variance 2/n bring back the factor. For one input
r = (2/n) sum_i B_i g_i^2 with B_i ~ Bernoulli(1/2), g_i ~ N(0, 1), independently by layer (Hanin and Rolnick 2018).
Backward the same holds for one sample and a loss that is linear in the outputs with symmetric random coefficients.

The *log gain* is the mean over seeds and steps of ln r_j: the typical rate. A product of ratios grows by its
logarithms, and by Jensen's inequality E ln r < ln E r: for He and ReLU it is about -5 / (2n). So a critical but narrow
network keeps its mean and loses its median, and verdicts are about the log gain.

Steps are taken by increments and not by levels: levels are a random walk, whose errors add up with depth.

Verdicts are about the *deep half*, the half of the steps nearer to the output, in both directions. What a deeper
network has more of is layers in which q has settled, and q settles on its way from the input. The gradient's rate
depends on it as well: in a wide network g gains chi_l = sigma_w^2 E phi'(sqrt(q_l) z)^2, z ~ N(0, 1), at layer l, and
q_l is still in its transient in the shallow half, where the gradient's travel ends (Schoenholz et al. 2017).

References:
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015: the gain of 1.
    Hanin and Rolnick, "How to start training: the effect of initialization and architecture", NeurIPS 2018.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", ICLR 2017: chi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.audit.verdicts import PRESERVED_FACTOR, PRESERVING_MARGIN, THOUSANDFOLD, DirectionVerdict
from initcheck.errors import UsageError
from initcheck.inference import Estimate, estimate_mean, test_equivalence

_Cut = Literal["overflow", "unmeasured", "zero"]


@dataclass(frozen=True)
class Travel:
    """What happens to a signal on its way in one direction.

    Attributes:
        gain: arithmetic mean ratio of a step, with its 95 % interval over seeds; low is at least 0.
        log_gain: mean ln ratio of a step, with its interval.
        shallow_half: the log gain over the half of the steps nearer to the input (rounded down).
        deep_half: the log gain over the remaining steps, nearer to the output.
        steps: how many steps every seed could be measured on.
        layers_until_thousandth: ln 1000 / |deep-half log gain|; inf where its 95 % interval includes 0, NaN where
            that interval is undefined.
        verdict: the state in one word.
    """

    gain: Estimate
    log_gain: Estimate
    shallow_half: Estimate
    deep_half: Estimate
    steps: int
    layers_until_thousandth: float
    verdict: DirectionVerdict


def measure_travel(
    moments: NDArray[np.float64],
    *,
    deep_end: Literal["start", "end"],
    margin: float = PRESERVING_MARGIN,
    alpha: float = 0.05,
) -> Travel:
    """Measure how second moments change in the direction of travel, and judge it.

    A ratio needs two moments that are finite and above 0. Of each seed the initial run of such steps counts; all
    seeds use the length of the shortest run. What cut it short decides the verdict whatever the rate was before:

    - a non-finite moment (``inf``): ``explodes``;
    - a moment that was not measured (NaN): ``inconclusive``;
    - an exact zero: ``vanishes`` if the log gain before it was negative, so that the signal faded until it
      underflowed; else ``dead``. Without a step before it: ``dead``.

    One such seed is enough, since a mean log gain over seeds with one dead network among them is minus infinity. Where
    seeds differ in what cut them short, the first of this list decides.

    Otherwise the log gain of the deep half decides, by an equivalence test over seeds (TOST) against a limit of
    ln(1 + margin), or ln(PRESERVED_FACTOR) / steps if that is more: a network of three layers that halves its signal
    once has not lost it. ``preserves`` if it is shown to lie within; ``vanishes`` or ``explodes`` if its 1 - 2 alpha
    interval lies entirely below or above; else ``inconclusive``. A power law (tanh at gain 1: q_l ~ 1 / (2l)) slows
    down so that it passes in deep networks; its loss is in ``shallow_half`` and ``log_gain``.

    The degenerate cases: of a run cut short the halves are those of the steps before the cut; of one step both halves
    are that step; without a step (one layer) or with one seed the verdict is ``inconclusive``, unless a moment is zero
    or non-finite; seeds without any spread (a deterministic initializer such as Identity, whose seeds are no
    replicates) give intervals of width zero and a verdict without doubt.

    Args:
        moments: shape [seeds, layers], layers in the direction of travel; ``inf`` marks overflow, NaN no measurement.
        deep_end: where in ``moments`` the network's output is: forward at the end, backward at the start.
        margin: relative change per layer that still counts as preserved.
        alpha: level of the equivalence test.

    Returns:
        The gains, their intervals, and the verdict.

    Raises:
        UsageError: no seed or no layer, a negative moment, or a margin that is not above 0.
    """
    if moments.ndim != 2 or 0 in moments.shape:
        raise UsageError(f"moments need the shape [seeds, layers], neither 0. Received: shape {moments.shape}")
    if (moments < 0.0).any():
        raise UsageError(f"a second moment cannot be negative. Received: {float(moments[moments < 0.0][0])!r}")
    if not (0.0 < margin < math.inf):
        raise UsageError(f"margin must be finite and above 0. Received: margin={margin!r}")

    steps, cut = _find_run(moments)
    used = moments[:, : steps + 1]
    # Two finite moments 308 orders of magnitude apart have no finite ratio: that is inf, not an error.
    with np.errstate(over="ignore"):
        ratios = used[:, 1:] / used[:, :-1] if steps else np.empty((len(moments), 0))
    logs = np.diff(np.log(used), axis=1) if steps else ratios
    from_input = logs if deep_end == "end" else logs[:, ::-1]
    half = steps // 2
    deep_logs = _average_steps(from_input[:, half:])

    gain = estimate_mean(_average_steps(ratios))
    # max() of Python would turn NaN into 0.
    gain = replace(gain, low=float(np.maximum(gain.low, 0.0)))
    log_gain = estimate_mean(_average_steps(logs))
    deep_half = estimate_mean(deep_logs)
    limit = max(math.log1p(margin), math.log(PRESERVED_FACTOR) / max(steps, 1))
    rate_verdict = _judge_rate(deep_logs, limit, alpha)
    return Travel(
        gain=gain,
        log_gain=log_gain,
        shallow_half=estimate_mean(_average_steps(from_input[:, : max(half, 1)])),
        deep_half=deep_half,
        steps=steps,
        layers_until_thousandth=_count_layers_until_thousandth(deep_half),
        verdict=rate_verdict if cut is None else _judge_cut(cut, log_gain.value),
    )


def _find_run(moments: NDArray[np.float64]) -> tuple[int, _Cut | None]:
    """Find how many steps all seeds have in common, and what cut the run short."""
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


def _average_steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the steps of each seed; NaN where there is none."""
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    return np.asarray(values.mean(axis=1), dtype=np.float64)


def _judge_rate(logs: NDArray[np.float64], limit: float, alpha: float) -> DirectionVerdict:
    test = test_equivalence(logs, -limit, limit, alpha)
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


def _count_layers_until_thousandth(rate: Estimate) -> float:
    if math.isnan(rate.low) or math.isnan(rate.high):
        return math.nan
    if rate.low > 0.0 or rate.high < 0.0:
        return THOUSANDFOLD / abs(rate.value)
    return math.inf
