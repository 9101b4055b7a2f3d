"""Runs a sweep over and over, kills each run at a moment drawn at random, and finishes it: a program for the tests.

One process imports, and forks each run: a run then begins within milliseconds, and kills fall into its work. Arguments:
the folder, the number of kills, the number of cells. Prints how many runs were killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import sweep_stub as stub

from initcheck.sweeping.run import run_sweep

SECONDS_A_CELL = 0.002
LIVES = 2.5
"""The longest life of a run, in the time that the first one took until its first cell."""


def run(folder, cells):
    run_sweep(stub.make_spec(cells), folder / "cells.sqlite", stub.StubEngine(SECONDS_A_CELL, folder / "log"))


def main(folder, kills, cells):
    chance = random.Random(0)
    killed, longest = 0, None
    while killed < kills:
        begun = time.perf_counter()
        child = os.fork()
        if child == 0:
            run(folder, cells)
            os._exit(0)
        if longest is None:
            while not (folder / "log").exists():
                time.sleep(0.001)
            longest = LIVES * (time.perf_counter() - begun)
        else:
            time.sleep(chance.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break  # it was finished before: there is nothing left to kill
        killed += 1
    sys.stdout.write(f"{killed}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
