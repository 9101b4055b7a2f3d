"""Measures what each finding costs: trains models with a planted defect, and the same models without it.

Run it with ``tox run -e harm``. It leaves ``harm.md`` in ``reports/`` and ``harm.json`` in ``initcheck/audit/``, which
``initcheck explain`` quotes. Each model has its own learning rate, tuned for each optimizer on seeds of their own, so
that the rate is no excuse for a defect. The same seed draws the same weights, but for the defect, and the same batches.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harm_models import CASES, CLASSES, EVERYTHING, NOTHING, SOUND, Case, Network, load_samples

from initcheck.audit.rules import RULES
from initcheck.backend.runtime import import_keras, import_tensorflow
from initcheck.core.files import check_writable, publish_files
from initcheck.core.statistics import estimate_mean

keras, tf = import_keras(), import_tensorflow()

STEPS, BATCH, EVALUATED = 100, 32, 512
TUNING_SEEDS, SEEDS = 2, 6
CHANCE = math.log(CLASSES)
PRACTICAL = 1.25
"""A loss that is higher by less is no harm of practical size."""

OPTIMIZERS = {"SGD": range(-4, 2), "Adam": range(-5, 1)}
"""Optimizers, and the powers of ten that are tried as learning rates; then the half powers beside the best."""

NOT_TRAINED = {
    "IC601": "says that something was not measured, whatever its values",
    "IC603": "says that the draws do not decide; what they leave open is IC101, IC102, IC201 or IC202",
    "IC604": "says that the draws are one draw, which no single training run can show",
}


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """What became of a network.

    Attributes:
        rate: the learning rate that was best on the seeds for tuning.
        losses: after the last step, one for each seed; those that are not finite are infinite.
        at_edge: whether the best rate is the largest or the smallest that was tried.
    """

    rate: float
    losses: tuple[float, ...]
    at_edge: bool

    @property
    def counted(self) -> np.ndarray:
        """The losses; a run that left the finite numbers has learned nothing, and counts as chance level."""
        return np.where(np.isfinite(self.losses), self.losses, CHANCE)

    @property
    def mean(self) -> float:
        """The geometric mean of the losses."""
        return float(np.exp(np.mean(np.log(self.counted))))


class Trainer:
    """Trains one network with one optimizer; all steps are one call of a compiled graph."""

    def __init__(self, network: Network, optimizer: str, steps: int) -> None:
        self.network, self.steps = network, steps
        self.model = self._build(0)
        self.x, self.y = load_samples(network.form)
        made = getattr(keras.optimizers, optimizer)(1.0)
        half = any(layer.compute_dtype == "float16" for layer in self.model.layers)
        self.rate = made.learning_rate
        self.optimizer = keras.optimizers.LossScaleOptimizer(made) if half else made
        self.optimizer.build(self.model.trainable_variables)
        self.state = [np.asarray(variable) for variable in self.optimizer.variables]
        self.rate_at = [id(variable) for variable in self.optimizer.variables].index(id(made._learning_rate))
        self.weights: dict[int, list[np.ndarray]] = {}
        self.run = tf.function(self._run)

    def train(self, seed: int, rate: float) -> float:
        """Train from the weights of a seed; return the loss after the last step, infinite where it is not finite."""
        if seed not in self.weights:
            self.weights[seed] = self._build(seed).get_weights()
        self.model.set_weights(self.weights[seed])
        for place, (variable, value) in enumerate(zip(self.optimizer.variables, self.state, strict=True)):
            variable.assign(rate if place == self.rate_at else value)
        epochs = -(-self.steps * BATCH // len(self.y))
        random = np.random.default_rng((seed, 1))
        order = np.concatenate([random.permutation(len(self.y)) for _ in range(epochs)])[: self.steps * BATCH]
        loss = float(self.run(tf.constant(order.reshape(self.steps, BATCH).astype("int32"))))
        return loss if math.isfinite(loss) else math.inf

    def _build(self, seed: int) -> Any:
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(seed)
        return self.network.make()

    def _loss(self, taken: Any) -> Any:
        inputs = [tf.gather(each, taken) for each in self.x]
        logits = self.model(inputs if len(inputs) > 1 else inputs[0], training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(self.y, taken), tf.cast(logits, "float32"))
        return tf.reduce_mean(losses)

    def _run(self, order: Any) -> Any:
        weights = self.model.trainable_variables
        for step in tf.range(self.steps):
            with tf.GradientTape() as tape:
                loss = self.optimizer.scale_loss(self._loss(order[step]))
            pairs = zip(tape.gradient(loss, weights), weights, strict=True)
            self.optimizer.apply_gradients([pair for pair in pairs if pair[0] is not None])
        return self._loss(tf.range(EVALUATED))


def tune(trainer: Trainer, optimizer: str, seeds: Sequence[int]) -> tuple[float, bool]:
    """Find the learning rate with the lowest mean logarithm of the loss, and whether it is the last one tried."""
    powers = [float(power) for power in OPTIMIZERS[optimizer]]

    def score(power: float) -> float:
        return float(np.mean(np.log([trainer.train(seed, 10**power) for seed in seeds])))

    scores = {power: score(power) for power in powers}
    coarse = min(scores, key=scores.__getitem__)
    scores |= {power: score(power) for power in (coarse - 0.5, coarse + 0.5)}
    best = min(scores, key=scores.__getitem__)
    return 10**best, best in (min(scores), max(scores))


def train(network: Network, optimizer: str, steps: int) -> Trained:
    """Tune the rate of a network on some seeds, and train it with the best one on others."""
    trainer = Trainer(network, optimizer, steps)
    first = network.first_seed
    rate, at_edge = tune(trainer, optimizer, range(first + SEEDS, first + SEEDS + TUNING_SEEDS))
    return Trained(rate, tuple(trainer.train(seed, rate) for seed in range(first, first + SEEDS)), at_edge)


# --- comparing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """One case with one optimizer: trained as it is, and without the defect."""

    case: Case
    optimizer: str
    sick: Trained
    sound: Trained

    @property
    def ratio(self) -> tuple[float, float, float]:
        """How many times higher the loss is with the defect, with the ends of its 95% interval over seeds."""
        estimate = estimate_mean(np.log(self.sick.counted) - np.log(self.sound.counted))
        return math.exp(estimate.value), math.exp(estimate.low), math.exp(estimate.high)

    @property
    def verdict(self) -> str:
        """Whether the loss is higher, by less than is of practical size, or neither is shown."""
        _, low, high = self.ratio
        if high < PRACTICAL:
            return "none"
        return "higher" if low > 1.0 else "undecided"


def summarize(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Say in a few numbers what the pairs of one rule show."""
    return {
        "pairs": len(pairs),
        "higher": sum(pair.verdict == "higher" for pair in pairs),
        "none": sum(pair.verdict == "none" for pair in pairs),
        "with": round(float(np.median([pair.sick.mean for pair in pairs])), 3),
        "without": round(float(np.median([pair.sound.mean for pair in pairs])), 3),
    }


def group(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Group the pairs of rules by code."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.case.rule in RULES:
            found.setdefault(pair.case.rule, []).append(pair)
    return {code: found[code] for code in sorted(found)}


def holds(pair: Pair) -> bool:
    """Find whether a control came out as it has to."""
    return (pair.verdict == "higher") == (pair.case.rule == EVERYTHING)


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(pairs: Sequence[Pair], steps: int) -> Iterator[str]:
    """Write the report."""
    compared = group(pairs)
    count = sum(map(len, compared.values()))
    above = sum(pair.verdict == "higher" for each in compared.values() for pair in each)
    yield "# What the findings cost\n"
    yield (
        "Each rule's defect is planted into three architectures or more (`tests/power/harm_models.py`), and the models "
        f"are trained on the 8 × 8 digits of scikit-learn for {steps} steps of {BATCH} samples, as they are and "
        "without the defect, with plain SGD and with Adam. Each of them has its own learning rate: whole powers of ten "
        f"(SGD 1e-4 to 10, Adam 1e-5 to 1), then the half powers beside the best, on {TUNING_SEEDS} seeds; the losses "
        f"are of {SEEDS} other seeds. A seed draws the same batches for both models, and the same weights but for the "
        "defect.\n"
    )
    yield (
        f"*Loss* is the geometric mean over seeds of the cross-entropy on {EVALUATED} training samples after the last "
        f"step; chance level is ln {CLASSES} = {CHANCE:.2f}, and a run that left the finite numbers counts as that. "
        "*Times* is the paired ratio of the losses with its 95% interval (Student's t of the differences of the "
        f"logarithms). *Higher*: the interval lies above 1. *None*: it lies below {PRACTICAL:g}, so that a harm of "
        f"practical size is excluded. There are {count} comparisons, and the intervals are not adjusted for their "
        f"number: if no defect did any harm, {0.025 * count:.0f} would be expected to lie above 1; {above} do.\n"
    )
    yield (
        "Most defects bring other findings too, so that a row shows what the model loses by all of them. The task is "
        "small, and a linear model learns most of it: a network whose branches are dead is not seen to lose what only "
        "they could learn. What a rule costs later, or in larger networks, is not measured. "
        "\\* The best rate is the smallest or largest that was tried.\n"
    )
    yield "## By rule\n"
    yield "| rule | pairs | higher | none | undecided | median loss with it | without it |"
    yield "|---|---|---|---|---|---|---|"
    for code, each in compared.items():
        found = summarize(each)
        left = found["pairs"] - found["higher"] - found["none"]
        yield (
            f"| {code} {RULES[code].name} | {found['pairs']} | {found['higher']} | {found['none']} | {left} "
            f"| {found['with']:.3g} | {found['without']:.3g} |"
        )
    yield "\n## Controls\n"
    yield (
        "With other seeds alone no interval may lie above 1; without any kernel nothing but the last biases is "
        "learned, and each interval must.\n"
    )
    yield from write_table([pair for pair in pairs if pair.case.rule not in RULES])
    yield "\n## All pairs\n"
    yield from write_table([pair for each in compared.values() for pair in each])
    yield "\n## Not trained\n"
    yield from (f"- {code} {RULES[code].name} {reason}." for code, reason in NOT_TRAINED.items())


def write_table(pairs: Sequence[Pair]) -> Iterator[str]:
    """Write one row a pair."""
    yield "| rule | architecture | defect | optimizer | rate with, without | loss with | without | times | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for pair in pairs:
        ratio, low, high = pair.ratio
        rates = ", ".join(f"{each.rate:.1g}{chr(92) + '*' if each.at_edge else ''}" for each in (pair.sick, pair.sound))
        yield (
            f"| {pair.case.rule} | {pair.case.sound} | {pair.case.defect} | {pair.optimizer} | {rates} "
            f"| {format_loss(pair.sick)} | {format_loss(pair.sound)} | {ratio:.3g} [{low:.3g}, {high:.3g}] "
            f"| {pair.verdict} |"
        )


def format_loss(trained: Trained) -> str:
    """Write a loss, and in how many runs it is not finite."""
    lost = sum(not math.isfinite(loss) for loss in trained.losses)
    return f"{trained.mean:.3g}" + (f" ({lost} of {len(trained.losses)} not finite)" if lost else "")


# --- the command ------------------------------------------------------------------------------------------------------


def list_networks(cases: Sequence[Case]) -> dict[str, Network]:
    """List the networks to train by name: the sound ones of some cases, and those with a defect."""
    sound = {case.sound: SOUND[case.sound] for case in cases}
    return sound | {case.name: case.sick for case in cases}


def start_worker() -> None:
    """Run graphs as they were traced: to optimize them takes longer than to run them."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.freeze()


def train_network(task: tuple[str, int]) -> tuple[str, dict[str, Trained], float]:
    """Train one network, by its name, with each optimizer for some steps."""
    name, steps = task
    started = time.perf_counter()
    network = list_networks(CASES)[name]
    found = {optimizer: train(network, optimizer, steps) for optimizer in OPTIMIZERS}
    gc.collect()
    return name, found, time.perf_counter() - started


def read_kept(path: Path | None, steps: int) -> dict[str, dict[str, Trained]]:
    """Read what an earlier call kept of as many steps; a last line that was cut off counts as not kept."""
    if path is None or not path.exists():
        return {}
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    path.write_text("".join(whole), encoding="utf-8")  # so that the next network begins a line
    kept = [json.loads(line) for line in whole]
    return {
        each["name"]: {
            key: Trained(found["rate"], tuple(found["losses"]), found["at_edge"])
            for key, found in each["found"].items()
        }
        for each in kept
        if each["steps"] == steps
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", nargs="*", help="codes of the rules (default: all, and the controls)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of each training run (default: {STEPS})")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the page (default: reports)")
    parser.add_argument("--keep", type=Path, help="file that keeps each network as it ends, and is read when it exists")
    default = Path("initcheck/audit")
    parser.add_argument("--quoted", type=Path, default=default, help=f"folder of what explain quotes ({default})")
    options = parser.parse_args(arguments)
    unknown = set(options.rules) - {case.rule for case in CASES}
    if unknown:
        parser.error(f"No defect is planted for {', '.join(sorted(unknown))}.")
    for folder in (options.out, options.quoted):
        check_writable(folder)
    cases = [case for case in CASES if not options.rules or case.rule in options.rules]
    networks = list_networks(cases)
    trained = read_kept(options.keep, options.steps)
    tasks = [(name, options.steps) for name in networks if name not in trained]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")  # a worker for each core: threads of their own would only wait for each other
    # Not forked: TensorFlow's threads do not survive it. A new process now and then gives back what Keras keeps.
    with multiprocessing.get_context("spawn").Pool(options.workers, start_worker, maxtasksperchild=20) as pool:
        for done, (name, found, seconds) in enumerate(pool.imap_unordered(train_network, tasks, chunksize=1), start=1):
            trained[name] = found
            if options.keep is not None:
                line = {
                    "name": name,
                    "steps": options.steps,
                    "found": {key: asdict(each) for key, each in found.items()},
                }
                with options.keep.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
            losses = ", ".join(f"{key} {each.mean:.3g} at {each.rate:.1g}" for key, each in found.items())
            sys.stderr.write(f"{done}/{len(tasks)} ({seconds:.0f} s) {name}: {losses}\n")
    pairs = [
        Pair(case, optimizer, trained[case.name][optimizer], trained[case.sound][optimizer])
        for case in cases
        for optimizer in OPTIMIZERS
    ]
    rules = {code: summarize(each) for code, each in group(pairs).items()}
    quoted = {"steps": options.steps, "seeds": SEEDS, "chance": round(CHANCE, 3), "rules": rules}
    written = publish_files(options.out, {"harm.md": "\n".join(write_page(pairs, options.steps)) + "\n"})
    if not options.rules:  # what explain quotes has all rules
        written += publish_files(options.quoted, {"harm.json": json.dumps(quoted, indent=2) + "\n"})
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0 if all(holds(pair) for pair in pairs if pair.case.rule in (NOTHING, EVERYTHING)) else 1


if __name__ == "__main__":
    sys.exit(main())
