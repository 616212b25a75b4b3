"""Reading, computing and committing of segments, side by side."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Given = TypeVar("Given")
Started = TypeVar("Started")
Done = TypeVar("Done")


def overlapped(
    items: Sequence[Item],
    *,
    read: Callable[[Item], Given],
    start: Callable[[Item, Given], Started],
    finish: Callable[[Started], Started],
    commit: Callable[[Started], Done],
) -> Iterator[Done]:
    """Work through items in order while the next is read and the last is committed.

    While the device computes item n, one thread reads item n + 1 and another commits item n - 1.
    Items are committed one after another, and what is returned is committed. An error in any
    place ends the iteration after the commit in hand; what was computed meanwhile is dropped. At
    most three items are held at a time, however many there are.

    Arguments:
        items: what to work through.
        read: brings in what an item needs; runs in a thread.
        start: gives an item to the device without waiting for it.
        finish: waits for the device.
        commit: stores what came out; runs in a thread.
    """
    if not items:
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "commit") as writer:
        computing: Started | None = None
        committing: Future[Done] | None = None
        ahead = reader.submit(read, items[0])
        for index, item in enumerate(items):
            given = ahead.result()
            if index + 1 < len(items):
                ahead = reader.submit(read, items[index + 1])
            started = start(item, given)
            if computing is not None:
                ready = finish(computing)
                if committing is not None:
                    done = committing.result()
                    committing = writer.submit(commit, ready)
                    yield done
                else:
                    committing = writer.submit(commit, ready)
            computing = started
        ready = finish(started)
        if committing is not None:
            yield committing.result()
        yield writer.submit(commit, ready).result()
