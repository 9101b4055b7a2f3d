"""The entry point: finds the subcommand, runs it, and turns whatever ends it into one line and an exit code.

Only click is imported here. A subcommand's module is loaded when that subcommand is named or listed, and imports Keras,
pandas and the like inside its function, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Final

import click

from initcheck import __version__
from initcheck.core.errors import InitcheckError, name_unknown

EXIT_CANNOT_JUDGE: Final = 2
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

_MODULE_OF_COMMAND: Final = {
    "baseline": "initcheck.cli.baseline",
    "check": "initcheck.cli.check",
    "explain": "initcheck.cli.explain",
    "fix": "initcheck.cli.fix",
    "predict": "initcheck.cli.predict",
    "report": "initcheck.cli.report",
    "spec": "initcheck.cli.spec",
    "sweep": "initcheck.cli.sweep",
    "train": "initcheck.cli.train",
    "trainability": "initcheck.cli.train",
    "verify": "initcheck.cli.verify",
}


class _LazyGroup(click.Group):
    """A group whose subcommands are imported one by one, when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_MODULE_OF_COMMAND)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _MODULE_OF_COMMAND:
            return None
        command: click.Command = getattr(importlib.import_module(_MODULE_OF_COMMAND[cmd_name]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _MODULE_OF_COMMAND and not args[0].startswith("-"):
            raise name_unknown("command", args[0], _MODULE_OF_COMMAND)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def command_line() -> None:
    """Measure weight initialization in Keras.

    Does the signal survive the network, forward and backward, and does the initializer do what it says?

    Exit codes: 0 done, or proven healthy; 1 a finding; 2 cannot judge (bad usage or input, inconclusive); 130
    interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors that are not foreseen are bugs and keep their traceback."""
    try:
        # Not click's own main: it turns a broken pipe into exit code 1, which means a finding here.
        words = list(sys.argv[1:] if arguments is None else arguments)
        whole = shlex.join(["initcheck", *words])
        with command_line.make_context("initcheck", words, obj=whole) as context:
            command_line.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_CANNOT_JUDGE
    except click.ClickException as error:
        return _fail(_word(error))
    except InitcheckError as error:
        return _fail(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted.", EXIT_INTERRUPTED)
    except BrokenPipeError:
        _abandon_standard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _abandon_standard_output()
        return _fail("The disk is full. Make room, or write the output elsewhere.")
    return 0


def _word(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} Try: {context.command_path} --help"


def _fail(message: str, exit_code: int = EXIT_CANNOT_JUDGE) -> int:
    """Print an error as one line, whatever the message holds."""
    with contextlib.suppress(BrokenPipeError):
        click.echo(f"initcheck: error: {' '.join(message.split())}", err=True)
    return exit_code


def _abandon_standard_output() -> None:
    """Keep the interpreter from failing once more when it flushes standard output at its end."""
    # Where standard output is no real file (in a test, say), nothing is flushed at the end.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
