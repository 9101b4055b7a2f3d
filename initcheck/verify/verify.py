"""An initializer put to the test: by what it declares, and by the rules that hold of every initializer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import UsageError
from initcheck.spec.claim import Evidence, RunContext, Verdict
from initcheck.spec.decisions import size_of_equivalence
from initcheck.verify.statistics import MARGIN, Declared, Expected, declare, default_shapes, describe, judge_statistics
from initcheck.verify.target import (
    Answer,
    RefusedError,
    Target,
    TookTooLongError,
    ask,
    ask_with,
    count_of,
    draw_many,
    guarded,
)

Status = Literal["pass", "fail", "inconclusive", "not declared"]
Shape = tuple[int, ...]

FALSE_ALARM: Final = 1e-5
"""Of one run: at most ten rules with a part of chance, each at the level of a claim (1e-6)."""

MOST_ENTRIES: Final = 2**26
_SEEDS: Final = 3
_STATUS: Final[dict[Verdict, Status]] = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "inconclusive",
}


@dataclass(frozen=True)
class Finding:
    """One rule, and what became of it.

    Attributes:
        rule: its name.
        status: ``pass``, ``fail``, ``inconclusive``, or ``not declared`` for figures that nothing is declared of.
        told: why, with its figures, in one line.
        evidence: the figures; None where there are none.
    """

    rule: str
    status: Status
    told: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Verification:
    """The result of a run.

    Attributes:
        label: the initializer as the user wrote it.
        declared: by whom its law is declared, in words; empty where nothing is.
        shapes: on which it was judged.
        dtype: asked for.
        seed: base seed.
        findings: one for each rule.
    """

    label: str
    declared: str
    shapes: tuple[Shape, ...]
    dtype: str
    seed: int
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The verdict of all rules together."""
        found = {finding.status for finding in self.findings}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"

    @property
    def exit_code(self) -> int:
        """0 where all rules pass, 1 for a finding, 2 where something could not be judged."""
        return {"pass": 0, "fail": 1}.get(self.status, 2)


@dataclass
class _Run:
    target: Target
    expected: Expected
    shapes: tuple[Shape, ...]
    dtype: str
    seconds: float
    context: RunContext
    insist: bool
    findings: list[Finding] = field(default_factory=list)

    def add(self, rule: str, passed: bool, told: str) -> bool:
        self.findings.append(Finding(rule, "pass" if passed else "fail", told))
        return passed


def verify(
    target: Target,
    *,
    expected: Expected | None = None,
    shapes: tuple[Shape, ...] = (),
    dtype: str = "float32",
    seed: int = 0,
    seconds: float = 10.0,
) -> Verification:
    """Put an initializer to the test.

    Args:
        target: the initializer.
        expected: what the user expects, in place of what its class documents.
        shapes: of the weights; none for shapes of one to five dimensions.
        dtype: asked for.
        seed: base seed of all others.
        seconds: limit of one call, and of all draws of one shape together.

    Returns:
        The findings. Whatever the user's code raises is one of them.

    Raises:
        UsageError: what is expected cannot be, or a weight is too large to be judged.
    """
    wanted = expected or Expected()
    chosen = shapes or default_shapes(target)
    for shape in chosen:
        if math.prod(shape) > MOST_ENTRIES:
            raise UsageError(
                f"A shape may have {MOST_ENTRIES:,} entries at most. Received: {shape}. Use a smaller one."
            )
        if wanted.anything:
            declare(target, wanted, shape)  # a wrong formula is told at once
    run = _Run(target, wanted, chosen, dtype, seconds, RunContext(seed), bool(shapes))
    with preserved_random_state():
        try:
            _judge(run)
        except TookTooLongError as error:
            run.findings.append(
                Finding("time", "fail", f"A call took more than {seconds:g} s: {error}. --timeout sets the limit.")
            )
        except RefusedError as error:
            run.add("call", False, f"A later call raised {error}.")
    return Verification(target.label, describe(target, wanted), run.shapes, dtype, seed, tuple(run.findings))


def _judge(run: _Run) -> None:
    answers = _call_once(run)
    if not answers:
        return
    run.shapes = tuple(answers)
    sound = _judge_answers(run, answers)
    if not sound:
        return
    declared = _declare_all(run)
    if declared is None:
        return
    by_chance = all(each.by_chance for each in declared.values())
    differ = _judge_seeds(run, by_chance)
    _judge_config(run)
    varied = _judge_constant(run, answers, declared)
    drawn = {shape: answer.values[None] for shape, answer in answers.items() if answer.values is not None}
    if by_chance and differ and varied:
        drawn = _draw(run, declared)
        if not drawn:
            return
    elif by_chance:
        reason = "The values do not vary as chance would have them, so their law cannot be judged."
        run.findings.append(Finding("distribution", "inconclusive", reason))
        return
    for rule, evidence, told in judge_statistics(run.target, drawn, declared, run.dtype, run.context):
        status: Status = "not declared" if evidence is None else _STATUS[evidence.verdict]
        run.findings.append(Finding(rule, status, told, evidence))


def _declare_all(run: _Run) -> dict[Shape, Declared] | None:
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
        seed = run.context.seed(f"call/{shape}")
        try:
            answers[shape] = ask(run.target, seed, shape, run.dtype, run.seconds)
        except RefusedError as error:
            (refused if error.deliberate and not run.insist else broken).append(f"{shape}: {error}")
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
        told = [f"{shape}: {text}" for shape, answer in answers.items() if (text := bad(shape, answer))]
        good = f"{len(answers)} shapes." if len(answers) > 1 else f"{next(iter(answers))}."
        return run.add(name, not told, f"{len(told)} of {len(answers)}; {told[0]}" if told else good)

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
    shape = run.shapes[0]
    try:
        found = ask(run.target, run.context.seed("dtype"), shape, other, run.seconds).dtype
        told = f"{shape}: asked for {other}, returned {found}."
    except RefusedError as error:
        found, told = "", f"{shape}: asked for {other}, raised {error}"
    run.add("other_dtype", found == other, told)


def _values(answer: Answer) -> NDArray[Any]:
    assert answer.values is not None
    return answer.values


def _count_not_finite(values: NDArray[Any]) -> str:
    return f"{int(np.count_nonzero(~np.isfinite(values))):,} of {values.size:,} entries are NaN or infinite"


def _judge_constant(run: _Run, answers: dict[Shape, Answer], declared: dict[Shape, Declared]) -> bool:
    judged = [shape for shape in answers if not declared[shape].constant and math.prod(shape) > 1]
    if not judged:
        return True
    flat = [shape for shape in judged if np.ptp(_values(answers[shape]).astype(np.float64)) == 0.0]
    told = f"{len(flat)} of {len(judged)} are constant, which is not declared; {flat[0]}" if flat else "Entries differ"
    return run.add("not_constant", not flat, f"{told}.")


def _judge_seeds(run: _Run, by_chance: bool) -> bool:
    """Judge whether a seed says what is drawn; tell whether different seeds draw differently."""
    shape = max(run.shapes, key=math.prod) if math.prod(run.shapes[0]) < 2 else run.shapes[0]
    seeds = run.context.seeds("seeds", _SEEDS)
    first = [_values(ask(run.target, seed, shape, run.dtype, run.seconds)) for seed in seeds]
    # In another order, with other calls in between, the global seed elsewhere.
    again = [_values(ask(run.target, seed, shape, run.dtype, run.seconds)) for seed in reversed(seeds)][::-1]
    if run.target.takes_seed:
        import_keras().utils.set_random_seed(run.context.seed("elsewhere") % 2**31)
        again[0] = _values(ask_with(lambda: run.target.build(seeds[0]), shape, run.dtype, run.seconds))
    same = [_equal(one, other) for one, other in zip(first, again, strict=True)]
    how = "One seed" if run.target.takes_seed else "keras.utils.set_random_seed (there is no seed argument)"
    told = f"{how} gives the same values each time" if all(same) else f"{how} gives different values each time"
    run.add("determinism", all(same), f"{told}: {shape}, {_SEEDS} seeds.")
    if not by_chance:
        return True
    shares = [
        float(np.mean(first[i] != first[j])) for i, j in ((0, 1), (0, 2), (1, 2)) if first[i].shape == first[j].shape
    ]
    least = min(shares, default=1.0)
    run.add(
        "seed_sensitivity", least > 0.0, f"Between seeds {100 * least:.4g}% of the entries differ, at least: {shape}."
    )
    if least > 0.0 and not run.target.takes_seed and run.target.form in ("class", "instance", "factory"):
        run.add("takes_seed", False, "It draws at random and has no seed argument (or its config no seed).")
    return least > 0.0 and all(same)


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _judge_config(run: _Run) -> None:
    """Judge whether get_config and from_config give an initializer that does the same."""
    target, shape, seed = run.target, run.shapes[0], run.context.seed("config")
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
        except RefusedError:
            continue  # this value of the argument is not taken
        try:
            copied = _seeded(run, seed, lambda make=make: _copy(make()), shape)  # type: ignore[misc]
        except RefusedError as error:
            run.add("config_round_trip", False, f"{case}: {error}")
            return
        if not _equal(_values(original), _values(copied)):
            told = f"{case}: from_config(get_config()) gives other values at {shape}{_left_out(run, make)}."
            run.add("config_round_trip", False, told)
            return
    run.add(
        "config_round_trip", True, f"from_config(get_config()) gives equal values ({', '.join(c for c, _ in cases)})."
    )


def _left_out(run: _Run, make: Callable[[], Any]) -> str:
    """Name the arguments that the config lacks."""
    config = guarded(lambda: make().get_config(), run.seconds)
    names = [*(name for name, _ in run.target.numbers), *(("seed",) if run.target.takes_seed else ())]
    missing = [name for name in names if name not in config]
    return f"; get_config leaves out {', '.join(missing)}" if missing else ""


def _seeded(run: _Run, seed: int, make: Callable[[], Any], shape: Shape) -> Answer:
    import_keras().utils.set_random_seed(seed % 2**31)
    return ask_with(make, shape, run.dtype, run.seconds)


def _copy(made: Any) -> Any:
    config = made.get_config()
    if not isinstance(config, dict):
        raise TypeError(f"get_config returned a {type(config).__name__}, no dict")
    return type(made).from_config(dict(config))


def _draw(run: _Run, declared: dict[Shape, Declared]) -> dict[Shape, NDArray[Any]]:
    """Draw from as many seeds as the margin needs."""
    entries = size_of_equivalence(2.0, MARGIN, len(run.shapes))
    drawn: dict[Shape, NDArray[Any]] = {}
    for shape in run.shapes:
        count = 4 if declared[shape].gain is not None else count_of(entries, shape)
        seeds = run.context.seeds(f"draws/{shape}", count)
        weights = [_values(each) for each in draw_many(run.target, shape, run.dtype, seeds, run.seconds)]
        bad = [each for each in weights if each.shape != shape or not np.isfinite(each).all()]
        if bad:
            told = f"{len(bad)} of {len(weights)} seeds give another shape, or values that are not finite: {shape}."
            run.add("finite" if bad[0].shape == shape else "shape", False, told)
            return {}
        drawn[shape] = np.stack(weights)
    return drawn
