"""The progress display: what is being measured, how much is done, how long it took and how long it will take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from initcheck.core.progress import Progress, no_progress


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Progress]:
    """Show progress on standard error for the length of a block.

    Args:
        quiet: show nothing.

    Yields:
        The function to call at each step.
    """
    if quiet:
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Display,
    )
    from rich.table import Column

    # Names of layers and networks may hold square brackets, which rich would take for markup.
    name = TextColumn(
        "{task.description}", markup=False, table_column=Column(min_width=24, no_wrap=True, overflow="ellipsis")
    )
    columns = (
        name,
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # Standard output is for results: rich must not pass it through the display.
    progress = Display(*columns, console=Console(stderr=True), redirect_stdout=False)
    task = progress.add_task("starting", total=None)

    def report(done: int, total: int, what: str) -> None:
        progress.update(task, completed=done, total=total, description=what)
        # Only now: where bad input is refused before the first step, the error's one line stands alone.
        progress.start()

    try:
        yield report
    finally:
        progress.stop()
