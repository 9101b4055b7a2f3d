"""Does the initialization predict the loss after training? Networks measured, then trained, and the two related.

Each configuration is a plain network of one width: an initializer, an activation function and a depth. Its weights are
drawn for several seeds, measured before the first step, and trained by plain stochastic gradient descent for a number
of steps at each of a few learning rates. The rate with the lowest loss counts, so that no configuration fails for its
rate alone. They are compared with what theory says without measuring anything: networks train up to about six times the
depth scale of the correlation (Schoenholz et al. 2017, section 5). What relates a record to theory
(:func:`relate`) knows no Keras, and is tested on records that are made up.

References:
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", ICLR 2017: L <~ 6 xi_c.
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from initcheck.backend.runtime import import_keras, versions
from initcheck.core.errors import TheoryError, UsageError
from initcheck.core.formatting import Progress, no_progress
from initcheck.core.seeds import check_seed
from initcheck.models.initializers import InitializerSpec, parse_initializer
from initcheck.models.networks import MlpSpec, check_activation
from initcheck.probe import DrawingLoops, Probe, RedrawPlan
from initcheck.theory.mean_field import TRAINABLE_DEPTHS
from initcheck.theory.phase import find_phase
from initcheck.theory.weights import weight_distribution
from initcheck.training.data import LabelledData, chance_loss, load_labelled
from initcheck.training.engine import Descent, Trainer, Weights, orders_of

DEFAULT_INITIALIZERS: Final = (
    "RandomNormal",
    "VarianceScaling(scale=0.5)",
    "GlorotUniform",
    "LecunNormal",
    "Orthogonal",
    "VarianceScaling(scale=1.5)",
    "HeNormal",
    "VarianceScaling(scale=3.0)",
    "RandomNormal(stddev=0.25)",
)
"""From far below criticality to far above it: at a width of 64, fan_in Var(W) is .16, .5, 1, 1, 1, 1.5, 2, 3 and 4."""

DEFAULT_ACTIVATIONS: Final = ("relu", "tanh", "selu", "gelu")
DEFAULT_DEPTHS: Final = (4, 8, 16, 32, 64)
DEFAULT_RATES: Final = (0.1, 0.01, 0.001)
TRAINED_BELOW: Final = 0.5
"""A configuration has trained if its loss is at most this share of the loss at chance level."""

LAST_STEPS: Final = 20
"""The loss at the end is the mean over so many steps."""

MEASURED_ON: Final = 128
"""Samples of the batch on which a network is measured before it is trained."""

INITIAL_METRICS: Final = ("forward_change", "backward_change", "distinct_log_share")
KEYS: Final = ("activation", "initializer", "depth")
THRESHOLDS: Final = (0.25, 0.5, 0.75, 0.9)
"""Shares of the loss at chance level at which the agreement is shown, since the one that is used is a choice."""

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
FEWEST_PAIRS: Final = 10
"""A bootstrap over fewer pairs resamples so few that its interval is too narrow: none is given then."""

DIGITS: Final = 6
"""Significant digits of the tables and of what is ranked: losses at chance level differ in the seventh by rounding."""

PREDICTORS: Final = {
    "depth": "depth alone, the baseline",
    "forward_change": "change of the signal along the layers, |ln q_L / q_1|",
    "backward_change": "change of the gradient along the layers, |ln g_1 / g_L|",
    "distinct_log_share": "loss of what distinguishes samples, |ln of its share in the last layer|",
    "largest_change": "the largest of these three changes",
    "depth_ratio": "theory: depth over the depth predicted to train, without a measurement",
}
"""What is compared with the loss after training; each grows with what is expected to do harm."""


@dataclass(frozen=True)
class TrainabilityOptions:
    """What to measure and train; a change from layer to layer needs two hidden layers or more."""

    initializers: tuple[str, ...] = DEFAULT_INITIALIZERS
    activations: tuple[str, ...] = DEFAULT_ACTIVATIONS
    depths: tuple[int, ...] = DEFAULT_DEPTHS
    width: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 200
    learning_rates: tuple[float, ...] = DEFAULT_RATES
    batch_size: int = 32
    data: str = "digits"
    command_line: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("initializers", "activations", "depths", "seeds", "learning_rates"):
            if not getattr(self, name):
                raise UsageError(f"{name} must not be empty. Give at least one.")
        for seed in self.seeds:
            check_seed(seed)
        if min(self.depths) < 2:
            raise UsageError(f"depths must be at least 2. Received: {min(self.depths)}. Give two layers or more.")
        least = {"width": 1, "steps": LAST_STEPS, "batch_size": 1}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise UsageError(f"{name} must be at least {limit}. Received: {getattr(self, name)}. Give more.")
        for rate in self.learning_rates:
            if not 0.0 < rate < math.inf:
                raise UsageError(f"learning_rates must be finite and above 0. Received: {rate!r}. Give such as 0.01.")


@dataclass(frozen=True, eq=False)
class TrainabilityRecord:
    """What was measured before and after training, and how; chance knows the classes' frequencies alone."""

    runs: pd.DataFrame = field(repr=False)
    predictions: pd.DataFrame = field(repr=False)
    width: int
    steps: int
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    batch_size: int
    data: str
    chance: float
    versions: Mapping[str, str]
    command_line: str
    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of one predictor with the loss after training; NaN where one side does not vary."""

    predictor: str
    value: float
    low: float
    high: float
    configurations: int
    pairs: int


@dataclass(frozen=True)
class CorrelationLead:
    """By how much the highest of the correlations exceeds the next, where both predictors are known."""

    first: str
    second: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """How often theory's depth agrees with what trained, at one threshold; the interval is that of the share."""

    threshold: float
    both: int
    neither: int
    only_predicted: int
    only_trained: int
    low: float
    high: float

    @property
    def count(self) -> int:
        """Configurations that theory says something of."""
        return self.both + self.neither + self.only_predicted + self.only_trained

    @property
    def share(self) -> float:
        """Share of those on which both agree; NaN where there is none."""
        return (self.both + self.neither) / self.count if self.count else math.nan

    @property
    def share_by_one_answer(self) -> float:
        """Share that one answer for all would have got right: what any prediction has to beat."""
        trained = self.both + self.only_trained
        return max(trained, self.count - trained) / self.count if self.count else math.nan


@dataclass(frozen=True, eq=False)
class Relations:
    """A record with all that is made of it, so that every page says the same."""

    record: TrainabilityRecord
    summary: pd.DataFrame = field(repr=False)
    correlations: tuple[RankCorrelation, ...]
    lead: CorrelationLead | None
    agreements: tuple[Agreement, ...]

    @property
    def agreement(self) -> Agreement:
        """The agreement at the threshold below which a configuration has trained."""
        return next(each for each in self.agreements if each.threshold == TRAINED_BELOW)


def run_trainability(options: TrainabilityOptions, progress: Progress = no_progress) -> TrainabilityRecord:
    """Measure and train all configurations.

    For one seed all initializers of one depth see the same batches, and all activation functions the same weights.
    """
    started, processor = time.perf_counter(), time.process_time()
    specs = tuple({spec.label: spec for spec in map(parse_initializer, options.initializers)}.values())
    activations = tuple(dict.fromkeys(map(check_activation, options.activations)))
    data = load_labelled(options.data)
    experiment = _Experiment(options, specs, data)
    depths = sorted(set(options.depths))
    # What takes the time grows with the depth: so does its share of the display.
    total = sum(depths) * len(activations) * len(options.learning_rates)
    done = 0
    frames = []
    for depth in depths:
        weights = None
        for activation in activations:
            report = partial(_report, progress, done, total, f"{depth} layers, {activation}")
            report(0, "initialization")
            if weights is None:
                weights = experiment.draw(depth, activation)
            frames.append(experiment.run(depth, activation, weights, report))
            done += depth * len(options.learning_rates)
    progress(total, total, "theory")
    return TrainabilityRecord(
        runs=pd.concat(frames, ignore_index=True),
        predictions=experiment.predict(activations, depths),
        width=options.width,
        steps=options.steps,
        seeds=options.seeds,
        learning_rates=options.learning_rates,
        batch_size=options.batch_size,
        data=data.description,
        chance=chance_loss(data.y, data.classes),
        versions=versions(),
        command_line=options.command_line,
        seconds=time.perf_counter() - started,
        processor_seconds=time.process_time() - processor,
    )


def relate(record: TrainabilityRecord, resamples: int = RESAMPLES) -> Relations:
    """Sum up the configurations of a record, correlate every predictor with their loss, and count theory's hits."""
    summary = summarize_runs(record)
    correlations = tuple(correlate_ranks(summary, each, resamples) for each in PREDICTORS)
    agreements = tuple(count_agreement(summary, each, resamples) for each in THRESHOLDS)
    return Relations(record, summary, correlations, find_lead(summary, correlations, resamples), agreements)


def summarize_runs(record: TrainabilityRecord) -> pd.DataFrame:
    """Sum up each configuration.

    The learning rate with the lowest mean loss over the seeds counts; a loss that is no number is infinite. So one seed
    that diverges rules a rate out. Everything follows from the numbers as the tables have them.

    Returns:
        One row per configuration: its keys; ``sigma_w2``, ``xi_c``, ``xi_gradient``, ``scale``, ``predicted_depth`` and
        ``predicted_trainable`` (null where theory says nothing); the values at initialization, means over seeds;
        ``learning_rate``, ``start_loss``, ``loss`` with the lowest and highest of the seeds; ``relative_loss``, over
        chance; and ``trained``.
    """
    runs = _round_as_written(record.runs)
    runs["loss"] = runs["loss"].where(np.isfinite(runs["loss"]), np.inf)
    keys = list(KEYS)
    by_rate = runs.groupby([*keys, "learning_rate"], sort=False)
    losses = by_rate["loss"].agg(loss="mean", loss_low="min", loss_high="max").reset_index()
    losses["start_loss"] = by_rate["start_loss"].mean().to_numpy()
    best = losses.sort_values("loss", kind="stable").drop_duplicates(keys)
    with np.errstate(invalid="ignore"):
        initial = runs.groupby(keys, sort=False)[list(INITIAL_METRICS)].agg(_mean_of_logarithms).reset_index()
    initial["seeds"] = runs.groupby(keys, sort=False)["seed"].nunique().to_numpy()
    table = record.predictions.drop(columns="reason").merge(initial, on=keys, validate="1:1")
    table = _round_as_written(table.merge(best, on=keys, validate="1:1"))
    covered = table["predicted_depth"].notna()
    table["predicted_trainable"] = (table["depth"] <= table["predicted_depth"]).astype("boolean").where(covered)
    table["relative_loss"] = _round_digits(table["loss"] / record.chance)
    table["trained"] = table["relative_loss"] <= TRAINED_BELOW
    order = [
        *keys, "sigma_w2", "xi_c", "xi_gradient", "scale", "predicted_depth", "predicted_trainable", "seeds",
        *INITIAL_METRICS, "learning_rate", "start_loss", "loss", "loss_low", "loss_high", "relative_loss", "trained",
    ]  # fmt: skip
    return table[order]


def find_predictor(summary: pd.DataFrame, predictor: str) -> NDArray[np.float64]:
    """Take a predictor of each configuration."""
    if predictor == "depth":
        return summary["depth"].to_numpy(dtype=np.float64)
    if predictor == "depth_ratio":
        return (summary["depth"] / summary["predicted_depth"]).to_numpy(dtype=np.float64)
    if predictor == "largest_change":
        changes = np.abs(summary[list(INITIAL_METRICS)].to_numpy(dtype=np.float64))
        # A maximum with NaN is NaN: what could not be measured is not taken for harmless. Where the signal is lost
        # altogether nothing else matters, and the share of it that differs from sample to sample is 0 / 0.
        return np.asarray(np.where(np.isinf(changes).any(axis=1), np.inf, changes.max(axis=1)))
    return np.asarray(np.abs(summary[predictor].to_numpy(dtype=np.float64)))


def correlate_ranks(summary: pd.DataFrame, predictor: str, resamples: int = RESAMPLES) -> RankCorrelation:
    """Correlate a predictor with the loss after training, by ranks (Spearman 1904).

    The interval is that of a percentile bootstrap (``scipy.stats.bootstrap``). Depths of one pair of initializer and
    activation go together, and no two of them are independent: pairs are resampled, each with all its depths.
    """
    values = find_predictor(summary, predictor)
    loss = summary["relative_loss"].to_numpy(dtype=np.float64)
    known = ~np.isnan(values)
    places = _group_pairs(summary, known)
    value, low, high = _estimate(places, lambda rows: _spearman(values[rows], loss[rows]), resamples)
    return RankCorrelation(predictor, value, low, high, int(known.sum()), len(places))


def find_lead(
    summary: pd.DataFrame, correlations: Sequence[RankCorrelation], resamples: int = RESAMPLES
) -> CorrelationLead | None:
    """Compare the two highest correlations; None where fewer than two are known."""
    ranked = sorted((each for each in correlations if not math.isnan(each.value)), key=lambda each: -each.value)
    if len(ranked) < 2:
        return None
    first, second = (find_predictor(summary, each.predictor) for each in ranked[:2])
    loss = summary["relative_loss"].to_numpy(dtype=np.float64)
    places = _group_pairs(summary, ~np.isnan(first) & ~np.isnan(second))

    def subtract(rows: NDArray[np.int64]) -> float:
        return _spearman(first[rows], loss[rows]) - _spearman(second[rows], loss[rows])

    return CorrelationLead(ranked[0].predictor, ranked[1].predictor, *_estimate(places, subtract, resamples))


def count_agreement(summary: pd.DataFrame, threshold: float = TRAINED_BELOW, resamples: int = RESAMPLES) -> Agreement:
    """Count where theory's depth and the outcome agree; pairs are resampled as in :func:`correlate_ranks`."""
    covered = summary[summary["predicted_trainable"].notna()]
    predicted = covered["predicted_trainable"].astype(bool).to_numpy()
    trained = (covered["relative_loss"] <= threshold).to_numpy()
    right = predicted == trained
    places = _group_pairs(covered, np.ones(len(covered), dtype=np.bool_))
    _, low, high = _estimate(places, lambda rows: float(right[rows].mean()), resamples)
    return Agreement(
        threshold=threshold,
        both=int((predicted & trained).sum()),
        neither=int((~predicted & ~trained).sum()),
        only_predicted=int((predicted & ~trained).sum()),
        only_trained=int((~predicted & trained).sum()),
        low=low,
        high=high,
    )


def find_failures(summary: pd.DataFrame, *, predicted: bool) -> pd.DataFrame:
    """List the configurations on which theory's depth was wrong."""
    covered = summary[summary["predicted_trainable"].notna()]
    wrong = (covered["predicted_trainable"].astype(bool) == predicted) & (covered["trained"] != predicted)
    return covered[wrong]


def find_deepest(part: pd.DataFrame) -> int:
    """Find the greatest depth up to which every depth tried has trained; 0 where the shallowest has not."""
    deepest = 0
    for row in part.sort_values("depth").itertuples():
        if not row.trained:
            break
        deepest = int(row.depth)  # type: ignore[arg-type]
    return deepest


def predict_depth(xi_c: float, xi_gradient: float) -> tuple[float, str]:
    """Predict up to which depth a network trains, and name the scale that it follows from, if any.

    Six times xi_c (Schoenholz et al. 2017, section 5). Where the signal vanishes or grows without limit the correlation
    has no fixed point; there xi_gradient takes its place, of either sign: in the ordered phase c* = 1 and C'(1) =
    chi_1, so that the two are one.
    """
    if not math.isnan(xi_c):
        return TRAINABLE_DEPTHS * xi_c, "xi_c"
    if not math.isnan(xi_gradient):
        return TRAINABLE_DEPTHS * abs(xi_gradient), "xi_gradient"
    return math.nan, ""


def measure_initialization(table: pd.DataFrame, layers: Sequence[str]) -> pd.DataFrame:
    """Take the metrics of the initialization from a measurement table.

    Returns:
        One row a seed, in nats: ``forward_change``, ln q_L / q_1 of the pre-activations' second moment;
        ``backward_change``, ln g_1 / g_L of the squared norm of one sample's dL/dz; ``distinct_log_share``, the
        logarithm of the share of the last hidden layer's second moment that differs from sample to sample. A change to
        zero is minus infinite; a change from zero, and a share of zero, is NaN.
    """
    hidden = table[table["layer"].isin(layers)]

    def by_layer(quantity: str) -> NDArray[np.float64]:
        matrix = hidden.pivot(index="seed", columns="layer", values=quantity)[list(layers)]
        return matrix.to_numpy(dtype=np.float64, na_value=np.nan)

    signal, gradient = by_layer("preactivation_second_moment"), by_layer("gradient_norm")
    distinct, whole = (by_layer(f"activation_{which}")[:, -1] for which in ("batch_variance", "second_moment"))
    with np.errstate(all="ignore"):
        metrics = {
            "forward_change": np.log(signal[:, -1] / signal[:, 0]),
            "backward_change": 2.0 * np.log(gradient[:, 0] / gradient[:, -1]),
            "distinct_log_share": np.log(distinct / whole),
        }
    seeds = np.sort(hidden["seed"].unique().astype(np.int64))
    return pd.DataFrame({"seed": seeds, **metrics})


def _report(progress: Progress, done: int, total: int, what: str, more: int, detail: str) -> None:
    progress(done + more, total, f"{what}: {detail}")


class _Experiment:
    """Builds, measures and trains the networks of one depth and activation function, all initializers together."""

    def __init__(self, options: TrainabilityOptions, specs: tuple[InitializerSpec, ...], data: LabelledData) -> None:
        self._options = options
        self._specs = specs
        self._data = data
        self._loops = DrawingLoops()
        samples = len(data.x)
        needed = options.steps * options.batch_size
        epochs = -(-needed // samples)
        orders = [orders_of(options.seeds, samples, epoch) for epoch in range(1, epochs + 1)]
        self._orders = np.concatenate(orders, axis=1)[:, :needed]

    def draw(self, depth: int, activation: str) -> list[Weights]:
        """Draw the weights of all initializers and seeds; they do not depend on the activation function."""
        model = self._build(self._specs[0], depth, activation)
        plans = (
            RedrawPlan(model, self._specify(each, depth, activation).weight_initializers(model), self._loops)
            for each in self._specs
        )
        return [plan.sample(self._options.seeds) for plan in plans]

    def run(
        self, depth: int, activation: str, weights: list[Weights], report: Callable[[int, str], None]
    ) -> pd.DataFrame:
        """Measure and train."""
        keras = import_keras()
        options, seeds = self._options, self._options.seeds
        model = self._build(self._specs[0], depth, activation)
        probe = Probe(model, self._data.x[:MEASURED_ON])
        hidden = self._specify(self._specs[0], depth, activation).signal_layers()
        initial = [measure_initialization(probe.measure_weights(seeds, each), hidden) for each in weights]
        # A variable, so that one traced graph serves all learning rates: tracing takes longer than many steps.
        rate = keras.Variable(options.learning_rates[0], dtype="float32", trainable=False)
        answering = keras.Model(model.inputs, keras.layers.Softmax(name="softmax")(model.output))
        trainer = Trainer(answering, self._data, Descent(rate.value, options.batch_size))
        together = [keras.ops.concatenate(parts) for parts in zip(*weights, strict=True)]
        orders = np.tile(self._orders, (len(self._specs), 1))
        frames = []
        for place, each in enumerate(options.learning_rates):
            report(place * depth, f"learning rate {each:g}")
            rate.assign(each)
            _, losses = trainer.train_steps(together, orders)
            for index, initializer in enumerate(self._specs):
                own = losses[index * len(seeds) : (index + 1) * len(seeds)]
                frame = initial[index].set_index("seed").loc[list(seeds)].reset_index()
                frame.insert(0, "learning_rate", each)
                frame.insert(0, "depth", depth)
                frame.insert(0, "activation", activation)
                frame.insert(0, "initializer", initializer.label)
                frames.append(frame.assign(start_loss=own[:, 0], loss=own[:, -LAST_STEPS:].mean(axis=1)))
        return pd.concat(frames, ignore_index=True)

    def predict(self, activations: Sequence[str], depths: Sequence[int]) -> pd.DataFrame:
        """Predict all configurations by theory."""
        rows = []
        for spec in self._specs:
            for activation in activations:
                sigma_w2, xi_c, xi_gradient, reason = self._find_scales(spec, activation)
                reach, scale = predict_depth(xi_c, xi_gradient)
                rows += [
                    {
                        "initializer": spec.label,
                        "activation": activation,
                        "depth": depth,
                        "sigma_w2": sigma_w2,
                        "xi_c": xi_c,
                        "xi_gradient": xi_gradient,
                        "scale": scale,
                        "predicted_depth": reach,
                        "reason": reason,
                    }
                    for depth in depths
                ]
        return pd.DataFrame(rows)

    def _find_scales(self, spec: InitializerSpec, activation: str) -> tuple[float, float, float, str]:
        shape = (self._options.width, self._options.width)
        try:
            sigma_w2 = weight_distribution(spec, shape).forward_gain
            phase = find_phase(activation, sigma_w2)
        except TheoryError as error:
            return math.nan, math.nan, math.nan, str(error)
        return sigma_w2, phase.xi_c, phase.xi_gradient, phase.reasons.get("xi_c", "")

    def _build(self, initializer: InitializerSpec, depth: int, activation: str) -> Any:
        spec = self._specify(initializer, depth, activation)
        return spec.build(self._data.sample_shape, self._options.seeds[0])

    def _specify(self, initializer: InitializerSpec, depth: int, activation: str) -> MlpSpec:
        return MlpSpec(
            initializer=initializer,
            activation=activation,
            depth=depth,
            width=self._options.width,
            outputs=self._data.classes,
        )


def _group_pairs(summary: pd.DataFrame, known: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """List the rows of each pair of initializer and activation function, of those that are known."""
    labels = (summary["activation"] + " " + summary["initializer"]).to_numpy()
    return [np.flatnonzero((labels == label) & known) for label in dict.fromkeys(labels[known])]


def _estimate(
    places: Sequence[NDArray[np.int64]], statistic: Callable[[NDArray[np.int64]], float], resamples: int
) -> tuple[float, float, float]:
    """Compute a statistic of all rows, and its interval by resampling pairs; NaN where there are too few."""
    if not places:
        return math.nan, math.nan, math.nan
    value = statistic(np.concatenate(places))
    if len(places) < FEWEST_PAIRS or math.isnan(value):
        return value, math.nan, math.nan
    with warnings.catch_warnings():
        # Some samples do not vary and have no correlation: the interval is NaN, which says so.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (np.arange(len(places)),),
            lambda chosen: statistic(np.concatenate([places[int(pair)] for pair in chosen])),
            n_resamples=resamples,
            vectorized=False,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return value, float(interval.low), float(interval.high)


def _round_as_written(table: pd.DataFrame) -> pd.DataFrame:
    """Round the floating-point columns to the digits that the tables have."""
    rounded = table.copy()
    for name in table.select_dtypes("float"):
        rounded[name] = _round_digits(table[name])
    return rounded


def _round_digits(values: pd.Series) -> pd.Series:
    return values.map(lambda value: float(f"{value:.{DIGITS}g}"))


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Correlate ranks; scipy's own function warns where one side does not vary, and bootstraps meet such samples."""
    if one.size < 3 or (one == one[0]).all() or (other == other[0]).all():
        return math.nan
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def _mean_of_logarithms(values: pd.Series) -> float:
    """Average: minus infinite where one is, NaN where one is NaN (``mean`` of pandas would leave it out)."""
    return float(np.mean(values.to_numpy(dtype=np.float64)))
