"""Pictures of spectra and of the reliability of event probabilities."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from vardax_core.calibration.plots.style import (
    ANALYSIS,
    INK,
    OKABE_ITO,
    dress,
    legend,
    new_figure,
    say_empty,
    short,
    unit_label,
)
from vardax_core.calibration.spectra import Spectra
from vardax_core.state.units import squared_unit


def spectra_curves(spectra: Spectra, *, name: str, units: str = "1") -> Figure:
    """Power of truth, analysis, error and spread by wavenumber, and the effective resolution,
    below which the analysis knows more than half of the truth's power."""
    figure = new_figure(6.2, 3.8)
    axes = figure.subplots()
    title = f"Spectra, {name}"
    curves = (
        ("truth", spectra.truth, INK, "-"),
        ("analysis mean", spectra.mean, ANALYSIS, "-"),
        ("error of the mean", spectra.error, OKABE_ITO[1], "-"),
        ("members about their mean", spectra.spread, OKABE_ITO[1], "--"),
    )
    if not any(np.any(power > 0) for _, power, _, _ in curves):
        dress(axes, title=title, grid="")
        say_empty(axes, "no cycle with a whole truth, or only constant fields")
        return figure
    for label, power, colour, style in curves:
        shown = np.where(power > 0, power, np.nan)
        axes.plot(spectra.wavenumber, shown, style, color=colour, linewidth=1.5, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    power_label = unit_label("power", squared_unit(units))
    dress(axes, title=title, x="wavenumber [waves over the longest axis]", y=power_label)
    if np.isfinite(spectra.resolution):
        axes.axvline(spectra.last_known, color=INK, linewidth=0.9, linestyle=":")
        axes.set_title(
            f"effective resolution: {short(spectra.resolution)} grid points",
            loc="right",
            fontsize=8,
            color=INK,
        )
    legend(axes, loc="best")
    return figure


def reliability(
    scores: Mapping[str, np.ndarray], thresholds: np.ndarray, *, units: str = "1"
) -> Figure:
    """How often an event occurred against how probable it was called, for each threshold."""
    figure = new_figure(4.6, 4.2)
    axes = figure.subplots()
    dress(
        axes,
        title="Reliability of event probabilities",
        x="probability in the ensemble",
        y="frequency of the event",
    )
    drawn = False
    rows = zip(scores["forecast_probability"], scores["observed_frequency"], strict=True)
    for k, (probability, frequency) in enumerate(rows):
        seen = np.isfinite(probability) & np.isfinite(frequency)
        if seen.any():
            drawn = True
            label = f"> {thresholds[k]:g}{'' if units in ('1', '') else ' ' + units}"
            brier = f"Brier {short(float(scores['brier'][k]))}"
            axes.plot(
                probability[seen],
                frequency[seen],
                "o-",
                color=OKABE_ITO[k % len(OKABE_ITO)],
                markersize=4,
                linewidth=1.3,
                label=f"{label}: {brier}",
            )
    if not drawn:
        say_empty(axes, "no point with a truth was scored")
        return figure
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, zorder=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(1)
    legend(axes, loc="upper left")
    return figure
