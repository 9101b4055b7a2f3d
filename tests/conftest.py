"""What makes the tests quick: one thread a worker, libraries that garbage is not looked for in, and plain graphs."""

from __future__ import annotations

import gc
import os
import sys

import pytest

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS")


FROZEN = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--plain-graphs",
        action="store_true",
        help="Run graphs as they were traced: TensorFlow's optimizer takes a third of the time of most tests.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        # A worker for each core: threads of their own would only wait for each other.
        for name in THREADS:
            os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "tensorflow" not in sys.modules:
        return
    if not item.config.stash.get(FROZEN, False):
        # statsmodels and Keras collect garbage in ordinary calls, and would search all that the libraries hold.
        gc.freeze()
        item.config.stash[FROZEN] = True
    if "keras" in sys.modules:
        # Keras names layers by a counter of the process: each test finds it as a process of its own would.
        sys.modules["keras.src.utils.naming"].reset_uids()
    if item.config.getoption("plain_graphs"):
        plain = item.get_closest_marker("optimized") is None
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": plain})
