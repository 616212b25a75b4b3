"""Progress in the terminal and in the UI."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)


class Tracker:
    """One piece of long work, as a bar in the terminal and an artifact of the run."""

    def __init__(self, progress: Progress, description: str, total: int):
        self._progress = progress
        self._task = progress.add_task(description, total=total, figures="")
        self._total = total
        self._shown = 0
        created = create_progress_artifact(progress=0.0, description=description)
        self._artifact: UUID = created  # type: ignore[assignment]

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Show what is done; the artifact moves in steps of five per cent."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._progress.update(self._task, completed=done, total=total, figures=text)
        percent = 100.0 * done / total
        if percent >= self._shown + 5 or done == total:
            self._shown = int(percent)
            update_progress_artifact(self._artifact, progress=percent)


@contextmanager
def track(description: str, total: int) -> Iterator[Tracker]:
    """A tracker that disappears from the terminal when the work is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Tracker(progress, description, total)
