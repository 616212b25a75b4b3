"""Progress in the terminal and in the UI."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)


logger = logging.getLogger(__name__)


class Tracker:
    """One piece of long work, as a bar in the terminal and an artifact of the run.

    A server that cannot be reached costs the artifact, not the work.
    """

    def __init__(self, progress: Progress, description: str, total: int):
        self._progress = progress
        self._task = progress.add_task(description, total=total, figures="")
        self._total = total
        self._shown = 0
        self._artifact: UUID | None = None
        with self._on_the_server():
            created = create_progress_artifact(progress=0.0, description=description)
            self._artifact = created  # type: ignore[assignment]

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Show what is done; the artifact moves in steps of five per cent."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._progress.update(self._task, completed=done, total=total, figures=text)
        percent = 100.0 * done / total
        if percent >= self._shown + 5 or done == total:
            self._shown = int(percent)
            if self._artifact is not None:
                with self._on_the_server():
                    update_progress_artifact(self._artifact, progress=percent)

    @contextmanager
    def _on_the_server(self) -> Iterator[None]:
        """Give the artifact up if the server does not answer: every attempt takes long."""
        try:
            yield
        except httpx.HTTPError as error:
            self._artifact = None
            logger.warning("progress is no longer shown in the UI: %r", error)


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
