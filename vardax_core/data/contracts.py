"""What a nature run and a dataset of observations must be, as pandera schemas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandera.xarray as pa
import xarray as xr
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from vardax_core.data.conventions import attributes_of, error_attributes
from vardax_core.data.errors import ContractError
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL, Variable
from vardax_core.data.timeaxis import MINUTES_UNITS
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode


def _check(rule: str, holds: Callable[[xr.DataArray], Any]) -> pa.Check:
    return pa.Check(lambda data: bool(holds(data).all()), error=rule, n_failure_cases=3)


def _time() -> pa.Coordinate:
    increasing = _check(
        "must increase strictly", lambda time: time.diff("time") > np.timedelta64(0, "ns")
    )
    return pa.Coordinate(dtype="datetime64[ns]", dims=("time",), checks=[increasing])


def nature_run_schema(recipe: Recipe) -> pa.DatasetSchema:
    """The contract of a nature run: float32 on (time, *state), in bounds or NaN."""
    return pa.DatasetSchema(
        name="nature run",
        data_vars={
            variable.name: pa.DataVar(
                dtype="float32",
                dims=("time", *recipe.state_dims),
                attrs=attributes_of(variable),
                nullable=True,
                checks=[_within(variable)],
            )
            for variable in recipe.variables
        },
        coords={"time": _time(), **{dim: pa.Coordinate(dims=(dim,)) for dim in recipe.state_dims}},
    )


def _within(variable: Variable) -> pa.Check:
    low, high = variable.valid_min, variable.valid_max
    return _check(
        f"must be NaN or from {low} to {high} {variable.units}",
        lambda x: x.isnull() | ((x >= low) & (x <= high)),
    )


def observations_schema(recipe: Recipe) -> pa.DatasetSchema:
    """The contract of simulated observations: every kept value finite and in bounds, every code
    known."""
    coords = {
        "grid_index": pa.Coordinate(dtype="int32", dims=("station",)),
        **{dim: pa.Coordinate(dims=("station",)) for dim in recipe.state_dims},
    }
    if recipe.channels:
        coords[CHANNEL] = pa.Coordinate(dtype="int8", dims=("station",))
    return _observations_schema(recipe, {}, coords)


def reports_schema(recipe: Recipe) -> pa.DatasetSchema:
    """The contract of real observations: the same, and a place for every value that is used."""
    dims = ("time", "station")
    somewhere = pa.Check(
        lambda data: _used_are_somewhere(data, recipe),
        error="values that are used must have a place",
        n_failure_cases=3,
    )
    columns = {
        dim: pa.DataVar(dtype="float64", dims=dims, nullable=True) for dim in recipe.state_dims
    }
    if recipe.forecast_files is not None:
        for name in ("forecast_equivalent", "forecast_shift"):
            columns[name] = pa.DataVar(dtype="float32", dims=dims, nullable=True)
    for name, dtype in (("observation_time", "int64"), ("platform", "int32"), ("stream", "int8")):
        columns[name] = pa.DataVar(dtype=dtype, dims=dims)
    if recipe.channels:
        columns[CHANNEL] = pa.DataVar(dtype="int8", dims=dims)
    return _observations_schema(recipe, columns, {}, somewhere)


def _used_are_somewhere(data: xr.Dataset, recipe: Recipe) -> bool:
    if not {QUALITY_CONTROL, *recipe.state_dims} <= set(data.data_vars):
        return True  # the schema itself says which one is missing
    used = data[QUALITY_CONTROL].isin([QualityCode.KEPT, QualityCode.WITHHELD])
    return all(bool((np.isfinite(data[dim]) | ~used).all()) for dim in recipe.state_dims)


def _observations_schema(
    recipe: Recipe,
    columns: dict[str, pa.DataVar],
    coords: dict[str, pa.Coordinate],
    *checks: pa.Check,
) -> pa.DatasetSchema:
    variable = recipe.observed
    dims = ("time", "station")
    known_code = _check(
        f"must be a quality code from 0 to {max(QualityCode)}", lambda x: x.isin(list(QualityCode))
    )
    positive = _check("must be finite and positive", lambda x: np.isfinite(x) & (x > 0))
    kept_in_bounds = pa.Check(
        lambda data: _kept_in_bounds(data, recipe),
        error=(
            f"kept values of {variable.name} must be finite and from {variable.valid_min} to "
            f"{variable.valid_max} {variable.units}"
        ),
        n_failure_cases=3,
    )
    return pa.DatasetSchema(
        name="observations",
        data_vars={
            variable.name: pa.DataVar(
                dtype="float32", dims=dims, attrs=attributes_of(variable), nullable=True
            ),
            f"{variable.name}_error": pa.DataVar(
                dtype="float32", dims=dims, attrs=error_attributes(recipe), checks=[positive]
            ),
            QUALITY_CONTROL: pa.DataVar(
                dtype="int8",
                dims=dims,
                attrs={"standard_name": "quality_flag"},
                checks=[known_code],
            ),
            "arrival_time": pa.DataVar(dtype="int64", dims=dims, attrs={"units": MINUTES_UNITS}),
            **columns,
        },
        coords={"time": _time(), **coords},
        checks=[kept_in_bounds, *checks],
    )


def _kept_in_bounds(data: xr.Dataset, recipe: Recipe) -> bool:
    name = recipe.observed.name
    low: float | xr.DataArray = recipe.observed.valid_min
    high: float | xr.DataArray = recipe.observed.valid_max
    if not {name, QUALITY_CONTROL} <= set(data.data_vars):
        return True  # the schema itself says which one is missing
    values = data[name]
    if recipe.channels and CHANNEL in data:
        # Where there is no record the channel is -1, and nothing is kept.
        of = data[CHANNEL].to_numpy()
        dims = data[CHANNEL].dims
        low, high = (
            xr.DataArray(np.array([getattr(one, end) for one in recipe.variables])[of], dims=dims)
            for end in ("valid_min", "valid_max")
        )
    good = (values >= low) & (values <= high)
    return bool((good | (data[QUALITY_CONTROL] != QualityCode.KEPT)).all())


def validate(dataset: xr.Dataset, schema: pa.DatasetSchema) -> xr.Dataset:
    """Check a dataset against a contract, values included, also those of dask arrays.

    Returns:
        The dataset itself.

    Raises:
        ContractError: listing everything that is wrong.
    """
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            return schema.validate(dataset, lazy=True)
        except SchemaErrors as error:
            faults = [
                f"  {fault['column']}: {fault['check' if reason == 'DATAFRAME_CHECK' else 'error']}"
                for kind in error.message.values()
                for reason, found in kind.items()
                for fault in found
            ]
    raise ContractError(
        f"The {schema.name} dataset breaks its contract:\n"
        + "\n".join(faults)
        + "\nCorrect the source, or what wrote this dataset."
    )
