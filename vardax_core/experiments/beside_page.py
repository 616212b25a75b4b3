"""Pages on two runs of the same cycles, and on what observations are worth."""

import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from vardax_core.calibration.page import short, table
from vardax_core.calibration.paired import Difference
from vardax_core.calibration.plots.beside import DifferenceMap, difference_figure
from vardax_core.calibration.plots.style import save
from vardax_core.experiments.beside import Beside, Row
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.worth import Worth
from vardax_core.files import write_atomically
from vardax_core.state.units import squared_unit
from vardax_core.store import ExperimentStore
from vardax_core.words import counted

PAGE, PICTURE = "page.md", "difference.png"
HOW = (
    "Losses are mean squared differences of the same cycles, the same places and the same "
    "observations. The interval of 95 % is that of Student's t over as many cycles as are "
    "independent (Diebold and Mariano 1995, doi:10.1080/07350015.1995.10524599); ▲ and ▼ mark "
    "those without zero. *Told* is the cycle from which a test that may be looked at again and "
    "again says that the two differ; those of a page are wrong together in 5 % of pages "
    "(Waudby-Smith et al. 2024, doi:10.1214/24-AOS2408)."
)
EFSOI = (
    "Impacts are the change of the mean squared error of the forecast of the next cycle that the "
    "ensemble says an observation made, without running anything again; negative made it better "
    "(Kalnay et al. 2012, doi:10.3402/tellusa.v64i0.18462)."
)
PALER = "Second - first. Where the interval of 95 % holds zero, a map is paler."


def folder_of(experiment: Experiment, name: str) -> pathlib.Path:
    """Folder of a page on an experiment."""
    short_name = hashlib.sha256(name.encode()).hexdigest()[:12]
    group = experiment.root / "experiments" / experiment.group_name / "beside"
    return group / f"{experiment.label}-{short_name}"


def write_beside(
    experiment: Experiment,
    store: ExperimentStore,
    runs: Beside,
    title: str,
    *,
    verdict: str = "",
    more: Sequence[str] = (),
    telling: Row | None = None,
) -> pathlib.Path:
    """Write a page on two runs, with its picture.

    Arguments:
        experiment, store: the first of them.
        runs: how they differ.
        title: of the page.
        verdict: in a sentence.
        more: further parts.
        telling: the row that is drawn; by default the first.
    """
    folder = folder_of(experiment, title)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = telling or (runs.rows[0] if runs.rows else None)
    channels = bool(experiment.recipe.channels)
    units, name = experiment.recipe.variable.units, experiment.recipe.variable.long_name
    maps = [_map("analysis mean", units, runs.maps.difference, runs.maps.half_width, channels)]
    if runs.maps.gain is not None and runs.maps.gain_half_width is not None:
        gain = -runs.maps.gain
        half = runs.maps.gain_half_width
        maps.append(
            _map("squared error of the analysis", squared_unit(units), gain, half, channels)
        )
    figure = difference_figure(
        f"{name}: second ({runs.names[1]}) - first ({runs.names[0]})",
        runs.times,
        np.full(runs.times.size, np.nan) if drawn is None else drawn.series,
        (np.nan, np.nan) if drawn is None else (drawn.found.low, drawn.found.high),
        "" if drawn is None else f"squared error of the {drawn.of} by {drawn.by}",
        "" if drawn is None else drawn.units,
        experiment.space(store).grid,
        tuple(maps),
    )
    save(figure, folder / PICTURE)
    first, last = (str(time.astype("datetime64[m]")) for time in runs.times[[0, -1]])
    part = (
        "no analysis differs"
        if runs.parted is None
        else (f"they part at {runs.parted.astype('datetime64[m]')}")
    )
    said = [
        f"# {title}",
        verdict,
        f"{counted(runs.times.size, 'cycle')} from {first} to {last}; {part}.",
        f"![{PALER}]({PICTURE})",
        f"*{PALER}*",
        table(*losses_table(runs)),
        HOW,
        *more,
    ]
    write_atomically(folder / PAGE, ("\n\n".join(filter(None, said)) + "\n").encode())
    return folder / PAGE


def losses_table(runs: Beside) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the losses."""
    header = [
        "judged", "by", "over", "units", *runs.names, "difference", "95 %", "p", "cycles",
        "independent", "told",
    ]  # fmt: skip
    rows = []
    for row in runs.rows:
        d = row.found
        mark = {1: " ▲", -1: " ▼"}.get(d.sign, "")
        numbers = [short(x) for x in (d.first, d.second, d.mean)]
        numbers[-1] += mark
        judged = [row.of, row.by, row.part or "all", row.units]
        known = [str(d.cycles), f"{d.independent:.0f}", runs.time(d.told)]
        rows.append([*judged, *numbers, _interval(d), short(d.p), *known])
    return header, rows


def write_worth(experiment: Experiment, store: ExperimentStore, found: Worth) -> pathlib.Path:
    """Write the page on what observations are worth."""
    more = [f"Impacts are not estimated: {found.lack}."]
    if found.impacts:
        rows = [
            [one.name, str(one.observations), short(one.mean), _interval(one.found)]
            for one in found.impacts
        ]
        verified = f"Forecasts are compared with {found.verified}. The impacts sum to "
        verified += f"{short(found.summed)} of the change that there was."
        header = ["observations", "entered", "impact of a cycle", "95 %"]
        more = ["## Without running it again", table(header, rows), f"{EFSOI} {verified}"]
    return write_beside(
        experiment,
        store,
        found.runs,
        f"What {found.name} is worth to {experiment.name}",
        verdict=sentence(found),
        more=more,
        telling=found.telling,
    )


def sentence(found: Worth) -> str:
    """What observations are worth, in a sentence."""
    row, d = found.telling, found.telling.found
    over = f" of {row.part}" if row.part else ""
    interval = "" if np.isnan(d.low) else f" ({_interval(d)})"
    said = (
        f"{found.name} is **{found.verdict}**: without it the mean squared error of the {row.of} "
        f"by {row.by}{over} changes by {short(d.mean)}{interval} {row.units}, from {short(d.first)}"
    )
    for one in found.impacts[:1]:
        said += f"; by the ensemble it changes that of a forecast by {short(one.mean)} a cycle"
    return f"{said}."


def _interval(found: Difference) -> str:
    return "-" if np.isnan(found.low) else f"{short(found.low)} to {short(found.high)}"


def _map(
    what: str, units: str, mean: np.ndarray, half_width: np.ndarray, channels: bool
) -> DifferenceMap:
    """Of the first channel where a state has several."""
    first = (mean[0], half_width[0]) if channels else (mean, half_width)
    return DifferenceMap(what, units, *first)


def beside_sentence(runs: Beside) -> str:
    """How two runs differ, in a sentence."""
    if runs.parted is None:
        return f"{runs.names[0]} and {runs.names[1]} have the same analyses, bit for bit."
    differ = [row for row in runs.rows if row.found.sign]
    better = sum(row.found.sign < 0 for row in differ)
    said = (
        f"{runs.names[1]} differs from {runs.names[0]} from "
        f"{runs.parted.astype('datetime64[m]')} on; of {counted(len(runs.rows), 'loss', 'losses')} "
        f"{better} are smaller and {len(differ) - better} larger than chance explains"
    )
    first = runs.rows[0] if runs.rows else None
    if first is not None and np.isfinite(first.found.mean):
        said += (
            f"; the mean squared error of the {first.of} by {first.by} goes from "
            f"{short(first.found.first)} to {short(first.found.second)} {first.units}"
        )
    return f"{said}."
