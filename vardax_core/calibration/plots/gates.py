"""Pictures of gates: where the truth stands among the draws, and whether that is chance."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from vardax_core.calibration.gates.base import Picture
from vardax_core.calibration.plots.style import (
    ANALYSIS,
    BACKGROUND,
    INK,
    OKABE_ITO,
    dress,
    legend,
    new_figure,
    say_empty,
)


def ecdf_difference(
    *,
    title: str,
    levels: np.ndarray,
    curves: Mapping[str, np.ndarray],
    band: tuple[np.ndarray, np.ndarray],
    all_band: tuple[np.ndarray, np.ndarray],
    of: int,
    n: int,
) -> Figure:
    """Share of truths up to each rank less its expectation, with simultaneous bands.

    Arguments:
        title: what the quantities are.
        levels: expected share at each threshold.
        curves: empirical share at each threshold, by quantity.
        band: the shares between which one right curve lies.
        all_band: the shares between which all of them lie.
        of: how many quantities there are, of which the worst are drawn.
        n: number of pairs.

    Source: Sailynoja et al. (2022), doi:10.1007/s11222-022-10090-6
    """
    figure = new_figure(6.6, 3.6)
    axes = figure.subplots()
    if not n or not curves:
        dress(axes, title=title, grid="")
        say_empty(axes, "there are no pairs")
        return figure
    x = np.concatenate([[0], levels, [1]])

    def closed(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], values - levels, [0]])

    wide = f"by chance in all {of}" if of > 1 else "by chance"
    bands = [(all_band, 0.10, wide), (band, 0.16, "by chance in one")]
    for (lower, upper), alpha, name in bands[: 2 if of > 1 else 1]:
        edges = closed(lower), closed(upper)
        axes.fill_between(x, edges[0], edges[1], color=INK, alpha=alpha, linewidth=0, label=name)
    for colour, (name, share) in zip(OKABE_ITO, curves.items(), strict=False):
        axes.plot(x, closed(share), color=colour, linewidth=1.5, label=name)
    axes.axhline(0, color=INK, linewidth=0.8)
    dress(
        axes,
        title=title,
        x="rank of the truth among the members, from 0 (lowest) to 1 (highest)",
        y="share of truths up to that rank,\nless the expected share",
    )
    axes.set_xlim(0, 1)
    reach = 1.1 * max(abs(value) for value in axes.get_ylim())
    axes.set_ylim(-reach, 1.5 * reach)
    axes.text(
        *(0.99, 0.03, f"{n} cases; the {len(curves)} least even of {of}"),
        ha="right",
        fontsize=8,
        color="#777777",
        style="italic",
        transform=axes.transAxes,
    )
    legend(axes, loc="upper right", ncols=2, fontsize=7.5)
    return figure


def two_distributions(*, title: str, truths: np.ndarray, draws: np.ndarray, label: str) -> Figure:
    """Histograms of a quantity over all truths and over all draws."""
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    both = np.concatenate([truths, draws])
    both = both[np.isfinite(both)]
    if not both.size:
        dress(axes, title=title, grid="")
        say_empty(axes, "there are no pairs")
        return figure
    edges = np.histogram_bin_edges(both, bins=30)
    for values, colour, name in (
        (truths, INK, "truths"),
        (draws, ANALYSIS, "draws of all posteriors"),
    ):
        share, _ = np.histogram(values, bins=edges, density=True)
        axes.stairs(share, edges, color=colour, linewidth=1.6, label=name)
    dress(axes, title=title, x=label, y="density")
    legend(axes)
    return figure


def normal_quantiles(*, title: str, z: np.ndarray, ratio: np.ndarray, n: int) -> Figure:
    """Sorted standardised biases against normal quantiles, and ratios of spreads.

    Arguments:
        title: what is compared.
        z: bias of every point in its own standard errors, sorted.
        ratio: spread over the oracle's at every point, sorted.
        n: draws behind each of them.
    """
    figure = new_figure(8.6, 3.6)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", color=INK)
    left, right = figure.subplots(1, 2)
    points = len(z)
    from_zero_to_one = (np.arange(points) + 0.5) / max(points, 1)
    expected = ndtri(from_zero_to_one)
    left.plot(expected, z, ".", color=ANALYSIS, markersize=4)
    left.plot([-4, 4], [-4, 4], color=INK, linewidth=1)
    dress(
        left,
        title="bias of every point",
        x="expected if right [standard errors]",
        y="bias [standard errors]",
    )
    right.plot(from_zero_to_one, ratio, color=ANALYSIS, linewidth=1.5)
    right.axhline(1, color=INK, linewidth=1)
    half = 4 / np.sqrt(2 * n)
    right.axhspan(1 - half, 1 + half, color=BACKGROUND, alpha=0.25, linewidth=0)
    dress(
        right,
        title="ratio of spreads",
        x="share of the points",
        y="spread / oracle's",
    )
    right.text(0.0, 1 + half, "band: four standard errors", va="bottom", fontsize=8, color=INK)
    return figure


def score_ranges(
    *, title: str, parts: Mapping[str, tuple[float, float, float]], lowest: float, highest: float
) -> Figure:
    """A score of every part of a trial, with its 95 % interval, and the range that is allowed.

    Arguments:
        title: what the score is.
        parts: value, lower and upper end of the interval (NaN where there is none), by part.
        lowest, highest: the range.
    """
    figure = new_figure(6.6, 1.2 + 0.3 * len(parts))
    axes = figure.subplots()
    rows = np.arange(len(parts))[::-1]
    values, lower, upper = np.array(list(parts.values()), float).T
    shown = np.concatenate([values, lower, upper, [lowest, highest]])
    shown = shown[np.isfinite(shown)]
    # All may be the same, as of weights that change nothing.
    margin = 0.08 * (shown.max() - shown.min()) or 0.05
    edges = shown.min() - margin, shown.max() + margin
    axes.axvspan(
        *np.clip([lowest, highest], *edges), color=INK, alpha=0.10, linewidth=0, label="allowed"
    )
    if np.isfinite(lower).any():
        axes.hlines(rows, lower, upper, color=ANALYSIS, linewidth=1.5, label="95 % interval")
    inside = (values >= lowest) & (values <= highest)
    axes.plot(values[inside], rows[inside], "o", color=ANALYSIS, markersize=6)
    if not inside.all():
        axes.plot(values[~inside], rows[~inside], "X", color=INK, markersize=8, label="outside")
    dress(axes, title=title, x=title.rpartition(": ")[2], grid="x")
    axes.set_yticks(rows, list(parts))
    axes.set_xlim(*edges)
    axes.set_ylim(-0.7, len(parts) - 0.3)
    legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure


def draw(picture: Picture) -> Figure:
    """The figure of a gate."""
    match picture.kind:
        case "ecdf_difference":
            return ecdf_difference(title=picture.title, **picture.data)
        case "two_distributions":
            return two_distributions(title=picture.title, **picture.data)
        case "normal_quantiles":
            return normal_quantiles(title=picture.title, **picture.data)
        case "score_ranges":
            return score_ranges(title=picture.title, **picture.data)
    raise ValueError(f"draw: there is no picture of the kind {picture.kind!r}.")
