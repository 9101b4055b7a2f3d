"""Cells on the workers of a Dask cluster, or on worker processes of this machine, which are a small cluster.

The one module that needs ``distributed``, the extra ``sweep``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from initcheck.backend.runtime import single_threaded
from initcheck.core.errors import EngineError, InitcheckError
from initcheck.sweeping.measurement import CellResult, Measure, describe_exception, measure_batch
from initcheck.sweeping.spec import VERSIONED, Cell, digest_files
from initcheck.sweeping.store import pack_table

CONNECT_SECONDS: Final = 10.0
"""How long a scheduler may take to answer."""

WORKERS_SECONDS: Final = 60.0
"""How long the first worker may take to come, and a new one where all are gone."""

_POLL_SECONDS: Final = 5.0

TASKS_AHEAD: Final = 2
"""Tasks handed out for each thread of a worker: enough that none waits, and few, so that they take no memory here."""

RETRIES: Final = 1
"""How often a batch is tried again after an exception, before its cells are tried one by one."""

DEATHS_ALLOWED: Final = 1
"""How many workers of this machine may die of one task before it is given up."""

_CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)


MeasureBatch = Callable[[Sequence[Cell], Path], list[CellResult]]
"""The work of one task."""


@dataclass(frozen=True)
class DaskEngine:
    """The workers of a Dask cluster.

    For ``sweep(..., engine=DaskEngine("tcp://10.0.0.1:8786"))``; needs the extra ``sweep``.

    Attributes:
        scheduler: address of the scheduler, such as ``tcp://10.0.0.1:8786``.
        work: the work of one task; None to measure its cells. Only tests give another.
        connect_seconds: how long the scheduler may take to answer.
        workers_seconds: how long the first worker may take to come, and a new one where all are gone.
    """

    scheduler: str
    work: MeasureBatch | None = None
    connect_seconds: float = CONNECT_SECONDS
    workers_seconds: float = WORKERS_SECONDS

    @contextmanager
    def open(self, data_folder: Path, versions: Mapping[str, str]) -> Iterator[Measure]:
        """Connect, wait for a worker, and make sure that all workers have the same versions.

        Raises:
            EngineError: there is no scheduler, no worker, or a worker with other versions.
        """
        distributed = _import_distributed()
        with ExitStack() as stack:
            stack.enter_context(_quiet_dask())
            try:
                check_reachable(self.scheduler, self.connect_seconds)
                client = distributed.Client(self.scheduler, timeout=self.connect_seconds, set_as_default=False)
            except (OSError, RuntimeError, TypeError, ValueError) as error:
                raise EngineError(
                    f"No scheduler answers at {self.scheduler!r}: {describe_exception(error)}. Start one with "
                    "'dask scheduler', or check --scheduler."
                ) from None
            stack.callback(_close_quietly, client)
            yield _Dispatcher(
                client, self.work or measure_batch, data_folder, dict(versions), self.workers_seconds
            ).start()


@dataclass(frozen=True)
class LocalEngine:
    """Worker processes of this machine, each with one thread.

    For ``sweep(..., engine=LocalEngine(2))``; needs the extra ``sweep``. The processes import the script that starts
    them, so in a script the call stands under ``if __name__ == "__main__":``.

    Attributes:
        workers: how many; None for one a processor.
        work: the work of one task; None to measure its cells. Only tests give another.
        workers_seconds: how long they may take to come, and a new one where all are gone.
    """

    workers: int | None = None
    work: MeasureBatch | None = None
    workers_seconds: float = WORKERS_SECONDS

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
            "distributed.comm.timeouts.connect": f"{self.workers_seconds}s",
        }
        with ExitStack() as stack:
            stack.enter_context(_quiet_dask())
            stack.enter_context(dask.config.set(settings))
            stack.enter_context(single_threaded())
            try:
                cluster = distributed.LocalCluster(
                    n_workers=self.workers or os.cpu_count() or 1,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",  # a free port: the default one is taken by a sweep beside this
                    host="127.0.0.1",
                    silence_logs=50,  # the sweep reports what becomes of a worker
                )
            except (OSError, RuntimeError) as error:
                raise EngineError(
                    f"The worker processes cannot be started: {describe_exception(error)}. In a script, the sweep must "
                    "stand under: if __name__ == '__main__'. Otherwise try fewer with --workers."
                ) from None
            stack.callback(cluster.close)
            client = distributed.Client(cluster, set_as_default=False)
            stack.callback(_close_quietly, client)
            yield _Dispatcher(
                client, self.work or measure_batch, data_folder, dict(versions), self.workers_seconds
            ).start()


LONGEST_SECONDS: Final = 30.0
"""A task should not last longer, and about twice as long at most: a killed worker loses what it was at."""

SHORTEST_SECONDS: Final = 2.0
"""Towards the end tasks get shorter, so that workers end together, but not shorter than this."""

_SHARES: Final = 2  # tasks for each thread that what is left should still make

_FIRST_BATCH: Final = 16
_LARGEST_BATCH: Final = 200
_MEMORY: Final = 0.5  # weight of the newest task in the running mean


@dataclass
class Batching:
    """Cuts a sequence of cells into batches, by what cells took so far."""

    seconds_per_cell: float | None = None

    def take(self, left: deque[Cell], threads: int) -> tuple[Cell, ...]:
        """Take the next batch off the left: cells of one setting, as many as do not take too long.

        Tracing takes longer than measuring most cells. A worker traces the graph of an activation function once for all
        initializers: so a batch ends between two of them if it can.
        """
        if self.seconds_per_cell is None:
            size = min(_FIRST_BATCH, math.ceil(len(left) / threads))
        else:
            share = len(left) * self.seconds_per_cell / (_SHARES * threads)
            seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, share))
            size = max(1, min(_LARGEST_BATCH, int(seconds / max(self.seconds_per_cell, 1e-6))))
        batch = [left.popleft()]
        while left and len(batch) < size and left[0].setting == batch[0].setting:
            batch.append(left.popleft())
        self._end_between_graphs(batch, left)
        return tuple(batch)

    def _end_between_graphs(self, batch: list[Cell], left: deque[Cell]) -> None:
        """Where the cut goes through the cells of one graph, which two workers would trace, move it to the nearer end.

        It stays where it is if a batch would become empty or more than twice as long, unless what is left is short.
        """
        graph = batch[-1].graph
        taken = sum(cell.graph == graph for cell in batch)
        rest = sum(1 for _ in itertools.takewhile(lambda cell: cell.graph == graph, left))
        if rest > taken and taken < len(batch):
            for _ in range(taken):
                left.appendleft(batch.pop())
        elif rest <= taken or rest * (self.seconds_per_cell or math.inf) <= SHORTEST_SECONDS:
            batch.extend(left.popleft() for _ in range(rest))

    def learn(self, results: Sequence[CellResult]) -> None:
        """Take note of how long cells took."""
        if not results:
            return
        mean = sum(result.seconds for result in results) / len(results)
        if self.seconds_per_cell is None:
            self.seconds_per_cell = mean
        else:
            self.seconds_per_cell += _MEMORY * (mean - self.seconds_per_cell)


@dataclass
class _Dispatcher:
    """Hands out batches of cells and takes in their results."""

    client: Any
    measure_batch: MeasureBatch
    data_folder: Path
    versions: dict[str, str]
    workers_seconds: float
    batching: Batching = field(default_factory=Batching)
    under_way: dict[Any, tuple[Cell, ...]] = field(default_factory=dict)

    def start(self) -> Measure:
        """Wait for a worker and compare versions."""
        try:
            self.client.wait_for_workers(1, timeout=self.workers_seconds)
            found = self.client.run(read_versions, on_error="return")
        except TimeoutError:
            raise EngineError(
                f"No worker has come to the scheduler within {self.workers_seconds:g} s. "
                "Start some with 'dask worker ADDRESS'."
            ) from None
        except (*_CANCELLED, OSError) as error:
            raise EngineError(
                f"A worker or the scheduler was lost before the first task: {describe_exception(error)}. "
                "Run the sweep again."
            ) from None
        for worker, others in sorted(found.items()):
            if isinstance(others, BaseException):
                raise EngineError(
                    f"The worker at {worker} cannot run initcheck: {describe_exception(others)}. "
                    "Install initcheck on each worker."
                )
            differing = compare_versions(self.versions, others)
            if differing:
                raise EngineError(
                    f"The worker at {worker} has other versions: {differing}. Install the same everywhere."
                )
        self._try_task()
        return self.measure

    def _try_task(self) -> None:
        """Send a task without cells: the scheduler unpacks tasks, and would fail each of them if it could not."""
        self._submit((), {})
        ((future, _),) = self.under_way.items()
        self._wait()
        self.under_way.clear()
        error = future.exception()
        if error is not None:
            cause = error.__cause__ or error
            raise EngineError(
                f"The cluster cannot run a task: {describe_exception(cause)}. Install the same initcheck on the "
                "scheduler as on the workers."
            )

    def measure(self, cells: Sequence[Cell]) -> Iterator[CellResult]:
        """Measure cells; see :data:`initcheck.sweeping.measurement.Measure`."""
        # A worker that dies takes the blame for all tasks that wait there, not for the one that it was at alone.
        # So the cells of a batch that broke are tried one by one, and what seems to kill its worker even so is tried
        # last, with nothing beside it.
        left = deque(reversed(cells))  # longest first, so that workers finish together
        alone: deque[Cell] = deque()
        suspects: deque[Cell] = deque()
        digests = digest_files(cells, self.data_folder)
        try:
            while left or alone or suspects or self.under_way:
                last = not (left or alone or self.under_way)
                if last:
                    self._submit((suspects.popleft(),), digests)
                else:
                    self._hand_out(left, alone, digests)
                for future in self._wait():
                    batch, error = self.under_way.pop(future), future.exception()
                    if error is None:
                        results = self._fetch(future)
                        if results is None:
                            self.under_way[future] = batch
                            continue
                        self.batching.learn(results)
                        yield from results
                    elif future.status == "cancelled":
                        raise _scheduler_gone()
                    elif isinstance(error, InitcheckError):
                        raise EngineError(str(error))
                    elif len(batch) > 1:
                        alone.extend(batch)
                    elif _has_killed(error) and not last:
                        suspects.extend(batch)
                    else:
                        yield CellResult(batch[0], "failed", _explain(error))
                    future.release()
        except (*_CANCELLED, OSError):
            raise _scheduler_gone() from None

    def _hand_out(self, left: deque[Cell], alone: deque[Cell], digests: Mapping[str, str]) -> None:
        threads = max(sum(self.client.nthreads().values()), 1)
        while (left or alone) and len(self.under_way) < TASKS_AHEAD * threads:
            self._submit((alone.popleft(),) if alone else self.batching.take(left, threads), digests)

    def _submit(self, batch: tuple[Cell, ...], digests: Mapping[str, str]) -> None:
        needed = {cell.data: digests[cell.data] for cell in batch if cell.data in digests}
        future = self.client.submit(
            run_task,
            self.measure_batch,
            batch,
            self.data_folder.absolute(),
            self.versions,
            needed,
            pure=False,
            retries=RETRIES,
        )
        self.under_way[future] = batch

    def _wait(self) -> list[Any]:
        """Wait until some tasks are over; where no worker is left, a new one has a while to come."""
        from distributed import wait

        poll = min(_POLL_SECONDS, self.workers_seconds)
        waited = 0.0
        while True:
            try:
                with self.client.as_current():
                    done = wait(list(self.under_way), timeout=poll, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if self.client.status != "running":
                    raise _scheduler_gone() from None
                waited = 0.0 if self.client.nthreads() else waited + poll
                if waited >= self.workers_seconds:
                    raise EngineError(
                        "All workers are gone. The finished cells are kept: start workers and run the sweep again."
                    ) from None
            else:
                # A worker may die with a result that it has reported but not sent: then the task is done again.
                done = [future for future in done if future.status not in ("pending", "lost")]
                if done:
                    return done

    def _fetch(self, future: Any) -> list[CellResult] | None:
        """Fetch the results of a task; None where they were lost with their worker and are made again."""
        try:
            results: list[CellResult] = future.result(timeout=self.workers_seconds)
        except TimeoutError:
            return None
        except Exception:
            if future.status == "finished":
                raise
            return None
        return results


def run_task(
    measure: MeasureBatch,
    cells: Sequence[Cell],
    data_folder: Path,
    versions: Mapping[str, str],
    digests: Mapping[str, str],
) -> list[CellResult]:
    """Do the work of one task, on a worker."""
    differing = compare_versions(versions, read_versions())
    if differing:
        raise EngineError(f"A worker has {differing}. Install the same versions everywhere.")
    try:
        found = digest_files(cells, data_folder)
    except InitcheckError as error:
        raise EngineError(
            f"A worker cannot read the data: {error} Workers need each file under the same path."
        ) from None
    for name in digests:
        if found[name] != digests[name]:
            path = str(data_folder / name)
            raise EngineError(f"A worker has another file {path!r}. Copy the file to each worker, or share its folder.")
    # Keras' settings are the process's own: a worker with several threads measures one task at a time.
    with _one_at_a_time:
        return [_pack(result) for result in measure(cells, data_folder)]


def _pack(result: CellResult) -> CellResult:
    """Pack the table here: all workers together would soon have more of them than the sweep's one process can pack."""
    table = result.table
    return replace(result, table=pack_table(table)) if isinstance(table, pd.DataFrame) else result


_one_at_a_time: Final = threading.Lock()


def read_versions() -> dict[str, str]:
    """Read the versions that a process measures with."""
    from initcheck.backend.runtime import versions

    return versions()


def compare_versions(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Say in words which of the versions that count differ; empty where none does."""
    differing = [name for name in VERSIONED if wanted.get(name) != found.get(name)]
    return ", ".join(
        f"{name} {found.get(name, 'not in use')} instead of {wanted.get(name, 'not in use')}" for name in differing
    )


def _explain(error: BaseException) -> str:
    if _has_killed(error):
        return "the worker process died of this cell (killed, or out of memory)"
    return describe_exception(error)


def _has_killed(error: BaseException) -> bool:
    return type(error).__name__ == "KilledWorker"


def _scheduler_gone() -> EngineError:
    return EngineError(
        "The connection to the scheduler was lost. The finished cells are kept: start it anew, and run the sweep again."
    )


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Let Dask log nothing in this process: the sweep reports what becomes of workers and scheduler."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "distributed.gc")]
    former = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, former, strict=True):
            logger.setLevel(level)


def check_reachable(address: str, seconds: float) -> None:
    """Fail early if the scheduler is unreachable: a failed Client prints a traceback on deletion."""
    from distributed import Security
    from distributed.comm import connect

    async def call() -> None:
        comm = await connect(address, timeout=seconds, **Security().get_connection_args("client"))
        await comm.close()

    # A thread of its own: this one may have a running loop, as in a notebook.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(call())).result()


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
