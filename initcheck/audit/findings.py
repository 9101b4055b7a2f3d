"""Findings: what is wrong with a model, where, by how much, and which change would fix it.

A rule judges what was measured of one model and makes findings, which bear its code (:mod:`initcheck.audit.rules` has
all rules). A finding is *wrong*, which makes ``initcheck check`` exit with 1, or *unjudged*: something that could not
be measured or decided, which makes it exit with 2. Neither is ever silently green. What is worth knowing and no fault
is a *note*, which changes no exit code. The findings of one model and what they were found in are the result of a
check.

Rules are read without a measurement by ``initcheck explain`` and by Pytest's plugin, and a baseline is read and checked
without pandas and SciPy: nothing heavy is imported here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.errors import find_near_names, name_unknown
from initcheck.core.formatting import count, format_names, format_number, format_share

if TYPE_CHECKING:
    import pandas as pd

    from initcheck.audit.limits import Limits
    from initcheck.audit.paths import SiteNode
    from initcheck.audit.problems import Problem
    from initcheck.audit.proofs import Proof
    from initcheck.audit.site_estimates import LevelEstimates
    from initcheck.audit.total_change import JudgedPath
    from initcheck.backend.operations import WeightUse
    from initcheck.probe.coverage import Coverage
    from initcheck.probe.measure import Measurement
    from initcheck.probe.places import CallSite
    from initcheck.probe.recurrence import OverTime
    from initcheck.probe.weight_copies import WeightComparison
    from initcheck.probe.weights import WeightFacts

Severity = Literal["wrong", "unjudged", "note"]

_LARGEST_COUNT: Final = 1e9
"""Whole numbers below are counts and written exactly."""

RATE: Final = "square a layer"
"""The quantity of a factor by which the square of the signal, or of its gradient, changes a layer."""


@dataclass(frozen=True)
class Measured:
    """The value behind a finding.

    Attributes:
        low: lower end of its 95% interval over seeds; NaN where there is none.
        limit: the limit that it was compared with; NaN where none applies.
    """

    quantity: str
    value: float
    low: float = math.nan
    high: float = math.nan
    limit: float = math.nan
    seeds: int = 0


@dataclass(frozen=True)
class Edit:
    """One argument, written differently in the call that makes a layer.

    Attributes:
        layer: name of the layer, or of the one that Keras made it for, whose call is edited; of an input where a layer
            is put behind it.
        argument: keyword of the call; empty where ``new`` is a layer that is put behind an input.
        old: the value as it is, as code.
        new: the value as it is to be written, as code: an expression in which ``keras`` is the only name.
        site: the call; None where it is not known.
        position: place of the argument among the positional ones, from 0; None where it is keyword-only.
        given: whether the call sets it to something other than the default.
        others: other layers that the same call makes, in a loop or a function, and that are not to change.
    """

    layer: str
    argument: str
    old: str
    new: str
    site: CallSite | None = None
    position: int | None = None
    given: bool = True
    others: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """What is written in the call: ``kernel_initializer="he_normal"``."""
        return f"{self.argument}={self.new}" if self.argument else self.new


def describe_edits(edits: Sequence[Edit]) -> str:
    """Write edits in one line, those that are written alike together: ``kernel_initializer="he_normal" in dense_3``."""
    groups: dict[str, list[Edit]] = {}
    for each in edits:
        groups.setdefault(each.written, []).append(each)
    return "; ".join(f"{written} {_describe_where(group)}" for written, group in groups.items())


def _describe_where(edits: Sequence[Edit]) -> str:
    names = list(dict.fromkeys(each.layer for each in edits))
    if not edits[0].argument:
        return f"behind {' and '.join(names)}"
    listed = ", ".join(names) if len(names) <= 3 else f"{len(names)} layers ({names[0]} to {names[-1]})"
    return f"in {listed}"


@dataclass(frozen=True)
class Fix:
    """Edits that were tried: the model was built with them, drawn anew and judged as a whole.

    Attributes:
        edits: all of them together are the fix.
        before: the value that the problem rests on, in the model as it is; None where it rests on none.
        after: the same with the edits, on draws by which they were not chosen.
        cures: whether every finding of the problem is gone, and no other has come.
        left: what is left of the problem, in the words of its findings; empty where it is cured.
        draws: how many draws of the edited model were measured.
        levels: of the edited model's signal and gradient at each layer, on these draws; empty where none were kept.
    """

    edits: tuple[Edit, ...]
    before: Measured | None
    after: Measured | None
    cures: bool
    left: tuple[str, ...] = ()
    draws: int = 0
    levels: tuple[LevelEstimates, ...] = field(default=(), repr=False, compare=False)

    @property
    def change(self) -> str:
        """The edits in one line, for people."""
        return describe_edits(self.edits)

    @property
    def places(self) -> tuple[str, ...]:
        """The lines of the calls that they edit, each once: ``models.py:14``; those that are not known are missing."""
        return tuple(dict.fromkeys(str(each.site) for each in self.edits if each.site is not None))

    def is_within(self, folder: Path) -> bool:
        """Find whether all of its edits are for known lines of files in a folder."""
        return all(each.site is not None and Path(each.site.file).is_relative_to(folder) for each in self.edits)

    @property
    def outcome(self) -> str:
        """What they do: ``cures it on 16 fresh draws``."""
        draws = f"on {self.draws} fresh draws"
        return f"cures it {draws}" if self.cures else f"helps, and does not cure it, {draws}"

    @property
    def code(self) -> str:
        """The edits as lines of code, each below the place and the layers that it is for."""
        groups: dict[tuple[str, str], list[Edit]] = {}
        for each in self.edits:
            groups.setdefault(("" if each.site is None else str(each.site), each.written), []).append(each)
        blocks = []
        for (place, written), edits in groups.items():
            names = ", ".join(dict.fromkeys(each.layer for each in edits))
            where = f"{place}: {names}" if place else names
            was = "" if not edits[0].argument else f"  # was: {edits[0].old}"
            behind = "" if edits[0].argument else "behind "
            blocks.append(f"# {behind}{where}\n{written}{was}")
        return "\n\n".join(blocks)


@dataclass(frozen=True)
class Cause:
    """Why something is wrong, with the figures that show it.

    Attributes:
        kind: the kind of cause, such as ``spread`` or ``inputs``; findings whose causes agree in it and in ``layers``
            are one problem.
        layers: paths of the layers or weights that did it.
        message: one sentence with the figures, which begins with a name or a small letter and has no stop.
        factor: how many times too large the amplitude is, where the kind is a size; NaN else.
    """

    kind: str
    layers: tuple[str, ...]
    message: str
    factor: float = math.nan


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, that could not be judged, or that is worth a note.

    Attributes:
        layer: name of the first offending layer in order of execution, or of the offending weight, as ``get_layer``
            takes it, with slashes between nested ones; empty for the whole.
        measured: the value with its interval and limit; None where there is none.
        fix: a change that was tried and helped; None where none was tried or none helped.
        note: whether it is no fault, but worth knowing.
        cause: why; None where it is not known.
        tried: how many changes were tried for it.
    """

    code: str
    layer: str
    message: str
    measured: Measured | None = None
    layers: tuple[str, ...] = ()
    fix: Fix | None = None
    note: bool = False
    cause: Cause | None = None
    tried: int = 0

    @property
    def rule(self) -> Rule:
        """The rule that it is a finding of."""
        from initcheck.audit.rules import RULES  # the rules make findings, and import this module

        return RULES[self.code]

    @property
    def name(self) -> str:
        """The name of its rule, such as ``vanishing-activations``."""
        return self.rule.name

    @property
    def severity(self) -> Severity:
        """Whether something is wrong, could not be judged, or is worth a note."""
        return "note" if self.note else self.rule.severity

    @property
    def named(self) -> tuple[str, ...]:
        """The layers or weights that it is about: all, or the first one where no others are listed."""
        return self.layers or (self.layer,)

    def _repr_html_(self) -> str:
        """Show it inside a notebook: what was found, its value beside the limit, and the fix."""
        from initcheck.audit.finding_page import build_finding_document
        from initcheck.pages.html import render_fragment

        return render_fragment(build_finding_document(self))


def waive_layers(findings: Iterable[Finding], patterns: Sequence[str]) -> tuple[Finding, ...]:
    """Leave out findings all of whose layers are waived."""
    kept = []
    for finding in findings:
        remaining = tuple(layer for layer in finding.named if not is_waived(layer, patterns))
        if remaining:
            first = remaining[0] if is_waived(finding.layer, patterns) else finding.layer
            kept.append(replace(finding, layer=first, layers=remaining) if finding.layers else finding)
    return tuple(kept)


class SharedPattern(str):
    """A waiver of a project's settings."""

    __slots__ = ()


def check_waivers(patterns: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Refuse a pattern that fits no layer and no weight, since it holds a slip; return hints about shared ones.

    The settings of a project serve all its models, and have no way to say for which one a waiver is: one that fits only
    some of them is no slip. It hides nothing where it fits nothing, so that a hint is enough there.
    """
    names = list(known)
    hints = []
    for pattern in patterns:
        if any(is_waived(name, (pattern,)) for name in names):
            continue
        if not isinstance(pattern, SharedPattern):
            raise name_unknown("layer or weight in waive", pattern, names)
        near = find_near_names(pattern, names)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        hints.append(f"{pattern!r}, which [tool.initcheck] waives, fits no layer or weight of this model.{meant}")
    return tuple(hints)


def is_waived(path: str, patterns: Sequence[str]) -> bool:
    """Find whether a layer or weight, or the layer that it belongs to, fits a pattern with wildcards."""
    return any(fnmatchcase(path, each) or fnmatchcase(path, f"{each}/*") for each in patterns)


# --- values and fixes for people --------------------------------------------------------------------------------------


def format_value(measured: Measured, value: float) -> str:
    """Format one number of a measured quantity: a share in per cent, a count exactly, anything else to three digits."""
    if is_share(measured):
        return format_share(value)
    counted = math.isnan(measured.low) and float(value).is_integer() and abs(value) < _LARGEST_COUNT
    return f"{value:.0f}" if counted else format_number(value)


def format_interval(measured: Measured) -> str:
    """Format the interval with a space before it; empty where there is none."""
    if math.isnan(measured.low):
        return ""
    return f" [{format_value(measured, measured.low)}, {format_value(measured, measured.high)}]"


def format_limit(measured: Measured) -> str:
    """Format the limit, a number that somebody chose: without digits that nobody meant."""
    return format_share(measured.limit) if is_share(measured) else f"{measured.limit:.3g}"


def describe_change(fix: Fix, place: str = "") -> str:
    """Write the edits in one line, with the lines of the code that they are for, if these are others than one said."""
    return fix.change if fix.places in ((), (place,)) else f"{fix.change} at {format_names(fix.places)}"


def describe_fix(fix: Fix) -> str:
    """Write what the edits do to the value that the problem rests on, and whether they cure it."""
    text = "cures it" if fix.cures else "helps, and does not cure it"
    if fix.before is not None and fix.after is not None:
        before, after = fix.before, fix.after
        if after.quantity == RATE:
            before, after = map(_take_root, (before, after))
        change = f"{format_value(after, after.value)}{format_interval(after)}"
        was = "" if fix.cures else f"{format_value(before, before.value)} -> "
        what = after.quantity.removeprefix("share of ")
        if after.quantity == RATE:
            text += f": × {was}{change} a layer"
        else:
            text += f": {was}{change} of {what}" if what != after.quantity else f": {after.quantity} {was}{change}"
    text += f" ({count(fix.draws, 'fresh draw')})"
    return f"{text}; left: {format_names(fix.left, 2)}" if fix.left else text


def _take_root(squares: Measured) -> Measured:
    value, low, high, limit = map(math.sqrt, (squares.value, squares.low, squares.high, squares.limit))
    return replace(squares, value=value, low=low, high=high, limit=limit)


def is_share(measured: Measured) -> bool:
    """Whether a value is a share, between 0 and 1."""
    return measured.quantity.startswith("share")


# --- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenInput:
    """One floating-point input that the user gave, and how large it is.

    Attributes:
        position: of its site.
        name: that of the user, or as for the site.
        size: root mean square of all values.
        low: the smallest value.
        high: the largest value.
        columns: columns (along the last axis) that stand out by their size, the largest first, with their root mean
            squares; empty where none does.
        typical: median of the root mean squares of all columns.
    """

    position: int
    name: str
    size: float
    low: float
    high: float
    columns: tuple[tuple[int, float], ...] = ()
    typical: float = math.nan


@dataclass(frozen=True)
class InitialLoss:
    """The compiled loss before any training, with the labels given.

    Attributes:
        values: of each draw.
        chance: the loss of outputs that do not depend on the input: an even choice among the classes, or the labels'
            mean (their median for absolute errors).
        at_zero: the same where outputs that are compared with numbers are 0.
        limit: how many times chance level it may be.
        of_classes: whether all of it is cross-entropy.
    """

    values: tuple[float, ...]
    chance: float
    at_zero: float
    limit: float
    of_classes: bool


@dataclass(frozen=True)
class ModelMeasurement:
    """All that was measured of one model: what rules judge.

    Attributes:
        after: the same after one small step of gradient descent, after two, and so on: only where weights are as good
            as without a gradient, and until no more of them get one.
        uses: how each weight meets the signal.
        rounding: weights whose gradient is nothing but rounding errors.
        constant_softmaxes: positions of the sites that hold a softmax over one entry.
        dtype_policy: the model's dtype policy.
    """

    table: pd.DataFrame
    nodes: Sequence[SiteNode]
    paths: Sequence[JudgedPath]
    gradients: pd.DataFrame
    facts: Sequence[WeightFacts]
    comparison: WeightComparison
    gaps: Sequence[tuple[str, str]]
    limits: Limits
    over_time: Sequence[OverTime] = ()
    after: Sequence[Measurement] = ()
    uses: Mapping[str, WeightUse] = field(default_factory=dict)
    rounding: frozenset[str] = frozenset()
    constant_softmaxes: Sequence[int] = ()
    given: Sequence[GivenInput] = ()
    initial_loss: InitialLoss | None = None
    dtype_policy: str = "float32"


@dataclass(frozen=True)
class FixPlan:
    """Which changes are tried for a finding, and by which value it is known that one helped."""

    candidates: Literal["initializers", "separate seeds", "random kernels", "true fans"]
    rate: Direction | None = None
    share: str | None = None
    at_last: bool = False


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        brings: codes of findings that may follow from one of this rule, and are no problem of their own then.
        direction_of: picks one panel by the value of a finding; None shows each in all of them.
        of_paths: whether a finding is about a whole path; where on it the limit was passed depends on the draws.
    """

    code: str
    name: str
    what: str
    why: str
    example: str
    fix: str
    source: str
    find: Callable[[ModelMeasurement], Iterable[Finding]]
    limits: tuple[str, ...] = ()
    brings: tuple[str, ...] = ()
    severity: Severity = "wrong"
    inconclusive: bool = False
    compares_weights: bool = False
    of_paths: bool = False
    directions: tuple[Direction, ...] = DIRECTIONS
    direction_of: Callable[[Measured], Direction] | None = None
    fix_plan: FixPlan | None = None

    @property
    def family(self) -> str:
        """The start of the code."""
        return self.code[:3]

    @property
    def harm(self) -> str:
        """How models with the defect trained beside those without; empty where none were trained."""
        measured = _read_harm()
        found = measured["rules"].get(self.code)
        if found is None:
            return ""
        return (
            f"Models were trained with the defect and without it, each at its own best learning rate: after "
            f"{measured['steps']} steps the loss is higher with it in {found['higher'] or 'none'} of {found['pairs']} "
            f"pairs (median {found['with']:.3g}, {found['without']:.3g} without; chance level "
            f"{measured['chance']:.3g})."
        )

    def panels_of(self, finding: Finding) -> tuple[Direction, ...]:
        """Name the panels of the report's figure that show a finding."""
        if self.direction_of is None or finding.measured is None:
            return self.directions
        return (self.direction_of(finding.measured),)


@cache
def _read_harm() -> Any:
    """Read what ``tests/power/harm.py`` measured."""
    return json.loads(Path(__file__).with_name("harm.json").read_text(encoding="utf-8"))


def example(code: str) -> str:
    """Complete the code of an example."""
    return f"import keras\n\n{code.strip()}\n"


def stack_example(depth: int, activation: str, initializer: str) -> str:
    """Write an example: a stack of Dense layers of 64 units."""
    return example(
        f"""
model = keras.Sequential([keras.Input((64,))])
for _ in range({depth}):
    model.add(keras.layers.Dense(64, activation="{activation}", kernel_initializer={initializer}))
"""
    )


# --- the result of a check --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """The conditions of a measurement, apart from the libraries; the digest is that of the batch and its labels."""

    batch: str
    batch_digest: str
    loss: str
    dtype_policy: str


@dataclass(frozen=True)
class LayerFacts:
    """What is not random of one layer, as JSON has it.

    Attributes:
        config: its configuration, without names, initializers and regularizers; None where it has none.
        code: digest of the user's own code that it runs; empty where there is none, or its source is not known.
        attributes: the plain values that a layer of the user's own holds.
    """

    kind: str
    config: Mapping[str, Any] | None
    code: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


Verdict = Literal["healthy", "findings", "cannot judge"]

Failing = Literal["problem", "note", "nothing"]
"""From what on a command does not exit with 0."""

EXIT_CODES: Final[Mapping[Verdict, int]] = {"healthy": 0, "findings": 1, "cannot judge": 2}


@dataclass(frozen=True)
class CheckResult:
    """One checked model.

    Attributes:
        redrawn: whether weights were drawn for each seed; if not, all were measured as they are.
        loaded: paths of the weights that their initializers cannot have drawn, and that were kept as they are.
        not_finite: paths of the weights that hold NaN or infinity in the model itself.
        keys: the structural path of each layer and weight by its name; see :mod:`initcheck.probe.paths`.
        places: where each layer, and the layer of each weight, was made, by name: ``models.py:14``. Those that are not
            known are missing.
        hints: sentences about settings that had no effect.
        fewer: why fewer draws were measured than planned; empty else.
        sites: the calls that made the layers, by name; those that are not known are missing.
        loaded_at: when the code of the model was loaded at the latest, in seconds since the epoch.
        fix_command: the command line that writes the fixes into the code; empty where there is none.
        proofs: what training showed of the problems and their fixes; empty unless it was asked for.
        fail_on: from what on the command does not exit with 0.
        layers: what is not random of the model, its layers and the operations of its graph, by structural path.
        unneeded: what was to be ignored or waived though nothing of it was found, each with the name of its setting.
    """

    model: str
    findings: tuple[Finding, ...]
    waived: tuple[Finding, ...]
    coverage: Coverage
    paths: tuple[JudgedPath, ...]
    nodes: tuple[SiteNode, ...]
    table: pd.DataFrame = field(repr=False)
    weights: pd.DataFrame = field(repr=False)
    facts: tuple[WeightFacts, ...] = field(repr=False)
    seeds: tuple[int, ...]
    redrawn: bool
    conditions: Conditions
    limits: Limits
    allow_inconclusive: bool
    versions: Mapping[str, str]
    seconds: float
    loaded: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    hints: tuple[str, ...] = ()
    fewer: str = ""
    sites: Mapping[str, CallSite] = field(default_factory=dict, repr=False)
    loaded_at: float = math.inf
    fix_command: str = ""
    proofs: tuple[Proof, ...] = field(default=(), repr=False)
    fail_on: Failing = "problem"
    layers: Mapping[str, LayerFacts] = field(default_factory=dict, repr=False)
    unneeded: tuple[tuple[str, str], ...] = ()

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """The findings by cause, the worst first; notes are the last ones."""
        from initcheck.audit.problems import group_findings  # it imports this module

        return group_findings(self.findings, self.nodes, (each.path for each in self.facts))

    @property
    def verdict(self) -> Verdict:
        """``findings`` if something is wrong; else ``cannot judge`` if something was not judged; else ``healthy``."""
        if any(finding.severity == "wrong" for finding in self.findings):
            return "findings"
        open_points = (each for each in self.findings if each.severity == "unjudged")
        if any(not (self.allow_inconclusive and each.rule.inconclusive) for each in open_points):
            return "cannot judge"
        return "healthy"

    @property
    def exit_code(self) -> int:
        """What a command exits with: 0, 1 or 2."""
        return EXIT_CODES[self.verdict]
