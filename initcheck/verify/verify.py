"""Verify an initializer: by what it declares, and by the rules that hold of every initializer; and report it."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.random_state import preserved_random_state, set_random_seed
from initcheck.backend.runtime import check_dtype, has_float64, import_keras
from initcheck.core.errors import UsageError
from initcheck.core.formatting import LINE_WIDTH, count, to_json
from initcheck.core.loading import RaisedError, TookTooLongError, run_user_code
from initcheck.spec.claim import RunContext
from initcheck.spec.decisions import size_of_equivalence
from initcheck.theory.weights import count_fans
from initcheck.verify.statistics import (
    MARGIN,
    Declaration,
    Expected,
    RuleResult,
    RuleStatus,
    declare,
    default_shapes,
    describe_declaration,
    judge_haar,
    judge_statistics,
)
from initcheck.verify.target import Answer, Shape, VerifyTarget, call_initializer

MOST_ENTRIES: Final = 2**26
_MOST_DRAWS: Final = 2000
_SEEDS: Final = 3


@dataclass(frozen=True)
class Verification:
    """The result of a run: at most twelve rules with a part of chance, each at the level of a claim (1e-6).

    Attributes:
        declared: by whom its distribution is declared, in words; empty where nothing is.
    """

    label: str
    declared: str
    shapes: tuple[Shape, ...]
    dtype: str
    seed: int
    results: tuple[RuleResult, ...]

    @property
    def status(self) -> RuleStatus:
        """The verdict of all rules together."""
        found = {result.status for result in self.results}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"

    @property
    def exit_code(self) -> int:
        """0 where all rules pass, 1 for a finding, 2 where something could not be judged."""
        return {"pass": 0, "fail": 1}.get(self.status, 2)


def verify(
    target: VerifyTarget,
    *,
    expected: Expected | None = None,
    shapes: tuple[Shape, ...] = (),
    dtype: str = "float32",
    seed: int = 0,
    seconds: float = 10.0,
) -> Verification:
    """Judge an initializer by every rule; whatever its code raises is the result of a rule.

    Args:
        shapes: of the weights; none for shapes of one to five dimensions.
        seconds: limit of one call, and of all draws of one shape together.
    """
    check_dtype(dtype)
    wanted = expected or Expected()
    chosen = shapes or default_shapes(target)
    for shape in chosen:
        if math.prod(shape) > MOST_ENTRIES:
            raise UsageError(
                f"A shape may have {MOST_ENTRIES:,} entries at most. Received: {shape}. Use a smaller one."
            )
        if wanted.anything:
            declare(target, wanted, shape)  # a wrong formula is refused at once
    run = _Run(target, wanted, chosen, dtype, seconds, RunContext(seed), bool(shapes))
    with preserved_random_state():
        try:
            _judge(run)
        except TookTooLongError as error:
            run.add("time", False, f"A call took more than {seconds:g} s: {error}. --timeout sets the limit.")
        except RaisedError as error:
            run.add("call", False, f"A later call raised {error}.")
    declaration = describe_declaration(target, wanted)
    return Verification(target.label, declaration, run.shapes, dtype, seed, tuple(run.results))


@dataclass
class _Run:
    target: VerifyTarget
    expected: Expected
    shapes: tuple[Shape, ...]
    dtype: str
    seconds: float
    context: RunContext
    insist: bool
    results: list[RuleResult] = field(default_factory=list)

    def add(self, rule: str, passed: bool, reason: str) -> bool:
        self.results.append(RuleResult(rule, "pass" if passed else "fail", reason))
        return passed

    def call(self, seed: int, shape: Shape, dtype: str = "") -> Answer:
        return self.call_made(lambda: self.target.create(seed), shape, dtype)

    def call_made(self, make: Callable[[], Any], shape: Shape, dtype: str = "") -> Answer:
        return call_initializer(make, shape, dtype or self.dtype, self.seconds)


def _judge(run: _Run) -> None:
    answers = _call_once(run)
    if not answers:
        return
    run.shapes = tuple(answers)
    if not _judge_answers(run, answers):
        return
    declared = _declare_all(run)
    if declared is None:
        return
    by_chance = all(each.by_chance for each in declared.values())
    deterministic, sensitive = _judge_seeds(run, by_chance)
    shape = _choose_uneven(run)
    _judge_config(run, deterministic, shape)
    if by_chance and deterministic and sensitive:
        _judge_instances(run, shape)
    varied = _judge_constant(run, answers, declared)
    drawn = {shape: answer.values[None] for shape, answer in answers.items() if answer.values is not None}
    if by_chance and deterministic and sensitive and varied:
        drawn = _draw(run, declared)
        if not drawn:
            return
    elif by_chance:
        reason = "The values do not vary as chance would have them, so their distribution cannot be judged."
        run.results.append(RuleResult("distribution", "inconclusive", reason))
        return
    run.results.extend(judge_statistics(run.target, drawn, declared, run.dtype, run.context))
    if by_chance and any(math.isfinite(each.gain or math.inf) for each in declared.values()):
        _judge_haar(run, declared)


_HAAR_SHAPES: Final = ((12, 12), (6, 18))
_HAAR_DRAWS: Final = 300
_FEWEST_HAAR_DRAWS: Final = 100


def _judge_haar(run: _Run, declared: dict[Shape, Declaration]) -> None:
    """Judge whether orthogonal matrices are uniformly distributed, on small ones, many of which can be drawn."""
    rule, gain = "haar", next(each.gain for each in declared.values() if each.gain)
    if run.dtype not in ("float32", "float64"):
        return
    drawn: dict[Shape, NDArray[Any]] = {}
    for shape in _HAAR_SHAPES:
        start = time.perf_counter()
        weights: list[NDArray[Any]] = []
        for seed in run.context.seeds(f"haar/{shape}", _HAAR_DRAWS):
            try:
                weights.append(_values(run.call(seed, shape)))
            except RaisedError as error:
                run.results.append(RuleResult(rule, "inconclusive", f"{shape}: {error}"))
                return
            if time.perf_counter() - start > run.seconds:
                break
        if len(weights) < _FEWEST_HAAR_DRAWS:
            reason = f"Only {len(weights)} draws of {shape} in {run.seconds:g} s. --timeout sets the limit."
            run.results.append(RuleResult(rule, "inconclusive", reason))
            return
        drawn[shape] = np.stack(weights)
    run.results.append(judge_haar(run.target, drawn, gain, run.dtype, run.context))


def _declare_all(run: _Run) -> dict[Shape, Declaration] | None:
    try:
        return {shape: declare(run.target, run.expected, shape) for shape in run.shapes}
    except (IndexError, ValueError) as error:  # documented values of a shape that its documentation does not allow
        if isinstance(error, UsageError):
            raise
        run.add("shape", False, f"It accepts a shape for which its documentation has no values: {error}.")
        return None


def _call_once(run: _Run) -> dict[Shape, Answer]:
    """Call with every shape; leave out ranks that are refused on purpose, where the user did not ask for them."""
    answers: dict[Shape, Answer] = {}
    refused: list[str] = []
    broken: list[str] = []
    for shape in run.shapes:
        try:
            answers[shape] = run.call(run.context.seed(f"call/{shape}"), shape)
        except RaisedError as error:
            on_purpose = isinstance(error.__cause__, ValueError | NotImplementedError)
            (refused if on_purpose and not run.insist else broken).append(f"{shape}: {error}")
    if broken or not answers:
        failed = broken or refused
        run.add("call", False, f"{len(failed)} of {len(run.shapes)} shapes raised; {failed[0]}")
    else:
        slowest = max(answer.seconds for answer in answers.values())
        note = f" Refuses {len(refused)} (judged without): {refused[0]}" if refused else ""
        run.add("call", True, f"{len(answers)} of {len(run.shapes)} shapes; {slowest:.2g} s at most.{note}")
    return answers


def _judge_answers(run: _Run, answers: dict[Shape, Answer]) -> bool:
    """Judge type, shape, dtype and finiteness; say whether the values can be judged further."""

    def rule(name: str, bad: Callable[[Shape, Answer], str]) -> bool:
        wrong = [f"{shape}: {text}" for shape, answer in answers.items() if (text := bad(shape, answer))]
        good = f"{len(answers)} shapes." if len(answers) > 1 else f"{next(iter(answers))}."
        return run.add(name, not wrong, f"{len(wrong)} of {len(answers)}; {wrong[0]}" if wrong else good)

    rule("tensor", lambda _, answer: "" if answer.is_tensor else f"returned a {answer.type_name}, no tensor of Keras")
    if any(answer.values is None for answer in answers.values()):
        rule("numbers", lambda _, answer: "no numbers" if answer.values is None else "")
        return False
    arrays = {shape: _values(answer) for shape, answer in answers.items()}
    shaped = rule("shape", lambda s, _: "" if arrays[s].shape == s else f"returned the shape {arrays[s].shape}")
    rule("dtype", lambda _, a: "" if a.dtype == run.dtype else f"asked for {run.dtype}, returned {a.dtype}")
    _judge_other_dtype(run)
    finite = rule("finite", lambda s, _: "" if np.isfinite(arrays[s]).all() else _count_not_finite(arrays[s]))
    return shaped and finite


def _judge_other_dtype(run: _Run) -> None:
    """Ask for another dtype too: one that ignores the argument returns its favourite."""
    other = "float64" if run.dtype != "float64" else "float32"
    if other == "float64" and not has_float64():
        return  # the backend has but float32 for all
    shape = run.shapes[0]
    try:
        found = run.call(run.context.seed("dtype"), shape, other).dtype
        reason = f"{shape}: asked for {other}, returned {found}."
    except RaisedError as error:
        found, reason = "", f"{shape}: asked for {other}, raised {error}"
    run.add("other_dtype", found == other, reason)


def _values(answer: Answer) -> NDArray[Any]:
    assert answer.values is not None
    return answer.values


def _count_not_finite(values: NDArray[Any]) -> str:
    return f"{int(np.count_nonzero(~np.isfinite(values))):,} of {values.size:,} entries are NaN or infinite"


def _judge_constant(run: _Run, answers: dict[Shape, Answer], declared: dict[Shape, Declaration]) -> bool:
    judged = [shape for shape in answers if not declared[shape].constant and math.prod(shape) > 1]
    if not judged:
        return True
    flat = [shape for shape in judged if np.ptp(_values(answers[shape]).astype(np.float64)) == 0.0]
    reason = (
        f"{len(flat)} of {len(judged)} are constant, which is not declared; {flat[0]}" if flat else "Entries differ"
    )
    return run.add("not_constant", not flat, f"{reason}.")


def _judge_seeds(run: _Run, by_chance: bool) -> tuple[bool, bool]:
    """Judge whether one seed always draws the same values, and whether different seeds draw different ones."""
    shape = max(run.shapes, key=math.prod) if math.prod(run.shapes[0]) < 2 else run.shapes[0]
    seeds = run.context.seeds("seeds", _SEEDS)
    first = [_values(run.call(seed, shape)) for seed in seeds]
    # In another order, with other calls in between, the global seed elsewhere.
    again = [_values(run.call(seed, shape)) for seed in reversed(seeds)][::-1]
    if run.target.takes_seed:
        set_random_seed(run.context.seed("elsewhere") % 2**31)
        again[0] = _values(run.call_made(lambda: run.target.build(seeds[0]), shape))
    same = all(_equal(one, other) for one, other in zip(first, again, strict=True))
    how = "One seed" if run.target.takes_seed else "keras.utils.set_random_seed (there is no seed argument)"
    values = "the same values" if same else "different values"
    run.add("determinism", same, f"{how} gives {values} each time: {shape}, {_SEEDS} seeds.")
    if not by_chance:
        return same, True
    shares = [
        float(np.mean(first[i] != first[j])) for i, j in ((0, 1), (0, 2), (1, 2)) if first[i].shape == first[j].shape
    ]
    least = min(shares, default=1.0)
    run.add(
        "seed_sensitivity", least > 0.0, f"Between seeds {100 * least:.4g}% of the entries differ, at least: {shape}."
    )
    if least > 0.0 and not run.target.takes_seed and run.target.form in ("class", "instance", "factory"):
        run.add("takes_seed", False, "It draws at random and has no seed argument (or its config no seed).")
    return same, least > 0.0


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _choose_uneven(run: _Run) -> Shape:
    """Choose a shape whose fan_in and fan_out differ: at others a lost ``mode`` does not show.

    Where no shape of the run is such, one is made of its largest if the initializer takes it.
    """
    uneven = [shape for shape in run.shapes if len(set(count_fans(shape))) > 1]
    if uneven:
        return min(uneven, key=math.prod)
    largest = max(run.shapes, key=len)
    made = (*largest[:-1], 2 * largest[-1] + 1)
    try:
        answer = run.call(run.context.seed("uneven"), made)
    except RaisedError:
        return largest
    return made if answer.values is not None and answer.values.shape == made else largest


def _judge_instances(run: _Run, shape: Shape) -> None:
    """Judge what is made without a seed, with a SeedGenerator, and by ``clone``."""
    target = run.target
    if not target.takes_seed or target.form == "function":
        return
    if target.form != "instance":
        first, second = (_values(run.call_made(lambda: target.build(None), shape)) for _ in range(2))
        alike = _equal(first, second)
        reason = "the same values: layers that take it by its name start alike" if alike else "different values"
        run.add("unseeded", not alike, f"Two instances without a seed give {reason}: {shape}.")
    _judge_generator(run, shape)
    seed = run.context.seed("clone")
    made = target.build(seed)
    if callable(getattr(made, "clone", None)):
        copied = _values(run.call_made(made.clone, shape))
        same = _equal(copied, _values(run.call_made(lambda: made, shape)))
        values = "equal values" if same else "other values"
        run.add("clone", same, f"A clone of an initializer with a seed gives {values}: {shape}.")


def _judge_generator(run: _Run, shape: Shape) -> None:
    """Judge a SeedGenerator as seed: other values on each call, and the same sequence from an equal one."""
    generator = import_keras().random.SeedGenerator
    seed = run.context.seed("generator") % 2**31
    try:
        made = run.target.build(generator(seed))
        first, second = (_values(run.call_made(lambda: made, shape)) for _ in range(2))
    except (RaisedError, TypeError, ValueError) as error:
        reason = f"It takes no SeedGenerator as seed, as Keras' own do: {' '.join(str(error).split())[:120]}"
        run.results.append(RuleResult("seed_generator", "not declared", reason))
        return
    again = _values(run.call_made(lambda: run.target.build(generator(seed)), shape))
    if _equal(first, second):
        run.add("seed_generator", False, f"With a SeedGenerator every call gives the same values: {shape}.")
    else:
        same = _equal(first, again)
        values = "the same sequence" if same else "another sequence"
        run.add("seed_generator", same, f"Each call gives other values; an equal SeedGenerator {values}: {shape}.")


def _judge_config(run: _Run, deterministic: bool, shape: Shape) -> None:
    """Judge whether get_config and from_config give an initializer that does the same."""
    target, seed, rule = run.target, run.context.seed("config"), "config_round_trip"
    if target.form == "function":
        return
    cases: list[tuple[str, Callable[[], Any]]] = [("as given", lambda: target.create(seed))]
    if target.rebuild is not None:
        rebuild = target.rebuild
        for name, value in target.numbers:
            changed = {name: value * 1.25 + 0.125}
            cases.append((f"{name}={changed[name]:g}", lambda changed=changed: rebuild(changed, seed)))  # type: ignore[misc]
    for case, make in cases:
        try:
            original = _seeded(run, seed, make, shape)
        except RaisedError:
            continue  # this value of the argument is not taken
        try:
            copied = _seeded(run, seed, lambda make=make: _copy(make()), shape)  # type: ignore[misc]
        except RaisedError as error:
            run.add(rule, False, f"{case}: {error}")
            return
        if deterministic and not _equal(_values(original), _values(copied)):
            reason = f"{case}: from_config(get_config()) gives other values at {shape}{_describe_missing(run, make)}."
            run.add(rule, False, reason)
            return
    if deterministic:
        names = ", ".join(case for case, _ in cases)
        run.add(rule, True, f"from_config(get_config()) gives equal values ({names}).")
    else:
        # Under one global seed the two may well be equal, and under another differ: that says nothing of the config.
        reason = "One seed gives different values each time, so those of a copy by its config cannot be compared."
        run.results.append(RuleResult(rule, "inconclusive", reason))


def _describe_missing(run: _Run, make: Callable[[], Any]) -> str:
    """Name the arguments that the config lacks."""
    config = run_user_code(lambda: make().get_config(), run.seconds, judged=True)
    names = [*(name for name, _ in run.target.numbers), *(("seed",) if run.target.takes_seed else ())]
    missing = [name for name in names if name not in config]
    return f"; get_config leaves out {', '.join(missing)}" if missing else ""


def _seeded(run: _Run, seed: int, make: Callable[[], Any], shape: Shape) -> Answer:
    set_random_seed(seed % 2**31)
    return run.call_made(make, shape)


def _copy(made: Any) -> Any:
    config = made.get_config()
    if not isinstance(config, dict):
        raise TypeError(f"get_config returned a {type(config).__name__}, no dict")
    return type(made).from_config(dict(config))


def _draw(run: _Run, declared: dict[Shape, Declaration]) -> dict[Shape, NDArray[Any]]:
    """Draw from as many seeds as the margin needs, as far as time allows; nothing where a draw is not sound."""
    entries = size_of_equivalence(2.0, MARGIN, len(run.shapes))
    drawn: dict[Shape, NDArray[Any]] = {}
    for shape in run.shapes:
        needed = 4 if declared[shape].gain is not None else max(4, math.ceil(entries / math.prod(shape)))
        weights: list[NDArray[Any]] = []
        start = time.perf_counter()
        for seed in run.context.seeds(f"draws/{shape}", min(_MOST_DRAWS, needed)):
            weights.append(_values(run.call(seed, shape)))
            if time.perf_counter() - start > run.seconds:
                break
        bad = [each for each in weights if each.shape != shape or not np.isfinite(each).all()]
        if bad:
            reason = f"{len(bad)} of {len(weights)} seeds give another shape, or values that are not finite: {shape}."
            run.add("finite" if bad[0].shape == shape else "shape", False, reason)
            return {}
        drawn[shape] = np.stack(weights)
    return drawn


def format_verification(found: Verification) -> str:
    """Write the results for reading, a line a rule."""
    declared = f"declared by {found.declared}" if found.declared else "its distribution is not declared"
    shapes = " ".join(f"{shape}".replace(" ", "") for shape in found.shapes)
    summary = f"{found.label}: {declared}. {found.dtype}, seed {found.seed}, shapes {shapes}."
    lines = [*textwrap.wrap(summary, LINE_WIDTH), ""]
    widest = max((len(result.rule) for result in found.results), default=0)
    for result in found.results:
        status = result.status.upper() if result.status == "fail" else result.status
        lines.append(f"{status:<12}  {result.rule:<{widest}}  {' '.join(result.reason.split())}")
    return "\n".join([*lines, "", _conclude(found)])


def _conclude(found: Verification) -> str:
    failed, unclear = (
        [result.rule for result in found.results if result.status == status] for status in ("fail", "inconclusive")
    )
    if failed:
        return f"{count(len(failed), 'finding')}: {', '.join(failed)}."
    if unclear:
        return f"Cannot judge: {', '.join(unclear)}."
    return "All rules pass." + ("" if found.declared else " The distribution is not declared and not judged.")


def verification_json(found: Verification) -> str:
    """Write the results as one JSON object."""
    return to_json(
        {
            "initializer": found.label,
            "declared": found.declared or None,
            "shapes": found.shapes,
            "dtype": found.dtype,
            "seed": found.seed,
            "verdict": found.status,
            "rules": [_rule(result) for result in found.results],
        }
    )


def _rule(result: RuleResult) -> dict[str, Any]:
    evidence = result.evidence
    values: dict[str, Any] = {}
    if evidence is not None:
        values = {
            "quantity": evidence.quantity,
            "count": evidence.count,
            "unit": evidence.unit,
            "worst": evidence.worst,
            "effect": evidence.effect,
            "low": evidence.low,
            "high": evidence.high,
            "bound_low": evidence.bounds[0],
            "bound_high": evidence.bounds[1],
            "p_value": evidence.p_value,
        }
    return {"rule": result.rule, "verdict": result.status, "told": result.reason, "figures": values}
