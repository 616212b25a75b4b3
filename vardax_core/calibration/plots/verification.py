"""Pictures of scores: who is better, and is the spread honest."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from vardax_core.calibration.plots.style import (
    INK,
    dress,
    label_time,
    legend,
    method_colours,
    new_figure,
    say_empty,
)
from vardax_core.calibration.ranks import matched_rank_histogram
from vardax_core.calibration.score_definitions import divide
from vardax_core.calibration.scored_by import BY_TRUTH, ScoredBy
from vardax_core.calibration.scores import Scores
from vardax_core.calibration.statistics import COVERAGE_LEVELS
from vardax_core.words import short, unit_label


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` values, over fewer at the ends, leaving out NaN."""
    if not len(values):
        return values
    finite = np.isfinite(values)
    kernel = np.ones(max(1, min(width, len(values))))
    total = np.convolve(np.where(finite, values, 0.0), kernel, mode="same")
    return divide(total, np.convolve(finite.astype(float), kernel, mode="same"))


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values) & (values > 0)]
    return (float(finite.min()), float(finite.max())) if finite.size else (float("nan"),) * 2


def _log_axis(axes: Axes, which: str, values: np.ndarray) -> None:
    lowest, highest = _limits(values)
    if not highest > 4 * lowest:
        return
    set_scale, axis = {
        "x": (axes.set_xscale, axes.xaxis),
        "y": (axes.set_yscale, axes.yaxis),
    }[which]
    set_scale("log")
    steps = (1, 2, 5) if highest < 100 * lowest else (1,)
    axis.set_major_locator(LogLocator(10, subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def comparison(
    statistics: Mapping[str, xr.Dataset],
    scores: Mapping[str, Scores],
    *,
    primary: str,
    units: str = "1",
    smoothing: int | None = None,
) -> Figure:
    """RMSE (line) and spread (dashes) over time of every method, and their means beside it.

    Arguments:
        statistics: statistics of each cycle by method, as `statistics_dataset` makes them.
        scores: scores by method.
        primary: the method drawn on top and in the first colour.
        units: unit of the state.
        smoothing: cycles in the running mean; a fortieth of the period if not given.
    """
    colours = method_colours(list(statistics), primary)
    names = [*(name for name in statistics if name != primary), primary]
    figure = new_figure(10.5, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
    length = max((data.sizes["time"] for data in statistics.values()), default=0)
    width = smoothing or max(1, length // 40)
    drawn = []
    for name in names:
        data = statistics[name]
        scored = data["cycles"].values > 0
        for what, style in (("rmse", "-"), ("spread", "--")):
            series = running_mean(np.where(scored, data[what].values, np.nan), width)
            drawn.append(series)
            left.plot(data["time"].values, series, style, color=colours[name], linewidth=1.3)
    values = np.concatenate(drawn) if drawn else np.array([])
    smoothed = f", running mean of {width} cycles" if width > 1 else ""
    dress(
        left,
        title=f"RMSE (line) and spread (dashes){smoothed}",
        y=unit_label("RMSE, spread", units),
    )
    if np.any(np.isfinite(values)):
        _log_axis(left, "y", values)
        label_time(left, next(iter(statistics.values()))["time"].values)
    else:
        say_empty(left, "no cycle was scored")
    dots(right, scores, names, colours, units, BY_TRUTH)
    return figure


def dots(
    axes: Axes,
    scores: Mapping[str, Scores],
    names: list[str],
    colours: dict,
    units: str,
    by: ScoredBy,
) -> None:
    """Draw the mean error and spread of every method."""
    shown = []
    for row, name in enumerate(names):
        rmse, spread = scores[name].values[by.rmse], scores[name].values[by.spread]
        shown += [rmse.value, spread.value]
        axes.plot([rmse.value, spread.value], [row, row], color=colours[name], linewidth=1)
        axes.plot([rmse.lower, rmse.upper], [row, row], color=colours[name], linewidth=4, alpha=0.4)
        axes.plot(rmse.value, row, "o", color=colours[name], markersize=8)
        axes.plot(
            *(spread.value, row, "o"),
            markersize=8,
            markerfacecolor="white",
            markeredgecolor=colours[name],
            markeredgewidth=1.6,
        )
        text = f"{short(rmse.value)}  |  {short(spread.value)}"
        axes.annotate(
            *(text, (1.0, row)),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    dress(axes, title="means: RMSE ● | spread ○", x=unit_label("RMSE, spread", units), grid="x")
    _log_axis(axes, "x", np.array(shown))
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_ylim(-0.6, len(names) - 0.4)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(colours[name])
        label.set_fontweight("bold")


def crps_bars(scores: Mapping[str, Scores], *, primary: str, units: str = "1") -> Figure:
    """CRPS of every method as bars: of the Gaussian N(mean, spread^2), and fair of the members."""
    names = [*(name for name in scores if name != primary), primary]
    colours = method_colours(list(scores), primary)
    figure = new_figure(7.2, 0.9 + 0.62 * len(names))
    axes = figure.subplots()
    labels = []
    for row, name in enumerate(names):
        for offset, score, alpha in ((0.2, "crps_gaussian", 1.0), (-0.2, "crps_fair", 0.45)):
            value = scores[name][score]
            shown = f" {short(value)}" if np.isfinite(value) else " not defined"
            length = value if np.isfinite(value) else 0.0
            axes.barh(row + offset, length, 0.36, color=colours[name], alpha=alpha)
            axes.text(length, row + offset, shown, va="center", fontsize=8, color=INK)
        labels.append(name)
    dress(
        axes, title="CRPS: dark Gaussian, light fair of the members (smaller is better)", grid="x"
    )
    axes.set_xlabel(unit_label("CRPS", units), fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    return figure


def rank_histogram(scores: Scores, *, name: str) -> Figure:
    """Rank histogram of the truth among the members, relative to a flat one, with the band in
    which 95 % of the bars of a flat histogram of so many independent points would lie, and that
    of members whose mean and spread are exact, see `matched_rank_histogram`."""
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    histogram, weight = scores.sums["rank_histogram"], float(scores.sums["weight"])
    title = f"Rank histogram, {name}"
    if not weight > 0:
        dress(axes, title=title, grid="")
        say_empty(axes, "no point with a truth was scored")
        return figure
    bins = len(histogram)
    effective = weight**2 / float(scores.sums["squared_weight"])
    half = 1.96 * np.sqrt((bins - 1) / effective)
    axes.bar(range(bins), histogram / weight * bins, 0.92, color="#56B4E9")
    axes.axhspan(1 - half, 1 + half, color=INK, alpha=0.18, linewidth=0)
    axes.axhline(1.0, color=INK, linewidth=1)
    matched_ranks(axes, bins)
    dress(axes, title=title, x="rank of the truth", y="frequency / flat", grid="y")
    axes.set_xlim(-0.6, bins - 0.4)
    axes.set_ylim(0, max(1.5, 1.12 * float(np.max(histogram / weight * bins))))
    axes.text(
        *(0.99, 0.97, f"band: flat, {effective:,.0f} independent points"),
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        color=INK,
    )
    return figure


def matched_ranks(axes: Axes, bins: int) -> None:
    """Draw the rank histogram of members whose mean and spread are exact."""
    if bins < 3:
        return
    label = "members with the exact mean and spread"
    axes.plot(matched_rank_histogram(bins - 1), color=INK, linewidth=1, linestyle=":", label=label)
    axes.legend(fontsize=7, loc="lower center", frameon=False)


def coverage_curve(scores: Mapping[str, Scores], *, primary: str) -> Figure:
    """Share of truths inside the central Gaussian intervals against their nominal probability,
    and the difference of the two; below the line the spread is too small."""
    shares = {
        name: divide(one.sums["coverage"], one.sums["weight"]) for name, one in scores.items()
    }
    return coverage_panels(
        shares, primary=primary, what="truths", empty="no point with a truth was scored"
    )


def coverage_panels(
    shares: Mapping[str, np.ndarray], *, primary: str, what: str, empty: str
) -> Figure:
    """Draw shares by method at `COVERAGE_LEVELS`.

    Arguments:
        shares: of what lies inside the intervals.
        primary: the method drawn on top and in the first colour.
        what: is inside of them.
        empty: what is said where there is nothing to draw.
    """
    colours = method_colours(list(shares), primary)
    figure = new_figure(8.6, 3.9)
    left, right = figure.subplots(1, 2)
    nominal = np.array(COVERAGE_LEVELS)
    dress(left, title="Coverage", x="nominal probability", y=f"share of {what} inside")
    dress(right, title="Difference", x="nominal probability", y="share - nominal [%]")
    style = {"marker": "o", "linewidth": 1.4, "markersize": 3.5}
    differences = []
    for name in [*(name for name in shares if name != primary), primary]:
        share = shares[name]
        if np.any(np.isfinite(share)):
            label = f"{name} {100 * share[COVERAGE_LEVELS.index(0.9)]:.1f} %"
            differences.append(100 * (share - nominal))
            left.plot(nominal, share, color=colours[name], label=label, **style)
            right.plot(nominal, differences[-1], color=colours[name], **style)
    if not differences:
        say_empty(left, empty)
        say_empty(right, empty)
        return figure
    left.plot([0, 1], [0, 1], color=INK, linewidth=1, zorder=1)
    right.axhline(0, color=INK, linewidth=1, zorder=1)
    left.set_aspect("equal")
    left.set_xlim(0, 1)
    left.set_ylim(0, 1)
    right.set_xlim(0, 1)
    reach = 1.25 * max(4.0, float(np.max(np.abs(differences))))
    right.set_ylim(-reach, reach)
    quiet = {"fontsize": 8, "color": "#777777", "style": "italic", "transform": right.transAxes}
    right.text(0.02, 0.97, "intervals too wide", va="top", **quiet)
    right.text(0.02, 0.03, "intervals too narrow", **quiet)
    legend(left, loc="best", fontsize=7.5, title="in the 90 % interval", title_fontsize=7.5)
    return figure


def spread_error(scores: Mapping[str, Scores], *, primary: str, units: str = "1") -> Figure:
    """RMSE of the points of like spread against that spread; on the diagonal the spread tells the
    error point by point. Larger dots hold more points; bins with under 0.2 % are left out."""
    colours = method_colours(list(scores), primary)
    figure = new_figure(4.4, 3.9)
    axes = figure.subplots()
    everything = []
    for name in [*(name for name in scores if name != primary), primary]:
        sums = scores[name].sums
        weight = sums["binned_weight"]
        enough = weight > 0.002 * max(float(weight.sum()), 1e-300)
        x = np.sqrt(divide(sums["binned_variance"], weight))[enough]
        y = np.sqrt(divide(sums["binned_squared_error"], weight))[enough]
        visible = (x > 0) & (y > 0)
        if np.any(visible):
            share = weight[enough][visible] / weight.sum()
            x, y = x[visible], y[visible]
            axes.plot(x, y, color=colours[name], linewidth=1)
            axes.scatter(x, y, 12 + 160 * share, color=colours[name], label=name, linewidths=0)
            everything += [x, y]
    dress(
        axes,
        title="Spread and error",
        x=unit_label("spread", units),
        y=unit_label("RMSE at that spread", units),
    )
    if not everything:
        say_empty(axes, "no point with a truth and a spread was scored")
        return figure
    values = np.concatenate(everything)
    lowest, highest = 0.85 * values.min(), 1.18 * values.max()
    axes.plot([lowest, highest], [lowest, highest], color=INK, linewidth=1, zorder=0)
    _log_axis(axes, "x", np.array([lowest, highest]))
    _log_axis(axes, "y", np.array([lowest, highest]))
    axes.set_xlim(lowest, highest)
    axes.set_ylim(lowest, highest)
    axes.set_box_aspect(1)
    legend(axes, loc="upper left", markerscale=0.8)
    return figure


def innovation_series(statistics: xr.Dataset, *, name: str, units: str = "1") -> Figure:
    """O-B of every cycle against the limits that the background ensemble and R give, and chi2 per
    observation, whose expectation is 1.

    The limits are +- 1.96 standard deviations of the mean innovation, background errors correlated
    as the members are; the running mean is over a fortieth of the period.
    """
    figure = new_figure(9.5, 4.2)
    above, below = figure.subplots(2, 1, sharex=True)
    times, count = statistics["time"].values, statistics["observations"].values
    mean = divide(statistics["innovation"].values, count)
    chi2 = divide(statistics["chi2"].values, count)
    limit = 1.96 * np.sqrt(divide(statistics["innovation_sum_variance"].values, count**2))
    width = max(1, len(times) // 40)
    mean_title, chi2_title = f"O-B mean of each cycle, {name}", "(O-B)² / (HBH' + R) of each cycle"
    dress(above, title=mean_title, y=unit_label("O-B", units), grid="y")
    dress(below, title=chi2_title, y="chi2 per observation", grid="y")
    if not np.any(np.isfinite(mean)):
        say_empty(above, "no observation was used")
        say_empty(below, "no observation was used")
        return figure
    colour = "#0072B2"
    style = {"marker": ".", "linestyle": "", "markersize": 2.5, "alpha": 0.35, "color": colour}
    smooth_limit = running_mean(limit, width)
    above.fill_between(
        times, -smooth_limit, smooth_limit, color="#BBBBBB", alpha=0.5, linewidth=0, label="limits"
    )
    outside = float(np.mean((np.abs(mean) > limit)[np.isfinite(mean)]))
    for axes, series, target in ((above, mean, 0.0), (below, chi2, 1.0)):
        axes.axhline(target, color=INK, linewidth=0.8)
        axes.plot(times, series, **style)
        axes.plot(
            times,
            running_mean(series, width),
            color=colour,
            linewidth=1.6,
            label=f"running mean of {width} cycles" if width > 1 else "each cycle",
        )
    above.set_title(
        f"{100 * outside:.1f} % outside (expected 5 %)", loc="right", fontsize=8, color=INK
    )
    average = float(np.nanmean(chi2))
    below.set_title(f"mean {average:.3g} (expected 1)", loc="right", fontsize=8, color=INK)
    top = float(np.nanquantile(chi2, 0.995))
    below.set_ylim(0, 1.1 * max(1.5, top))
    for axes in (above, below):
        legend(axes, loc="upper right", ncols=2)
    label_time(below, times)
    return figure
