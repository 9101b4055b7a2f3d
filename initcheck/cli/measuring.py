"""What commands that measure share: the options of a model (how it is made, drawn and fed) and the progress display."""

from __future__ import annotations

import ast
import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.core.errors import DataError, UsageError
from initcheck.core.formatting import Progress, no_progress

if TYPE_CHECKING:
    from initcheck.checking.gate.baseline import Recipe

Command = Callable[..., None]
Option = Callable[[Command], Command]
"""What ``click.option`` makes: it gives a command an option."""


def read_arguments(texts: Sequence[str], option: str, forbidden: Collection[str] = ()) -> dict[str, Any]:
    """Read keyword arguments such as ``gain=2.0`` or ``mode=fan_in``: values are Python literals or bare words."""
    found: dict[str, Any] = {}
    without = f", and no {' or '.join(forbidden)}" if forbidden else ""
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or name in found or name in forbidden:
            raise UsageError(f"{option} takes name=value, each name once{without}. Received: {text!r}.")
        try:
            found[name] = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            if not value.strip().isidentifier():
                message = f"{option} takes a literal value. Received: {text!r}. Write {option} gain=2.0."
                raise UsageError(message) from None
            found[name] = value.strip()  # a bare word
    return found


def _write_argument(name: str, value: Any) -> str:
    """Write a keyword argument as it is read: a string as a bare word where it would come back as itself."""
    with contextlib.suppress(UsageError):
        if read_arguments([f"{name}={value}"], "--arg") == {name: value}:
            return f"{name}={value}"
    return f"{name}={value!r}"


_OPTIONS: Final = {
    "arguments": click.option(
        "--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument of the factory; repeatable."
    ),
    "weights": click.option(
        "--weights",
        type=click.Choice(["auto", "redraw", "keep"]),
        help="Draw from the model's own initializers for each seed, or keep the weights as they are; auto keeps those "
        "that were loaded or trained.  [default: auto]",
    ),
    "seeds": click.option("--seeds", type=int, help="Draws.  [default: 16; 8 or 5 for large models]"),
    "first_seed": click.option("--first-seed", type=click.IntRange(0), help="The first of their seeds.  [default: 0]"),
    "batch_size": click.option(
        "--batch-size", type=int, help="Samples of the batch that is made.  [default: 32; 8 for large samples]"
    ),
    "input_shapes": click.option(
        "--input-shape",
        "input_shapes",
        multiple=True,
        metavar="[NAME=]N,N...",
        help="Shape of one sample, where the model leaves it open; repeatable.",
    ),
    "data": click.option(
        "--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Batch: arrays x (or by input) and y."
    ),
}


@dataclass(frozen=True)
class Measuring:
    """The options as given.

    Attributes:
        arguments: keyword arguments of the factory.
        data: file of the batch; None for a batch that is made.
        settings: fields of ``CheckSettings`` that were given.
    """

    arguments: dict[str, Any]
    data: Path | None
    settings: dict[str, Any]

    def completed(self, recipe: Recipe, baseline: Path, model: str) -> Measuring:
        """Take from the recipe of a baseline the arguments of the same model and the batch, unless they were given."""
        arguments = self.arguments or (dict(recipe.arguments) if recipe.model == model else {})
        return Measuring(arguments, self.data or recipe.data_file(baseline.parent), self.settings)

    def to_words(self) -> list[str]:
        """Write the options as they would be given on a command line."""
        words = [word for name, value in self.arguments.items() for word in ("--arg", _write_argument(name, value))]
        words += [] if self.data is None else ["--data", str(self.data)]
        for name, value in self.settings.items():
            option = f"--{name.removesuffix('s') if name == 'input_shapes' else name}".replace("_", "-")
            words += [
                word for each in (value if isinstance(value, tuple) else (value,)) for word in (option, str(each))
            ]
        return words

    def read_batch(self) -> tuple[Any, Any]:
        """Read ``x`` (or arrays by the names of the inputs) and ``y`` of the file; None and None without one."""
        if self.data is None:
            return None, None
        from initcheck.models.data import read_arrays

        arrays = read_arrays(self.data)
        y = arrays.pop("y", None)
        if not arrays:
            received = "nothing" if y is None else "y alone"
            raise DataError(f"{str(self.data)!r} holds no inputs. Received: {received}. Name the inputs x.")
        return (arrays["x"] if set(arrays) == {"x"} else arrays), y


def finding_words(
    select: Sequence[str], ignore: Sequence[str], waive: Sequence[str], *, allow_inconclusive: bool
) -> list[str]:
    """Write the options of ``finding_options`` as they would be given on a command line."""
    given = {"--select": select, "--ignore": ignore, "--waive": waive}
    words = [word for name, values in given.items() for value in values for word in (name, value)]
    return [*words, *(["--allow-inconclusive"] if allow_inconclusive else [])]


def gathered_options(
    argument: str, options: Mapping[str, Option], gather: Callable[[dict[str, Any]], Any]
) -> Callable[[Command], Command]:
    """Give a command options, and one argument for all of them: what ``gather`` makes of their values by name."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(*positional: Any, **given: Any) -> None:
            own = {name: given.pop(name) for name in options}
            command(*positional, **{argument: gather(own)}, **given)

        gathered: Command = call
        for option in reversed(list(options.values())):
            gathered = option(gathered)
        return gathered

    return decorate


def _gather_measuring(given: dict[str, Any]) -> Measuring:
    arguments, data = read_arguments(given.pop("arguments"), "--arg"), given.pop("data")
    return Measuring(arguments, data, {name: value for name, value in given.items() if value not in (None, ())})


measuring_options: Final = gathered_options("measuring", _OPTIONS, _gather_measuring)
"""Gives a command the options of a model; it takes one argument ``measuring`` for all of them."""


_FINDING_OPTIONS: Final = (
    click.option("--select", multiple=True, metavar="CODES", help="Only these findings: IC1, vanishing-gradients..."),
    click.option("--ignore", multiple=True, metavar="CODES", help="Not these findings."),
    click.option("--waive", multiple=True, metavar="LAYER", help="Accept findings of a layer or weight; * and ? work."),
    click.option("--allow-inconclusive", is_flag=True, help="Let pass what the seeds do not suffice to decide."),
)


def finding_options(command: Command) -> Command:
    """Give a command the options that choose findings: ``select``, ``ignore``, ``waive``, ``allow_inconclusive``."""
    for option in reversed(_FINDING_OPTIONS):
        command = option(command)
    return command


def names_option(option: str, variable: str, text: str, **settings: Any) -> Option:
    """Make an option that takes a name and may be repeated."""
    return click.option(option, variable, multiple=True, metavar="NAME", help=text, **settings)


def out_option(folder: str, text: str) -> Option:
    """Make the option ``--out`` with its default."""
    kind = click.Path(path_type=Path)
    return click.option("--out", type=kind, default=Path(folder), show_default=True, metavar="DIR", help=text)


def echo_written(paths: Iterable[Path]) -> None:
    """Name the files that were written, on standard error."""
    for path in paths:
        click.echo(f"wrote {path}", err=True)


@contextmanager
def show_progress(*, quiet: bool, left: Callable[[], float | None] | None = None) -> Iterator[Progress]:
    """Show progress on standard error for the length of a block; yield the function to call at each step.

    Args:
        left: gives the seconds that the rest will take, None where it is not known; without it all steps count alike.
    """
    if quiet:
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Display
    from rich.table import Column
    from rich.text import Text

    # Names of layers and networks may hold square brackets, which rich would take for markup.
    name = TextColumn(
        "{task.description}", markup=False, table_column=Column(min_width=24, no_wrap=True, overflow="ellipsis")
    )

    class TimeLeftColumn(ProgressColumn):
        """Shows the seconds that are left as hours, minutes and seconds."""

        def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's
            seconds = None if left is None else left()
            return Text("-:--:--" if seconds is None else str(timedelta(seconds=round(seconds))))

    remaining = TimeRemainingColumn() if left is None else TimeLeftColumn()
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), remaining)
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
