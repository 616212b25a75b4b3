"""The words and tables of the calibration report."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vardax_core.calibration.gain import gain
from vardax_core.calibration.headline import Headline, change
from vardax_core.calibration.scored_by import scored_by
from vardax_core.calibration.scores import Score, Scores
from vardax_core.calibration.verdict import calibration_verdict
from vardax_core.types import ResultCode
from vardax_core.words import counted, short, unit_label

BY_AREA = "Every point of the grid counts by the area of its cell, in all scores."
ALIKE = "All points of the grid count the same, in all scores."


def number(score: Score) -> str:
    """A score for a table, with its confidence interval; a dash where it cannot be said."""
    if not np.isfinite(score.value):
        return "-"
    text = f"{score.value:.4g}"
    if np.isfinite(score.lower):
        text += f" ({score.lower:.3g} to {score.upper:.3g})"
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right of the first column."""
    rule = ["---", *("---:" for _ in header[1:])]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


@dataclass(frozen=True)
class PageContent:
    """What the page says, apart from its pictures.

    Attributes:
        title: experiment and period.
        variable, units: of the state.
        primary: name of the method that the page is about.
        scores: of every method, by name.
        headline: the primary method's last cycles beside those before.
        microseconds: time of a cycle, by method.
        result_codes: `ResultCode` of each cycle, by method.
        qc_counts: observations by quality-control code.
        tables: tables of the primary method in detail, by heading: header and rows.
        provenance: what the numbers come from.
        by_area: whether points count by their area, or all the same.
    """

    title: str
    variable: str
    units: str
    primary: str
    scores: Mapping[str, Scores]
    headline: Headline
    microseconds: Mapping[str, float | None]
    result_codes: Mapping[str, np.ndarray]
    qc_counts: Mapping[str, int]
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]]
    provenance: Mapping[str, str]
    by_area: bool = False


Shown = Sequence[tuple[str, str]]
"""File and caption of pictures."""


def page(content: PageContent, first: Shown, others: Shown) -> str:
    """The whole page: what is read in a minute, with the first pictures; then the detail."""
    c = content
    parts = [
        f"# {c.title}",
        gain(c.scores, c.primary),
        str(calibration_verdict(c.scores[c.primary], c.primary)),
        _five_numbers(c.headline),
        _pictures(first),
        "# Detail",
        "## Methods",
        _comparison(c.primary, c.scores, c.microseconds),
        BY_AREA if c.by_area else ALIKE,
    ]
    for heading, (header, rows) in c.tables.items():
        if rows:
            parts += [f"## {heading}", table(header, rows)]
    parts += [
        _pictures(others),
        "## Flagged cycles and observations",
        _flagged(c.result_codes, c.qc_counts),
        "## All scores",
        _detail(c.scores),
        _how(c.scores[c.primary], c.variable, c.units),
        "## Provenance",
        "\n".join(f"- {name}: `{value}`" for name, value in c.provenance.items()),
    ]
    return "\n\n".join(part for part in parts if part).rstrip() + "\n"


def _pictures(pictures: Shown) -> str:
    return "\n\n".join(f"![{caption}]({file})\n\n*{caption}*" for file, caption in pictures)


def _five_numbers(lately: Headline) -> str:
    if not lately.cycles:
        return "The period is too short for a comparison with the cycles before."
    last = "last cycle" if lately.cycles == 1 else f"last {lately.cycles} cycles"
    header = ["", last, f"the {lately.cycles} before", "change"]
    if lately.validated:
        header.append("when validated")
    rows = []
    for name in lately.names:
        now, before = lately.now.values[name], lately.before.values[name]
        row = [unit_label(now.label, now.units), _cell(now), _cell(before), change(now, before)]
        if lately.validated:
            then = lately.validated.get(name, float("nan"))
            row.append(_cell(dataclasses.replace(now, value=then)))
        rows.append(row)
    said = "Arrows: more than chance explains (95 %); →: not."
    return f"{table(header, rows)}\n\n{said}"


def _comparison(
    primary: str, scores: Mapping[str, Scores], microseconds: Mapping[str, float | None]
) -> str:
    names = scored_by(scores.values())
    columns = [scores[primary].values[name] for name in names]
    header = ["method", *(unit_label(score.label, score.units) for score in columns)]
    rows = []
    for method, values in scores.items():
        time = microseconds[method]
        name = f"**{method}**" if method == primary else method
        cells = [_cell(values.values[score]) for score in names]
        rows.append([name, *cells, "-" if time is None else f"{time:.0f}"])
    return table([*header, "µs per cycle"], rows)


def _cell(score: Score) -> str:
    if score.name.endswith("coverage_90") and np.isfinite(score.value):
        return f"{100 * score.value:.1f} %"
    return short(score.value)


def _flagged(result_codes: Mapping[str, np.ndarray], qc_counts: Mapping[str, int]) -> str:
    codes = list(ResultCode)
    rows = [
        [method, *(str(int(np.sum(values == int(code)))) for code in codes)]
        for method, values in result_codes.items()
    ]
    header = ["cycles by result", *(code.name.lower().replace("_", " ") for code in codes)]
    text = table(header, rows)
    counted = [[name, str(count)] for name, count in qc_counts.items() if count]
    if counted:
        text += "\n\n" + table(["observations by quality control", "count"], counted)
    return text


def _detail(scores: Mapping[str, Scores]) -> str:
    methods = list(scores)
    first = scores[methods[0]].values
    rows = [
        [
            unit_label(first[name].label, first[name].units),
            *(number(scores[method].values[name]) for method in methods),
        ]
        for name in first
    ]
    text = table(["score (95 % interval)", *methods], rows)
    unsaid: dict[str, list[str]] = {}
    for method in methods:
        for score in scores[method].values.values():
            if score.reason:
                unsaid.setdefault(f"{method}: {score.reason}", []).append(score.label)
    if unsaid:
        listed = "\n".join(f"- {', '.join(labels)}: {why}" for why, labels in unsaid.items())
        text += f"\n\nWhat cannot be said:\n\n{listed}"
    return text


def _how(scores: Scores, variable: str, units: str) -> str:
    estimators = "\n".join(f"- **{s.label}**: {s.estimator}" for s in scores.values.values())
    interval = (
        "95 % intervals: circular block bootstrap in time, blocks of "
        f"{counted(scores.block, 'cycle')}."
        if scores.block
        else "No confidence intervals: the period is too short."
    )
    unscored = float(scores.sums["non_finite_weight"])
    lost = f" Points left out because an analysis was not finite: {unscored:g}." if unscored else ""
    return (
        f"### How each number is computed\n\nVariable: {variable}; unit: {units}. All scores are "
        f"functions of sums over cycles that lie in the store. {interval}{lost}\n\n{estimators}"
    )
