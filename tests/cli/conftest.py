"""Commands run in this process, as a user meets them."""

from __future__ import annotations

import signal

import pytest

from initcheck.cli import main


@pytest.fixture
def run(capsys):
    """Run a command; gives back its exit code, standard output and standard error."""

    def run_here(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run_here


@pytest.fixture
def refused(run):
    """Run what must be refused; gives back the one line on standard error."""

    def refused_here(*words):
        code, out, err = run(*words)
        lines = [line for line in err.splitlines() if line.strip() and "━" not in line]  # after a bar that was shown
        assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
        assert lines[0].startswith("initcheck: error: ")
        return lines[0]

    return refused_here


@pytest.fixture
def interrupt_after(monkeypatch):
    """Send the signal of Ctrl-C when a method has been called so often; gives back the calls."""

    def install(owner, name, count):
        method, calls = getattr(owner, name), []

        def call_and_interrupt(*arguments):
            result = method(*arguments)
            calls.append(arguments)
            if len(calls) == count:
                signal.raise_signal(signal.SIGINT)
            return result

        monkeypatch.setattr(owner, name, call_and_interrupt)
        return calls

    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of xdist ignores it
    yield install
    signal.signal(signal.SIGINT, former)
