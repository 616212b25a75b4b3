"""Whether what a method learns about a grid fits the memory of the machine."""

import math
from collections.abc import Callable
from pathlib import Path

from vardax_core.data.recipe import Recipe
from vardax_core.experiments.settings import ExperimentSettings, Method
from vardax_core.training.field_streams import FieldTrainingSettings

GIGABYTE = 1e9
NUMBER = 4
"""Bytes of a number in single precision, in which tables are kept."""
FIT, FIT_LAG = 40, 24
"""Measured bytes for each pair of points while statistics are fitted: of all, and of a lag."""


class GridTooLargeError(ValueError):
    """A grid whose covariances the memory does not hold."""


def needed_memory(recipe: Recipe, method: Method, points: int) -> float:
    """Bytes at the worst moment of learning about a grid of so many points, about.

    Covariances between all points are held for each lag of the window; the amortized method
    holds those of every block twice while they are put together, and then factors those between
    the departures of the windows of all its streams at once.
    """
    if method is not Method.AMORTIZED:
        return (FIT + FIT_LAG) * float(points) ** 2
    plan = FieldTrainingSettings(window=recipe.window.times)
    usual = recipe.network.usual_count(points, len(recipe.state_dims))
    departures = plan.window * float(min(points, max(plan.densities) * usual))
    tables = FIT + FIT_LAG * plan.window + 2 * plan.blocks * plan.window * NUMBER
    gains = plan.blocks * plan.streams * NUMBER * (6 * departures + 4 * points) * departures
    return tables * float(points) ** 2 + gains


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
    points = math.prod(shape)
    needed = needed_memory(recipe, settings.method, points)
    if needed <= available:
        return
    fitting, too_many = 1, points
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fits = needed_memory(recipe, settings.method, middle) <= available
        fitting, too_many = (middle, too_many) if fits else (fitting, middle)
    sizes = " x ".join(map(str, shape))
    raise GridTooLargeError(
        f"{recipe.name}: the covariances between all {points} points of a grid of {sizes} take "
        f"about {needed / GIGABYTE:.1f} GB of memory with the method {settings.method.value}, and "
        f"{available / GIGABYTE:.1f} GB are free here. Up to {fitting} points would fit: give a "
        "source with a smaller area or a coarser grid, or use a machine with more memory."
    )
