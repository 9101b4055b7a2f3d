"""Does a problem matter, does its fix help: the model is trained as it is and with the edits, and the losses compared.

All steps are made on the same batch. The models take them by turns, so that whatever is there when the user stops is of
the same number of steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.audit.proofs import LossCurves, Proof
from initcheck.backend.random_state import preserved_random_state, set_random_seed
from initcheck.backend.runtime import import_keras
from initcheck.checking.made_task import make_task
from initcheck.checking.settings import DEFAULT_STEPS
from initcheck.core.errors import ModelError, UsageError
from initcheck.core.formatting import Progress, count, format_duration, format_short, no_progress
from initcheck.core.loading import RaisedError, run_user_code
from initcheck.core.seeds import whole_number
from initcheck.training.one_batch import BatchTrainer, State

if TYPE_CHECKING:
    from initcheck.audit.findings import CheckResult, Fix
    from initcheck.audit.problems import Problem
    from initcheck.checking.session import CheckSession

Values = Sequence[Any]
"""The values of all weights of a model in one draw."""

MOST_DRAWS: Final = 8
"""Draws that are trained, at most: each costs as much as the whole check."""

_RATE: Final = 1e-3
_FIRST_STEPS: Final = 3
"""Steps after which it is said how long the rest will take: the first of them traces the graphs."""
_SECONDS: Final = 1.0
"""How long the models are trained between two looks at the progress."""


def prove(
    as_it_is: CheckSession,
    fixed: CheckSession | None,
    steps: int = DEFAULT_STEPS,
    progress: Progress = no_progress,
    *,
    made: Sequence[Sequence[Values]] | None = None,
) -> Proof:
    """Train a model as it is, and with a fix, on the same batch from the same seeds; compare the losses.

    With labels, the model's compiled optimizer (a fresh copy) and loss are used; without, Adam on a task that is made.
    The model, its optimizer and its weights stay as they are. If the user stops it, the steps made so far are compared.

    Args:
        as_it_is: the model as it is.
        fixed: the model with the edits of a fix; None trains the model as it is alone.
        steps: steps of training.
        progress: called with the steps done, all steps, and what is being done.
        made: for each model, and each draw, the values of its weights, where these are not to be drawn one by one.

    Raises:
        UsageError: the number of steps is out of range.
        ModelError: a model cannot be trained.
        KeyboardInterrupt: the user stopped before the first step was made.
    """
    if whole_number(steps, 1) is None:
        raise UsageError(f"A proof takes a whole number of steps, at least 1. Received: {steps!r}.")
    started = time.perf_counter()
    seeds = _choose_seeds(as_it_is)
    sessions = [as_it_is] if fixed is None else [as_it_is, fixed]
    with preserved_random_state():
        setups = _prepare(sessions)
        if made is None:
            made = [_draw_weights(session, seeds) for session in sessions]
        seeds = seeds[: len(made[0])]
        runs = [_Run(*each, seeds) for each in zip(sessions, setups, made, strict=True)]
        losses = _train_by_turns(runs, steps, progress)
    curves = [LossCurves(each) for each in losses]
    return Proof(
        seeds=seeds,
        steps=losses[0].shape[1] - 1,
        asked=steps,
        optimizer=setups[0].optimizer_words,
        task=setups[0].task,
        as_it_is=curves[0],
        fixed=None if fixed is None else curves[1],
        seconds=time.perf_counter() - started,
    )


# --- what is learned --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setup:
    """What one model is trained with."""

    loss: Callable[[Any], Any]
    optimizer: Any
    task: str
    with_own_losses: bool

    @property
    def optimizer_words(self) -> str:
        return _describe_optimizer(self.optimizer)


def _prepare(sessions: Sequence[CheckSession]) -> list[_Setup]:
    """Take each model's compiled loss and optimizer where there are labels; else make one task for all of them."""
    if all(session.loss_function is not None for session in sessions):
        return [_compiled_setup(session) for session in sessions]
    # A model that is sick may give NaN, or nothing but 0: the form of its outputs is read off the other.
    sound = sessions[-1]
    loss, task = make_task(sessions[0].inputs, _call(sound), sound.label)
    return [_Setup(loss, _make_adam(each.model), f"on a made task: {task}", with_own_losses=True) for each in sessions]


def _compiled_setup(session: CheckSession) -> _Setup:
    keras, model = import_keras(), session.model
    assert session.loss_function is not None
    kind = type(model)
    task = "with the compiled loss on the batch and labels given"
    if kind.train_step is not keras.Model.train_step:
        task += ", and without the model's own train_step"
    optimizer = _make_adam(model) if model.optimizer is None else _copy_optimizer(model)
    # A compute_loss of the model's own has these in it.
    own = kind.compute_loss is keras.Model.compute_loss
    return _Setup(session.loss_function, optimizer, task, with_own_losses=own)


def _copy_optimizer(model: Any) -> Any:
    compiled = model.optimizer
    try:
        return run_user_code(lambda: type(compiled).from_config(compiled.get_config()))
    except RaisedError as error:
        raise ModelError(
            f"The optimizer of the model {model.name!r} cannot be made again from its configuration: {error}. "
            "Give it a get_config, or leave out the labels to train with Adam."
        ) from error


def _make_adam(model: Any) -> Any:
    optimizers = import_keras().optimizers
    adam = optimizers.Adam(_RATE)
    # As compile does: float16 gradients of an unscaled loss are zero.
    return optimizers.LossScaleOptimizer(adam) if model.dtype_policy.name == "mixed_float16" else adam


def _describe_optimizer(optimizer: Any) -> str:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = inner.get_config().get("learning_rate")
    if isinstance(rate, Mapping):
        return f"{type(inner).__name__} (learning rate by {rate.get('class_name', 'a schedule')})"
    return f"{type(inner).__name__} (learning rate {format_short(float(rate))})" if rate else type(inner).__name__


# --- training ---------------------------------------------------------------------------------------------------------


class _Run:
    """One model in training, with a state for each draw."""

    def __init__(self, session: CheckSession, setup: _Setup, drawn: Sequence[Values], seeds: Sequence[int]) -> None:
        self._model = session.model
        self._trainer = BatchTrainer(
            session.model, session.inputs, setup.loss, setup.optimizer, with_own_losses=setup.with_own_losses
        )
        self.states: list[State] = [self._trainer.begin(each) for each in _pair(session, drawn, seeds)]

    def advance(self, steps: int, after_each: Callable[[], None]) -> tuple[list[State], NDArray[np.float64]]:
        """Make steps with each draw; return the states after them, and the losses [draws, steps]."""
        states, losses = [], []
        for state in self.states:
            try:
                after, found = run_user_code(lambda state=state: self._trainer.train(state, steps))  # type: ignore[misc]
            except RaisedError as error:
                raise ModelError(
                    f"The model {self._model.name!r} cannot be trained: {error}. "
                    "Leave out --prove, or make a model that fit trains."
                ) from error
            states.append(after)
            losses.append(found)
            after_each()
        return states, np.stack(losses)


def _choose_seeds(session: CheckSession) -> tuple[int, ...]:
    return session.seeds[:MOST_DRAWS] if session.redrawn else session.seeds[:1]


def _draw_weights(session: CheckSession, seeds: Sequence[int]) -> list[Values]:
    """Draw all weights, each by itself, for each seed; or take the model's own, where they are kept."""
    if not session.redrawn:
        return [_read_weights(session)] * len(seeds)
    drawn = session.plan.sample(seeds)
    return [[values[place] for values in drawn] for place in range(len(seeds))]


def _read_weights(session: CheckSession) -> Values:
    return [import_keras().ops.copy(weight.value) for weight in session.model.weights]


def _pair(session: CheckSession, drawn: Sequence[Values], seeds: Sequence[int]) -> list[list[tuple[Any, Any]]]:
    """Pair the model's weights, and its seed generators, with their values in each draw."""
    plan = session.plan
    return [
        [*zip(session.model.weights, values, strict=True), *plan.generator_states(states)]
        for values, states in zip(drawn, plan.derive(seeds), strict=True)
    ]


def _call(session: CheckSession) -> Any:
    """Give the outputs of a model's first draw."""
    keras, seeds = import_keras(), session.seeds[:1]
    (values,) = _pair(session, _draw_weights(session, seeds), seeds)
    with keras.StatelessScope(values, initialize_variables=False):
        return session.model(keras.tree.map_structure(keras.ops.convert_to_tensor, session.inputs), training=False)


def _train_by_turns(runs: Sequence[_Run], steps: int, progress: Progress) -> list[NDArray[np.float64]]:
    """Train all models; return their losses before the first step and after each, as far as all of them came."""
    losses: list[list[NDArray[np.float64]]] = [[] for _ in runs]
    turns = sum(len(run.states) for run in runs)
    wanted = steps + 1  # the loss after the last step is that before the next
    done, size, what = 0, 1, "training: tracing the models"
    try:
        progress(0, turns * steps, what)
        while done < wanted:
            began = time.perf_counter()
            finished = 0

            def report() -> None:
                nonlocal finished
                finished += 1
                made = done * turns + finished * size  # noqa: B023 - called in this round alone
                progress(min(made, turns * steps), turns * steps, what)  # noqa: B023

            made = [run.advance(size, report) for run in runs]
            # Only whole rounds count: from here on, all draws of all models have made the same steps.
            for run, kept, (states, found) in zip(runs, losses, made, strict=True):
                run.states = states
                kept.append(found)
            done += size
            seconds = (time.perf_counter() - began) / size
            if done < _FIRST_STEPS:
                size = min(_FIRST_STEPS - done, wanted - done)
                continue
            left = wanted - done
            if left:
                what = f"training, about {format_duration(seconds * left)} left of {count(steps, 'step')}"
            progress(min(done * turns, turns * steps), turns * steps, what)
            size = max(1, min(left, round(_SECONDS / seconds)))
    except KeyboardInterrupt:
        if done < 2:  # not one step
            raise
    return [np.concatenate(kept, axis=1) for kept in losses]


# --- the problems of a check ------------------------------------------------------------------------------------------


def prove_problems(
    result: CheckResult,
    session: CheckSession,
    build_fixed: Callable[[Fix], CheckSession | None],
    steps: int,
    progress: Progress = no_progress,
) -> CheckResult:
    """Prove each problem that has a fix; where wrong ones have none, train the model as it is alone, once for all.

    What the user stops, and what cannot be trained, is said in the result's hints; what is there is kept.
    """
    proofs: list[Proof] = []
    hints: list[str] = []
    try:
        for training in _list_trainings(result, session, build_fixed):
            try:
                proof = prove(session, training.fixed, steps, progress, made=training.made)
            except ModelError as error:
                hints.append(f"Not proven in training: {error}")
                continue
            proofs.append(replace(proof, problems=training.problems, change=training.change))
            if proof.steps < proof.asked:
                raise KeyboardInterrupt  # who stops one training run stops those that would follow
    except KeyboardInterrupt:
        hints.append("Training was stopped: what was not trained until then is not proven.")
    if not proofs and not hints:
        hints.append("Nothing was trained: there is no problem to prove.")
    return replace(result, proofs=tuple(proofs), hints=(*result.hints, *hints))


@dataclass(frozen=True)
class _Training:
    """What is trained: places of the problems that it is about, their fix in words, and the model with it."""

    problems: tuple[int, ...]
    change: str
    fixed: CheckSession | None
    made: Sequence[Sequence[Values]] | None


def _list_trainings(
    result: CheckResult, session: CheckSession, build_fixed: Callable[[Fix], CheckSession | None]
) -> Iterator[_Training]:
    alone: list[int] = []
    for place, problem in enumerate(result.problems):
        fix = problem.fix if problem.level != "note" else None
        fixed = None if fix is None else build_fixed(fix)
        if fix is not None and fixed is not None:
            made = _make_anew(session, partial(build_fixed, fix), fixed) if _compares_weights(problem) else None
            yield _Training((place,), fix.change, fixed, made)
        elif problem.level == "wrong":
            alone.append(place)
    if alone:
        made = _make_anew(session) if any(_compares_weights(result.problems[place]) for place in alone) else None
        yield _Training(tuple(alone), "", None, made)


def _compares_weights(problem: Problem) -> bool:
    return any(finding.rule.compares_weights for finding in problem.findings)


def _make_anew(
    session: CheckSession,
    build: Callable[[], CheckSession | None] | None = None,
    fixed: CheckSession | None = None,
) -> list[list[Values]]:
    """Let the factory make the models anew for each draw, from a global seed, as the user's own program would.

    Weights that are copies of one another, or units that are alike, are so only where the model's own code drew them: a
    draw of each weight by itself parts them. A model without a factory has but one draw, its own.
    """
    if session.remake is None:
        seeds = session.seeds[:1]
        return [[_read_weights(session)], *([] if fixed is None else [_draw_weights(fixed, seeds)])]
    remake = session.remake
    builds = [lambda: session.prepare(remake()), *([] if build is None else [build])]
    made: list[list[Values]] = [[] for _ in builds]
    with preserved_random_state():
        for seed in _choose_seeds(session):
            for build_one, values in zip(builds, made, strict=True):
                set_random_seed(seed)
                built = build_one()
                assert built is not None  # as it was when it was built before
                values.append(_read_weights(built))
    return made
