"""Pictures of two runs of the same cycles."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vardax_core.calibration.plots.fields import map_axes
from vardax_core.calibration.plots.style import (
    INK,
    OKABE_ITO,
    dress,
    label_time,
    legend,
    new_figure,
    say_empty,
)
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import unit_label

RUNNING = 20
"""Parts of the period over which a series is averaged to be drawn."""


@dataclass(frozen=True)
class DifferenceMap:
    """A mean difference at every point of a grid.

    Attributes:
        title: what it is of.
        units: of the difference.
        mean: of second - first.
        half_width: of its interval of 95 %.
    """

    title: str
    units: str
    mean: Float[np.ndarray, "*grid"]
    half_width: Float[np.ndarray, "*grid"]


def difference_figure(
    title: str,
    times: np.ndarray,
    series: Float[np.ndarray, " time"],
    interval: tuple[float, float],
    label: str,
    units: str,
    grid: AbstractGrid,
    maps: tuple[DifferenceMap, ...],
) -> Figure:
    """The difference of two losses in time with the interval of its mean, and difference maps.

    Points whose interval holds zero are paler.

    Arguments:
        title: of the figure.
        times: analysis times.
        series: second - first in each cycle.
        interval: of its mean.
        label: what the series is.
        units: of the series.
        grid: of the maps.
        maps: one or two.
    """
    figure = new_figure(4.2 * (1 + len(maps)), 3.6)
    figure.suptitle(title, fontsize=11, fontweight="bold", color=INK, x=0.01, ha="left")
    axes = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
    _series(axes[0], times, series, interval, label, units)
    for at, one in zip(axes[1:], maps, strict=True):
        if len(grid.shape) == 1:
            _line(at, grid, one)
        else:
            _map(figure, at, grid, one)
    return figure


def _series(
    axes: Axes,
    times: np.ndarray,
    series: Float[np.ndarray, " time"],
    interval: tuple[float, float],
    label: str,
    units: str,
) -> None:
    dress(axes, title=label, y=unit_label("second - first", units))
    there = np.isfinite(series)
    if not there.any():
        say_empty(axes, "no cycle has both")
        return
    parts = np.array_split(np.flatnonzero(there), min(RUNNING, int(there.sum())))
    middle = [times[part[len(part) // 2]] for part in parts]
    axes.plot(
        np.array(middle), [series[part].mean() for part in parts], color=OKABE_ITO[0], marker="o",
        markersize=3, linewidth=1, label="mean of a part of the period",
    )  # fmt: skip
    if np.isfinite(interval).all():
        axes.axhspan(*interval, color=OKABE_ITO[1], alpha=0.25, label="95 % interval of the mean")
    axes.axhline(0.0, color=INK, linewidth=0.8)
    label_time(axes, times)
    legend(axes, loc="best")


def _line(axes: Axes, grid: AbstractGrid, one: DifferenceMap) -> None:
    where = np.asarray(grid.positions())[..., 0]
    order = np.argsort(where)
    x, mean, half = where[order], one.mean[order], one.half_width[order]
    if np.isfinite(half).any():
        label, colour = "95 % interval", OKABE_ITO[1]
        axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.25, label=label)
    axes.plot(x, mean, color=OKABE_ITO[0], linewidth=1.2, label="mean")
    axes.axhline(0.0, color=INK, linewidth=0.8)
    name = unit_label("place", grid.axis_unit)
    dress(axes, title=one.title, x=name, y=unit_label("second - first", one.units))
    legend(axes, loc="best")


def _map(figure: Figure, axes: Axes, grid: AbstractGrid, one: DifferenceMap) -> None:
    values = np.abs(one.mean[np.isfinite(one.mean)])
    reach = max(float(np.quantile(values, 0.99)), 1e-12) if values.size else 1.0
    seen = np.abs(one.mean) > one.half_width
    known = np.isfinite(one.half_width)
    map_axes(axes, grid, one.mean, "RdBu_r", -reach, reach).set_alpha(0.35 if known.any() else 1.0)
    mesh = map_axes(axes, grid, np.where(seen, one.mean, np.nan), "RdBu_r", -reach, reach)
    dress(axes, title=one.title, grid="")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8)
    bar.set_label(unit_label("second - first", one.units), fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
