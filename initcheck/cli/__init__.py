"""The command line: one file a subcommand, all errors worded and turned into exit codes in one place."""

from initcheck.cli.main import main

__all__ = ["main"]
