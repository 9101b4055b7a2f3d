"""Claims judged in worker processes: a group of claims at a time, in the order given.

A claim's seeds derive from the run's and from labels of its own, and what experiments remember belongs to their group.
So the results are those of one process, bit for bit, whichever process judges a group, and whenever.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from initcheck.backend.runtime import import_keras, single_threaded
from initcheck.core.errors import BackendError, EngineError
from initcheck.spec.claim import Claim, RunContext
from initcheck.spec.records import ClaimRecord, make_record

# Not forked: TensorFlow's threads do not survive that.
_PROCESSES: Final = multiprocessing.get_context("spawn")
_END_SECONDS: Final = 5.0
"""How long a worker may take to end by itself, or when it is asked to, before it is killed."""


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    waiting: deque[Claim] = field(default_factory=deque)
    """The claims that it was given and has not answered."""

    def give(self, claims: Sequence[Claim]) -> None:
        """Let it judge a group of claims."""
        self.waiting.extend(claims)
        with contextlib.suppress(OSError):  # it has died: what is read next says so
            self.connection.send(tuple(claims))

    def read(self) -> ClaimRecord:
        """Read the record of the next of its claims."""
        claim = self.waiting.popleft()
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_END_SECONDS)
            raise EngineError(
                f"A worker process died while it judged {claim.id} (exit code {self.process.exitcode}). Try --workers "
                "1, which judges in the command's own process; where a script runs the command, it must stand under: "
                "if __name__ == '__main__'."
            ) from None
        if isinstance(answer, str):
            raise BackendError(answer)
        return ClaimRecord.from_plain(answer)


def judge_in_workers(
    groups: Sequence[Sequence[Claim]], seed: int, workers: int, report: Callable[[ClaimRecord], None]
) -> None:
    """Judge groups of claims in so many processes; each claim is reported when it is judged."""
    left = deque(groups)
    started: list[_Worker] = []
    try:
        with single_threaded(), _interrupts_ignored():
            started += [_start(seed) for _ in range(min(workers, len(left)))]
        busy = {worker.connection: worker for worker in started}
        for worker in started:
            worker.give(left.popleft())
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                report(worker.read())
                if not worker.waiting and left:
                    worker.give(left.popleft())
                elif not worker.waiting:
                    del busy[connection]
                    connection.close()  # at which it ends
    except BaseException:
        for worker in started:
            worker.process.terminate()
        raise
    finally:
        for worker in started:
            worker.process.join(_END_SECONDS)
            worker.process.kill()
            worker.process.join()


def _start(seed: int) -> _Worker:
    here, there = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_judge_groups, args=(there, seed), daemon=True)
    process.start()
    there.close()  # it has its own: were this one open, its death would not be seen
    return _Worker(process, here)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that are started in this context ignore the interrupts that the terminal sends to all at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _judge_groups(connection: Connection, seed: int) -> None:
    """Judge the groups that come, until none does; in the worker process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # What Keras and TensorFlow print of the claims' experiments is not for the user.
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    context = RunContext(seed)
    with contextlib.suppress(BackendError):  # which the first claim that needs it says
        import_keras()
    with contextlib.suppress(EOFError, OSError):
        while True:
            for claim in connection.recv():
                try:
                    connection.send(make_record(context.judge(claim)).to_plain())
                except BackendError as error:
                    connection.send(str(error))
            context.forget()
