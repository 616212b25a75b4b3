"""Pictures of what an analysis rests on."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vardax_core.calibration.plots.fields import map_axes
from vardax_core.calibration.plots.style import INK, OKABE_ITO, dress, new_figure
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import unit_label

COLUMNS = 2
WIDTH, LINE_HEIGHT, LOWEST, HIGHEST = 10.5, 2.1, 2.2, 5.0
"""Inches: of the figure, and of a row of panels."""


def support_maps(fields: Mapping[str, xr.DataArray], grid: AbstractGrid, title: str) -> Figure:
    """Draw fields without a unit beside each other, each with colours or an axis of its own.

    Arguments:
        fields: by title, one number for each point of the grid, NaN where it has none.
        grid: of all.
        title: of the figure.
    """
    rows = -(-len(fields) // COLUMNS)
    flat = len(grid.shape) == 1
    figure = new_figure(WIDTH, 0.5 + rows * (LINE_HEIGHT if flat else _height(grid)))
    figure.suptitle(title, fontsize=11, fontweight="bold", color=INK, x=0.01, ha="left")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (name, field) in zip(panels, fields.items(), strict=False):
        if flat:
            _line(axes, grid, field.to_numpy(), name)
        else:
            _map(figure, axes, grid, field.to_numpy(), name)
    for axes in panels[len(fields) :]:
        axes.set_axis_off()
    return figure


def _height(grid: AbstractGrid) -> float:
    rows, columns = np.moveaxis(np.asarray(grid.positions()), -1, 0)
    tall = grid.aspect() * np.ptp(rows) / max(np.ptp(columns), 1e-9)
    return float(np.clip(0.4 + WIDTH / COLUMNS * tall, LOWEST, HIGHEST))


def _line(axes: Axes, grid: AbstractGrid, values: np.ndarray, name: str) -> None:
    where = np.asarray(grid.positions())[..., 0]
    order = np.argsort(where)
    axes.plot(where[order], values[order], color=OKABE_ITO[0], linewidth=1.2)
    axes.ticklabel_format(axis="y", useOffset=False)
    dress(axes, title=name, x=unit_label("place", grid.axis_unit))


def _map(figure: Figure, axes: Axes, grid: AbstractGrid, values: np.ndarray, name: str) -> None:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if high - low < 1e-6 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    mesh = map_axes(axes, grid, values, "viridis", low, high)
    dress(axes, title=name, grid="")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
