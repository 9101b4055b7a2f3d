"""Cells on the workers of a Dask cluster, or on worker processes of this machine, which are a small cluster.

The one module that needs ``distributed``, the extra ``sweep``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from initcheck.errors import EngineError, InitcheckError
from initcheck.sweeping.batching import Batching
from initcheck.sweeping.cell import VERSIONED, Cell
from initcheck.sweeping.engines import Measure, describe_exception
from initcheck.sweeping.measurement import CellResult, measure_batch

CONNECT_SECONDS: Final = 10
"""How long a scheduler may take to answer."""

WORKERS_SECONDS: Final = 60
"""How long the first worker may take to come."""

_POLL_SECONDS: Final = 5

TASKS_AHEAD: Final = 2
"""Tasks handed out for each thread of a worker: enough that none waits, and few, so that they take no memory here."""

RETRIES: Final = 1
"""How often a batch is tried again after an exception, before its cells are tried one by one."""

DEATHS_ALLOWED: Final = 1
"""How many workers of this machine may die of one task before it is given up."""

MeasureBatch = Callable[[Sequence[Cell], Path], list[CellResult]]


@dataclass(frozen=True)
class DaskEngine:
    """The workers of a Dask cluster.

    Attributes:
        scheduler: address of the scheduler, such as ``tcp://10.0.0.1:8786``.
        measure_batch: the work of one task; only tests give another.
    """

    scheduler: str
    measure_batch: MeasureBatch = measure_batch

    @contextmanager
    def open(self, data_folder: Path, versions: Mapping[str, str]) -> Iterator[Measure]:
        """Connect, wait for a worker, and make sure that all workers have the same versions.

        Raises:
            EngineError: there is no scheduler, no worker, or a worker with other versions.
        """
        distributed = _import_distributed()
        with ExitStack() as stack:
            try:
                client = distributed.Client(self.scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError) as error:
                raise EngineError(
                    f"There is no scheduler at {self.scheduler!r}: {describe_exception(error)}. Start one with "
                    "'dask scheduler', or check --scheduler."
                ) from None
            stack.callback(_close_quietly, client)
            yield _Dispatcher(client, self.measure_batch, data_folder, dict(versions)).start()


@dataclass(frozen=True)
class LocalEngine:
    """Worker processes of this machine, each with one thread.

    Attributes:
        workers: how many; None for one a processor.
        measure_batch: the work of one task; only tests give another.
    """

    workers: int | None = None
    measure_batch: MeasureBatch = measure_batch

    @contextmanager
    def open(self, data_folder: Path, versions: Mapping[str, str]) -> Iterator[Measure]:
        """Start the workers.

        Raises:
            EngineError: they cannot be started.
        """
        distributed = _import_distributed()
        import dask

        settings = {
            "distributed.scheduler.allowed-failures": DEATHS_ALLOWED,
            # A worker process imports Keras before it serves; on a busy machine that takes its time.
            "distributed.comm.timeouts.connect": f"{WORKERS_SECONDS}s",
        }
        with ExitStack() as stack:
            stack.enter_context(dask.config.set(settings))
            stack.enter_context(_single_threaded())
            try:
                cluster = distributed.LocalCluster(
                    n_workers=self.workers or os.cpu_count() or 1,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    host="127.0.0.1",
                    silence_logs=50,  # what becomes of a worker is told by the sweep
                )
            except (OSError, RuntimeError) as error:
                raise EngineError(
                    f"The worker processes cannot be started: {describe_exception(error)}. Try fewer with --workers."
                ) from None
            stack.callback(cluster.close)
            client = distributed.Client(cluster, set_as_default=False)
            stack.callback(_close_quietly, client)
            yield _Dispatcher(client, self.measure_batch, data_folder, dict(versions)).start()


@dataclass
class _Dispatcher:
    """Hands out batches of cells and takes in their results."""

    client: Any
    measure_batch: MeasureBatch
    data_folder: Path
    versions: dict[str, str]
    batching: Batching = field(default_factory=Batching)

    def start(self) -> Measure:
        """Wait for a worker and compare versions.

        Returns:
            The function that measures.
        """
        try:
            self.client.wait_for_workers(1, timeout=WORKERS_SECONDS)
            found = self.client.run(read_versions)
        except TimeoutError:
            raise EngineError(
                f"No worker has come to the scheduler within {WORKERS_SECONDS} s. "
                "Start some with 'dask worker ADDRESS'."
            ) from None
        except ModuleNotFoundError as error:
            raise EngineError(f"A worker lacks a module: {error}. Install initcheck on each worker.") from None
        for worker, others in sorted(found.items()):
            differing = compare_versions(self.versions, others)
            if differing:
                raise EngineError(
                    f"The worker at {worker} has other versions: {differing}. Install the same everywhere."
                )
        return self.measure

    def measure(self, cells: Sequence[Cell]) -> Iterator[CellResult]:
        """Measure cells; see :data:`initcheck.sweeping.engines.Measure`.

        Raises:
            EngineError: the scheduler is gone, or there are no workers any more.
        """
        left = deque(reversed(cells))  # the dearest first: at the end no worker waits long for another
        alone: deque[Cell] = deque()  # cells of a batch that broke: one of them is to blame
        under_way: dict[Any, tuple[Cell, ...]] = {}
        while left or alone or under_way:
            self._hand_out(left, alone, under_way)
            for future in self._wait(list(under_way)):
                batch = under_way.pop(future)
                error = None if future.status == "finished" else future.exception()
                if error is None:
                    results = future.result()
                    self.batching.learn(results)
                    yield from results
                elif isinstance(error, InitcheckError):
                    raise EngineError(str(error)) from None
                elif len(batch) > 1:
                    alone.extend(batch)
                else:
                    yield CellResult(batch[0], "failed", _explain(error))
                future.release()

    def _hand_out(self, left: deque[Cell], alone: deque[Cell], under_way: dict[Any, tuple[Cell, ...]]) -> None:
        slots = max(sum(self.client.nthreads().values()), 1)
        while (left or alone) and len(under_way) < TASKS_AHEAD * slots:
            batch = (alone.popleft(),) if alone else self.batching.take(left)
            future = self.client.submit(
                run_task, self.measure_batch, batch, self.data_folder, self.versions, pure=False, retries=RETRIES
            )
            under_way[future] = batch

    def _wait(self, futures: list[Any]) -> list[Any]:
        """Wait until some tasks are over; where no worker is left, a new one has a while to come.

        Raises:
            EngineError: the scheduler is gone, or there are no workers any more.
        """
        from distributed import wait

        waited = 0
        while True:
            try:
                with self.client.as_current():
                    done = wait(futures, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if self.client.status != "running":
                    raise _scheduler_gone() from None
                waited = 0 if self.client.nthreads() else waited + _POLL_SECONDS
                if waited >= WORKERS_SECONDS:
                    raise EngineError(
                        "All workers are gone. The finished cells are kept: start workers and run the sweep again."
                    ) from None
            except (asyncio.CancelledError, concurrent.futures.CancelledError, OSError):
                raise _scheduler_gone() from None
            else:
                if any(future.status in ("cancelled", "lost") for future in done):
                    raise _scheduler_gone()
                return list(done)


def run_task(
    measure: MeasureBatch, cells: Sequence[Cell], data_folder: Path, versions: Mapping[str, str]
) -> list[CellResult]:
    """Do the work of one task, on a worker.

    Raises:
        EngineError: this worker, which may have come later than the others, has other versions.
    """
    differing = compare_versions(versions, read_versions())
    if differing:
        raise EngineError(f"A worker has {differing}. Install the same versions everywhere.")
    # Keras' settings are the process's own: a worker with several threads measures one task at a time.
    with _one_at_a_time:
        return measure(cells, data_folder)


_one_at_a_time: Final = threading.Lock()


def read_versions() -> dict[str, str]:
    """Read the versions that a process measures with."""
    from initcheck.keras_runtime import versions

    return versions()


def compare_versions(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Tell in words which of the versions that count differ; empty where none does."""
    differing = [name for name in VERSIONED if wanted[name] != found.get(name)]
    return ", ".join(f"{name} {found.get(name, 'not installed')} instead of {wanted[name]}" for name in differing)


def _explain(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return "the worker process died of this cell (killed, or out of memory)"
    return describe_exception(error)


def _scheduler_gone() -> EngineError:
    return EngineError(
        "The connection to the scheduler was lost. The finished cells are kept: start it anew, and run the sweep again."
    )


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Let processes started in this context use one thread each: there is one of them for each processor."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    former = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _close_quietly(client: Any) -> None:
    """Close a client, whose scheduler may be gone."""
    try:
        client.close(timeout=CONNECT_SECONDS)
    except (OSError, RuntimeError, asyncio.CancelledError):
        return


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise EngineError('This engine needs Dask. Run: pip install "initcheck[sweep]"') from error
    return distributed
