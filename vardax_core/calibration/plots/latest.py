"""The picture of a dashboard: the last analysis, and how innovations went in the cycles before."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from vardax_core.calibration.plots.fields import (
    FEW_STATIONS,
    Z90,
    limits_of,
    map_axes,
    reach_of,
)
from vardax_core.calibration.plots.style import (
    ANALYSIS,
    INK,
    OBSERVATION,
    dress,
    label_time,
    legend,
    new_figure,
    say_empty,
)
from vardax_core.state.grids import AbstractGrid
from vardax_core.words import unit_label

MARK = 14.0
"""Area of the mark of an observation, in square points."""


@dataclass(frozen=True)
class LatestState:
    """The last analysis, in the unit of the state.

    Attributes:
        mean, spread, background: on one or two dimensions; means of the members, and their spread
            after the analysis.
        grid: where the points are.
        dims: names of its dimensions, in order.
        observed: places of the observations that were there, one column for each dimension.
        values: the observed values.
        departures: O-B of each; NaN where it is not known.
        title: variable and time.
    """

    mean: Float[np.ndarray, "*state"]
    spread: Float[np.ndarray, "*state"]
    background: Float[np.ndarray, "*state"]
    grid: AbstractGrid
    dims: tuple[str, ...]
    observed: Float[np.ndarray, "obs dim"]
    values: Float[np.ndarray, " obs"]
    departures: Float[np.ndarray, " obs"]
    title: str


@dataclass(frozen=True)
class InnovationSeries:
    """What O-B was over time, and what its spread and R say it should be.

    Attributes:
        times: analysis times.
        measured: root mean square of O-B; NaN in a cycle without observations.
        expected: root of the mean of HBH' + R.
    """

    times: np.ndarray
    measured: Float[np.ndarray, " time"]
    expected: Float[np.ndarray, " time"]


def latest(
    state: LatestState, innovations: InnovationSeries, *, units: str, variable: str
) -> Figure:
    """The last analysis as a line with its 90 % band, or as maps of mean, spread and increment with
    the observations coloured by O-B; and below it the size of O-B by cycle."""
    line = state.mean.ndim == 1
    figure = new_figure(9.5 if line else 12.0, 6.0 if line else 7.2)
    figure.suptitle(state.title, fontsize=11, fontweight="bold", color=INK, x=0.01, ha="left")
    above, below = figure.subfigures(2, 1, height_ratios=[3, 2])
    label = unit_label(variable, units)
    if line:
        _line(above.subplots(), state, label)
    else:
        _maps(above.subplots(1, 3, sharex=True, sharey=True), above, state, label)
    _innovations(below.subplots(), innovations, unit_label("O-B, root mean square", units))
    return figure


def _line(axes: Axes, state: LatestState, label: str) -> None:
    (name,), position = state.dims, np.asarray(state.grid.positions())[..., 0]
    half = Z90 * state.spread
    axes.fill_between(
        *(position, state.mean - half, state.mean + half),
        color=ANALYSIS,
        alpha=0.25,
        linewidth=0,
        label="90 % band",
    )
    axes.plot(position, state.mean, color=ANALYSIS, linewidth=1.5, label="analysis")
    if len(state.values):
        axes.plot(
            *(state.observed[:, 0], state.values, "x"),
            color=OBSERVATION,
            markersize=5,
            markeredgewidth=1.4,
            label="observation",
        )
    dress(axes, x=name, y=label)
    axes.margins(x=0.01)
    legend(axes, loc="upper right", ncols=3)
    lowest, highest = axes.get_ylim()
    axes.set_ylim(lowest, highest + 0.16 * (highest - lowest))


def _maps(three: np.ndarray, figure: FigureBase, state: LatestState, label: str) -> None:
    increment = state.mean - state.background
    reach = reach_of(increment, state.departures)
    for axes, field, title, colours in (
        (three[0], state.mean, "analysis mean", ("viridis", *limits_of(state.mean))),
        (three[1], state.spread, "analysis spread", ("cividis", *limits_of(state.spread))),
        (three[2], increment, "increment (A-B), dots O-B", ("RdBu_r", -reach, reach)),
    ):
        mesh = map_axes(axes, state.grid, field, *colours)
        dress(axes, title=title, grid="")
        known = np.isfinite(state.departures)
        if axes is three[2] and known.any():
            places = state.observed[known]
            axes.scatter(
                *(places[:, 1], places[:, 0], MARK, state.departures[known]),
                cmap="RdBu_r",
                vmin=-reach,
                vmax=reach,
                linewidths=0.5 if known.sum() <= FEW_STATIONS else 0.15,
                edgecolors="black",
            )
        bar = figure.colorbar(mesh, ax=axes, location="bottom", aspect=30, pad=0.02)
        bar.set_label(label, fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8, colors=INK)
        bar.outline.set_visible(False)


def _innovations(axes: Axes, innovations: InnovationSeries, label: str) -> None:
    if not np.isfinite(innovations.measured).any():
        say_empty(axes, "no observation was used in these cycles")
        return
    axes.plot(innovations.times, innovations.measured, color=ANALYSIS, linewidth=1.2, label="O-B")
    axes.plot(
        *(innovations.times, innovations.expected, "--"),
        color=INK,
        linewidth=1.2,
        label="expected from spread and observation errors",
    )
    missing = np.isnan(innovations.measured)
    if missing.any():
        axes.plot(
            *(innovations.times[missing], np.zeros(int(missing.sum())), "|"),
            color="#D55E00",
            markersize=9,
            clip_on=False,
            label="no observation",
        )
    axes.set_ylim(bottom=0)
    dress(axes, y=label)
    axes.margins(x=0.01)
    label_time(axes, innovations.times)
    legend(axes, loc="upper left", ncols=3)
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])
