"""What makes the tests quick: one thread a worker, libraries that garbage is not looked for in, and plain graphs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PJRT_NPROC", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS")
UNOPTIMIZED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

FROZEN = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--plain-graphs",
        action="store_true",
        help="Run graphs as they were traced: to optimize them takes a third of the time of most tests, on JAX half.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        # A worker for each core: threads of their own would only wait for each other.
        for name in THREADS:
            os.environ.setdefault(name, "1")
    if config.getoption("plain_graphs"):
        os.environ.setdefault("XLA_FLAGS", UNOPTIMIZED)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "keras" not in sys.modules:
        return
    if not item.config.stash.get(FROZEN, False):
        # statsmodels and Keras collect garbage in ordinary calls, and would search all that the libraries hold.
        gc.freeze()
        item.config.stash[FROZEN] = True
    # Keras names layers by a counter of the process: each test finds it as a process of its own would.
    sys.modules["keras.src.utils.naming"].reset_uids()
    if item.config.getoption("plain_graphs") and "tensorflow" in sys.modules:
        plain = item.get_closest_marker("optimized") is None
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": plain})


@pytest.fixture(autouse=True)
def _float64(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    jax = sys.modules.get("jax")
    if request.node.get_closest_marker("float64") is None or "keras" not in sys.modules:
        yield
        return
    # But for TensorFlow, Keras computes float64 in float32, a product of matrices say.
    narrowed = sys.modules["keras.src.backend.common.dtypes"].BIT64_TO_BIT32_DTYPE
    monkeypatch.setitem(narrowed, "float64", "float64")
    if jax is not None:
        jax.config.update("jax_enable_x64", True)
    yield
    if jax is not None:
        jax.config.update("jax_enable_x64", False)
