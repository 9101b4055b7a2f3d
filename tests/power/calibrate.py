"""Counts the false alarms of the statistical claims over fresh base seeds.

Run it with ``tox run -e calibrate``. It leaves ``calibration.csv`` and ``calibration.md`` in ``reports/``. A claim that
does not come out as the specification expects is a false alarm: the installed Keras is the one that the claims are
known to hold for. A check that could not fail would show nothing either, so the p-values of the tests of fit are
compared with what chance gives: among m independent uniform ones the smallest is about 1/(m + 1).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from scipy import stats

from initcheck.core.files import check_writable, publish_files
from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import Claim, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, SPECIFICATION_FALSE_ALARM, NoDifference

LEVELS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Run:
    """The specification at one base seed.

    Attributes:
        seed: the base seed.
        alarms: claims that did not come out as expected, with the status of each.
        p_values: members of tests of fit, without correction, as (claim, member, p-value).
        claims: how many claims were judged.
        seconds: how long it took.
    """

    seed: int
    alarms: dict[str, str]
    p_values: list[tuple[str, str, float]] = field(repr=False)
    claims: int = 0
    seconds: float = math.nan


def claims_of(patterns: Sequence[str], slow: bool) -> list[Claim]:
    return [
        claim
        for claim in catalogue()
        if claim.statistical
        and (slow or not claim.slow)
        and any(fnmatchcase(claim.id, pattern) for pattern in patterns or ["*"])
    ]


def run_once(task: tuple[int, tuple[str, ...], bool]) -> Run:
    """Judge the statistical claims at one base seed."""
    seed, patterns, slow = task
    start = time.perf_counter()
    context = RunContext(seed)
    alarms: dict[str, str] = {}
    p_values: list[tuple[str, str, float]] = []
    listed = claims_of(patterns, slow)
    for claim in listed:
        outcome = context.judge(claim, with_control=False)
        if not outcome.green:
            alarms[claim.id] = f"{outcome.status}: {outcome.reason}"
        elif claim.expected == "holds" and isinstance(claim.decide, NoDifference):
            table = context.measure(claim.experiment)
            p_values += [
                (claim.id, str(member), float(p)) for member, p in zip(table["member"], table["p_value"], strict=True)
            ]
    context.forget()
    return Run(seed, alarms, p_values, len(listed), time.perf_counter() - start)


def by_property(runs: Sequence[Run]) -> Iterator[tuple[str, np.ndarray]]:
    """Group the p-values by what is tested: the last part of a claim's id, and the test where a claim has several."""
    groups: dict[str, list[float]] = {}
    for run in runs:
        for claim, member, p_value in run.p_values:
            name = claim.rpartition(".")[2]
            if name.startswith("independence"):
                test = "neighbours" if name.endswith("neighbours") else member.partition(" of (")[0]
                name = f"{name}: {test}"
            groups.setdefault(name, []).append(p_value)
    for name, found in sorted(groups.items()):
        yield name, np.asarray(found)


def as_markdown(runs: Sequence[Run]) -> str:
    """Write the report."""
    count = len(runs)
    counted = Counter(claim for run in runs for claim in run.alarms)
    hit = sum(1 for run in runs if run.alarms)
    judged = sum(run.claims for run in runs)
    per_run = stats.binomtest(hit, count).proportion_ci(0.95, method="exact")
    per_claim = stats.binomtest(sum(counted.values()), judged).proportion_ci(0.95, method="exact")
    lines = [
        "# Calibration",
        "",
        (
            f"{count} runs at the base seeds {min(run.seed for run in runs)} to {max(run.seed for run in runs)}, each "
            f"with all {_span([run.claims for run in runs])} statistical claims that were picked: {judged} verdicts, "
            f"{np.mean([run.seconds for run in runs]):.0f} s a run on average."
        ),
        "",
        "| rate of false alarms | counted | estimate | 95% interval (Clopper and Pearson) | designed bound |",
        "|---|---|---|---|---|",
        (
            f"| of a run | {hit} of {count} | {hit / count:.2g} | [{per_run.low:.2g}, {per_run.high:.2g}] | "
            f"{SPECIFICATION_FALSE_ALARM:g} |"
        ),
        (
            f"| of a claim | {sum(counted.values())} of {judged} | {sum(counted.values()) / judged:.2g} | "
            f"[{per_claim.low:.2g}, {per_claim.high:.2g}] | {CLAIM_FALSE_ALARM:g} |"
        ),
        "",
        "## False alarms by claim",
        "",
    ]
    if counted:
        lines += ["| claim | runs | what it said (first run) |", "|---|---|---|"]
        for claim, times in counted.most_common():
            first = next(run for run in runs if claim in run.alarms)
            told = first.alarms[claim].replace("|", "/")
            lines.append(f"| `{claim}` | {times} | seed {first.seed}: {told} |")
    else:
        lines.append("None.")
    lines += [
        "",
        "## Are the p-values of the tests of fit those of chance?",
        "",
        (
            "Of m independent p-values a share x lies below x, and the smallest is about 1/(m + 1). Fewer small ones "
            "mean a test that is conservative by design (a bound and not a law, Bonferroni's correction, p-values that "
            "were raised for their tails); more mean false alarms. Members of one claim share their draws, so that m "
            "independent ones is more than there are, and the last column says too much."
        ),
        "",
        "| property | m | smallest | expected | "
        + " | ".join(f"share below {level:g}" for level in LEVELS)
        + " | Kolmogorov and Smirnov's p |",
        "|---|---|---|---|" + "---|" * (len(LEVELS) + 1),
    ]
    for name, found in by_property(runs):
        shares = " | ".join(f"{np.mean(found < level):.2g}" for level in LEVELS)
        fit = stats.kstest(found, "uniform").pvalue
        lines.append(
            f"| {name} | {found.size} | {found.min():.2g} | {1.0 / (found.size + 1):.2g} | {shares} | {fit:.2g} |"
        )
    return "\n".join(lines) + "\n"


def _span(counts: Sequence[int]) -> str:
    """Write a number, or the range where the numbers differ (runs that were kept before claims were added)."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def read_runs(path: Path | None) -> list[Run]:
    """Read the runs that an earlier call kept; a last line that was cut off counts as not kept."""
    if path is None or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    path.write_text("".join(whole), encoding="utf-8")  # so that the next run begins a line
    found = [json.loads(line) for line in whole]
    return [Run(**{**each, "p_values": [tuple(row) for row in each["p_values"]]}) for each in found]


def as_csv(runs: Sequence[Run]) -> str:
    """Write one row a false alarm, and one for a run without any."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["seed", "claims", "seconds", "false_alarm", "told", "smallest_p", "p_values"])
    for run in runs:
        smallest = min((p for _, _, p in run.p_values), default=math.nan)
        for claim, told in (run.alarms or {"": ""}).items():
            writer.writerow(
                [run.seed, run.claims, f"{run.seconds:.1f}", claim, told, f"{smallest:.3g}", len(run.p_values)]
            )
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="base seeds (default: 200)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--first-seed", type=int, default=None, help="first base seed (default: one that nobody used)")
    parser.add_argument("--keep", type=Path, help="file that keeps each run as it ends, and is read when it exists")
    parser.add_argument("--slow", action="store_true", help="slow claims too")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the results (default: reports)")
    parser.add_argument("claims", nargs="*", help="ids or patterns of claims (default: all statistical ones)")
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.workers < 1:
        parser.error("--runs and --workers take whole numbers of at least 1")
    check_writable(options.out)
    first = options.first_seed if options.first_seed is not None else int.from_bytes(os.urandom(3), "little") * 256
    kept = read_runs(options.keep)
    tasks = [(first + index, tuple(options.claims), options.slow) for index in range(options.runs)]
    done = {run.seed for run in kept}
    tasks = [task for task in tasks if task[0] not in done]
    runs = kept
    # Not forked: TensorFlow's threads do not survive it. A new process now and then gives back what Keras keeps.
    with multiprocessing.get_context("spawn").Pool(options.workers, maxtasksperchild=25) as pool:
        try:
            for run in pool.imap_unordered(run_once, tasks, chunksize=1):
                runs.append(run)
                if options.keep is not None:
                    with options.keep.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(asdict(run)) + "\n")
                told = f"{len(run.alarms)} false alarms" if run.alarms else "no false alarm"
                sys.stderr.write(f"{len(runs)}/{options.runs} seed {run.seed}: {told} ({run.seconds:.0f} s)\n")
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted: the report covers the runs that are complete.\n")
    if not runs:
        return 130
    runs.sort(key=lambda run: run.seed)
    for path in publish_files(options.out, {"calibration.csv": as_csv(runs), "calibration.md": as_markdown(runs)}):
        sys.stdout.write(f"{path}\n")
    return 1 if any(run.alarms for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
