"""The page on one experiment: its last analysis, how it stands, and what was the matter."""

import base64
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vardax_core.calibration.plots.latest import InnovationSeries, LatestState, latest
from vardax_core.calibration.plots.scale import scale_of
from vardax_core.calibration.plots.style import png_bytes
from vardax_core.calibration.score_definitions import divide
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.pictures import observed_of, observed_places
from vardax_core.monitoring.alerts import AlertBook
from vardax_core.monitoring.base import Finding, Severity
from vardax_core.monitoring.situation import HISTORY_DAYS, Situation
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore
from vardax_core.words import counted

SERIES_CYCLES = 160
NUMBERS = ("observations", "o-b mean", "chi2", "spread", "calibration", "verdict", "life")
"""The checks whose values stand on the dashboard."""
CHANGES = 5
MARKS = {Severity.INFO: "well", Severity.WARNING: "warning", Severity.ERROR: "**error**"}


def latest_picture(
    experiment: Experiment, store: ExperimentStore, situation: Situation
) -> Figure | None:
    """The last analysis and the innovations before it; None while there is no cycle.

    Of the fields it reads mean, spread and background of one cycle.
    """
    if not len(situation.cycles):
        return None
    recipe = experiment.recipe
    name = recipe.variable.name
    analysis = store.dataset("analysis").isel(time=-1)
    when = analysis["time"].to_numpy()
    dims, grid = recipe.state_dims, experiment.space(store).grid
    scale = scale_of(analysis[name].attrs)
    observations = store.dataset("observations").sel(time=when)
    values = observations[recipe.observed.name].to_numpy().astype(float)
    superseded = observations[QUALITY_CONTROL].to_numpy() == QualityCode.SUPERSEDED
    there = np.isfinite(values) & ~superseded
    if recipe.reported:
        places, _ = observed_places(store, recipe, np.datetime64(when.item(), "ns"))
        there = there & observed_of(observations, recipe, 0)
    else:
        index = observations["grid_index"].to_numpy()
        places, there = grid.points()[index % grid.size], there & (index < grid.size)
    mean, spread = (
        analysis[f"{name}_{which}"].transpose(*dims).to_numpy().astype(float)
        for which in ("mean", "spread")
    )
    background = store.dataset("background")[name].isel(time=-1).mean("member")
    departures = store.dataset("innovations")["background_departure"].isel(time=-1)
    state = LatestState(
        mean=mean - scale.offset,
        spread=spread,
        background=background.transpose(*dims).to_numpy().astype(float) - scale.offset,
        grid=grid,
        dims=tuple(dims),
        observed=places[there],
        values=values[there] - scale.offset,
        departures=departures.to_numpy().astype(float)[there],
        title=f"{recipe.variable.long_name}, {when.astype('datetime64[m]')!s} UTC",
    )
    return latest(state, _innovations(situation), units=scale.units, variable=name)


def _innovations(situation: Situation) -> InnovationSeries:
    rows = slice(-SERIES_CYCLES, None)
    s = {name: values[rows] for name, values in situation.statistics.items()}
    return InnovationSeries(
        times=situation.cycles[rows],
        measured=np.sqrt(divide(s["squared_innovation"], s["observations"])),
        expected=np.sqrt(
            divide(s["observed_background_variance"] + s["error_variance"], s["observations"])
        ),
    )


def findings_table(findings: Sequence[Finding]) -> str:
    """All findings as a Markdown table, the worst first."""
    lines = [
        "| | check | found | warning unless | error unless | cycle |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for finding in sorted(findings, key=lambda f: -f.severity):
        soft, hard = finding.limits.described()
        mark = "" if finding.value is None else MARKS[finding.severity]
        lines.append(
            f"| {mark} | {finding.check} | {finding.statistic}: {finding.shown} | {soft} | "
            f"{hard} | {finding.cycle or ''} |"
        )
    return "\n".join(lines)


def verdict(findings: Sequence[Finding], situation: Situation) -> str:
    """One sentence on how an experiment stands."""
    if situation.hold is not None:
        return f"{str(situation.hold).capitalize()}"
    bad = [f for f in findings if f.severity is not Severity.INFO]
    text = "All is well."
    if bad:
        worst = max(bad, key=lambda f: f.severity)
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        text = f"{worst.severity.name.capitalize()}: {worst}{more}."
    judged = situation.verdict
    if judged is None or judged.calibrated is False:
        return text
    return f"{text} Last {HISTORY_DAYS} days: {judged.word}{judged.facts}."


def dashboard(
    experiment: Experiment,
    store: ExperimentStore,
    situation: Situation,
    findings: Sequence[Finding],
    book: AlertBook,
) -> str:
    """The page as Markdown with its picture inside."""
    by_name = {finding.check: finding for finding in findings}
    fresh = by_name["freshness"]
    late = fresh.remark if fresh.value is None else f"{counted(fresh.value, 'cycle')} behind"
    lines = [
        f"# {experiment.name}",
        "",
        f"**{verdict(findings, situation)}** Last analysis {situation.last} UTC ({late}); "
        f"{counted(store.tip().cycles, 'cycle')} in `{store.location}`; looked at "
        f"{situation.now:%Y-%m-%d %H:%M} UTC.",
        "",
    ]
    figure = latest_picture(experiment, store, situation)
    if figure is not None:
        encoded = base64.b64encode(png_bytes(figure)).decode()
        lines += [f"![last analysis](data:image/png;base64,{encoded})", ""]
    lines += [findings_table([by_name[name] for name in NUMBERS if name in by_name]), ""]
    if book.active:
        lines += ["## Alerts that stand", ""]
        lines += [
            f"- {MARKS[a.finding.severity]} {name}, since {a.since:%Y-%m-%d %H:%M} UTC: {a.finding}"
            for name, a in book.active.items()
        ]
        lines.append("")
    lines += ["## Last changes", ""]
    lines += [
        f"- {change.at:%Y-%m-%d %H:%M} UTC {change}" for change in book.changes[: -CHANGES - 1 : -1]
    ] or ["None so far."]
    return "\n".join(lines) + "\n"
