"""A claim, the evidence for it, what the specification makes of the two, and the context in which claims are judged.

A claim is a sentence of some document. Its experiment is plain data until a :class:`RunContext` measures it; its
decision is a pure function of the experiment's table, and can be tested without Keras. Whether the sentence is expected
to hold, in which versions of Keras and on which backends, is part of the claim: one that is known to be false is
asserted as *refuted*, and turns the specification red on the day it becomes true. Where a version changed what is
expected, or backends differ, several claims of one id say what is expected of which.
"""

from __future__ import annotations

import enum
import math
import re
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import BACKENDS, backend_name
from initcheck.core.errors import BackendError, UsageError
from initcheck.core.seeds import LARGEST_SEED, check_seed, derive_seed
from initcheck.spec.causes import KnownCause
from initcheck.spec.versions import EVERY, KerasVersions, describe_setup, format_version, installed_keras

if TYPE_CHECKING:
    from pandas import DataFrame


Expectation = Literal["holds", "refuted"]
Status = Literal["holds", "refuted", "broken", "now holds", "not shown", "inconclusive", "changed", "not there"]

_ID: Final = re.compile(r"[a-z][a-z_]*(\.[a-z0-9_]+)+")

_GROUPS: Final = {
    "layer_defaults": "layer_defaults",
    "forward": "networks",
    "backward": "networks",
    "symmetry": "symmetry",
    "training": "learners",
    "notebook": "learners",
}
"""The groups of claims that share more than a subject; the claims of other topics share what is drawn of a subject."""


class Verdict(enum.StrEnum):
    """What the evidence says of a claim's sentence."""

    PASS = "pass"
    """The sentence was shown to hold, within its margin."""
    FAIL = "fail"
    """A deviation from the sentence was shown."""
    INCONCLUSIVE = "inconclusive"
    """Neither was shown, or something could not be measured. Never a pass."""


class Experiment(Protocol):
    """What is to be measured: a frozen dataclass of plain values, hashable and picklable."""

    def measure(self, context: RunContext) -> Iterable[Row] | DataFrame:
        """Measure the rows, or the whole table, that the claim's decision reads."""
        ...

    def __hash__(self) -> int: ...


class Decision(Protocol):
    """A pure function from an experiment's table to the evidence: a frozen dataclass of limits and levels."""

    @property
    def false_alarm(self) -> float:
        """The probability, at most, that a true sentence is judged false; 0 where chance has no part."""
        ...

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge the claim's sentence by the table alone."""
        ...


@dataclass(frozen=True)
class Evidence:
    """What an experiment says of a claim's sentence.

    A claim has one or several members (shapes, layers, cases), which are judged together. The values are those of the
    member that is nearest to breaking it.

    Attributes:
        low: lower end of its interval; NaN where there is none (exact claims).
        confidence: coverage of the interval, adjusted for the number of members; NaN where there is none.
        bounds: the limits that the effect is compared with; infinite where there is none.
        p_value: after Holm's correction over the members; NaN for exact claims. For equivalence it is the p-value of
            being outside the bounds (small means shown to be inside); for a test of fit that of the fit (small means
            broken).
    """

    verdict: Verdict
    reason: str
    quantity: str
    effect: float
    low: float = math.nan
    high: float = math.nan
    confidence: float = math.nan
    bounds: tuple[float, float] = (-math.inf, math.inf)
    count: int = 0
    unit: str = "cases"
    p_value: float = math.nan
    detectable: float = math.nan
    power: float = math.nan
    members: int = 1
    worst: str = ""


@dataclass(frozen=True)
class Claim:
    """One documented sentence, and how it is tested."""

    id: str
    statement: str
    source: str
    condition: str
    """Under which it is claimed, in words: shapes, networks, data."""
    experiment: Experiment
    decide: Decision
    control: Experiment
    """The experiment where the sentence is false, or for ``refuted`` true; its table must be judged so."""
    control_note: str
    expected: Expectation = "holds"
    cause: KnownCause | None = None
    """Why it is false, of what is expected to be refuted."""
    keras: KerasVersions = EVERY
    """The versions of Keras in which this is expected; in others the claim is another of its id, or not there."""
    backends: tuple[str, ...] = ()
    """The backends on which it is, by their names in Keras; empty for all."""
    slow: bool = False
    """Whether it takes more than about two seconds, or says of a further case what a fast one says; see ``mark``."""
    pinned: bool = False
    """Whether it states what this implementation happens to do, and no documented law: a deviation is *changed*."""
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise UsageError(f"A claim's id is words in lower case joined by dots. Received: {self.id!r}.")
        if self.expected == "refuted" and self.cause is None:
            raise UsageError(f"A refuted claim needs a cause, one of initcheck.spec.causes. Received none: {self.id}.")

    def is_about(self, keras: str, backend: str) -> bool:
        """Find whether this is expected of a version of Keras on a backend."""
        return keras in self.keras and (not self.backends or backend in self.backends)

    @property
    def topic(self) -> str:
        """The first part of the id."""
        return self.id.partition(".")[0]

    @property
    def mark(self) -> str:
        """The mark of its test: ``slow``, or ``fast`` of those that ``-m fast`` runs."""
        return "slow" if self.slow else "fast"

    @property
    def group(self) -> str:
        """What its experiments have in common with those of other claims: drawn weights, traced networks."""
        return _GROUPS.get(self.topic, ".".join(self.id.split(".")[:2]))

    @property
    def false_alarm(self) -> float:
        """The probability, at most, that a sentence that is true is judged false."""
        return self.decide.false_alarm

    @property
    def statistical(self) -> bool:
        """Whether chance has a part in its verdict."""
        return self.false_alarm > 0.0


@dataclass(frozen=True)
class Outcome:
    """The result of judging one claim; see :func:`settle` for the status."""

    claim: Claim
    evidence: Evidence
    control: Evidence | None
    """Of the negative control; None where it was not run."""
    status: Status
    reason: str
    seconds: float = field(default=math.nan, compare=False)
    """Processor time, with what it measured for others of its group; what else the machine does is left out."""

    @property
    def green(self) -> bool:
        """Whether it came out as specified, is pinned and no law is broken, or is not about the installed Keras."""
        return self.status in GREEN


GREEN: Final[tuple[Status, ...]] = ("holds", "refuted", "changed", "not there")


def settle(claim: Claim, evidence: Evidence, control: Evidence | None) -> tuple[Status, str]:
    """Give the status that a claim's evidence means for the specification, and its reason, the claim's own first."""
    status, reason = _settle_without_control(claim, evidence)
    wanted = Verdict.FAIL if claim.expected == "holds" else Verdict.PASS
    if control is None or control.verdict == wanted:
        return status, reason
    about = f"Its control ({claim.control_note}) must {wanted}, and is {control.verdict}: {control.reason}"
    # A decision that cannot distinguish true from false gives no evidence for the claim; against it, its own does.
    return ("not shown" if status in ("holds", "refuted") else status), f"{reason} {about}"


def _settle_without_control(claim: Claim, evidence: Evidence) -> tuple[Status, str]:
    if evidence.verdict == Verdict.INCONCLUSIVE:
        return "inconclusive", evidence.reason
    if evidence.verdict == (Verdict.PASS if claim.expected == "holds" else Verdict.FAIL):
        return claim.expected, evidence.reason
    if claim.pinned:
        return "changed", evidence.reason
    if claim.expected == "holds":
        return "broken", evidence.reason
    return "now holds", f"Known to be false, and now true: {evidence.reason} Expect it to hold from now on."


def _not_there(claim: Claim) -> Outcome:
    here = f"{format_version(installed_keras())} on {BACKENDS.get(backend_name(), backend_name())}"
    reason = f"It is about {describe_setup(claim.keras, claim.backends)}; here is {here}."
    return Outcome(
        claim, Evidence(Verdict.INCONCLUSIVE, reason, "not measured", math.nan), None, "not there", reason, 0.0
    )


_Made = TypeVar("_Made")


class RunContext:
    """The seeds of a run, and its experiments, each measured once while claims of one group are judged.

    Every seed derives from the base seed and a label, so that an experiment gives the same numbers alone, in another
    order or in another process.
    """

    def __init__(self, seed: int = 0) -> None:
        self.base_seed: Final = check_seed(seed)
        self._tables: dict[Experiment, DataFrame] = {}
        self._made: dict[Hashable, Any] = {}
        self._group = ""

    def seed(self, label: str) -> int:
        """Derive the seed of one thing, an integer from 1 to 2^31 - 3 that Keras takes."""
        return derive_seed(self.base_seed, label)

    def seeds(self, label: str, count: int) -> tuple[int, ...]:
        """Derive different seeds for several things of a kind: consecutive numbers from one that the label gives."""
        first = derive_seed(self.base_seed, label)
        return tuple((first + index) % LARGEST_SEED + 1 for index in range(count))

    def measure(self, experiment: Experiment) -> DataFrame:
        """Make the experiment's table, unless an equal one was measured before; random states are left as they were."""
        if experiment not in self._tables:
            with preserved_random_state():
                self._tables[experiment] = make_table(experiment.measure(self))
        return self._tables[experiment]

    def remember(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Make something that several experiments share, once: drawn weights, a trained model."""
        if key not in self._made:
            self._made[key] = make()
        made: _Made = self._made[key]
        return made

    def forget(self) -> None:
        """Drop what was made and measured, to free its memory."""
        self._tables.clear()
        self._made.clear()

    def judge(self, claim: Claim, *, with_control: bool = True) -> Outcome:
        """Measure and judge a claim; one whose measurement raises is broken, with the exception's message as reason.

        Of a claim that is not about the installed Keras and its backend nothing is measured.
        """
        if not claim.is_about(installed_keras(), backend_name()):
            return _not_there(claim)
        start = time.process_time()
        if self._group not in ("", claim.group):
            self.forget()
        self._group = claim.group
        try:
            evidence = claim.decide(self.measure(claim.experiment))
            control = claim.decide(self.measure(claim.control)) if with_control else None
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever Keras raises is what the claim's reader has to hear about
            text = " ".join(str(error).split())[:300]
            reason = f"It could not be measured: {type(error).__name__}: {text}"
            evidence = Evidence(Verdict.INCONCLUSIVE, reason, "could not be measured", math.nan)
            return Outcome(claim, evidence, None, "broken", reason, time.process_time() - start)
        status, reason = settle(claim, evidence, control)
        return Outcome(claim, evidence, control, status, reason, time.process_time() - start)


@dataclass(frozen=True, slots=True)
class ExactRow:
    """A member without chance, for :class:`~initcheck.spec.decisions.AllWithin`."""

    member: str
    deviation: float
    limit: float = 0.0
    """0 where equality is exact."""
    count: int = 1
    seen: str = ""
    """What was seen, in words."""


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """An estimate and its standard error, for :class:`~initcheck.spec.decisions.EstimateWithin`."""

    member: str
    estimate: float
    standard_error: float
    count: int
    freedom: float = math.inf
    """Degrees of freedom of the standard error; infinite where it is known."""


@dataclass(frozen=True, slots=True)
class FitRow:
    """A test of fit, for :class:`~initcheck.spec.decisions.NoDifference`."""

    member: str
    p_value: float
    effect: float
    detectable: float
    """The effect that the test sees with probability :data:`~initcheck.spec.decisions.POWER`."""
    count: int


@dataclass(frozen=True, slots=True)
class SeedRow:
    """The value of one seed, for :class:`~initcheck.spec.decisions.SeedMeanWithin`."""

    member: str
    seed: int
    value: float


Row: TypeAlias = ExactRow | EstimateRow | FitRow | SeedRow


def seed_rows(member: str, values: Iterable[float]) -> list[SeedRow]:
    """Make the rows of a member's values, one a seed."""
    return [SeedRow(member, seed, value) for seed, value in enumerate(values)]


def make_table(rows: Iterable[Row] | DataFrame) -> DataFrame:
    """Make the table of rows of one type; a table stays as it is."""
    import pandas as pd

    return rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
