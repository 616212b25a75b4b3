"""Pictures of states: maps, time series with their band, and one-dimensional sections."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vardax_core.calibration.plots.coarse import as_drawn
from vardax_core.calibration.plots.coast import coastlines
from vardax_core.calibration.plots.style import (
    ANALYSIS,
    BACKGROUND,
    INK,
    OBSERVATION,
    TRUTH,
    dress,
    label_time,
    legend,
    new_figure,
)
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import unit_label

Z90 = 1.6448536269514722

FEW_STATIONS = 300
"""More than these are drawn as smaller dots, so that the field is seen between them."""


@dataclass(frozen=True)
class FieldPanel:
    """A two-dimensional state at one cycle, in the unit of the state.

    Attributes:
        truth, background, analysis, spread: fields; NaN where unknown.
        grid: where the points are; errors count by its areas.
        stations: places of the observations of this cycle, as `grid.points` has them.
        title: variable and time.
    """

    truth: Float[np.ndarray, "y x"]
    background: Float[np.ndarray, "y x"]
    analysis: Float[np.ndarray, "y x"]
    spread: Float[np.ndarray, "y x"]
    grid: AbstractGrid
    stations: Float[np.ndarray, "obs 2"]
    title: str


@dataclass(frozen=True)
class PointSeries:
    """One variable at one point over time, in the unit of the state.

    Attributes:
        times: analysis times (dates, or cycle numbers).
        truth, background, analysis, spread: one value for each time; NaN where unknown.
        observations: observed values; NaN where there are none.
        title: variable and place, and whether the point was held out.
    """

    times: np.ndarray
    truth: Float[np.ndarray, " time"]
    background: Float[np.ndarray, " time"]
    analysis: Float[np.ndarray, " time"]
    spread: Float[np.ndarray, " time"]
    observations: Float[np.ndarray, " time"]
    title: str


@dataclass(frozen=True)
class SectionPanel:
    """A one-dimensional state at one cycle, in the unit of the state.

    Attributes:
        position: coordinate of each variable.
        truth, background: the true state and the background mean.
        observations: observed values at the positions; NaN where there are none.
        ensemble: analysis members.
        title: variable and time.
    """

    position: Float[np.ndarray, " n"]
    truth: Float[np.ndarray, " n"]
    background: Float[np.ndarray, " n"]
    observations: Float[np.ndarray, " n"]
    ensemble: Float[np.ndarray, "member n"]
    title: str


def limits_of(*fields: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value of some fields; never the same."""
    values = np.concatenate([np.ravel(field) for field in fields])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    lowest, highest = float(values.min()), float(values.max())
    return (lowest, highest) if highest > lowest else (lowest - 0.5, highest + 0.5)


def reach_of(*fields: np.ndarray) -> float:
    """The size that 98 % of some numbers are within; limits of colours whose middle is zero."""
    values = np.abs(np.concatenate([np.ravel(field) for field in fields]))
    values = values[np.isfinite(values)]
    return max(float(np.quantile(values, 0.98)), 1e-12) if values.size else 1.0


def _degrees(positive: str, negative: str) -> FuncFormatter:
    def text(value: float, _: int) -> str:
        value = value - 360 * round(value / 360) if abs(value) > 180 else value
        side = positive if value > 0 else negative if value < 0 else ""
        return f"{abs(value):g}°{side}"

    return FuncFormatter(text)


def _rms(field: np.ndarray, grid: AbstractGrid) -> float:
    weights = np.where(np.isfinite(field), grid.weights(), 0.0)
    total = weights.sum()
    return float(np.sqrt(np.nansum(weights * field**2) / total)) if total else float("nan")


def _high(field: np.ndarray) -> float:
    finite = np.abs(field[np.isfinite(field)])
    return float(np.quantile(finite, 0.995)) if finite.size else 0.0


def maps(panel: FieldPanel, *, units: str = "1", variable: str = "state") -> Figure:
    """Truth, background and analysis on one colour scale; under them the errors of background
    and analysis on one symmetric scale, at most twice the largest analysis error so
    that a worse background saturates, and the analysis spread. Dots are the stations."""
    grid = panel.grid
    figure = new_figure(10.5, height_of_maps(grid))
    figure.suptitle(panel.title, fontsize=11, fontweight="bold", color=INK, x=0.01, ha="left")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    background_error = panel.background - panel.truth
    analysis_error = panel.analysis - panel.truth
    lowest, highest = limits_of(panel.truth, panel.background, panel.analysis)
    worst = min(_high(background_error), 2 * _high(analysis_error)) or 1.0
    least, most = limits_of(panel.spread)
    plain, signed = ("viridis", lowest, highest), ("RdBu_r", -worst, worst)
    pictures = (
        (
            ("truth", panel.truth, plain),
            ("background", panel.background, plain),
            ("analysis", panel.analysis, plain),
        ),
        (
            (f"background error, rms {_rms(background_error, grid):.2g}", background_error, signed),
            (f"analysis error, rms {_rms(analysis_error, grid):.2g}", analysis_error, signed),
            (
                f"analysis spread, rms {_rms(panel.spread, grid):.2g}",
                panel.spread,
                ("cividis", least, most),
            ),
        ),
    )
    meshes = []
    size = min(1.0, (FEW_STATIONS / max(len(panel.stations), 1)) ** 0.5)
    for row, drawn in zip(axes, pictures, strict=True):
        for ax, (title, field, scale) in zip(row, drawn, strict=True):
            mesh = map_axes(ax, grid, field, *scale)
            dress(ax, title=title, grid="")
            if len(panel.stations):
                ax.plot(
                    *(panel.stations[:, 1], panel.stations[:, 0], "o"),
                    markersize=2.4 * size,
                    markerfacecolor="white",
                    markeredgecolor="black",
                    markeredgewidth=0.5 * size,
                )
            meshes.append(mesh)
    for group, mesh, label, extend, long in (
        (axes[0], meshes[0], variable, "neither", 60),
        (axes[1, :2], meshes[3], "error", "both", 40),
        (axes[1, 2:], meshes[5], "spread", "neither", 20),
    ):
        bar = figure.colorbar(
            mesh, ax=list(group), location="bottom", extend=extend, pad=0.02, aspect=long
        )
        bar.set_label(unit_label(label, units), fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8, colors=INK)
        bar.outline.set_visible(False)
    return figure


def height_of_maps(grid: AbstractGrid) -> float:
    """Height in inches of a figure with two rows of three maps of a grid."""
    rows, columns = np.moveaxis(np.asarray(grid.positions()), -1, 0)
    tall = grid.aspect() * np.ptp(rows) / max(np.ptp(columns), 1e-9)
    return float(np.clip(2.4 + 5.9 * tall, 4.6, 10.0))


def map_axes(
    axes: Axes,
    grid: AbstractGrid,
    field: Float[np.ndarray, "y x"],
    colours: str,
    lowest: float,
    highest: float,
) -> QuadMesh:
    """Draw a field where its points are, with the grid's own proportions and labels; of a large one
    means over blocks of points, see `as_drawn`."""
    rows, columns = np.moveaxis(np.asarray(grid.positions()), -1, 0)
    drawn = as_drawn(rows, columns, field)
    mesh = axes.pcolormesh(
        *(drawn.columns, drawn.rows, drawn.field),
        shading="nearest",
        rasterized=True,
        cmap=colours,
        vmin=lowest,
        vmax=highest,
    )
    axes.set_aspect(grid.aspect())
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if grid.axis_unit == "degrees":
        _draw_coast(axes)
        axes.xaxis.set_major_formatter(_degrees("E", "W"))
        axes.yaxis.set_major_formatter(_degrees("N", "S"))
    return mesh


def _draw_coast(axes: Axes) -> None:
    """Coastlines behind everything but the field, which leave the edges of the map as they are."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for x, y in zip(*coastlines(left, bottom, right, top, fine=False), strict=True):
        axes.plot(x, y, color=INK, linewidth=0.6, zorder=1.5)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _draw_series(axes: Axes, series: PointSeries, label: str) -> None:
    times, half = series.times, Z90 * series.spread
    known = np.isfinite(series.truth) & np.isfinite(series.analysis)
    inside = np.abs(series.truth - series.analysis)[known] <= half[known]
    axes.fill_between(
        *(times, series.analysis - half, series.analysis + half),
        color=ANALYSIS,
        alpha=0.25,
        linewidth=0,
        label="90 % band",
    )
    axes.plot(times, series.background, "--", color=BACKGROUND, linewidth=1.1, label="background")
    axes.plot(times, series.analysis, color=ANALYSIS, linewidth=1.5, label="analysis")
    axes.plot(times, series.truth, color=TRUTH, linewidth=1.1, label="truth")
    if np.any(np.isfinite(series.observations)):
        axes.plot(
            times, series.observations, "x", color=OBSERVATION, markersize=4, label="observation"
        )
    dress(axes, title=series.title, y=label)
    if inside.size:
        text = f"{100 * np.mean(inside):.0f} % of {inside.size} truths inside the band"
        axes.set_title(text, loc="right", fontsize=8, color=INK)
    axes.margins(x=0.01)
    label_time(axes, times)


def point_series(series: PointSeries, *, units: str = "1", variable: str = "state") -> Figure:
    """Truth, analysis mean with its 90 % band, and background at one point over time."""
    figure = new_figure(9.5, 3.4)
    axes = figure.subplots()
    _draw_series(axes, series, unit_label(variable, units))
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=8,
    )
    return figure


def section(
    panel: SectionPanel, series: PointSeries, *, units: str = "1", variable: str = "state"
) -> Figure:
    """A one-dimensional state at one cycle with observations and members, and under it one of
    its variables over time."""
    figure = new_figure(9.5, 5.6)
    above, below = figure.subplots(2, 1)
    mean = np.mean(panel.ensemble, axis=0)
    above.plot(panel.position, panel.ensemble.T, color="#56B4E9", linewidth=0.5, alpha=0.6)
    above.plot([], [], color="#56B4E9", linewidth=1.2, label=f"{len(panel.ensemble)} members")
    above.plot(
        panel.position, panel.background, "--", color=BACKGROUND, linewidth=1.2, label="background"
    )
    above.plot(panel.position, mean, color=ANALYSIS, linewidth=1.6, label="analysis")
    above.plot(panel.position, panel.truth, color=TRUTH, linewidth=1.1, label="truth")
    above.plot(
        *(panel.position, panel.observations, "x"),
        color=OBSERVATION,
        markersize=5,
        markeredgewidth=1.4,
        label="observation",
    )
    dress(above, title=panel.title, x="position", y=unit_label(variable, units))
    above.margins(x=0.01)
    legend(above, loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=5)
    lowest, highest = above.get_ylim()
    above.set_ylim(lowest, highest + 0.16 * (highest - lowest))
    _draw_series(below, series, unit_label(variable, units))
    handles, labels = below.get_legend_handles_labels()
    legend(below, handles=handles[:1], labels=labels[:1], loc="upper right")
    return figure
