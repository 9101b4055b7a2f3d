"""Compares runs of the specification: what was fixed and broke by version of Keras, and what differs by backend.

``tox run -e keras312``, ``keras312-jax`` and their like leave a ``spec.json`` each; ``tox run -e versions`` reads them
all. It leaves
``versions.html``, ``versions.md`` and ``versions.csv`` in ``reports/``, and ends with 1 if a claim did not come out as
specified.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from initcheck.backend.runtime import BACKENDS
from initcheck.core.errors import DataError
from initcheck.core.files import check_writable, publish_files
from initcheck.core.formatting import count, format_names, format_short
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    CodeBlock,
    Definitions,
    Details,
    Document,
    Row,
    Section,
    Table,
    linked,
    paragraph,
    prose,
    strong,
    table_row,
)
from initcheck.pages.html import render_pages
from initcheck.spec.causes import CAUSES
from initcheck.spec.claim import Evidence
from initcheck.spec.records import SCHEMA_VERSION, STATUSES, ClaimRecord, SpecificationRecord, count_statuses
from initcheck.spec.report.claims import TONES, has_interval, name_topic
from initcheck.spec.report.false_claims import is_ratio
from initcheck.spec.versions import describe_setup, format_version, order

Kind = Literal["broke", "fixed", "came", "ended", "changed", "differs"]

NOT_RUN: Final = "not run"
_MARKS: Final[dict[Kind, str]] = {
    "broke": "growing-5",
    "fixed": "kept",
    "came": "symmetric",
    "ended": "unknown",
    "changed": "fading-2",
    "differs": "growing-5",
}
_TITLES: Final[dict[Kind, str]] = {
    "broke": "What broke",
    "fixed": "What was fixed",
    "came": "What came",
    "ended": "What ended",
    "changed": "What is otherwise, and breaks no law",
    "differs": "What differs between backends",
}
_LEADS: Final[dict[Kind, str]] = {
    "broke": "These claims held, and are false since.",
    "fixed": "These claims were false, and hold since.",
    "came": "These claims are about what older versions do not have.",
    "ended": "These claims are about what newer versions do not have, such as the way in which a fault showed.",
    "changed": "These claims state what the implementation happens to do.",
    "differs": "These claims are false on some backends alone, or about some alone.",
}


@dataclass(frozen=True)
class Change:
    """Claims whose status is another from one version on, or on some backends, for one reason."""

    kind: Kind
    reason: str
    """The slug of the cause of what is false before, since or there; empty for the others."""
    where: str
    """The first version that is otherwise, the one that the claims name, else that was run; or the backends."""
    claims: tuple[str, ...]

    @property
    def title(self) -> str:
        """What changed, in a sentence without its full stop."""
        if self.reason:
            return CAUSES[self.reason].title
        subjects = dict.fromkeys(claim.split(".")[1].replace("_", " ") for claim in self.claims)
        return format_names(list(subjects), most=8)

    @property
    def backends(self) -> list[str]:
        """The backends that differ; none of what changed with a version."""
        return self.where.split(" and ") if self.kind == "differs" else []

    @property
    def place(self) -> str:
        """Where it is otherwise, in words: "Keras 3.15", "PyTorch alone"."""
        return f"{self.where} alone" if self.kind == "differs" else f"Keras {format_version(self.where)}"


@dataclass(frozen=True)
class Setup:
    """What was run: a version of Keras on a backend."""

    version: str
    backend: str

    def __str__(self) -> str:
        """Write it for readers; TensorFlow is not named."""
        on = "" if self.backend == "tensorflow" else f" on {BACKENDS[self.backend]}"
        return f"{format_version(self.version)}{on}"

    @property
    def slug(self) -> str:
        """Write it for programs: ``3.15.1``, ``3.15.1-jax``."""
        return self.version if self.backend == "tensorflow" else f"{self.version}-{self.backend}"


def _setup_of(record: SpecificationRecord) -> Setup:
    used = [name for name in BACKENDS if name in record.versions]
    return Setup(record.versions["keras"], used[0] if used else "tensorflow")


class Runs:
    """The runs, by backend, and of each the oldest version of Keras first."""

    def __init__(self, records: Sequence[SpecificationRecord]) -> None:
        places = list(BACKENDS)
        by_setup = {_setup_of(record): record for record in records}
        if len(by_setup) < len(records) or len(records) < 2:
            given = ", ".join(_setup_of(record).slug for record in records)
            raise DataError(f"Give one run of each of several versions of Keras or backends. Received: {given}.")
        self.setups = sorted(by_setup, key=lambda setup: (places.index(setup.backend), order(setup.version)))
        self.records = [by_setup[setup] for setup in self.setups]
        by_version = [{claim.id: claim for claim in record.claims} for record in self.records]
        # In the order of the newest run that has them.
        ids = dict.fromkeys(name for claims in reversed(by_version) for name in claims)
        self.claims = {name: tuple(claims.get(name) for claims in by_version) for name in ids}

    def statuses(self, claim: str) -> tuple[str, ...]:
        """Give the status of a claim in each run."""
        return tuple(NOT_RUN if record is None else record.status for record in self.claims[claim])

    @property
    def same(self) -> list[str]:
        """The claims of one status in all runs."""
        return [name for name in self.claims if len(set(self.statuses(name))) == 1]

    @property
    def amiss(self) -> list[str]:
        """The claims that did not come out as specified in some run."""
        return [name for name, own in self.claims.items() if not all(each is None or each.green for each in own)]

    @property
    def changes(self) -> list[Change]:
        """What changed: what broke first, then what was fixed, the newest first; what differs between backends last."""
        found: dict[tuple[Kind, str, str], dict[str, None]] = {}
        common = self._find_common_causes()
        for name, own in self.claims.items():
            runs = list(zip(self.setups, own, strict=True))
            for (before, older), (since, newer) in pairwise(runs):
                if before.backend == since.backend and older and newer and older.green and newer.green:
                    changed = _describe_change(older, newer, since.version)
                    if changed is not None:
                        found.setdefault(changed, {})[name] = None
            for version in common:
                there = {setup.backend: each for setup, each in runs if setup.version == version and each is not None}
                for differs in _describe_differences(there, common[version]):
                    found.setdefault(differs, {})[name] = None
        kinds, titles = list(_MARKS), list(BACKENDS.values())
        changes = [Change(*key, tuple(claims)) for key, claims in found.items()]
        newest_first = sorted(changes, key=lambda change: order(change.where), reverse=True)
        by_backend = sorted(newest_first, key=lambda change: [titles.index(each) for each in change.backends])
        return sorted(by_backend, key=lambda change: (kinds.index(change.kind), not change.reason))

    def _find_common_causes(self) -> dict[str, frozenset[str]]:
        """Find the causes by which claims are false on every backend, for each version that all backends have run."""
        found: dict[str, list[frozenset[str]]] = {}
        for setup, record in zip(self.setups, self.records, strict=True):
            causes = frozenset(each.cause for each in record.claims if each.status == "refuted")
            found.setdefault(setup.version, []).append(causes)
        most = len({setup.backend for setup in self.setups})
        return {version: frozenset.intersection(*causes) for version, causes in found.items() if len(causes) == most}


def _describe_change(older: ClaimRecord, newer: ClaimRecord, version: str) -> tuple[Kind, str, str] | None:
    if older.status == newer.status:
        return None
    since = newer.keras.since or version
    match older.status, newer.status:
        case "refuted", "holds":
            return "fixed", older.cause, since
        case "holds", "refuted":
            return "broke", newer.cause, since
        case "not there", _:
            return "came", "", since
        case _, "not there":
            return "ended", "", older.keras.until or version
    return "changed", "", version


def _describe_differences(there: Mapping[str, ClaimRecord], common: frozenset[str]) -> Iterator[tuple[Kind, str, str]]:
    """Say by which causes a claim is false on which backends in one version; nothing where all came out alike.

    One that is false where it is there, by a cause that the others have as well, is only about some.
    """
    statuses = {each.status for each in there.values()}
    if len(statuses) < 2 or not all(each.green for each in there.values()):
        return
    by_cause: dict[str, list[str]] = {}
    for backend, each in there.items():
        if each.status == "refuted" and not (each.cause in common and "holds" not in statuses):
            by_cause.setdefault(each.cause, []).append(BACKENDS[backend])
    if not by_cause:
        by_cause[""] = [BACKENDS[backend] for backend, each in there.items() if each.status != "not there"]
    for cause, backends in by_cause.items():
        yield "differs", cause, " and ".join(backends)


def read_run(path: Path) -> SpecificationRecord:
    """Read what ``initcheck spec --report`` wrote as ``spec.json``."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    if facts.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{path} is no spec.json of schema version {SCHEMA_VERSION}. Run the specification once more.")
    claims = tuple(
        ClaimRecord.from_plain({**plain, "evidence": {k: _number(v) for k, v in plain["evidence"].items()}})
        for plain in facts["claims"]
    )
    names = ("left_out", "seed", "command_line", "started", "duration_seconds", "versions")
    return SpecificationRecord(claims=claims, **{name: facts[name] for name in names})


def _number(value: Any) -> Any:
    """Undo what JSON makes of numbers that are not finite."""
    if isinstance(value, list):
        return tuple(map(_number, value))
    if value is None:
        return math.nan
    return float(value) if value in ("inf", "-inf") else value


# --- the page ---------------------------------------------------------------------------------------------------------


def build_page(runs: Runs) -> Document:
    """Build the page: what changed, then each change claim by claim, then what is the same in all."""
    changes, amiss = runs.changes, runs.amiss
    sections = []
    if amiss:
        reasons = tuple(
            prose(strong(f"Keras {setup}: {each.id} is {each.status}. "), each.reason)
            for name in amiss
            for setup, each in zip(runs.setups, runs.claims[name], strict=True)
            if each is not None and not each.green
        )
        sections.append(
            Section("amiss", "Not as specified", (Bullets(reasons), _tabulate(runs, amiss, "Not as specified")))
        )
    sections += [section for kind in _MARKS if (section := _write_kind(runs, changes, kind)) is not None]
    sections += [_write_same(runs), _write_method(runs)]
    *others, last = [BACKENDS[each] for each in dict.fromkeys(setup.backend for setup in runs.setups)]
    on = f"{', '.join(others)} and {last}" if others else last
    subtitle = prose(f"{count(len(runs.claims), 'claim')} on {on}.")
    by = "backend and version" if len({setup.backend for setup in runs.setups}) > 1 else "version"
    return Document(f"The specification, by {by} of Keras", subtitle, tuple(sections), _write_answer(runs, changes))


def _write_answer(runs: Runs, changes: Sequence[Change]) -> Answer:
    fixed, broke = (Counter(change.kind for change in changes)[kind] for kind in ("fixed", "broke"))
    versions = sorted({setup.version for setup in runs.setups}, key=order)
    first, last = format_version(versions[0]), format_version(versions[-1])
    named = f"Keras {first} to {last}" if len(versions) > 1 else f"Keras {first}"
    differs = Counter(change.where for change in changes if change.kind == "differs" and change.reason)
    alone = f", {sum(differs.values())} of some backends alone" if differs else ""
    verdict = (
        f"{named}: {count(fixed, 'fault')} fixed, {broke} new{alone}. "
        f"{len(runs.same):,} of {count(len(runs.claims), 'claim')} came out alike in all {len(runs.setups)} runs."
    )
    amiss = runs.amiss
    if amiss:
        verdict = f"Not as specified in some run: {count(len(amiss), 'claim')}. {verdict}"
    values = [
        (str(_claims_of(changes, "fixed")), "claims hold now that were false"),
        (str(_claims_of(changes, "broke")), "claims are false now that held"),
        (str(_claims_of(changes, "came", "ended")), "claims are about some versions only"),
    ]
    rows = tuple(
        table_row(
            CAUSES[change.reason].label,
            Cell(change.kind, (change.place,), tone=_MARKS[change.kind]),
            link=_anchor(change) if change.kind == "broke" else change.kind,
        )
        for change in changes
        if change.kind in ("broke", "fixed")
    )
    caption = prose("What changed, and since when; each leads to its claims.")
    table = Table(caption, ("What", "Change"), rows, code_headers=False)
    return Answer(prose(verdict), "failed" if amiss else "passed", tuple(values), (table,) if rows else ())


def _claims_of(changes: Sequence[Change], *kinds: str) -> int:
    return sum(len(change.claims) for change in changes if change.kind in kinds)


def _anchor(change: Change) -> str:
    return f"{change.kind}-{change.reason or change.where.lower().replace(' ', '-')}"


def _write_kind(runs: Runs, changes: Sequence[Change], kind: Kind) -> Section | None:
    own = [change for change in changes if change.kind == kind]
    if not own:
        return None
    lead: tuple[Block, ...] = (paragraph(_LEADS[kind]),)
    if kind != "broke":
        lead += tuple(
            Details(prose(strong(change.place), f": {change.title}"), _write_change(runs, change))
            for change in own
            if change.reason
        )
    parts = tuple(
        Section(_anchor(change), change.title, _write_change(runs, change), brief=CAUSES[change.reason].label)
        for change in own
        if change.reason and kind == "broke"
    )
    about = {"came": "Came in ", "ended": "Ended in ", "changed": "Changed in ", "differs": "About "}
    folded = tuple(
        Details(
            prose(strong(change.place), f": {count(len(change.claims), 'claim')} on {change.title}"),
            (_tabulate(runs, change.claims, f"{about[change.kind]}{change.place}"),),
        )
        for change in own
        if not change.reason
    )
    return Section(kind, _TITLES[kind], (*lead, *folded), parts)


def _write_change(runs: Runs, change: Change) -> tuple[Block, ...]:
    cause = CAUSES[change.reason]
    words = {"broke": "Broke in", "fixed": "Fixed in", "differs": "False on"}
    blocks: list[Block] = [paragraph(cause.text, f" {words[change.kind]} {change.place}.")]
    if cause.code:
        shown = describe_setup(cause.keras, cause.backends).removeprefix("Keras ")
        blocks.append(CodeBlock(f"{cause.code}\n# prints {cause.prints}\n# in Keras {shown}"))
    if cause.issues:
        links = [linked(address.removeprefix("https://github.com/"), address) for address in cause.issues]
        blocks.append(Bullets(tuple(prose("See ", link, ".") for link in links)))
    table = _tabulate(runs, change.claims, change.title)
    summary = prose(count(len(change.claims), "claim"))
    return (*blocks, _show_worst(runs, change), Details(summary, (table,)))


def _show_worst(runs: Runs, change: Change) -> Definitions:
    """Show what was measured before and since, of the claim that was farthest off."""
    found = [
        (setup, each)
        for name in change.claims
        for setup, each in zip(runs.setups, runs.claims[name], strict=True)
        if each is not None and each.status == "refuted" and each.cause == change.reason
    ]
    setup, worst = max(found, key=lambda pair: _distance(pair[1].evidence))
    others = list(zip(runs.setups, runs.claims[worst.id], strict=True))
    # Beside it the nearest run in which it holds: of the next version, or of another backend.
    places = [place for place, (_, each) in enumerate(others) if each is not None and each.status == "holds"]
    place = runs.setups.index(setup)
    shown = sorted({place, min(places, key=lambda other: abs(other - place), default=place)})
    measured = tuple((f"Keras {runs.setups[each]}", prose(others[each][1].reason)) for each in shown)  # type: ignore[union-attr]
    return Definitions((("Claimed", prose(worst.statement, f" ({worst.source})")), *measured))


def _distance(evidence: Evidence) -> float:
    return abs(math.log(evidence.effect)) if is_ratio(evidence) else 0.0


def _tabulate(runs: Runs, claims: Sequence[str], about: str) -> Table:
    rows = tuple(
        Row(name, tuple(_status_cell(newer, older) for older, newer in pairwise((None, *runs.claims[name]))))
        for name in claims
    )
    caption = prose(f"{about}: what each run gave, with the value where the status is another than in the one before.")
    return Table(caption, ("Claim", *map(str, runs.setups)), rows)


def _status_cell(claim: ClaimRecord | None, older: ClaimRecord | None) -> Cell:
    if claim is None:
        return Cell(NOT_RUN)
    shown = has_interval(claim.evidence) and (older is None or older.status != claim.status)
    notes = (format_short(claim.evidence.effect),) if shown else ()
    return Cell(claim.status, notes, tone=TONES[claim.status], emphasis=not claim.green)


def _write_same(runs: Runs) -> Section:
    topics: dict[str, Counter[str]] = {}
    for name in runs.same:
        topics.setdefault(name.split(".")[0], Counter())[runs.statuses(name)[0]] += 1
    statuses = [status for status in (*STATUSES, NOT_RUN) if any(counted[status] for counted in topics.values())]
    rows = tuple(
        table_row(name_topic(topic), *(f"{counted[status]:,}" for status in statuses))
        for topic, counted in topics.items()
    )
    totals = [f"{sum(counted[status] for counted in topics.values()):,}" for status in statuses]
    table = Table(
        prose("Claims of one status in all runs, by topic."),
        ("Topic", *(status.capitalize() for status in statuses)),
        (*rows, table_row("All", *totals)),
        code_headers=False,
    )
    summary = prose(f"{count(len(runs.same), 'claim')}: {_join_counts(sum(topics.values(), Counter()))}")
    return Section("same", "What is the same in all", (Details(summary, (table,)),))


def _join_counts(counts: Mapping[Any, int]) -> str:
    words = {"holds": "hold", "now holds": "now hold"}
    found = {status: counts[status] for status in (*STATUSES, NOT_RUN) if counts.get(status)}
    return ", ".join(f"{number:,} {words.get(status, status)}" for status, number in found.items())


def _write_method(runs: Runs) -> Section:
    rows = tuple(
        table_row(
            f"Keras {setup}",
            record.started.partition("T")[0],
            str(record.seed),
            _join_counts(count_statuses(record.claims)),
            _name_library(record.versions),
        )
        for setup, record in zip(runs.setups, runs.records, strict=True)
    )
    caption = prose("Each run: its day, its seed, what it found and with what.")
    table = Table(caption, ("Version", "Day", "Seed", "Found", "With"), rows, code_headers=False)
    how = paragraph(
        "Under each version, and on each backend, the same claims were measured with the same seeds. What is expected "
        "there is part of each claim; one that comes out otherwise turns the run red."
    )
    # Where it wrote its own pages is of no interest.
    command = re.sub(r" --report \S+", "", runs.records[-1].command_line)
    listed = Details(prose(count(len(rows), "run")), (table,))
    return Section("method", "How it was measured", (how, CodeBlock(command), listed))


def _name_library(versions: Mapping[str, str]) -> str:
    names = ("initcheck", *BACKENDS, "numpy", "python")
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)


def write_table(runs: Runs) -> str:
    """Write what differs as CSV: a line a claim, a column a run."""
    same = set(runs.same)
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(["claim", *(setup.slug for setup in runs.setups)])
    lines.writerows([name, *runs.statuses(name)] for name in runs.claims if name not in same)
    return out.getvalue()


def find_runs(places: Sequence[Path]) -> Iterator[Path]:
    """Find the files of runs, in folders of any depth."""
    for place in places:
        yield from sorted(place.rglob("spec.json")) if place.is_dir() else (place,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the results (default: reports)")
    parser.add_argument("runs", type=Path, nargs="+", help="files spec.json, or folders that hold some")
    options = parser.parse_args(arguments)
    check_writable(options.out)
    try:
        runs = Runs([read_run(path) for path in find_runs(options.runs)])
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    files = {**render_pages(build_page(runs), "versions"), "versions.csv": write_table(runs)}
    for path in publish_files(options.out, files):
        sys.stdout.write(f"{path}\n")
    return 1 if runs.amiss else 0


if __name__ == "__main__":
    sys.exit(main())
