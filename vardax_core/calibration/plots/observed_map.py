"""Maps of an analysis of real observations: there is no truth beside it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vardax_core.calibration.plots.fields import height_of_maps, limits_of, map_axes, reach_of
from vardax_core.calibration.plots.style import INK, dress, new_figure, say_empty
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import unit_label

MARK = 9.0
"""Area of the mark of an observation, in square points, where there are few."""
OUTLINED = 500
"""Up to so many marks have an outline."""


@dataclass(frozen=True)
class ObservedMap:
    """A two-dimensional analysis of real observations, in the unit of the state.

    Attributes:
        background, analysis, spread: fields; NaN where the state has no point.
        grid: where the points are.
        places: of the observations of the analysis time.
        innovations, residuals: O-B and O-A of each.
        withheld: which of them no analysis saw.
        title: variable and time.
    """

    background: Float[np.ndarray, "y x"]
    analysis: Float[np.ndarray, "y x"]
    spread: Float[np.ndarray, "y x"]
    grid: AbstractGrid
    places: Float[np.ndarray, "obs 2"]
    innovations: Float[np.ndarray, " obs"]
    residuals: Float[np.ndarray, " obs"]
    withheld: Bool[np.ndarray, " obs"]
    title: str


def observed_map(panel: ObservedMap, *, units: str = "1", variable: str = "state") -> Figure:
    """Analysis, spread and increment; the observations that were used by their O-B, those that
    were withheld by their O-A, on the colours of the increment."""
    figure = new_figure(11.5, height_of_maps(panel.grid))
    figure.suptitle(panel.title, fontsize=11, fontweight="bold", color=INK, x=0.01, ha="left")
    axes = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    increment = panel.analysis - panel.background
    low, high = limits_of(panel.analysis, panel.background)
    reach = reach_of(increment, panel.innovations, panel.residuals)
    label = unit_label(variable, units)
    seen = ~panel.withheld
    fields = (
        (axes[0], panel.analysis, "analysis mean", "viridis", low, high),
        (axes[1], panel.spread, "analysis spread", "cividis", *limits_of(panel.spread)),
        (axes[2], panel.background, "background mean", "viridis", low, high),
        (axes[3], increment, "increment (A-B)", "RdBu_r", -reach, reach),
    )
    for at, field, title, colours, lowest, highest in fields:
        mesh = map_axes(at, panel.grid, field, colours, lowest, highest)
        dress(at, title=title, grid="")
        _bar(figure, at, mesh, label)
    for at, values, which, title in (
        (axes[4], panel.innovations, seen, "O-B of what was used"),
        (axes[5], panel.residuals, panel.withheld, "O-A of what was withheld"),
    ):
        outline = np.where(np.isfinite(panel.analysis), 0.0, np.nan)
        map_axes(at, panel.grid, outline, "Greys", -1.0, 12.0)
        dress(at, title=f"{title} ({int(which.sum())})", grid="")
        _marks(figure, at, panel.places[which], values[which], reach, label)
    return figure


def _marks(
    figure: Figure, axes: Axes, places: np.ndarray, values: np.ndarray, reach: float, label: str
) -> None:
    if not len(values):
        say_empty(axes, "none at this time")
        return
    size = MARK * min(1.0, (2000 / len(values)) ** 0.5)
    marks = axes.scatter(
        *(places[:, 1], places[:, 0], size, values),
        cmap="RdBu_r",
        vmin=-reach,
        vmax=reach,
        linewidths=0.2 if len(values) <= OUTLINED else 0.0,
        edgecolors="#555555",
    )
    _bar(figure, axes, marks, label)


def _bar(figure: Figure, axes: Axes, mesh, label: str) -> None:
    bar = figure.colorbar(mesh, ax=axes, aspect=30, pad=0.02, extend="neither")
    bar.set_label(label, fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
