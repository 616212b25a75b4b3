"""Tables of a report on real observations: by stream, region and hour, and of their errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from vardax_core.calibration.bootstrap import SHORTEST_PERIOD, block_length, resample_counts
from vardax_core.calibration.detail import percent
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import MIXED
from vardax_core.data.regions import parts_of, quadrants
from vardax_core.experiments.bias_tables import bias_table
from vardax_core.experiments.observed_columns import ObservedColumns, prediction, read_columns
from vardax_core.store import ExperimentStore
from vardax_core.words import short, unit_label

Table = tuple[list[str], list[list[str]]]
WORST = 8
"""Withheld platforms that are listed, those with the largest difference first."""
HOURS = 4
"""Parts of the hours about an analysis, where observations are of many."""
RESAMPLES = 400


def observed_tables(
    store: ExperimentStore,
    recipe: Recipe,
    names: Sequence[str],
    burn_in: int,
    trained: Mapping[str, Any] | None = None,
    *,
    diagnosed: bool = True,
) -> dict[str, Table]:
    """Tell how the real observations of a store fared.

    Arguments:
        names: of the platforms, by number.
        burn_in: cycles at the start that are not scored.
        trained: what was said of the errors in training, by stream; see `StreamErrors`.
        diagnosed: whether O-A and O-B are of an analysis and the background that it was made of,
            which had not seen the observations, so that they tell the errors.

    Returns:
        Header and rows by heading.
    """
    columns = read_columns(store, recipe, burn_in)
    units, mixed = recipe.observed.units, recipe.observed.units == MIXED
    streams = {
        # Each in its own units where they differ, which are said beside its name.
        f"{s.name} [{recipe.variable_of_stream(s).units}]" if mixed else s.name: columns.stream == n
        for n, s in enumerate(recipe.streams or ())
    }
    regions = recipe.regions or quadrants(store.dataset("analysis"), recipe.state_dims)
    parts = {
        name: parts_of(region, columns.places, recipe.state_dims)
        for name, region in regions.items()
    }
    together = {
        "Regions": _fared("region", columns, parts, units),
        "Hours from the analysis": _fared("hours", columns, _by_hour(columns), units),
    }
    return {
        "Streams": _fared("stream", columns, streams, units),
        "Observation errors": _errors(columns, streams, trained or {}, units, diagnosed),
        "Biases": bias_table(store, recipe, names),
        **({} if mixed else together),
        "Withheld platforms": _by_platform(columns, names, units),
    }


def _fared(
    what: str,
    columns: ObservedColumns,
    parts: Mapping[str, Bool[np.ndarray, " record"]],
    units: str,
) -> Table:
    """How the used and the withheld observations of some parts fared."""
    header = [
        what,
        "used",
        "rejected",
        unit_label("O-B mean", units),
        unit_label("O-B rms", units),
        unit_label("O-A rms", units),
        "withheld",
        unit_label("withheld O-A mean", units),
        unit_label("withheld O-A rms", units),
        "spread/rms",
        unit_label("CRPS", units),
        "90 % coverage",
    ]
    rows = []
    for name, mine in parts.items():
        used, held = mine & columns.used, mine & columns.held
        before = prediction(columns.innovation[used], columns.background_variance[used])
        after = prediction(columns.residual[used], columns.analysis_variance[used])
        expected = columns.analysis_variance + columns.error_sd**2
        away = prediction(columns.residual[held], expected[held])
        rows.append(
            [
                name,
                str(before.count),
                str(int((mine & columns.rejected).sum())),
                *map(short, (before.mean, before.rms, after.rms)),
                str(away.count),
                *map(short, (away.mean, away.rms, away.ratio, away.crps)),
                percent(away.coverage),
            ]
        )
    return header, rows


def _by_hour(columns: ObservedColumns) -> dict[str, Bool[np.ndarray, " record"]]:
    """The hours between analysis and observation; nothing where there is but one."""
    hours = columns.hours
    different = np.unique(np.round(hours, 2))
    if different.size < 2:
        return {}
    if different.size <= HOURS:
        return {f"{hour:+g}": np.round(hours, 2) == hour for hour in different}
    edges = np.linspace(different[0], different[-1], HOURS + 1)
    part = np.clip(np.searchsorted(edges, hours, side="right") - 1, 0, HOURS - 1)
    return {f"{edges[n]:+.3g} to {edges[n + 1]:+.3g}": part == n for n in range(HOURS)}


def _errors(
    columns: ObservedColumns,
    streams: Mapping[str, Bool[np.ndarray, " record"]],
    trained: Mapping[str, Any],
    units: str,
    diagnosed: bool,
) -> Table:
    """What errors were stated and used, and what innovations and residuals say of them."""
    header = [
        "stream",
        unit_label("stated", units),
        unit_label("in use", units),
        unit_label("Desroziers", units),
        unit_label("Desroziers in training", units),
        unit_label("background in use", units),
        unit_label("background by Desroziers", units),
    ]
    rows = []
    for name, mine in streams.items():
        used = mine & columns.used
        said = trained.get(name.split(" [")[0])
        found = background = "-"
        if diagnosed:
            found = _with_interval(*desroziers(columns, used, of_background=False))
            background = _with_interval(*desroziers(columns, used, of_background=True))
        rows.append(
            [
                name,
                short(_rms(columns.stated_sd[used])),
                short(_rms(columns.error_sd[used])),
                found,
                "-" if said is None else _with_interval(*said["sd"]),
                short(float(np.sqrt(np.mean(columns.background_variance[used]))))
                if used.any()
                else "-",
                background,
            ]
        )
    return header, rows


def desroziers(
    columns: ObservedColumns, which: Bool[np.ndarray, " record"], *, of_background: bool
) -> tuple[float, float, float]:
    """Standard deviation of the errors by innovations and residuals, with its interval of 95 %
    from a circular block bootstrap of the cycles.

    The root of the mean of (O-A)(O-B) for the observations, and of (A-B)(O-B) for the background;
    NaN where the mean is negative, or where there are too few cycles for an interval.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108
    """
    innovation, residual = columns.innovation[which], columns.residual[which]
    product = innovation * (innovation - residual if of_background else residual)
    cycle, cycles = columns.cycle[which], columns.cycles
    total = np.bincount(cycle, product, minlength=cycles)
    count = np.bincount(cycle, minlength=cycles).astype(float)
    if not count.any():
        return (np.nan,) * 3
    value = _root(total.sum() / count.sum())
    if cycles < SHORTEST_PERIOD:
        return value, np.nan, np.nan
    block = block_length(total)
    drawn = np.concatenate(
        [
            (counts @ total) / np.maximum(counts @ count, 1.0)
            for counts in resample_counts(cycles, block, resamples=RESAMPLES, key=jax.random.key(0))
        ]
    )
    low, high = np.quantile(drawn, (0.025, 0.975))
    return value, _root(max(low, 0.0)), _root(high)


def _root(value: float) -> float:
    return float(np.sqrt(value)) if value >= 0 else np.nan


def _with_interval(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "-"
    return short(value) if not np.isfinite(low) else f"{short(value)} ({low:.3g} to {high:.3g})"


def _by_platform(columns: ObservedColumns, names: Sequence[str], units: str) -> Table:
    header = [
        f"platform (the worst {WORST})",
        "values",
        unit_label("O-A mean", units),
        unit_label("O-A rms", units),
        unit_label("O-B rms", units),
    ]
    held = columns.held
    platforms = np.unique(columns.platform[held])
    size = {n: _rms(columns.residual[held & (columns.platform == n)]) for n in platforms}
    rows = []
    for number in sorted(size, key=lambda number: -size[number])[:WORST]:
        mine = held & (columns.platform == number)
        rows.append(
            [
                names[number] if number < len(names) else str(number),
                str(int(mine.sum())),
                short(float(columns.residual[mine].mean())),
                short(size[number]),
                short(_rms(columns.innovation[mine])),
            ]
        )
    return header, rows


def _rms(values: Float[np.ndarray, " value"]) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")
