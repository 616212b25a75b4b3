"""Pictures of how withheld observations were predicted, where there is no truth."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from vardax_core.calibration.plots.style import (
    INK,
    dress,
    label_time,
    method_colours,
    new_figure,
    say_empty,
)
from vardax_core.calibration.plots.verification import coverage_panels, dots, running_mean
from vardax_core.calibration.score_definitions import divide
from vardax_core.calibration.scored_by import BY_WITHHELD
from vardax_core.calibration.scores import Scores
from vardax_core.calibration.statistics import PIT_BIN
from vardax_core.words import unit_label

EMPTY = "no observation was withheld"


def withheld_comparison(
    statistics: Mapping[str, xr.Dataset],
    scores: Mapping[str, Scores],
    *,
    primary: str,
    units: str = "1",
) -> Figure:
    """Root mean square of withheld O-A (line) and what it was expected to be (dashes) over time,
    and their means beside it; see `comparison` for the arguments."""
    colours = method_colours(list(statistics), primary)
    names = [*(name for name in statistics if name != primary), primary]
    figure = new_figure(10.5, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
    length = max((data.sizes["time"] for data in statistics.values()), default=0)
    width, drawn = max(1, length // 40), []
    for name in names:
        data = statistics[name]
        count = data["withheld_observations"].values
        for what, style in (
            ("withheld_squared_residual", "-"),
            ("withheld_predicted_variance", "--"),
        ):
            series = running_mean(np.sqrt(divide(data[what].values, count)), width)
            drawn.append(series)
            left.plot(data["time"].values, series, style, color=colours[name], linewidth=1.3)
    over = f", running mean of {width} cycles" if width > 1 else ""
    dress(
        left,
        title=f"withheld O-A (line) and expected (dashes){over}",
        y=unit_label("root mean square", units),
    )
    if np.any(np.isfinite(np.concatenate([*drawn, np.empty(0)]))):
        label_time(left, next(iter(statistics.values()))["time"].values)
        left.set_ylim(bottom=0)
    else:
        say_empty(left, EMPTY)
    dots(right, scores, names, colours, units, BY_WITHHELD)
    return figure


def withheld_coverage(scores: Mapping[str, Scores], *, primary: str) -> Figure:
    """Share of withheld observations inside the central intervals of their predictions."""
    shares = {
        name: divide(one.sums["withheld_coverage"], one.sums["withheld_observations"])
        for name, one in scores.items()
    }
    return coverage_panels(shares, primary=primary, what="withheld observations", empty=EMPTY)


def withheld_pit(scores: Scores, *, name: str) -> Figure:
    """Where withheld observations fell in their predictions: flat if these are calibrated; high at
    both ends if they are too narrow, in the middle if too wide."""
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    histogram = np.asarray(scores.sums["withheld_pit"], float)
    count = float(scores.sums["withheld_observations"])
    title = f"Withheld observations in their predictions, {name}"
    if not count > 0:
        dress(axes, title=title, grid="")
        say_empty(axes, EMPTY)
        return figure
    bins = len(histogram)
    axes.bar(np.asarray(PIT_BIN.values), histogram / count * bins, 0.92 / bins, color="#56B4E9")
    axes.axhline(1.0, color=INK, linewidth=1)
    dress(axes, title=title, x="probability of a smaller value", y="frequency / flat", grid="y")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(1.5, 1.12 * float(np.max(histogram / count * bins))))
    return figure
