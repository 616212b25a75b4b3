"""What a command prints: text for people, one JSON document for programs, or nothing."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from flows.answers import Answer

console = Console(markup=False, emoji=False)
"""It prints paths, units and titles, whose brackets are none of its own."""
errors = Console(stderr=True)
progress = Console(stderr=True)
"""Of the bars of long work."""

LONGEST_LINE = 1000

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document in place of text; see docs/json.md.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors; the exit code says how.")
]


@dataclass
class _Mode:
    as_json: bool = False
    answered: bool = False


_mode = _Mode()


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options --json and --quiet.

    With the first, what the command `answer`s is all of its standard output.
    """

    @functools.wraps(command)
    def run(*, as_json: bool, quiet: bool, **options: Any) -> None:
        with _printing(as_json, quiet):
            command(**options)

    own = inspect.signature(command)
    options = {"as_json": AsJson, "quiet": Quiet}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in options.items()
    ]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, **options}
    return run


@contextmanager
def _printing(as_json: bool, quiet: bool) -> Iterator[None]:
    _mode.as_json, _mode.answered = as_json, False
    console.quiet, progress.quiet = as_json or quiet, quiet
    try:
        yield
    finally:
        _mode.as_json = console.quiet = progress.quiet = False


def answer(found: Answer) -> None:
    """Print what a command found, where JSON is asked for; the first answer is the only one."""
    if _mode.as_json and not _mode.answered:
        _mode.answered = True
        typer.echo(found.model_dump_json(indent=1))


def say(text: str, style: str | None = None) -> None:
    """Print a sentence that is neither wrapped nor coloured by what it holds."""
    console.print(text, style=style, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table of which no word is cut off.

    In a terminal it is drawn, and wider than the terminal where that is too narrow. Elsewhere each
    row is a line whose cells are parted by tabs, the header first.
    """
    if console.quiet:
        return
    if not console.is_terminal:
        rows = zip(*((column.header, *column.cells) for column in table.columns), strict=True)
        for row in rows:
            print("\t".join(" ".join(str(cell).split()) for cell in row), file=console.file)
        return
    for column in table.columns:
        words = " ".join(map(str, (column.header, *column.cells))).split()
        column.min_width = max(map(cell_len, words), default=1)
    least = console.measure(table, options=console.options.update_width(LONGEST_LINE)).minimum
    wide = (
        console
        if least <= console.width
        else Console(width=least, file=console.file, markup=False, emoji=False)
    )
    wide.print(table)
