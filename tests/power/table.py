"""Plants every defect into the installed Keras and writes which claims catch it, and which of them is listed first.

Run it with ``tox run -e power``. It leaves ``power.csv`` and ``power.md`` in ``reports/``, and ends with 1 if a defect
went through unnoticed, or if the first claim says what was planted for fewer than :data:`NAMED` of them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
from planting import Planted
from running import DEFECTS, Baseline, first_listed, judge_wider, names

from initcheck.core.files import check_writable, publish_files

SHOWN = 4
NAMED = 0.95
"""The share of the defects that the first red claim has to name."""


@dataclass(frozen=True)
class Row:
    """A claim that caught a defect; of a defect that none caught, one row without a claim."""

    defect: str
    planted: str
    claim: str
    verdict: str
    p_value: float
    reason: str
    expected: bool
    first_red_claim: str
    """The claim that is listed first of all that the defect turned red; empty where none is red."""
    names_it: bool
    """Whether that claim is one that says what was planted."""


_baselines: dict[int, Baseline] = {}


def rows_of(name: str, seed: int) -> tuple[str, list[Row], int, float]:
    """Run one defect.

    Returns:
        Its name, a row a claim that caught it (those named for it first, by p-value), how many claims
        ran, and the seconds it took.
    """
    start = time.perf_counter()
    planted = next(each for each in DEFECTS if each.name == name)
    judged = judge_wider(planted, _baselines.setdefault(seed, Baseline(seed)))
    rows = []
    first = first_listed(judged)
    first_id, named = (first.claim.id, names(planted, first.claim)) if first else ("", False)
    for each in judged:
        if each.caught:
            evidence = each.after.evidence
            expected = any(fnmatchcase(each.claim.id, pattern) for pattern in planted.caught_by)
            p_value = evidence.p_value if each.claim.statistical else 0.0
            found = (each.claim.id, each.after.status, p_value, each.after.reason, expected)
            rows.append(Row(name, planted.note, *found, first_id, named))
    rows.sort(key=lambda row: (not row.expected, math.inf if math.isnan(row.p_value) else row.p_value, row.claim))
    return name, rows, len(judged), time.perf_counter() - start


def as_csv(found: dict[str, list[Row]]) -> str:
    rows = []
    for planted in _ordered(found):
        uncaught = Row(planted.name, planted.note, "", "", math.nan, "no claim caught it", False, "", False)
        rows += found[planted.name] or [uncaught]
    return pd.DataFrame(rows).to_csv(index=False, na_rep="nan", lineterminator="\n")


def as_markdown(found: dict[str, list[Row]], ran: dict[str, int], seed: int) -> str:
    uncaught = [planted for planted in _ordered(found) if not found[planted.name]]
    unnamed = [planted for planted in _ordered(found) if not is_named(found[planted.name])]
    named = len(found) - len(unnamed)
    lines = [
        "# Planted defects",
        "",
        (
            "Each defect was planted into the installed Keras, and the claims that it concerns were judged (base seed "
            f"{seed}). A claim catches a defect if it is green without it and red with it. First come the claims that "
            "the defect was made for; what the first of them said stands beside. *First red claim* is the one that the "
            "terminal lists first of all that turned red, and *names it* says whether that claim is among those that "
            "say what was planted, its kind and its subject; which these are is written down with the defect. "
            "The claims that were judged are those of the subjects that a defect concerns, in all topics: of what "
            "takes many draws only what would be listed before, without deep networks and training, which come last."
        ),
        "",
        f"{len(found)} defects, {len(uncaught)} of them caught by no claim"
        + (f": {', '.join(planted.name for planted in uncaught)}." if uncaught else "."),
        "",
        f"The first red claim names {named} of {len(found)} ({named / len(found):.1%})"
        + (f". Not named: {', '.join(planted.name for planted in unnamed)}." if unnamed else "."),
        "",
        "| defect | what was planted | first red claim | names it | caught by | what the first said | claims run |",
        "|---|---|---|---|---|---|---|",
    ]
    for planted in _ordered(found):
        rows = found[planted.name]
        shown = ", ".join(f"`{row.claim}`" for row in rows[:SHOWN])
        rest = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        told = rows[0].reason.replace("|", "/") if rows else ""
        caught = f"{shown}{rest}" or "**nothing**"
        first = f"`{rows[0].first_red_claim}`" if rows and rows[0].first_red_claim else "none"
        says = "yes" if is_named(rows) else "**no**"
        cells = (f"`{planted.name}`", planted.note, first, says, caught, told, str(ran[planted.name]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def is_named(rows: list[Row]) -> bool:
    """Say whether the first red claim named the defect of these rows."""
    return bool(rows) and rows[0].names_it


def _ordered(found: dict[str, list[Row]]) -> list[Planted]:
    """Put the defects that nothing caught first."""
    return sorted((each for each in DEFECTS if each.name in found), key=lambda each: bool(found[each.name]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the results (default: reports)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="base seed (default: 0)")
    parser.add_argument("defects", nargs="*", help="names or patterns of defects (default: all)")
    options = parser.parse_args(arguments)
    check_writable(options.out)
    patterns = options.defects or ["*"]
    names = [each.name for each in DEFECTS if any(fnmatchcase(each.name, pattern) for pattern in patterns)]
    found: dict[str, list[Row]] = {}
    ran: dict[str, int] = {}
    # Not forked: TensorFlow's threads do not survive it.
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        running = [pool.apply_async(rows_of, (name, options.seed)) for name in names]
        for number, each in enumerate(running, start=1):
            name, rows, count, seconds = each.get()
            found[name], ran[name] = rows, count
            told = f"caught by {len(rows)} of {count} claims" if rows else f"NOT CAUGHT by {count} claims"
            if rows and not is_named(rows):
                told += f", NOT NAMED by {rows[0].first_red_claim or 'any'}"
            sys.stderr.write(f"{number}/{len(names)} {name}: {told} ({seconds:.1f} s)\n")
    for path in publish_files(
        options.out, {"power.csv": as_csv(found), "power.md": as_markdown(found, ran, options.seed)}
    ):
        sys.stdout.write(f"{path}\n")
    named = sum(map(is_named, found.values()))
    sys.stderr.write(f"The first red claim names {named} of {len(found)} defects.\n")
    return 0 if all(found.values()) and named >= NAMED * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
