"""A picture of several experiments beside each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vardax_core.calibration.plots.style import (
    INK,
    dress,
    legend,
    method_colours,
    new_figure,
    say_empty,
)
from vardax_core.words import unit_label


def study_scores(
    crps: Mapping[str, Sequence[float]],
    ratio: Mapping[str, Sequence[float]],
    *,
    primary: str,
    units: str,
) -> Figure:
    """CRPS and spread/RMSE of every experiment, one dot each, and the mean of every method.

    Arguments:
        crps: by method, one value for each seed and network, in the unit of the state.
        ratio: spread over RMSE of the same experiments.
        primary: the method in the first colour.
        units: unit of the state.
    """
    names = list(crps)
    colours = method_colours(names, primary)
    figure = new_figure(9.6, 1.5 + 0.45 * max(len(names), 1))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, title, label in (
        (left, crps, "error: less is better", unit_label("CRPS (Gaussian)", units)),
        (right, ratio, "spread: 1 is right", "spread/RMSE"),
    ):
        known = [np.asarray(v, float)[np.isfinite(v)] for v in values.values()]
        dress(axes, title=title, x=label, grid="x")
        if not any(len(v) for v in known):
            say_empty(axes, "no analysis has a truth")
            continue
        for row, (name, found) in enumerate(zip(names, known, strict=True)):
            axes.plot(found, np.full(len(found), row), "o", color=colours[name], alpha=0.55)
            if len(found):
                mean = float(np.mean(found))
                axes.plot([mean], [row], "|", color=INK, markersize=18, markeredgewidth=2)
    right.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -0.6)
    right.plot([], [], "o", color=INK, alpha=0.55, label="an experiment")
    right.plot([], [], "|", color=INK, markersize=12, markeredgewidth=2, label="mean")
    legend(right, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
