"""Progress in the terminal and in the UI."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.prefect_settings import setting
from flows.terminal import progress as console

RETRIES = 2
"""Six seconds, instead of the minute that Prefect takes."""
WIDTH = 20
"""Characters of a bar."""
DETAILS_EVERY = 5.0
"""Seconds between two updates of the artifact for its details alone."""


logger = logging.getLogger(__name__)


@contextmanager
def if_the_server_answers(
    otherwise: str, give_up: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Do without what is shown in the UI if the server is away: the work must not wait for it."""
    try:
        with setting("client", "max_retries", RETRIES):
            yield
    except httpx.HTTPError as error:
        give_up()
        logger.warning("%s: %r", otherwise, error)


class Tracker:
    """One piece of long work, as a bar in the terminal and an artifact of the run.

    A server that cannot be reached costs the artifact, not the work.
    """

    def __init__(self, progress: Progress, description: str, total: int):
        self._progress = progress
        self._task = progress.add_task(description, total=total, figures="")
        self._description = description
        self._shown = 0
        self._updated = time.monotonic()
        self._artifact: UUID | None = None
        with self._on_the_server():
            created = create_progress_artifact(progress=0.0, description=description)
            self._artifact = created  # type: ignore[assignment]

    def __call__(
        self, done: int, total: int, figures: dict[str, float], details: str | None = None
    ) -> None:
        """Show what is done; the artifact moves in steps of five per cent.

        Arguments:
            done, total: in any unit.
            figures: shown in the terminal beside the bar.
            details: Markdown that the artifact shows below its description, which then moves
                every few seconds.
        """
        text = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._progress.update(self._task, completed=done, total=total, figures=text)
        percent = 100.0 * done / total
        late = details is not None and time.monotonic() - self._updated >= DETAILS_EVERY
        if percent >= self._shown + 5 or done == total or late:
            self._shown = int(percent)
            self._updated = time.monotonic()
            if self._artifact is not None:
                shown = None if details is None else f"{self._description}\n\n{details}"
                with self._on_the_server():
                    update_progress_artifact(self._artifact, progress=percent, description=shown)

    @contextmanager
    def _on_the_server(self) -> Iterator[None]:
        """Give the artifact up if the server does not answer."""
        with if_the_server_answers("progress is no longer shown in the UI", self._give_up):
            yield

    def _give_up(self) -> None:
        self._artifact = None


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


def bar(done: int, total: int) -> str:
    """A bar of characters."""
    full = WIDTH * done // max(1, total)
    return "█" * full + "░" * (WIDTH - full)
