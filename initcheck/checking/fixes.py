"""Fixes: edits that follow from a problem's cause, tried on the model that they make, with the whole judgement.

Edits are chosen on the first draws of the check and reported on draws that neither the check nor the choice has seen.
They cure a problem if none of its findings is left and no other has come; undecided is not cured. They help if what is
left is half as far from 1, and they make nothing else worse. What neither cures nor helps is not shown.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from initcheck.audit.causes import CauseFinder
from initcheck.audit.findings import RATE, Edit, Finding, Fix, GivenInput, Measured, ModelMeasurement, describe_edits
from initcheck.audit.problems import Problem, group_findings, is_same_cause
from initcheck.audit.rules.sites import NON_FINITE
from initcheck.audit.site_estimates import estimate_levels, estimate_share
from initcheck.audit.sizes import find_unscaled
from initcheck.backend.runtime import import_keras
from initcheck.checking.edits import EditMaker, build_edited
from initcheck.core.columns import DIRECTIONS
from initcheck.core.errors import ModelError
from initcheck.core.formatting import Progress
from initcheck.probe.weights import WeightFacts

if TYPE_CHECKING:
    from initcheck.checking.session import CheckSession
    from initcheck.probe.coverage import Coverage

CHOOSING_SEEDS: Final = 5
"""Draws that a candidate is chosen on, at most."""

MOST_TRIALS: Final = 8
"""Candidates that are tried for one problem, at most."""

LONGEST_SEARCH: Final = 300.0
"""Seconds after which no further candidate is begun, but for the first one of each problem."""

_TEXTBOOK: Final = ("he_normal", "glorot_uniform", "lecun_normal")

_BOUNDED: Final = frozenset({"tanh", "sigmoid", "softsign", "hard_sigmoid", "softmax", "linear", ""})
"""Activation functions near which Glorot and Bengio (2010) keep the variance; for selu Klambauer et al. (2017) ask for
LeCun's; the others keep about half of it, as ReLU does (He et al. 2015)."""

_LONGEST_TABLE: Final = 32
"""Columns whose sizes are written out, at most."""

_PIXELS: Final = 255.0


@dataclass(frozen=True)
class Judgement:
    """One model, measured and judged.

    Attributes:
        found: all findings.
        kept: those that were neither deselected nor waived.
        seeds: those of the draws that it was measured on.
    """

    coverage: Coverage
    measurement: ModelMeasurement
    found: tuple[Finding, ...]
    kept: tuple[Finding, ...]
    seeds: tuple[int, ...]


Edits = tuple[Edit, ...]


class FixSearch:
    """Searches for fixes of the problems of one model."""

    def __init__(
        self,
        session: CheckSession,
        judgement: Judgement,
        judge: Callable[[CheckSession], Judgement],
        progress: Progress,
    ) -> None:
        self._session = session
        self._judgement = judgement
        self._judge = judge
        self._progress = progress
        self._problems = group_findings(judgement.kept, judgement.measurement.nodes)
        self._candidates = Candidates(session, judgement.measurement)
        self._found: list[Fix] = []
        self._started = time.perf_counter()
        self._built: dict[Edits, CheckSession | None] = {}
        self._trials: dict[tuple[Edits, tuple[int, ...]], Judgement | None] = {}

    def add_fixes(self) -> tuple[Finding, ...]:
        """Give the main finding of each problem the fix that was found for it."""
        main = {}
        for problem in self._problems:
            if problem.level == "wrong":
                fix, tried = self._find(problem)
                main[id(problem.main)] = replace(problem.main, fix=fix, tried=tried)
                self._found += [] if fix is None else [fix]
        return tuple(main.get(id(each), each) for each in self._judgement.kept)

    def _find(self, problem: Problem) -> tuple[Fix | None, int]:
        """Find the first candidate that cures a problem, else the one that helps most; return how many were tried."""
        chosen = self._session.seeds[:CHOOSING_SEEDS]
        after_last = max(self._session.seeds) + 1
        fresh = tuple(range(after_last, after_last + len(self._session.seeds)))
        best: tuple[float, Fix | None] = (math.inf, None)
        tried = 0
        # Behind values that are not finite, or no signal at all, nothing else could be judged.
        hiding = any(each.severity == "unjudged" or each.code == NON_FINITE.code for each in problem.findings)
        # What cures another problem may cure this one, too: then one edit is written for both.
        known = [fix.edits for fix in self._found if fix.cures]
        candidates = (each for each in self._candidates.list_for(problem) if each not in known)
        for edits in itertools.islice(itertools.chain(known, candidates), MOST_TRIALS):
            if tried and time.perf_counter() - self._started > LONGEST_SEARCH:
                break
            self._built.clear()  # a model at a time is held
            first = self._try(edits, chosen)
            tried += first is not None
            if first is None or (not hiding and self._find_new(first, decided_only=True)):
                continue
            promising = not any(each.severity == "wrong" for each in self._find_left(problem, first))
            if not promising and not self._measure_effect(problem, first).helps:
                continue
            again = self._try(edits, fresh)
            new = [] if again is None else self._find_new(again, decided_only=False)
            if again is None or (new and not hiding):
                continue
            left = [*self._find_left(problem, again), *new]
            effect = self._measure_effect(problem, again)
            said = tuple(dict.fromkeys(each.message for each in left))
            levels = tuple(estimate_levels(again.measurement.table, direction) for direction in DIRECTIONS)
            draws = len(again.seeds)
            fix = Fix(edits, effect.before, effect.after, cures=not left, left=said, draws=draws, levels=levels)
            if fix.cures:
                return fix, tried
            if effect.helps and effect.distance < best[0]:
                best = effect.distance, fix
        return best[1], tried

    def _try(self, edits: Edits, seeds: tuple[int, ...]) -> Judgement | None:
        """Build the model with edits, once, and judge it; None where that cannot be done."""
        key = (edits, seeds)
        if key not in self._trials:
            self._progress(self._session.steps, self._session.steps, f"trying {describe_edits(edits)}")
            try:
                if edits not in self._built:
                    self._built[edits] = build_edited(self._session, edits)
                edited = self._built[edits]
                self._trials[key] = None if edited is None else self._judge(edited.with_seeds(seeds))
            except ModelError:  # so the changed code would raise
                self._trials[key] = None
        return self._trials[key]

    def _find_left(self, problem: Problem, trial: Judgement) -> list[Finding]:
        """List what is left of a problem: what the model with the edits has of its findings, or for the same cause."""
        others = [each for other in self._problems if other is not problem for each in other.findings]
        left = []
        for finding in _list_faults(trial):
            own = any(_is_like(finding, each) for each in problem.findings)
            foreign = any(_is_like(finding, each) for each in others)
            if own and not (foreign and not is_same_cause(finding.cause, problem.cause)):
                left.append(finding)
        return left

    def _find_new(self, trial: Judgement, *, decided_only: bool) -> list[Finding]:
        """List what the model with the edits has, and the model as it is has not."""
        known = [each for each in self._judgement.found if not each.note]
        return [
            finding
            for finding in _list_faults(trial)
            if not any(_is_like(finding, each) for each in known) and (finding.severity == "wrong" or not decided_only)
        ]

    def _measure_effect(self, problem: Problem, trial: Judgement) -> _Effect:
        """Compare the value that a problem rests on, as it is and with the edits."""
        for finding in problem.findings:
            before = _measure(finding, self._judgement.measurement)
            after = _measure(finding, trial.measurement)
            if before is not None and after is not None:
                plan = finding.rule.fix_plan
                return _Effect(before, after, 1.0 if plan is not None and plan.share == "varying" else 0.0)
        return _Effect(None, None)


@dataclass(frozen=True)
class _Effect:
    """The value that a problem rests on, before and after; None where it rests on none."""

    before: Measured | None
    after: Measured | None
    wanted_share: float = 0.0

    @property
    def helps(self) -> bool:
        """Whether it is half as far from where it should be."""
        before, after = self._distance(self.before), self.distance
        return after < 0.5 * before if math.isfinite(before) else math.isfinite(after)

    @property
    def distance(self) -> float:
        """How far it still is."""
        return self._distance(self.after)

    def _distance(self, measured: Measured | None) -> float:
        """Measure how far a factor is from 1, in nats at the worse end, or a share from where it should be."""
        if measured is None:
            return math.inf
        if measured.quantity != RATE:
            return abs(measured.value - self.wanted_share)
        ends = [each for each in (measured.value, measured.low, measured.high) if not math.isnan(each)]
        if not ends or any(each <= 0.0 for each in ends):
            return math.inf
        return float(np.abs(np.log(ends)).max())


def _list_faults(judgement: Judgement) -> list[Finding]:
    return [each for each in judgement.kept if not each.note]


def _is_like(one: Finding, other: Finding) -> bool:
    """Find whether two findings say the same of layers of which some are the same."""
    return one.code == other.code and bool(set(one.named) & set(other.named))


def _measure(finding: Finding, measurement: ModelMeasurement) -> Measured | None:
    """Measure what a finding is about: the factor a layer along its path, or the share at its layer."""
    plan = finding.rule.fix_plan
    if plan is None:
        return None
    if plan.rate is not None:
        for judged in measurement.paths:
            if judged.levels.direction == plan.rate and finding.layer in judged.levels.layers:
                return Measured(RATE, *judged.rate, 1.0, judged.total.count) if judged.steps else None
        return None
    if plan.share is None or finding.measured is None:
        return None
    where = finding.layers[-1] if plan.at_last and finding.layers else finding.layer
    estimate = estimate_share(plan.share, measurement.table, measurement.nodes, where)
    if estimate is None:
        return None
    quantity, limit = finding.measured.quantity, finding.measured.limit
    return Measured(quantity, estimate.value, estimate.low, estimate.high, limit, estimate.count)


def build_fixed(session: CheckSession, fix: Fix) -> CheckSession | None:
    """Build the model with a fix's edits, ready to be measured on the same batch and draws."""
    return build_edited(session, fix.edits)


# --- candidates -------------------------------------------------------------------------------------------------------


class Candidates:
    """Makes the edits that a problem's cause suggests, the most likely first."""

    def __init__(self, session: CheckSession, measurement: ModelMeasurement) -> None:
        self._session = session
        self._measurement = measurement
        self._maker = EditMaker(session)
        self._finder = CauseFinder(measurement)
        self._nodes = measurement.nodes

    def list_for(self, problem: Problem) -> Iterator[Edits]:
        """Yield sets of edits that may cure a problem, each once, and none that changes nothing.

        Those that would write two values into one call, which makes several layers, come last: they have to be written
        by hand.
        """
        kind = "" if problem.cause is None else problem.cause.kind
        seen: set[Edits] = {()}
        by_hand: list[Edits] = []
        for edits in _BY_CAUSE.get(kind, Candidates._draw_kernels)(self, problem):
            if edits not in seen:
                seen.add(edits)
                if _disagree(edits):
                    by_hand.append(edits)
                else:
                    yield edits
        yield from by_hand

    # --- by cause -----------------------------------------------------------------------------------------------------

    def _draw_kernels(self, problem: Problem) -> Iterator[Edits]:
        """Draw the kernels that did it by the textbook, then those of all layers, then by a scale that fits."""
        near = self._list_weights(problem.layers, _is_matrix)
        every = [each for each in self._measurement.facts if _is_kernel(each)]
        constant = [each for each in near if each.constant]
        # One random factor of a product is enough: the other may begin at zero, and wakes with the first step.
        first = {each.layer: each for each in reversed(constant)}
        for targets in (list(reversed(first.values())), constant, near):
            yield from self._draw(targets, self._choose_textbook)
        yield from self._draw(near, self._choose_true_fan)
        yield from self._draw(every, self._choose_textbook)
        for targets in (near, every):
            yield from self._fit_scale(problem, targets)
        yield from self._change_activation(problem)
        for name in _TEXTBOOK:
            yield from self._draw(near, _always(f'"{name}"'))

    def _draw_tables(self, problem: Problem) -> Iterator[Edits]:
        """Draw tables of embeddings so that what is looked up, or what a tied output sums, is of size 1."""
        tables = self._list_weights(problem.layers, lambda each: len(each.shape) >= 2)
        large = problem.cause is not None and problem.cause.factor > 1.0
        whole, summed = "keras.initializers.RandomNormal(stddev=1.0)", self._choose_for_sums
        for new in (summed, _always(whole)) if large else (_always(whole), summed):
            yield from self._draw(tables, new)
        yield from self._draw(tables, _always('"uniform"'))

    def _draw_constants(self, problem: Problem) -> Iterator[Edits]:
        """Draw at random what is drawn by a constant."""
        constant = self._list_weights(problem.layers, lambda each: len(each.shape) >= 2 and each.constant)
        yield from self._draw(constant, self._choose_textbook)
        yield from self._draw_kernels(problem)

    def _separate_copies(self, problem: Problem) -> Iterator[Edits]:
        """Draw each copy without a seed, by an initializer of its own."""
        copies = self._list_weights([name for each in problem.findings for name in each.named], _is_matrix)
        yield from self._draw(copies, _write_without_seed, anew=True)
        yield from self._draw(copies, self._choose_textbook, anew=True)

    def _set_vectors(self, problem: Problem, name: str, new: str) -> Iterator[Edits]:
        weights = self._list_weights(problem.layers, lambda each: each.path.rpartition("/")[2] in name.split())
        yield from self._draw(weights, _always(new))

    def _set_biases(self, problem: Problem) -> Iterator[Edits]:
        """Let the biases begin at zero, as they do by default."""
        yield from self._set_vectors(problem, "bias beta", '"zeros"')
        yield from self._draw_kernels(problem)

    def _set_scales(self, problem: Problem) -> Iterator[Edits]:
        """Let the scales of normalizations begin at one, as they do by default."""
        yield from self._set_vectors(problem, "gamma scale", '"ones"')
        yield from self._draw_kernels(problem)

    def _feed_normalization(self, problem: Problem) -> Iterator[Edits]:
        """Give a normalization more than its epsilon: a table or kernels of the usual size in front of it."""
        normalizations = [each for finding in problem.findings for each in finding.named]
        yield tuple(each for each in map(self._maker.lower_epsilon, dict.fromkeys(normalizations)) if each is not None)
        tables = self._list_weights(problem.layers, lambda each: each.kind == "Embedding")
        yield from self._draw(tables, _always('"uniform"'))
        yield from self._draw_kernels(problem)

    def _scale_branches(self, problem: Problem) -> Iterator[Edits]:
        """Draw the last kernel of each branch that is added so that all of them together add as much as one signal."""
        sums = [place for place, node in enumerate(self._nodes) if node.merges and node.layer in problem.layers]
        last = [
            self._finder.kernels[each].facts
            for place in sums
            for parent in self._nodes[place].parents
            for each in ([parent] if parent in self._finder.kernels else self._finder.list_before(parent))
        ]
        scale = f"{1.0 / max(len(sums), 1):.3g}"
        new = f'keras.initializers.VarianceScaling(scale={scale}, mode="fan_in")'
        yield from self._draw(list(dict.fromkeys(last)), _always(new))
        yield from self._draw_kernels(problem)

    def _scale_scores(self, problem: Problem) -> Iterator[Edits]:
        """Draw the kernel of the queries smaller by the root of the number of products that a score sums."""
        for place, node in enumerate(self._nodes):
            if node.softmax_layer in problem.layers:
                for each in self._finder.list_scored(place)[:1]:
                    facts = self._finder.kernels[each].facts
                    new = f'keras.initializers.VarianceScaling(scale={1.0 / facts.shape[-1]:.3g}, mode="fan_in")'
                    yield from self._draw([facts], _always(new))
        yield from self._draw_kernels(problem)

    def _scale_inputs(self, problem: Problem) -> Iterator[Edits]:  # noqa: ARG002 - all candidates take the problem
        """Put a layer behind each input that brings it to size 1."""
        edits = []
        for each in find_unscaled(self._measurement):
            columns = self._count_columns(each.given.position) if each.given.columns else 0
            if each.identity or columns > _LONGEST_TABLE:
                return  # what adapts to the data is no value that could be written
            name = self._nodes[each.given.position].layer
            edits.append(self._maker.put_behind(name, self._write_scaling(each.given), each.receiver))
        yield tuple(edits)

    def _choose_sigmoid(self, problem: Problem) -> Iterator[Edits]:
        """Let a single unit have a sigmoid where a softmax can only be 1."""
        edits = [self._maker.set_argument(name, "activation", '"softmax"', '"sigmoid"') for name in problem.layers]
        yield tuple(each for each in edits if each is not None)

    def _change_activation(self, problem: Problem) -> Iterator[Edits]:
        """Take ReLU, with its initializer, where a bounded activation function loses the signal or the gradient."""
        kernels = {kernel.facts.layer: kernel for kernel in self._finder.kernels.values()}
        layers = [name for name in problem.layers if name in kernels and kernels[name].activation in _BOUNDED - {""}]
        if problem.cause is None or problem.cause.kind != "activation" or not layers:
            return
        edits = []
        for name in layers:
            old = kernels[name].activation
            edits.append(self._maker.set_argument(name, "activation", f'"{old}"', '"relu"'))
            edits.append(self._maker.set_initializer(kernels[name].facts, '"he_normal"'))
        yield self._maker.name_others(tuple(each for each in edits if each is not None))

    def _fit_scale(self, problem: Problem, targets: Sequence[WeightFacts]) -> Iterator[Edits]:
        """Scale kernels by what would make the measured factor a layer 1, where layers are many and alike."""
        plan = problem.main.rule.fix_plan
        measured = _measure(problem.main, self._measurement)
        names = {each.path for each in targets}
        gains = [
            kernel.square * kernel.facts.true_fan_in
            for kernel in self._finder.kernels.values()
            if kernel.facts.path in names and kernel.facts.true_fan_in > 0.0 and kernel.square > 0.0
        ]
        if plan is not None and plan.rate is not None and measured is not None and gains and measured.value > 0.0:
            scale = f"{math.exp(float(np.mean(np.log(gains)))) / measured.value:.2g}"
            yield from self._draw(targets, _always(f'keras.initializers.VarianceScaling(scale={scale}, mode="fan_in")'))

    # --- parts --------------------------------------------------------------------------------------------------------

    def _draw(
        self, targets: Sequence[WeightFacts], new_for: Callable[[WeightFacts], str], *, anew: bool = False
    ) -> Iterator[Edits]:
        """Draw some weights otherwise: with those that the same calls make and draw alike, and then only them.

        A call that makes several layers is written once: first it is tried with what most of them are to have.
        """
        drawn = [each for each in targets if each.kept is None]
        own = self._set(drawn, new_for, anew)
        alike = self._maker.list_alike(own)
        kinds = {(each.path.rpartition("/")[2], each.initializer) for each in drawn}
        every = [
            each
            for each in self._measurement.facts
            if each in drawn
            or (
                {each.layer, each.path} & alike
                and (each.path.rpartition("/")[2], each.initializer) in kinds
                and each.kept is None
            )
        ]
        if own:
            codes = {each.path: new_for(each) for each in every}
            by_site: dict[object, list[str]] = {}
            for each in every:
                by_site.setdefault(self._maker.find_site(each) or each.path, []).append(codes[each.path])
            if all(code.startswith('"') for code in codes.values()):  # numbers fit the layer that they are made for
                yield self._set(every, lambda each: _find_most(by_site[self._maker.find_site(each) or each.path]), anew)
            yield self._set(every, new_for, anew)
        yield own

    def _set(self, targets: Iterable[WeightFacts], new_for: Callable[[WeightFacts], str], anew: bool = False) -> Edits:
        edits = [self._maker.set_initializer(each, new_for(each), anew=anew) for each in targets]
        return self._maker.name_others(list(dict.fromkeys(each for each in edits if each is not None)))

    def _list_weights(self, names: Sequence[str], wanted: Callable[[WeightFacts], bool]) -> list[WeightFacts]:
        """List the weights that are named, and those of the layers that are named or hold them."""
        return [
            each
            for each in self._measurement.facts
            if wanted(each)
            and any(name in (each.path, each.layer) or each.layer.startswith(f"{name}/") for name in names if name)
        ]

    def _choose_textbook(self, facts: WeightFacts) -> str:
        """Write what the textbook takes for a kernel in front of its activation function.

        Where the initializer would count other inputs than the layer has, the standard deviation is written out.
        """
        if "recurrent" in facts.role:
            return '"orthogonal"'
        kernel = next((each for each in self._finder.kernels.values() if each.facts.layer == facts.layer), None)
        activation = "" if kernel is None else kernel.activation
        if facts.true_fan_in > 0.0 and facts.assumed_fan_in != facts.true_fan_in:
            needed = 1.0 if kernel is None else kernel.needed
            return f"keras.initializers.RandomNormal(stddev={math.sqrt(needed / facts.true_fan_in):.3g})"
        if activation == "selu":
            return '"lecun_normal"'
        return '"glorot_uniform"' if activation in _BOUNDED else '"he_normal"'

    def _choose_true_fan(self, facts: WeightFacts) -> str:
        """Write what scales with the width as the textbook would, if the initializer counted the true inputs."""
        kernel = next((each for each in self._finder.kernels.values() if each.facts.layer == facts.layer), None)
        if kernel is None or not facts.true_fan_in > 0.0 or facts.assumed_fan_in == facts.true_fan_in:
            return self._choose_textbook(facts)
        scale = kernel.needed * facts.assumed_fan_in / facts.true_fan_in
        return f'keras.initializers.VarianceScaling(scale={scale:.3g}, mode="fan_in")'

    def _choose_for_sums(self, facts: WeightFacts) -> str:
        """Write what keeps sums over the rows of a table at size 1, as an output that is tied to it has them."""
        return f"keras.initializers.RandomNormal(stddev={1.0 / math.sqrt(facts.shape[-1]):.3g})"

    def _count_columns(self, position: int) -> int:
        leaves = [leaf for leaf in _flatten(self._session.inputs) if leaf.dtype.kind == "f"]
        return int(leaves[position].shape[-1])

    def _write_scaling(self, given: GivenInput) -> str:
        """Write the layer that brings an input to size 1."""
        if given.columns:
            sizes = dict(given.columns)
            variances = [f"{sizes.get(column, 1.0) ** 2:.3g}" for column in range(self._count_columns(given.position))]
            means = ", ".join(["0"] * len(variances))
            return f"keras.layers.Normalization(mean=[{means}], variance=[{', '.join(variances)}])"
        if given.low >= 0.0 and _PIXELS / 2.0 < given.high <= _PIXELS:
            return "keras.layers.Rescaling(1 / 255)"
        return f"keras.layers.Rescaling(1 / {given.size:.3g})"


def _disagree(edits: Edits) -> bool:
    """Find whether edits write different values into one call."""
    written: dict[tuple[object, str], str] = {}
    return any(
        each.site is not None and written.setdefault((each.site, each.argument), each.new) != each.new for each in edits
    )


def _find_most(codes: Sequence[str]) -> str:
    """Return what stands there most often, the first of equals."""
    return max(dict.fromkeys(codes), key=codes.count)


def _always(new: str) -> Callable[[WeightFacts], str]:
    return lambda _: new


def _is_kernel(facts: WeightFacts) -> bool:
    return facts.role.endswith("kernel") and len(facts.shape) >= 2


def _is_matrix(facts: WeightFacts) -> bool:
    return len(facts.shape) >= 2 and not facts.role.endswith("bias")  # those of attention have two axes


def _write_without_seed(facts: WeightFacts) -> str:
    """Write the initializer that a weight has, without a seed, and as a name where that will do."""
    name, bracket, _ = facts.initializer.partition("(")
    if not hasattr(import_keras().initializers, name):
        return '"glorot_uniform"'
    return f"keras.initializers.{facts.initializer}{'' if bracket else '()'}"


def _flatten(inputs: Any) -> list[Any]:
    return list(import_keras().tree.flatten(inputs))


_BY_CAUSE: Final[Mapping[str, Callable[[Candidates, Problem], Iterator[Edits]]]] = {
    "embedding": Candidates._draw_tables,
    "constant": Candidates._draw_constants,
    "zero start": Candidates._draw_constants,
    "copied": Candidates._separate_copies,
    "bias": Candidates._set_biases,
    "scale": Candidates._set_scales,
    "normalization": Candidates._feed_normalization,
    "residual": Candidates._scale_branches,
    "attention": Candidates._scale_scores,
    "inputs": Candidates._scale_inputs,
    "constant softmax": Candidates._choose_sigmoid,
    "gradient": lambda *_: iter(()),
    "loaded": lambda *_: iter(()),
}
"""What is tried for a cause; for all others kernels are drawn otherwise."""
