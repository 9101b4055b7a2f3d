"""Counts how often ``check`` finds a planted defect, its layer and its cause, and how often it finds fault without one.

Run it with ``tox run -e diagnosis-power``. It leaves ``diagnosis.csv`` and ``diagnosis.md`` in ``reports/``. A draw is
one random architecture of ``planted_models.py``; two draws of three have one of the defects there.
"""

from __future__ import annotations

import argparse
import csv
import gc
import io
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from planted_models import ARCHITECTURES, DEFECTS, Builder, Stack, build, find_place
from scipy import stats

import initcheck
from initcheck.backend.runtime import import_keras, import_tensorflow
from initcheck.core.files import check_writable, publish_files

keras = import_keras()

SEEDS, SAMPLES = 6, 16
BARS = {"found": 0.97, "layer": 0.95, "cause": 0.90, "false alarm": 0.01}


# --- one draw ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One problem that the check named: the layers that did it, the kind of cause, and the sentences."""

    layers: tuple[str, ...]
    cause: str
    text: str


@dataclass(frozen=True)
class Draw:
    """One architecture, what was planted, and what was said.

    Attributes:
        defect: empty for a sound one.
        exit_code: that of the check; -1 for an exception.
        layer: whether the layers that the first problem names are right.
        cause: whether its cause is; None where none is expected.
    """

    seed: int
    architecture: str
    defect: str
    right: tuple[str, ...]
    exit_code: int
    layer: bool
    cause: bool | None
    said: tuple[Said, ...]
    seconds: float

    @property
    def found(self) -> bool:
        """Whether something was found wrong."""
        return self.exit_code == 1


def problems_of(report: Any) -> tuple[Said, ...]:
    """List the problems that a check found, but no notes."""
    said = []
    for each in report.result.problems:
        if each.level == "note":
            continue
        cause, named = each.cause, each.layers if each.cause else each.main.named[:1]
        why = f" ({cause.kind}: {cause.message})" if cause else ""
        text = f"{' '.join(each.codes)} {each.title}: {each.main.message}{why}"
        said.append(Said(tuple(named), cause.kind if cause else "", text))
    return tuple(said)


def make_inputs(model: Any, b: Builder, random: np.random.Generator, factor: float) -> Any:
    """Make samples where the check cannot or is not to make them; None where it makes them itself."""
    if isinstance(model, Stack):
        shapes = [(b.sites[0].fan_in,)]
    elif factor != 1.0 and model.inputs:
        shapes = [tensor.shape[1:] for tensor in model.inputs]
    else:
        return None
    draw = random.standard_normal if factor == 1.0 else random.random
    made = [(factor * draw((SAMPLES, *shape))).astype("float32") for shape in shapes]
    return made if len(made) > 1 else made[0]


def is_right(path: str, right: Sequence[str]) -> bool:
    """Find whether a path of a layer or weight is that of a layer, or of a part of it."""
    return bool(set(path.split("/")) & set(right))


def draw(seed: int, kind: str) -> Draw:
    """Draw an architecture, plant a defect of one kind (none where it is empty), and check it."""
    started, random = time.perf_counter(), np.random.default_rng((seed, *map(ord, kind)))
    name, own, plan = find_place(kind, random)
    model, b = build(name, own, plan)
    right = b.list_right()
    if plan.inputs != 1.0:
        tensors = getattr(model, "inputs", None) or ()
        right += [
            *(tensor.name for tensor in tensors),
            *(layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)),
            *(f"input_{place}" for place in range(len(tensors))),
            "input",
            "",
        ]
    x = make_inputs(model, b, random, plan.inputs)
    keras.utils.set_random_seed(seed)
    try:
        report = initcheck.check(model, x, seeds=SEEDS, batch_size=None if x is not None else SAMPLES, fixes=False)
        code, said = report.exit_code, problems_of(report)
    except Exception as error:  # noqa: BLE001 - a check that breaks is a miss, and listed with what it raised
        code, said = -1, (Said((), "", f"{type(error).__name__}: {error}"),)
    finally:
        gc.collect()
    causes = DEFECTS[kind].causes if kind else frozenset()
    first = said[0] if code == 1 and said else Said((), "", "")
    return Draw(
        seed=seed,
        architecture=name,
        defect=kind,
        right=tuple(right),
        exit_code=code,
        layer=bool(first.layers) and all(is_right(path, right) for path in first.layers),
        cause=first.cause in causes if causes else None,
        said=said,
        seconds=time.perf_counter() - started,
    )


def tasks(first: int, planted: int, sound: int) -> Iterator[tuple[int, str]]:
    """List the draws: defects in turn, and sound ones between them, evenly."""
    kinds, done = list(DEFECTS), 0
    for place in range(planted):
        yield first + place, kinds[place % len(kinds)]
        while done < sound * (place + 1) // planted:
            yield first + done, ""
            done += 1
    yield from ((first + place, "") for place in range(done, sound))


# --- the table --------------------------------------------------------------------------------------------------------


def rate(hits: int, count: int) -> str:
    """Write a rate with its interval (Clopper and Pearson)."""
    if not count:
        return "-"
    interval = stats.binomtest(hits, count).proportion_ci(0.95, method="exact")
    return f"{hits}/{count}: {hits / count:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def rates(draws: Sequence[Draw]) -> dict[str, tuple[int, int]]:
    """Count the hits among some draws, and what they are counted of."""
    planted, sound = [each for each in draws if each.defect], [each for each in draws if not each.defect]
    caused = [each for each in planted if each.cause is not None]
    return {
        "found": (sum(each.found for each in planted), len(planted)),
        "layer": (sum(each.layer for each in planted), len(planted)),
        "cause": (sum(bool(each.cause) for each in caused), len(caused)),
        "false alarm": (sum(each.found for each in sound), len(sound)),
    }


def meets_bar(name: str, hits: int, count: int) -> bool:
    """Find whether a rate is what it has to be."""
    share = hits / count if count else math.nan
    return share <= BARS[name] if name == "false alarm" else share >= BARS[name]


def as_markdown(draws: Sequence[Draw]) -> str:
    """Write the report."""
    lines = [
        "# How often the diagnosis is right",
        "",
        (
            f"{len(draws)} models at the seeds {min(each.seed for each in draws)} to "
            f"{max(each.seed for each in draws)}, {SEEDS} draws of the weights each, "
            f"{np.mean([each.seconds for each in draws]):.1f} s on average. What is drawn and planted, and what is "
            "right to say of it, is in `tests/power/planted_models.py`. *Layer* and *cause* count what the first "
            "problem names, of all planted defects, found or not. Intervals are 95% (Clopper and Pearson)."
        ),
        "",
        "| | counted | has to be | is |",
        "|---|---|---|---|",
    ]
    for name, (hits, count) in rates(draws).items():
        sign = "at most" if name == "false alarm" else "at least"
        verdict = "met" if meets_bar(name, hits, count) else "**missed**"
        lines.append(f"| {name} | {rate(hits, count)} | {sign} {BARS[name]:.0%} | {verdict} |")
    unsure = sum(each.exit_code not in (0, 1) for each in draws if not each.defect)
    lines += ["", f"Sound models that could not be judged: {unsure}.", ""]
    for title, key, values in (
        ("defect", "defect", list(DEFECTS)),
        ("architecture", "architecture", list(ARCHITECTURES)),
    ):
        names = [name for name in BARS if key == "architecture" or name != "false alarm"]
        lines += ["", f"## By {title}", "", f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for value in values:
            found = rates([each for each in draws if getattr(each, key) == value])
            lines.append(f"| {value} | {' | '.join(rate(*found[name]) for name in names)} |")
    lines += ["", "## What was not right", ""]
    lines += [line for each in draws if is_miss(each) for line in describe_miss(each)] or ["Nothing."]
    return "\n".join(lines) + "\n"


def is_miss(each: Draw) -> bool:
    """Find whether something that was said of a draw, or not said, is wrong."""
    return each.exit_code != 0 if not each.defect else not (each.layer and each.cause is not False)


def describe_miss(each: Draw) -> Iterator[str]:
    """Describe a draw whose judgement is wrong."""
    wrong = [f"exit {each.exit_code}"]
    if each.defect and each.found:
        wrong = ["layer"] * (not each.layer) + ["cause"] * (each.cause is False)
    right = f" (right: {', '.join(name for name in each.right if name)})" if each.defect else ""
    yield f"- seed {each.seed}, {each.architecture}, {each.defect or 'sound'}{right}: {', '.join(wrong)}"
    for said in each.said[:4]:
        yield "  - " + " ".join(said.text.split()).replace("|", "/")[:400]
    if len(each.said) > 4:
        yield f"  - and {len(each.said) - 4} more"


def as_csv(draws: Sequence[Draw]) -> str:
    """Write one row a draw."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["seed", "architecture", "defect", "exit_code", "layer", "cause", "problems", "first", "seconds"])
    for each in draws:
        cause = "" if each.cause is None else int(each.cause)
        first = each.said[0].text if each.said else ""
        verdict = [each.exit_code, int(each.layer), cause, len(each.said), first, f"{each.seconds:.1f}"]
        writer.writerow([each.seed, each.architecture, each.defect, *verdict])
    return text.getvalue()


def read_draws(path: Path | None) -> list[Draw]:
    """Read the draws that an earlier call kept; a last line that was cut off counts as not kept."""
    if path is None or not path.exists():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    path.write_text("".join(whole), encoding="utf-8")  # so that the next draw begins a line
    kept = [json.loads(line) for line in whole]
    return [
        Draw(**{**each, "right": tuple(each["right"]), "said": tuple(Said(**said) for said in each["said"])})
        for each in kept
    ]


def start_worker() -> None:
    """Run graphs as they were traced, and look for no garbage in the libraries: both take a third of a draw's time."""
    import_tensorflow().config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.freeze()


def draw_task(task: tuple[int, str]) -> Draw:
    return draw(*task)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=440, help="draws with a defect (default: 440)")
    parser.add_argument("--sound", type=int, default=220, help="sound draws (default: 220)")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--keep", type=Path, help="file that keeps each draw as it ends, and is read when it exists")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the results (default: reports)")
    options = parser.parse_args(arguments)
    check_writable(options.out)
    draws = read_draws(options.keep)
    done = {(each.seed, each.defect) for each in draws}
    left = [task for task in tasks(options.first_seed, options.planted, options.sound) if task not in done]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")  # a worker for each core: threads of their own would only wait for each other
    # Not forked: TensorFlow's threads do not survive it. A new process now and then gives back what Keras keeps.
    with multiprocessing.get_context("spawn").Pool(options.workers, start_worker, maxtasksperchild=60) as pool:
        for each in pool.imap_unordered(draw_task, left, chunksize=1):
            draws.append(each)
            if options.keep is not None:
                with options.keep.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(asdict(each)) + "\n")
            lines = list(describe_miss(each)) if is_miss(each) else []
            lines = lines or [f"- seed {each.seed}, {each.architecture}, {each.defect or 'sound'}: right"]
            sys.stderr.write(f"{len(draws)}/{options.planted + options.sound} ({each.seconds:.1f} s)\n")
            sys.stderr.write("\n".join(lines) + "\n")
    draws.sort(key=lambda each: (each.defect == "", each.seed))
    for path in publish_files(options.out, {"diagnosis.csv": as_csv(draws), "diagnosis.md": as_markdown(draws)}):
        sys.stdout.write(f"{path}\n")
    return 0 if all(meets_bar(name, *counted) for name, counted in rates(draws).items()) else 1


if __name__ == "__main__":
    sys.exit(main())
