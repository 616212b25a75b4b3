"""One function over many tiles, in this process or on workers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple, TypeVar

Job = TypeVar("Job")
Found = TypeVar("Found")

AHEAD = 2
"""Tiles for each worker that are under way, so that none waits and few are in memory."""


class Workers(NamedTuple):
    """Who analyses tiles.

    Attributes:
        executor: that of Dask (`client.get_executor()`), or of processes.
        number: how many tiles are analysed at a time.
    """

    executor: Executor
    number: int


def over_tiles(
    function: Callable[[Job], Found], jobs: Iterable[Job], workers: Workers | None = None
) -> Iterator[Found]:
    """Give what a function makes of each job, in their order.

    Arguments:
        function: of numpy arrays to numpy arrays, that can be sent to another process.
        jobs: made one by one, as they are needed.
        workers: None for this process.
    """
    if workers is None:
        yield from map(function, jobs)
        return
    waiting: deque[Future] = deque()
    for job in jobs:
        waiting.append(workers.executor.submit(function, job))
        if len(waiting) >= AHEAD * workers.number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
