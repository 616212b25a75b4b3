"""The calibration report of a period: one page of Markdown and its pictures."""

import base64
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray
from matplotlib.figure import Figure

from vardax_core.calibration import detail, plots
from vardax_core.calibration.headline import headline
from vardax_core.calibration.page import PageContent, page
from vardax_core.calibration.scored_by import scored_by
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.files import write_atomically
from vardax_core.words import counted

FIRST_PICTURES = 3
"""Pictures on the part of the page that is read in a minute."""
MAX_EMBEDDED_BYTES = 1_500_000
"""An artifact with more embedded pictures than this is cut by its readers."""


@dataclass(frozen=True)
class MethodResult:
    """What one analysis method did over a period.

    Attributes:
        name: what the reader calls it.
        statistics: statistics of each cycle, from `statistics_dataset`.
        microseconds_per_cycle: time of a cycle in the fastest segment, or None if not measured.
        result_codes: `ResultCode` of each cycle.
        makers: what made each analysis, or None where the method has no fallbacks.
        channels: statistics of every variable of the state by its name; none where it has one.
    """

    name: str
    statistics: xr.Dataset
    microseconds_per_cycle: float | None
    result_codes: np.ndarray
    makers: detail.Makers | None = None
    channels: Mapping[str, xr.Dataset] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """A picture of an example.

    Attributes:
        name: file name without its ending, in letters, digits and `-`.
        caption: one sentence that says what is seen.
        figure: from `plots.maps`, `plots.section` or `plots.point_series`.
    """

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class ReportInput:
    """All that a report is made of.

    Attributes:
        title: experiment and period.
        variable: name of the state variable.
        units: its CF unit.
        methods: the methods to compare, over the same cycles.
        primary: name of the method that the verdict is about.
        panels: pictures of examples, in order.
        provenance: what the numbers come from (experiment, period, observation digests, model
            version and sha, seed), by name.
        qc_counts: observations by quality-control code.
        burn_in: cycles at the start that are not scored.
        recent: cycles that "lately" means; half of the period by default.
        regions: names of the quarters of the grid, see `region_names`; none for no table.
        by_area: whether points count by their area, or all the same.
        channels: units of every variable of the state by its name; none where it has one.
        validated: scores in the gates of the primary method's weights, by name.
        key: for the bootstrap.
        further: tables of the primary method, by heading: header and rows.
    """

    title: str
    variable: str
    units: str
    methods: tuple[MethodResult, ...]
    primary: str
    panels: tuple[Panel, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    qc_counts: Mapping[str, int] = field(default_factory=dict)
    burn_in: int = 0
    recent: int | None = None
    regions: Sequence[str] = ()
    further: Mapping[str, tuple[list[str], list[list[str]]]] = field(default_factory=dict)
    by_area: bool = False
    channels: Mapping[str, str] = field(default_factory=dict)
    validated: Mapping[str, float] = field(default_factory=dict)
    key: PRNGKeyArray = field(default_factory=lambda: jax.random.key(0))

    def __post_init__(self):
        names = [method.name for method in self.methods]
        if self.primary not in names:
            raise ValueError(
                f"ReportInput: the primary method {self.primary!r} is not among the methods "
                f"{names}; name one of them."
            )
        if len(set(names)) < len(names):
            raise ValueError(f"ReportInput: the methods {names} need different names.")
        if self.burn_in < 0:
            raise ValueError(f"ReportInput: burn_in must be 0 or more, got {self.burn_in}.")


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies, and its scores by method.

    Attributes:
        markdown: the page.
        pictures: the PNG files it shows, in order.
        scores: scores by method, for `calibration_dataset`.
        channels: scores by variable and method; none where a state has one variable.
    """

    markdown: Path
    pictures: tuple[Path, ...]
    scores: Mapping[str, Scores]
    channels: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)


def write_report(folder: str | Path, report: ReportInput) -> ReportPaths:
    """Write `report.md` and its PNGs into a folder; the same input gives the same bytes.

    Every file is replaced atomically, and the page last, so that it never shows a picture that is
    not there.
    """
    target = Path(folder)
    statistics = {
        method.name: method.statistics.isel(time=slice(report.burn_in, None))
        for method in report.methods
    }
    scores = {
        name: compute_scores(data, key=report.key, units=report.units)
        for name, data in statistics.items()
    }
    channels = channel_scores(report)
    figures = _figures(report, statistics, scores)
    pictures = tuple(plots.save(figure, target / f"{n}.png") for n, _, figure in figures)
    markdown = target / "report.md"
    content = PageContent(
        title=report.title,
        variable=report.variable,
        units=report.units,
        primary=report.primary,
        scores=scores,
        headline=headline(
            statistics[report.primary],
            cycles=report.recent,
            validated=report.validated,
            key=report.key,
            units=report.units,
        ),
        microseconds={m.name: m.microseconds_per_cycle for m in report.methods},
        result_codes={m.name: np.asarray(m.result_codes) for m in report.methods},
        qc_counts=report.qc_counts,
        by_area=report.by_area,
        tables={
            **({"By channel": detail.by_channel(channels)} if channels else {}),
            **_tables(report, statistics[report.primary], scores[report.primary]),
        },
        provenance={**report.provenance, **_period(report, statistics)},
    )
    shown = [(f"{name}.png", caption) for name, caption, _ in figures]
    text = page(content, shown[:FIRST_PICTURES], shown[FIRST_PICTURES:])
    write_atomically(markdown, text.encode())
    return ReportPaths(markdown, pictures, scores, channels)


def channel_scores(report: ReportInput) -> dict[str, dict[str, Scores]]:
    """The scores of every variable of the state and every method, without intervals; none where
    a state has one variable."""
    return {
        channel: {
            method.name: compute_scores(
                method.channels[channel].isel(time=slice(report.burn_in, None)),
                key=report.key,
                units=units,
                resamples=0,
            )
            for method in report.methods
        }
        for channel, units in report.channels.items()
    }


def _tables(
    report: ReportInput, statistics: xr.Dataset, scores: Scores
) -> dict[str, tuple[detail.Row, list[detail.Row]]]:
    (method,) = (m for m in report.methods if m.name == report.primary)
    makers = method.makers
    if makers is not None:
        makers = dataclasses.replace(makers, numbers=makers.numbers[report.burn_in :])
    tables = {}
    if np.isfinite(scores["rmse"]):
        tables["Analysis and forecast"] = detail.by_lead(scores, report.units)
    tables |= {
        "Over time": detail.over_time(statistics, report.units, makers),
    }
    if report.regions:
        tables["Quarters of the grid"] = detail.by_region(scores, report.regions, report.units)
    if makers is not None and np.any(makers.numbers > 0):
        tables["What made the analyses"] = detail.by_maker(statistics, report.units, makers)
    return {**tables, **report.further}


def markdown_with_embedded_pictures(report_md_path: str | Path) -> str:
    """The page with its PNGs as data URIs, for a viewer that has the text alone.

    Raises:
        FileNotFoundError: if the page or a picture it names is not there.
    """
    path = Path(report_md_path)
    size = 0

    def embed(match: re.Match) -> str:
        nonlocal size
        encoded = base64.b64encode((path.parent / match["file"]).read_bytes()).decode()
        if size + len(encoded) > MAX_EMBEDDED_BYTES:
            return f"*Picture `{match['file']}` is beside the report (too large to embed here).*"
        size += len(encoded)
        return f"![{match['text']}](data:image/png;base64,{encoded})"

    return re.sub(r"!\[(?P<text>[^\]]*)\]\((?P<file>[\w.-]+\.png)\)", embed, path.read_text())


def _figures(
    report: ReportInput, statistics: Mapping[str, xr.Dataset], scores: Mapping[str, Scores]
) -> list[tuple[str, str, Figure]]:
    primary, units = report.primary, report.units
    panels = [(panel.name, panel.caption, panel.figure) for panel in report.panels]
    innovations = (
        "innovations",
        "Observation minus background, cycle by cycle, and its size against HBH' + R.",
        plots.innovation_series(statistics[primary], name=primary, units=units),
    )
    if scored_by(scores.values()).withheld:
        return [
            (
                "comparison",
                "Withheld O-A over time and on average, and what it was expected to be. "
                "Calibrated: line and dashes together.",
                plots.withheld_comparison(statistics, scores, primary=primary, units=units),
            ),
            *panels[:1],
            (
                "coverage",
                "How often withheld observations lie inside the central intervals of their "
                "predictions, R included. Calibrated: on the line.",
                plots.withheld_coverage(scores, primary=primary),
            ),
            *panels[1:],
            (
                "withheld-pit",
                "Where withheld observations fell in their predictions. Calibrated: flat.",
                plots.withheld_pit(scores[primary], name=primary),
            ),
            innovations,
        ]
    return [
        (
            "comparison",
            "RMSE and spread over time and on average. Calibrated: line and dashes together.",
            plots.comparison(statistics, scores, primary=primary, units=units),
        ),
        *panels[:1],
        (
            "coverage",
            "How often the truth lies inside the central intervals. Calibrated: on the line.",
            plots.coverage_curve(scores, primary=primary),
        ),
        *panels[1:],
        (
            "spread-error",
            "Error of points of like spread. Calibrated: on the diagonal; above it: overconfident.",
            plots.spread_error(scores, primary=primary, units=units),
        ),
        (
            "rank-histogram",
            "Rank of the truth among the members. Calibrated: flat to dotted; U: too certain.",
            plots.rank_histogram(scores[primary], name=primary),
        ),
        (
            "crps",
            "CRPS, which rewards a mean that is right and a spread that is honest.",
            plots.crps_bars(scores, primary=primary, units=units),
        ),
        innovations,
    ]


def _period(report: ReportInput, statistics: Mapping[str, xr.Dataset]) -> dict[str, str]:
    times = statistics[report.primary]["time"].values
    scored = int(statistics[report.primary]["cycles"].values.sum())
    first, last = (str(times[0])[:16], str(times[-1])[:16]) if len(times) else ("-", "-")
    return {
        "first cycle": first,
        "last cycle": last,
        "cycles": f"{len(times)}, of which {scored} scored against a truth",
        "burn-in": f"{counted(report.burn_in, 'cycle')} before them, not scored",
    }
