"""One problem a cause: findings that say the same of one model, with what follows from it, are brought together.

Findings of one cause are one problem. Findings without a cause of their own are consequences of the worst problem that
can bring them about: what lies behind its layers on the way forward, and anything on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.audit.findings import Cause, Finding, Fix, Severity
from initcheck.audit.paths import SiteNode
from initcheck.core.formatting import format_names, format_number
from initcheck.core.statistics import intervals_at

_TITLES: Final = {
    "spread": ("{where} is drawn {factor}too {size}", "{where} are drawn {factor}too {size}"),
    "embedding": ("the table of {where} is drawn too {size}", "the tables of {where} are drawn too {size}"),
    "fan": (
        "the initializer of {where} counts another number of inputs or outputs than the layer has",
        "the initializers of {where} count other numbers of inputs or outputs than the layers have",
    ),
    "constant": ("{where} does not start at random", "{where} do not start at random"),
    "copied": ("{where} is a copy", "{where} are copies of one another"),
    "bias": ("the bias of {where} decides its outputs", "the biases of {where} decide their outputs"),
    "activation": ("what {where} passes on is lost in its activation", "{where} lose the signal in their activations"),
    "residual": ("{where} adds a branch unscaled", "{where} add branches unscaled"),
    "gradient": ("no gradient reaches {where}", "no gradient reaches {where}"),
    "attention": ("the attention of {where} is one-hot", "the attentions of {where} are one-hot"),
    "normalization": (
        "{where} gives a normalization less than its epsilon",
        "{where} give a normalization less than its epsilon",
    ),
    "single value": ("{where} normalizes single values", "{where} normalize single values"),
    "inputs": ("the inputs are not scaled", "the inputs are not scaled"),
    "scale": ("the scale of {where} is drawn too {size}", "the scales of {where} are drawn too {size}"),
    "loaded": ("the weights of {where} hold NaN or infinity", "the weights of {where} hold NaN or infinity"),
    "saturation": ("{where} is saturated", "{where} are saturated"),
    "zero start": ("{where} starts at zero", "{where} start at zero"),
    "constant softmax": ("{where} gives 1 whatever it receives", "{where} give 1 whatever they receive"),
}
"""By the kind of a cause, what is wrong: of one layer, and of several."""

_NAMED: Final = 3
_WEIGHTS: Final = frozenset(
    {"kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel", "embeddings", "bias"}
)

_LEVELS: Final[tuple[Severity, ...]] = ("wrong", "unjudged", "note")

_CONFIDENCES: Final = (0.6, 0.95, 0.999)
"""Of the intervals of an early look: hardly more than the value itself, the usual one, and a strict one."""


@dataclass(frozen=True)
class Problem:
    """What is wrong for one reason: the finding that says most, and what goes with it.

    Attributes:
        weights: names of the model's weights, all others being layers.
    """

    findings: tuple[Finding, ...]
    weights: frozenset[str] = frozenset()

    @property
    def main(self) -> Finding:
        """The finding that says most."""
        return self.findings[0]

    @property
    def level(self) -> Severity:
        """The worst severity among its findings."""
        return min((each.severity for each in self.findings), key=_LEVELS.index)

    @property
    def cause(self) -> Cause | None:
        """Why; None where that is not known."""
        return next((each.cause for each in self.findings if each.cause is not None), None)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers or weights that did it, else those that the main finding is about."""
        return self.main.named if self.cause is None else self.cause.layers

    @property
    def title(self) -> str:
        """Name the problem in a few words, with the layers."""
        where = _name_some(self.layers, self.weights)
        many = len(dict.fromkeys(self.layers)) > 1
        if self.cause is None or self.cause.kind not in _TITLES:
            rule = self.main.name.replace("-", " ").replace("non ", "non-")
            return f"{rule}: {_name_some(self.main.named, self.weights)}" if self.main.layer else rule
        if self.cause.kind == "spread" and not _is_weight(self.layers[0], self.weights):
            where = f"the kernel{'s' if many else ''} of {where}"
        off = self.cause.factor
        vanishes = self.main.name.startswith("vanishing")
        size = "small" if off < 1.0 or (vanishes and math.isnan(off)) else "large"
        # Of several layers it is the factor of the worst.
        up_to = "up to " if many else ""
        factor = f"{up_to}{format_number(max(off, 1.0 / off))} times " if 0.0 < off < math.inf else ""
        return _TITLES[self.cause.kind][many].format(where=where, size=size, factor=factor)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its findings, each once."""
        return tuple(dict.fromkeys(each.code for each in self.findings))

    @property
    def fix(self) -> Fix | None:
        """Edits that cure it or help; None where none were found."""
        return next((each.fix for each in self.findings if each.fix is not None), None)

    @property
    def tried(self) -> int:
        """How many changes were tried for it."""
        return max(each.tried for each in self.findings)


def _name_some(layers: Sequence[str], weights: Collection[str]) -> str:
    """Name up to three layers or weights, else the number of them with the first: ``12 layers (dense_1 ...)``."""
    names = list(dict.fromkeys(layers))
    what = "weights" if names and _is_weight(names[0], weights) else "layers"
    return format_names(names) if len(names) <= _NAMED else f"{len(names)} {what} ({names[0]} ...)"


def _is_weight(name: str, weights: Collection[str]) -> bool:
    return name in weights or name.rpartition("/")[2] in _WEIGHTS


def group_findings(
    findings: Sequence[Finding], nodes: Sequence[SiteNode], weights: Iterable[str] = ()
) -> tuple[Problem, ...]:
    """Bring findings together by cause, the worst problem first; their order within one is kept.

    Args:
        weights: names of the model's weights, which are called so; those that Keras gives are known without.
    """
    groups: list[list[Finding]] = []
    for finding in findings:
        if finding.cause is not None:
            same = [group for group in groups if any(_agree(finding, each) for each in group)]
            for other in same[1:]:
                groups.remove(other)
            if same:
                same[0] += [finding, *(each for other in same[1:] for each in other)]
                continue
        groups.append([finding])
    for group in [each for each in groups if len(each) == 1 and each[0].cause is None]:
        if (before := _find_origin(group[0], groups, nodes)) is not None:
            groups.remove(group)
            before += group  # with what it has taken up itself
    names = frozenset(weights)
    problems = [Problem(tuple(group), names) for group in groups]
    return tuple(sorted(problems, key=lambda each: _LEVELS.index(each.level)))


def _agree(one: Finding, other: Finding) -> bool:
    return one.note == other.note and is_same_cause(one.cause, other.cause)


def is_same_cause(one: Cause | None, other: Cause | None) -> bool:
    """Find whether two causes are one: of one kind, in the same words or in layers of which some are the same."""
    if one is None or other is None or one.kind != other.kind:
        return False
    return one.message == other.message or _overlap(one.layers, other.layers)


def _overlap(one: Collection[str], other: Collection[str]) -> bool:
    """Find whether two lists of layers and weights have one in common, or hold a layer and a weight of it.

    Two layers of one nested model have no more in common than two of any other.
    """
    below = {name[:place] for name in other for place, letter in enumerate(name) if letter == "/"} | {*other}
    above = {name[:place] for name in one for place, letter in enumerate(name) if letter == "/"} | {*one}
    return not below.isdisjoint(one) or not above.isdisjoint(other)


def _layers(paths: Sequence[str]) -> set[str]:
    return {*paths, *(path.rpartition("/")[0] for path in paths)} - {""}


def _find_origin(finding: Finding, groups: list[list[Finding]], nodes: Sequence[SiteNode]) -> list[Finding] | None:
    for group in groups:
        main = group[0]
        if main is finding or finding.code not in main.rule.brings:
            continue
        if main.severity == "wrong" and finding.severity != "note" and _may_reach(group, finding, nodes):
            return group
    return None


def _may_reach(group: Sequence[Finding], finding: Finding, nodes: Sequence[SiteNode]) -> bool:
    """Find whether a finding lies where a problem acts: behind its first layer, or on the way back from there."""
    if "total_factor" in finding.rule.limits and not finding.rule.inconclusive:  # the change along a path: the same one
        acted_on = {name for each in group for name in each.named}
        return _overlap(finding.named, acted_on | _find_added_to(acted_on, nodes))
    if finding.rule.directions != ("forward",):
        return True
    order = _order(nodes)
    begins = [
        order[name]
        for each in group
        for name in _layers(each.cause.layers if each.cause else each.named)
        if name in order
    ]
    ends = [order[name] for name in _layers(finding.named) if name in order]
    return not begins or not ends or max(ends) >= min(begins)


def _find_added_to(layers: set[str], nodes: Sequence[SiteNode]) -> set[str]:
    """Find what sums add to one of some layers: it is drowned by what is far too large there."""
    sums = [{nodes[parent].layer for parent in node.parents} for node in nodes if node.adds]
    return {layer for added in sums if _overlap(added, layers) for layer in added}


def _order(nodes: Sequence[SiteNode]) -> dict[str, int]:
    order: dict[str, int] = {}
    for position, node in enumerate(nodes):
        order.setdefault(node.layer, position)
    return order


def is_decided(judge: Callable[[], Iterable[Finding]], nodes: Sequence[SiteNode]) -> bool:
    """Find whether the first draws of a slow model decide: all others would change no problem.

    The whole judgement is repeated with narrower and with wider intervals. The draws decide where all of them give the
    same problems and nothing is undecided: then every value that a problem stands on lies far from its limit, on
    whichever side. What else follows from a problem need not be decided.

    Looking early adds hardly any false alarms. Each look finds what is not there with half the probability that its
    widest interval misses, 0.05%, against 2.5% at the end; and a look that rightly ends with nothing found spares that
    end.
    """
    verdicts = []
    for confidence in _CONFIDENCES:
        with intervals_at(confidence):
            found = list(judge())
        if any(each.rule.inconclusive and not each.note for each in found):
            return False
        verdicts.append({(each.main.code, each.main.layer, each.level) for each in group_findings(found, nodes)})
    return all(verdict == verdicts[0] for verdict in verdicts)
