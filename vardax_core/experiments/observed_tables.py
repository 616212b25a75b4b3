"""Tables of a report on real observations: by stream, and the platforms that were withheld."""

from collections.abc import Mapping, Sequence

import numpy as np

from vardax_core.calibration.plots.style import short, unit_label
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import MIXED
from vardax_core.data.reports import PLATFORM, STREAM
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore

Table = tuple[list[str], list[list[str]]]
WORST = 8
"""Withheld platforms that are listed, those with the largest difference first."""


def observed_tables(
    store: ExperimentStore, recipe: Recipe, names: Sequence[str], burn_in: int
) -> dict[str, Table]:
    """Tell how the real observations of a store fared.

    Arguments:
        names: of the platforms, by number.
        burn_in: cycles at the start that are not scored.

    Returns:
        Header and rows by heading.
    """
    innovations = store.dataset("innovations").isel(time=slice(burn_in, None)).load()
    observed = store.dataset("observations")[[PLATFORM, STREAM]]
    observed = observed.sel(time=innovations["time"].values).load()
    columns = {
        "code": innovations[QUALITY_CONTROL].to_numpy().ravel(),
        "innovation": innovations["background_departure"].to_numpy().ravel().astype(float),
        "residual": innovations["analysis_departure"].to_numpy().ravel().astype(float),
        "platform": observed[PLATFORM].to_numpy().ravel(),
        "stream": observed[STREAM].to_numpy().ravel(),
    }
    units, streams = recipe.observed.units, recipe.streams or ()
    if units == MIXED:
        # Each in its own, which is said beside its name.
        shown = [f"{s.name} [{recipe.variable_of_stream(s).units}]" for s in streams]
    else:
        shown = [s.name for s in streams]
    return {
        "Streams": _by_stream(columns, shown, units),
        "Withheld platforms": _by_platform(columns, names, units),
    }


def _by_stream(columns: Mapping[str, np.ndarray], names: Sequence[str], units: str) -> Table:
    header = [
        "stream",
        "used",
        "rejected",
        "withheld",
        unit_label("O-B mean", units),
        unit_label("O-B rms", units),
        unit_label("O-A rms", units),
        unit_label("withheld O-A mean", units),
        unit_label("withheld O-A rms", units),
    ]
    rows = []
    for number, name in enumerate(names):
        mine = columns["stream"] == number
        used = mine & (columns["code"] == QualityCode.KEPT)
        held = mine & (columns["code"] == QualityCode.WITHHELD)
        usual = (QualityCode.KEPT, QualityCode.WITHHELD, QualityCode.MISSING)
        rejected = mine & ~np.isin(columns["code"], usual)
        rows.append(
            [
                name,
                *(str(int(which.sum())) for which in (used, rejected, held)),
                short(_mean(columns["innovation"][used])),
                short(_rms(columns["innovation"][used])),
                short(_rms(columns["residual"][used])),
                short(_mean(columns["residual"][held])),
                short(_rms(columns["residual"][held])),
            ]
        )
    return header, rows


def _by_platform(columns: Mapping[str, np.ndarray], names: Sequence[str], units: str) -> Table:
    header = [
        f"platform (the worst {WORST})",
        "values",
        unit_label("O-A mean", units),
        unit_label("O-A rms", units),
        unit_label("O-B rms", units),
    ]
    held = (columns["code"] == QualityCode.WITHHELD) & np.isfinite(columns["residual"])
    platforms = np.unique(columns["platform"][held])
    size = {
        number: _rms(columns["residual"][held & (columns["platform"] == number)])
        for number in platforms
    }
    worst = sorted(size, key=lambda number: -size[number])[:WORST]
    rows = []
    for number in worst:
        mine = held & (columns["platform"] == number)
        rows.append(
            [
                names[number] if number < len(names) else str(number),
                str(int(mine.sum())),
                short(_mean(columns["residual"][mine])),
                short(size[number]),
                short(_rms(columns["innovation"][mine])),
            ]
        )
    return header, rows


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _rms(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else float("nan")
