"""What the stores of an experiment and of its observations hold: layouts, and the columns of real
observations."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from vardax_core.calibration.statistics import (
    FIELD_SUMS,
    REPORTED_STATISTICS,
    SMOOTHED_STATISTICS,
    STATISTICS,
    AbstractStatistic,
    declared_sums,
)
from vardax_core.cycling.marks import NAMES
from vardax_core.data.channels import channel_attributes
from vardax_core.data.conventions import attributes_of
from vardax_core.data.ingest import Ingested
from vardax_core.data.masks import STATE_MASK
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.recipe_sections import Variable as RecipeVariable
from vardax_core.data.reports import OWN_CODE, PLATFORM, STREAM, SUPERSEDED_AT
from vardax_core.experiments.settings import ExperimentSettings, analysis_chain
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import (
    ChunkPlan,
    Coordinate,
    Diagnostic,
    ExperimentStore,
    Layout,
    ObservedDescription,
    StateDescription,
    Variable,
    experiment_layout,
    observation_layout,
)
from vardax_core.store.experiment import GRID, NOT_ARRIVED, OBSERVATIONS
from vardax_core.store.layout import TIME, default_fill_value
from vardax_core.types import ResultCode

STATION = "station"
HEADROOM = 1.25
"""A store has columns for so many times the most records of an observation time."""
COLUMNS = 64
"""It has a multiple of so many columns."""
OBSERVED_DTYPE = "float32"
"""Of observations and truths as they are stored, whatever the precision of an experiment."""
INCREMENT_CAUSE = "increment_cause"
"""Name of the diagnostic that says which kind of mark was wrong."""
TIMES = 512
"""Observation times of an object of an observation store, where they are small."""


FILLS = {
    PLATFORM: -1,
    STREAM: -1,
    CHANNEL: -1,
    SUPERSEDED_AT: NOT_ARRIVED,
    OWN_CODE: int(QualityCode.MISSING),
}
"""What columns of real observations hold where there is no record, but for zero and NaN."""


def observed_layout(recipe: Recipe, ingested: Ingested) -> Layout:
    """Lay out the store of the observations of a recipe, for what was ingested."""
    frame, observations = ingested.frame, ingested.observations
    columns = observations.sizes[STATION]
    columns = width_for(columns) if recipe.reported else columns
    masked = (STATE_MASK,) if STATE_MASK in frame else ()
    coords = tuple(_coordinate(frame, name) for name in (*recipe.state_dims, *masked))
    stations = (
        _station(columns, recipe.reported),
        *(_coordinate(observations, str(c)) for c in observations.coords if c != TIME),
    )
    return observation_layout(
        observed=_observed(recipe, coords, stations, OBSERVED_DTYPE),
        states=_states(recipe, coords, OBSERVED_DTYPE),
        chunks=ChunkPlan(segment_length=TIMES),
        nature_run=ingested.nature_run is not None,
        further=_reported(recipe, observations),
    )


def store_layout(
    recipe: Recipe, settings: ExperimentSettings, kept: ExperimentStore, segment: int
) -> Layout:
    """Lay out the store of an experiment for the grid and the columns of its observations.

    Arguments:
        kept: the store of the observations.
        segment: cycles of a usual commit.
    """
    grid = kept.coordinates(GRID)
    coords = tuple(grid[name] for name in (*recipe.state_dims, STATE_MASK) if name in grid)
    stations = tuple(kept.coordinates(OBSERVATIONS).values())
    return experiment_layout(
        states=_states(recipe, coords, settings.dtype),
        observed=_observed(recipe, coords, stations, settings.dtype),
        diagnostic_coords=_channel(recipe),
        n_members=settings.members,
        diagnostics=_diagnostics(
            settings.members,
            recipe,
            analysis_chain(recipe, settings.analysis),
            (
                *STATISTICS,
                *(SMOOTHED_STATISTICS if settings.lag > 0 else ()),
                *(REPORTED_STATISTICS if recipe.reported else ()),
            ),
        ),
        lag=settings.lag,
        corrected=any(stream.bias is not None for stream in recipe.streams or ()),
        chunks=ChunkPlan(segment_length=segment),
    )


def _states(
    recipe: Recipe, coords: tuple[Coordinate, ...], dtype: str
) -> tuple[StateDescription, ...]:
    return tuple(_described(variable, coords, dtype) for variable in recipe.variables)


def _described(
    variable: RecipeVariable, coords: tuple[Coordinate, ...], dtype: str
) -> StateDescription:
    return StateDescription(variable.name, coords, attributes_of(variable), dtype)


def _observed(
    recipe: Recipe,
    coords: tuple[Coordinate, ...],
    stations: tuple[Coordinate, ...],
    dtype: str,
) -> ObservedDescription:
    return ObservedDescription(
        values=_described(recipe.observed, coords, dtype),
        coords=stations,
        quality_flags={code.name.lower(): int(code) for code in QualityCode},
        reported=recipe.reported,
    )


def width_for(records: int) -> int:
    """Columns of a store that has at most so many records of an observation time."""
    return COLUMNS * math.ceil(HEADROOM * records / COLUMNS)


def filled_to(columns: dict[str, np.ndarray], width: int) -> dict[str, np.ndarray]:
    """Give real observations as many columns as a store has; those that are new hold nothing."""
    return {name: _filled_to(name, values, width) for name, values in columns.items()}


def _filled_to(name: str, values: np.ndarray, width: int) -> np.ndarray:
    nothing = {QUALITY_CONTROL: int(QualityCode.MISSING), "arrival_time": NOT_ARRIVED, **FILLS}
    fill = nothing.get(name, default_fill_value(values.dtype))
    if name.endswith("_error"):
        fill = values.flat[0] if values.size else 1.0
    rest = np.full((len(values), width - values.shape[1]), fill, values.dtype)
    return np.concatenate([values, rest], axis=1)


def platform_table(names: Sequence[str]) -> dict[str, xr.DataArray]:
    """The names of platforms by number, as the store keeps them."""
    attrs = {"long_name": "stream and name of each platform"}
    return {"name": xr.DataArray(np.array(names, str), dims=("platform",), attrs=attrs)}


def _station(columns: int, reported: bool) -> Coordinate:
    what = "column of a record" if reported else "observing station"
    values = np.arange(columns, dtype=np.int32)
    return Coordinate(STATION, (STATION,), values, {"long_name": what, "units": "1"})


def _channel(recipe: Recipe) -> tuple[Coordinate, ...]:
    if not recipe.channels:
        return ()
    numbers = np.arange(len(recipe.channels), dtype=np.int32)
    return (Coordinate(CHANNEL, (CHANNEL,), numbers, channel_attributes(recipe)),)


def _reported(recipe: Recipe, observations: xr.Dataset) -> tuple[Variable, ...]:
    """What is kept of real observations beside what is kept of all."""
    if not recipe.reported:
        return ()
    name = recipe.observed.name
    usual = (name, f"{name}_error", QUALITY_CONTROL, "arrival_time")

    def attributes(key: str) -> dict[str, Any]:
        missing = {"_FillValue": NOT_ARRIVED} if key == SUPERSEDED_AT else {}
        plain = {k: np.asarray(v).tolist() for k, v in observations[key].attrs.items()}
        return plain | missing

    return tuple(
        Variable(
            key, (TIME, STATION), str(observations[key].dtype), attributes(key), FILLS.get(key)
        )
        for key in map(str, observations.data_vars)
        if key not in usual
    )


def _coordinate(dataset: xr.Dataset, name: str) -> Coordinate:
    array = dataset[name]
    return Coordinate(name, tuple(str(d) for d in array.dims), array.to_numpy(), dict(array.attrs))


def _diagnostics(
    members: int, recipe: Recipe, chain: tuple[str, ...], statistics: Iterable[AbstractStatistic]
) -> dict[str, Diagnostic]:
    channels = {CHANNEL: len(recipe.channels)} if recipe.channels else {}
    found = {}
    for name, one in declared_sums(statistics).items():
        of_fields = name in FIELD_SUMS
        units = recipe.variable.units if of_fields else recipe.observed.units
        sizes = {**(channels if of_fields else {}), **one.sizes(members)}
        found[name] = Diagnostic(sizes=sizes, attrs=one.attributes(units))
    results = {
        "long_name": "how the analysis ended",
        "flag_values": [int(code) for code in ResultCode],
        "flag_meanings": " ".join(code.name.lower() for code in ResultCode),
    }
    found["result"] = Diagnostic(dtype="int8", attrs=results)
    found["spread_factor"] = Diagnostic(
        attrs={"long_name": "factor that past innovations put on the spread", "units": "1"}
    )
    found["analysis_method"] = Diagnostic(
        dtype="int8",
        attrs={
            "long_name": "method that made the analysis; result says why it was not the first",
            "flag_values": list(range(len(chain))),
            "flag_meanings": " ".join(chain),
        },
    )
    found["trust_score"] = Diagnostic(
        attrs={"long_name": "distance of past departures from the usual", "units": "1"}
    )
    found[INCREMENT_CAUSE] = Diagnostic(
        dtype="int8",
        attrs={
            "long_name": "why the increment of the method itself was not taken",
            "flag_values": list(range(len(NAMES))),
            "flag_meanings": " ".join(NAMES),
        },
    )
    found["replaced_members"] = Diagnostic(
        dtype="int16",
        attrs={
            "long_name": "members whose forecast was impossible and was estimated",
            "units": "1",
        },
    )
    return found
