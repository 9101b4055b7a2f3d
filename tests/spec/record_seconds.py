"""Record what the claims of complete runs took, for the forecasts of ``initcheck spec``.

Run ``initcheck spec --workers 2 --json > spec.json``, then ``python tests/spec/record_seconds.py spec.json``. Of
several runs a claim's shortest time is taken: what else a machine does can only make it longer. Say with ``--slowdown``
how many times as long as the reference machine this one takes, by ``initcheck.core.forecast.measure_slowdown``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import defaultdict
from pathlib import Path

from initcheck.spec.catalogue import catalogue
from initcheck.spec.forecast import RECORDED

COLUMNS = ("subject", "mark", "claims", "seconds", "longest")


def record(paths: list[Path], slowdown: float) -> list[tuple[str, str, int, str, str]]:
    """Add up the seconds of each subject and mark."""
    marks = {claim.id: claim.mark for claim in catalogue()}
    shortest: dict[str, float] = {}
    for path in paths:
        for claim in json.loads(path.read_text(encoding="utf-8"))["claims"]:
            if claim["id"] in marks and claim["seconds"] is not None:
                shortest[claim["id"]] = min(claim["seconds"] / slowdown, shortest.get(claim["id"], math.inf))
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for claim_id, each in shortest.items():
        seconds[".".join(claim_id.split(".")[:2]), marks[claim_id]].append(each)
    return [(*key, len(each), f"{sum(each):.3f}", f"{max(each):.3f}") for key, each in sorted(seconds.items())]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, metavar="spec.json", nargs="+")
    parser.add_argument("--slowdown", type=float, default=1.0)
    given = parser.parse_args()
    with RECORDED.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *record(given.runs, given.slowdown)])
