"""The report of a set of gates: JSON for machines, Markdown and pictures for people."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vardax_core.calibration.gates.base import GateResult
from vardax_core.calibration.page import short, table
from vardax_core.files import write_atomically

REPORT = "report.json"
PAGE = "report.md"
STRATA_SHOWN = 6


class Judgement(NamedTuple):
    """What a set of gates found.

    Attributes:
        results: from `run_gates`.
        scores: of the analyses that were looked at, by the names of the calibration report.
        provenance: what the gates looked at, in words.
    """

    results: tuple[GateResult, ...]
    scores: Mapping[str, float]
    provenance: Mapping[str, str]


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
            pictures.append((name, result.picture.title))
    page = _page(passed, results, title, provenance, pictures)
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


EXPLAINED = (
    "Each gate sets draws of the posterior beside the truth of simulated cases that it was not "
    "trained on. Were the posterior right, the truth would take every rank among the draws equally "
    "often, wherever and under whatever circumstances one looks; a gate fails where ranks are less "
    "even than chance makes them."
)
PARTS = (
    "The quantity whose ranks are least even, for all cases and for those of some circumstances; p "
    "is the chance that a right posterior shows as much in any of their quantities."
)


def found_in_words(result: GateResult) -> str:
    """The numbers of a gate in a clause that explains itself."""
    if result.p_value is not None:
        share = 100 * result.p_value
        said = f"{share:.2g}" if share < 10 else f"{share:.0f}"
        return f"a right posterior would show as much in {said} % of all validations"
    if math.isnan(result.statistic):
        return "it could not be measured"
    return f"{short(result.statistic)} where the limit is {short(result.threshold)}"


def _page(
    passed: bool,
    results: Sequence[GateResult],
    title: str,
    provenance: Mapping[str, str],
    pictures: Sequence[tuple[str, str]],
) -> str:
    failed = [result.name for result in results if not result.passed]
    verdict = (
        "**Passed**: no gate found a fault."
        if passed
        else f"**Not passed**: {', '.join(failed) or 'there was no gate'}. Train longer or on what "
        "it will meet; the lines below say where the truth and the posterior part."
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
            ["cases with", "number", "p", "worst in"],
            [
                [s.name, str(s.n), f"{s.p_value:.2g}", s.quantity]
                for s in result.strata[:STRATA_SHOWN]
            ],
        )
        for result in results
        if len(result.strata) > 1 and result.p_value is not None
    )
    shown = "\n\n".join(f"![{caption}]({file})\n\n*{caption}*" for file, caption in pictures)
    parts = [
        f"# {title}",
        verdict,
        EXPLAINED,
        table(["gate", "verdict", "what was found", "cases"], rows),
        said,
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
