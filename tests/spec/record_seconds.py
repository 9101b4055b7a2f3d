"""Record what the claims of a complete run took, for the forecasts of ``initcheck spec``.

Run ``initcheck spec --workers 2 --json > spec.json``, then ``python tests/spec/record_seconds.py spec.json``. On
another machine than the reference, or beside other work, say with ``--slowdown`` how many times as long it took.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

from initcheck.spec.catalogue import catalogue
from initcheck.spec.forecast import RECORDED

COLUMNS = ("subject", "mark", "claims", "seconds", "longest")


def record(path: Path, slowdown: float) -> list[tuple[str, str, int, str, str]]:
    """Add up the seconds of each subject and mark."""
    marks = {claim.id: claim.mark for claim in catalogue()}
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for claim in json.loads(path.read_text(encoding="utf-8"))["claims"]:
        subject = ".".join(claim["id"].split(".")[:2])
        seconds[subject, marks[claim["id"]]].append(float(claim["seconds"]) / slowdown)
    return [(*key, len(each), f"{sum(each):.3f}", f"{max(each):.3f}") for key, each in sorted(seconds.items())]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="spec.json")
    parser.add_argument("--slowdown", type=float, default=1.0)
    given = parser.parse_args()
    with RECORDED.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *record(given.run, given.slowdown)])
