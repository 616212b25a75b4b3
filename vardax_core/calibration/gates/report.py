"""The report of a set of gates: JSON for machines, Markdown and pictures for people."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vardax_core.calibration.gates.base import FAMILY_LEVEL, GateResult
from vardax_core.calibration.page import short, table
from vardax_core.files import write_atomically

REPORT = "report.json"
PAGE = "report.md"
STRATA_SHOWN = 6


RANKS = (
    "Each gate sets ensembles beside the truths of cases that the training has not met. Were the "
    "ensembles right, the truth would take every rank among the members equally often (a flat rank "
    "histogram), wherever and under whatever circumstances one looks. A gate fails where ranks are "
    "less even than chance makes them: *by chance in 8 % of validations* says how often a right "
    f"ensemble would look as bad. All gates together fail a right one in {100 * FAMILY_LEVEL:g} % "
    "of validations at most. Points, and blocks of neighbouring points, are counted from 0."
)
"""How gates on ranks are read."""


class Judgement(NamedTuple):
    """What a set of gates found.

    Attributes:
        results: from `run_gates`.
        scores: of the analyses that were looked at, by the names of the calibration report.
        provenance: what the gates looked at, in words.
        explained: how the gates are read.
    """

    results: tuple[GateResult, ...]
    scores: Mapping[str, float]
    provenance: Mapping[str, str]
    explained: str = RANKS


@dataclasses.dataclass(frozen=True)
class GateReport:
    """A written report.

    Attributes:
        passed: whether every gate passed.
        path: the JSON file.
        markdown: the page.
        sha256: digest of the JSON file.
    """

    passed: bool
    path: Path
    markdown: Path
    sha256: str


def as_json(result: GateResult) -> dict[str, Any]:
    """A result as JSON values, without its picture; what is not finite becomes null."""
    plain = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    del plain["picture"]
    plain["strata"] = [dataclasses.asdict(stratum) for stratum in result.strata]
    return _finite(plain)


def write_gate_report(
    folder: str | Path,
    results: Sequence[GateResult],
    *,
    title: str,
    provenance: Mapping[str, str],
    scores: Mapping[str, float] | None = None,
    explained: str = RANKS,
) -> GateReport:
    """Write `report.json`, `report.md` and the pictures into a folder.

    Every file is replaced atomically and the JSON last, so that a verdict is there only with all
    that belongs to it.

    Arguments:
        folder: beside the weights.
        results: from `run_gates`.
        title: the model and what it was tested on.
        provenance: what the numbers come from, the sha256 of the weights among them.
        scores: of the pairs, by the names of the calibration report.
        explained: how the gates are read.
    """
    # Matplotlib takes half a second to import, and whoever asks for a model reads reports.
    from vardax_core.calibration.plots.gates import draw
    from vardax_core.calibration.plots.style import save

    target = Path(folder)
    passed = bool(results) and all(result.passed for result in results)
    pictures = []
    for result in results:
        if result.picture is not None:
            name = f"{re.sub(r'[^a-z0-9]+', '-', result.name.lower())}.png"
            save(draw(result.picture), target / name)
            pictures.append((name, result.picture.title, result.picture.reading))
    page = _page(passed, results, title, explained, provenance, pictures)
    write_atomically(target / PAGE, page.encode())
    content = {
        "passed": passed,
        "title": title,
        "provenance": dict(provenance),
        "scores": _finite(dict(scores or {})),
        "gates": [as_json(result) for result in results],
    }
    text = (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    write_atomically(target / REPORT, text)
    return GateReport(passed, target / REPORT, target / PAGE, hashlib.sha256(text).hexdigest())


MAY_WORK = "These weights may make analyses."
TO_MEND = (
    "No run makes analyses with these weights. Train longer or on what the analysis will meet, and "
    "validate again; or give a reason for using them all the same in `override`. What is wrong, "
    "and where, is said below."
)
PARTS = (
    "Where ranks are least even, among all cases and among those of some circumstances, and how "
    "often a right ensemble would look as bad in that line. With so many lines a few small numbers "
    "are no fault: the verdicts above count all of them."
)


RARE, RAREST = 1e-3, 1e-9
"""Chances below the first are said as once in so many, those below the second are not told apart.
"""


def chance_in_words(share: float) -> str:
    """A probability in percent, or as once in so many where it is rare."""
    if share >= RARE:
        return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
    if share < RAREST:
        return f"less than once in {1 / RAREST:,.0f}".replace(",", " ")
    return f"once in {float(f'{1 / share:.2g}'):,.0f}".replace(",", " ")


def found_in_words(result: GateResult) -> str:
    """The numbers of a gate in a clause that explains itself."""
    if result.p_value is not None:
        limit = "" if result.level is None else f"; fails below {chance_in_words(result.level)}"
        chance = chance_in_words(result.p_value)
        often = f"in {chance} of" if result.p_value >= RARE else chance
        return f"by chance {often} validations{limit}"
    if math.isnan(result.statistic):
        return "it could not be measured"
    above = result.statistic > result.threshold
    side = "at least" if above == result.passed else "at most"
    return f"{short(result.statistic)}, {side} {short(result.threshold)} is allowed"


def _page(
    passed: bool,
    results: Sequence[GateResult],
    title: str,
    explained: str,
    provenance: Mapping[str, str],
    pictures: Sequence[tuple[str, str, str]],
) -> str:
    failed = [result.name for result in results if not result.passed]
    verdict = (
        f"**Passed**: no gate found a fault. {MAY_WORK}"
        if passed
        else f"**Not passed**: {'; '.join(failed) or 'there was no gate'}. {TO_MEND}"
    )
    rows = [
        [
            result.name,
            "passed" if result.passed else "**failed**",
            found_in_words(result),
            str(result.n),
        ]
        for result in results
    ]
    said = "\n".join(f"- **{result.name}**: {result.message}." for result in results)
    strata = "\n\n".join(
        f"**{result.name}**\n\n"
        + table(
            ["cases with", "number", "by chance", "least even in"],
            [
                [s.name, str(s.n), chance_in_words(s.p_value), s.quantity]
                for s in result.strata[:STRATA_SHOWN]
            ],
        )
        for result in results
        if len(result.strata) > 1 and result.p_value is not None
    )
    shown = "\n\n".join(f"![{caption}]({file})" for file, caption, _ in pictures)
    readings = dict.fromkeys(reading for *_, reading in pictures if reading)
    parts = [
        f"# {title}",
        verdict,
        explained,
        table(["gate", "verdict", "found", "cases"], rows),
        said,
        *readings,
        shown,
        f"## Where it fits least\n\n{PARTS}\n\n{strata}" if strata else "",
        "## Provenance",
        "\n".join(f"- {name}: `{value}`" for name, value in provenance.items()),
    ]
    return "\n\n".join(part for part in parts if part).rstrip() + "\n"


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case bool() | str() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
    return _finite(value.item())
