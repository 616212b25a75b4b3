"""Whether what a method learns about a grid fits the memory of the machine."""

import math
from collections.abc import Callable
from pathlib import Path

from vardax_core.data.recipe import Recipe
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.settings import ExperimentSettings

GIGABYTE = 1e9


class GridTooLargeError(ValueError):
    """A grid whose covariances the memory does not hold."""


def available_memory() -> float:
    """Bytes that a process can still take: of the machine, or of the group that it is held to.

    Infinity where the system does not say.
    """
    found = [
        _bytes_of(Path("/proc/meminfo"), _meminfo),
        _bytes_of(Path("/sys/fs/cgroup/memory.max"), float)
        - _bytes_of(Path("/sys/fs/cgroup/memory.current"), float, unknown=0.0),
    ]
    return min(found)


def _bytes_of(path: Path, read: Callable[[str], float], unknown: float = math.inf) -> float:
    try:
        return read(path.read_text())
    except (OSError, ValueError, StopIteration):
        return unknown


def _meminfo(text: str) -> float:
    line = next(line for line in text.splitlines() if line.startswith("MemAvailable:"))
    return 1024 * float(line.split()[1])


def require_memory(
    recipe: Recipe,
    settings: ExperimentSettings,
    shape: tuple[int, ...],
    available: float | None = None,
) -> None:
    """Refuse a grid that a method cannot learn about on this machine.

    Arguments:
        recipe, settings: of the experiment.
        shape: of the grid.
        available: bytes of memory; by default those of the machine.

    Raises:
        GridTooLargeError: says what it would take, what there is and what would fit.
    """
    available = available_memory() if available is None else available
    points, method, prior = math.prod(shape), settings.analysis, prior_of(recipe)
    needed = method.memory(prior, points)
    if needed <= available:
        return
    fitting, too_many = 1, points
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fits = method.memory(prior, middle) <= available
        fitting, too_many = (middle, too_many) if fits else (fitting, middle)
    sizes = " x ".join(map(str, shape))
    what = f"the covariances between all {points} points of"
    way = "take a method that does without them (amortized, interpolation or letkf), or "
    if method.learns_locally(prior, points):
        what, way = f"the states of the training period on the {points} points of", "or "
    raise GridTooLargeError(
        f"{recipe.name}: {what} a grid of {sizes} take "
        f"about {needed / GIGABYTE:.1f} GB of memory with the method {settings.method}, and "
        f"{available / GIGABYTE:.1f} GB are free here. Up to {fitting} points would fit: give a "
        f"source with a smaller area or a coarser grid, {way}use a machine with more memory."
    )
