"""Pictures of what files of observations hold: where, when, and which values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from vardax_core.calibration.plots.fields import limits_of, map_axes
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

MOST_MARKS = 20_000
MOST_DOTS = 5_000
BINS = 60


@dataclass(frozen=True)
class FoundMap:
    """Places of observations on the grid of the maps.

    Attributes:
        grid: of the states.
        mask: points that belong to the state; None for all.
        places: of each observation.
        values: of each, in the unit of the state; NaN where only places are known.
        withheld, unused: which of them no analysis sees, for verification or as they are marked.
        title: data set and variable.
    """

    grid: AbstractGrid
    mask: Bool[np.ndarray, "*state"] | None
    places: Float[np.ndarray, "obs coordinate"]
    values: Float[np.ndarray, " obs"]
    withheld: Bool[np.ndarray, " obs"]
    unused: Bool[np.ndarray, " obs"]
    title: str


def found_map(panel: FoundMap, *, units: str = "1", variable: str = "state") -> Figure:
    """Every place by its mean value; squares are withheld, crosses are not used."""
    if len(panel.grid.shape) != 2:
        return _along(panel, units, variable)
    figure = new_figure(8.5, _height(panel.grid))
    axes = figure.subplots()
    _draw_grid(axes, panel)
    places, values, kind = _means(panel)
    places = _beside(panel.grid, places)
    low, high = _colour_limits(values[kind < 2])
    few = min(1.0, (600 / max(len(values), 1)) ** 0.5)
    known = np.isfinite(values)
    marks = None
    for number, (shape, name) in enumerate((("o", "used"), ("s", "withheld"))):
        of = kind == number
        if not of.any():
            continue
        colour = {"c": values[of], "cmap": "viridis", "vmin": low, "vmax": high}
        if not known[of].any():
            colour = {"color": OKABE_ITO[number]}
        drawn = axes.scatter(
            *(places[of, 1], places[of, 0]),
            s=28 * few * (1.0 + 0.4 * number),
            marker=shape,
            linewidths=(0.3 + 0.9 * number) * few,
            edgecolors="#222222" if number else "#777777",
            label=f"{name} ({int(of.sum())} places)",
            **colour,
        )
        marks = drawn if known[of].any() else marks
    if (kind == 2).any():
        at = places[kind == 2]
        axes.scatter(
            *(at[:, 1], at[:, 0], 22),
            marker="x",
            color=OKABE_ITO[1],
            linewidths=0.9,
            label=f"not used ({len(at)} places)",
        )
    if not len(values):
        say_empty(axes, "no observations")
    dress(axes, title=panel.title, grid="")
    if len(values):
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=5,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
        )
    if marks is not None:
        bar = figure.colorbar(marks, ax=axes, aspect=30, pad=0.02, extend="both")
        bar.set_label(f"mean of {unit_label(variable, units)}", fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7, colors=INK)
        bar.outline.set_visible(False)
    return figure


def _height(grid: AbstractGrid) -> float:
    """Height in inches of a figure with one map of a grid."""
    rows, columns = np.moveaxis(np.asarray(grid.positions()), -1, 0)
    tall = grid.aspect() * np.ptp(rows) / max(np.ptp(columns), 1e-9)
    return float(np.clip(1.1 + 7.0 * tall, 3.4, 9.0))


def _colour_limits(values: Float[np.ndarray, " place"]) -> tuple[float, float]:
    """Limits that a few values far from the others do not stretch."""
    finite = values[np.isfinite(values)]
    return limits_of(np.quantile(finite, [0.02, 0.98])) if finite.size else (0.0, 1.0)


def _draw_grid(axes, panel: FoundMap) -> None:
    """Points of the grid, or its frame where they are many; land in grey."""
    rows, columns = np.moveaxis(np.asarray(panel.grid.positions()), -1, 0)
    land = np.ones(panel.grid.shape) if panel.mask is None else np.where(panel.mask, np.nan, 1.0)
    nothing = np.full(panel.grid.shape, np.nan) if panel.mask is None else land
    map_axes(axes, panel.grid, nothing, "Greys", 0.0, 5.0)
    if rows.size <= MOST_DOTS:
        inside = np.ones(rows.shape, bool) if panel.mask is None else panel.mask
        axes.plot(
            *(columns[inside], rows[inside], "."),
            color="#BBBBBB",
            markersize=1.6,
            zorder=0.5,
            label=f"grid ({int(inside.sum())} points)",
        )
    edges = [(rows[0], columns[0]), (rows[-1], columns[-1]), (rows[:, 0], columns[:, 0]),
             (rows[:, -1], columns[:, -1])]  # fmt: skip
    for y, x in edges:
        axes.plot(x, y, color="#777777", linewidth=0.8, zorder=0.6)


def _means(panel: FoundMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, mean value of each, and whether it is used (0), withheld (1) or neither (2)."""
    kind = np.where(panel.unused, 2, np.where(panel.withheld, 1, 0))
    key = np.concatenate([np.round(panel.places, 4), kind[:, None]], axis=1)
    different, of = np.unique(key, axis=0, return_inverse=True)
    of = of.reshape(-1)
    number = np.bincount(of, minlength=len(different))
    sums = np.bincount(of, weights=panel.values, minlength=len(different))
    some = np.linspace(0, len(different) - 1, min(len(different), MOST_MARKS)).astype(int)
    means = sums / np.maximum(number, 1)
    return different[some, :-1], means[some], different[some, -1].astype(int)


def _beside(grid: AbstractGrid, places: np.ndarray) -> np.ndarray:
    """The places with longitudes as near to the grid's as turns of 360 degrees bring them."""
    if grid.axis_unit != "degrees" or not len(places):
        return places
    columns = np.asarray(grid.positions())[..., 1]
    middle = (columns.min() + columns.max()) / 2
    moved = places.copy()
    moved[:, 1] += 360.0 * np.round((middle - places[:, 1]) / 360.0)
    return moved


def _along(panel: FoundMap, units: str, variable: str) -> Figure:
    """Values along the axis of a state of one dimension."""
    figure = new_figure(8.5, 3.2)
    axes = figure.subplots()
    at = np.asarray(panel.grid.points())[:, 0]
    axes.plot(at, np.zeros(at.size), "|", color="#BBBBBB", label=f"grid ({at.size} points)")
    values = np.nan_to_num(panel.values)
    for of, name, colour in (
        (~panel.withheld & ~panel.unused, "used", OKABE_ITO[0]),
        (panel.withheld, "withheld", OKABE_ITO[4]),
        (panel.unused, "not used", OKABE_ITO[1]),
    ):
        if of.any():
            axes.plot(
                *(panel.places[of, 0], values[of], "o"),
                color=colour,
                markersize=4,
                label=f"{name} ({int(of.sum())})",
            )
    dress(axes, title=panel.title, x="position", y=unit_label(variable, units))
    legend(axes, ncols=4, loc="upper right")
    return figure


@dataclass(frozen=True)
class DayCounts:
    """Observations of a stream by day.

    Attributes:
        name: of the stream.
        days: datetime64[D].
        used, withheld, unused: counts of each day.
    """

    name: str
    days: np.ndarray
    used: Int[np.ndarray, " day"]
    withheld: Int[np.ndarray, " day"]
    unused: Int[np.ndarray, " day"]


def counts_by_day(streams: Sequence[DayCounts]) -> Figure:
    """Counts of each day, a row for each stream."""
    figure = new_figure(9.5, 0.8 + 1.9 * max(len(streams), 1))
    rows = figure.subplots(max(len(streams), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, stream in zip(rows, streams, strict=False):
        if not stream.days.size:
            dress(axes, title=stream.name)
            say_empty(axes, "no observation in the period")
            continue
        below = np.zeros(stream.days.size)
        kinds = ((stream.used, "used", OKABE_ITO[0]), (stream.withheld, "withheld", OKABE_ITO[4]),
                 (stream.unused, "not used", OKABE_ITO[1]))  # fmt: skip
        for counts, name, colour in kinds:
            if not counts.any():
                continue
            axes.bar(
                *(stream.days, counts),
                width=np.timedelta64(20, "h"),
                bottom=below,
                color=colour,
                label=f"{name} ({int(counts.sum())})",
            )
            below += counts
        dress(axes, title=stream.name, y="observations a day", grid="y")
        axes.set_ylim(0, 1.3 * max(below.max(), 1))
        legend(axes, loc="upper right", ncols=3)
        label_time(axes, stream.days)
    if not streams:
        say_empty(rows[0], "no stream could be read")
    return figure


def histogram_of_values(
    streams: Sequence[tuple[str, Float[np.ndarray, " obs"]]],
    bounds: tuple[float, float],
    *,
    units: str = "1",
    variable: str = "state",
) -> Figure:
    """How often each value is observed, by stream, with the bounds of the variable."""
    figure = new_figure(9.5, 3.4)
    axes = figure.subplots()
    finite = [(name, values[np.isfinite(values)]) for name, values in streams]
    every = np.concatenate([values for _, values in finite]) if finite else np.empty(0)
    low, high = limits_of(every, np.array(bounds))
    width = bounds[1] - bounds[0]
    low, high = max(low, bounds[0] - width), min(high, bounds[1] + width)
    edges = np.linspace(low, high, BINS + 1)
    for number, (name, values) in enumerate(finite):
        outside = int(((values < bounds[0]) | (values > bounds[1])).sum())
        axes.hist(
            np.clip(values, low, high),
            bins=edges.tolist(),
            histtype="stepfilled",
            alpha=0.55,
            color=OKABE_ITO[number % len(OKABE_ITO)],
            label=f"{name} ({len(values)}" + (f", {outside} out of bounds)" if outside else ")"),
        )
    for bound in bounds:
        axes.axvline(bound, color=INK, linewidth=1.0, linestyle="--")
    top = axes.get_ylim()[1]
    for bound, side, name in ((bounds[0], "left", "valid_min"), (bounds[1], "right", "valid_max")):
        axes.annotate(
            *(f"{name} {bound:g}", (bound, top)),
            xytext=(4 if side == "left" else -4, -4),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=8,
            color=INK,
        )
    dress(axes, title="values, and their bounds", x=unit_label(variable, units), y="observations")
    axes.margins(x=0.02)
    if finite:
        legend(axes, loc="upper center", ncols=3)
    return figure
