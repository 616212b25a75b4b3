"""One state to a host model and back: the dataset it is given, and what is asked of its own."""

import dataclasses
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from vardax_core.data.conventions import attributes_of
from vardax_core.data.masks import frame_mask
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import MINUTES_UNITS, from_minutes
from vardax_core.words import counted

_NETCDF = threading.Lock()
"""The NetCDF library does not take calls from several threads at once."""
_FILE_FAULTS = (OSError, ValueError, TypeError, KeyError, RuntimeError)


class MemberError(ValueError):
    """A member's forecast is not there, or is none.

    Attributes:
        tail: last lines that the model wrote to stderr.
    """

    def __init__(self, why: str, tail: str = ""):
        super().__init__(why)
        self.tail = tail


def stamp(minute: int) -> str:
    """Name an instant, as a file may be named: 20190301T0600."""
    text = str(from_minutes(np.array([minute]))[0].astype("datetime64[m]"))
    return text.replace("-", "").replace(":", "")


@dataclasses.dataclass(frozen=True)
class StateForm:
    """How states are given to a host model and taken from it.

    Attributes:
        recipe: with the variables.
        coordinates: of the grid.
        shape: of the grid.
        mask: True at the points that belong to the state, None for all.
        lowest, highest: possible values of each variable; beyond them a forecast is nonsense.
        dtype: of the cycle.
    """

    recipe: Recipe
    coordinates: Mapping[str, xr.DataArray]
    shape: tuple[int, ...]
    mask: Bool[np.ndarray, "*state"] | None
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    dtype: str

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        frame: xr.Dataset,
        possible: Sequence[tuple[float, float]],
        dtype: str,
    ) -> "StateForm":
        """The form of the states of a store.

        Arguments:
            frame: a group of the store with the grid's coordinates.
            possible: smallest and largest value of each variable of a forecast.
        """
        dims = recipe.state_dims
        own = {
            str(name): array.load()
            for name, array in frame.coords.items()
            if array.dims and set(array.dims) <= set(dims)
        }
        shape = tuple(frame.sizes[dim] for dim in dims)
        lowest, highest = zip(*possible, strict=True)
        return cls(recipe, own, shape, frame_mask(frame, dims), lowest, highest, dtype)

    def dataset(
        self, state: Float[np.ndarray, "*state"], start: int, target: int, member: int, seed: int
    ) -> xr.Dataset:
        """Give a state as a CF dataset, NaN outside of the mask.

        Arguments:
            start, target: valid times of the state and of the forecast that is asked for, minutes
                since `MINUTES_EPOCH`.
            member: its number.
            seed: for what is random in the model; another one for each member and cycle.
        """
        field = state if self.mask is None else np.where(self.mask, state, np.nan)
        made = xr.Dataset(
            self.variables(field.astype(self.dtype)),
            {**self.coordinates, "time": from_minutes(np.array([start]))[0]},
        )
        made["time"].attrs = {"standard_name": "time"}
        instants = from_minutes(np.array([start, target])).astype("datetime64[m]")
        made.attrs = {
            "Conventions": "CF-1.11",
            "start_time": f"{instants[0]}Z",
            "target_time": f"{instants[1]}Z",
            "member": member,
            "seed": seed,
        }
        return made

    def variables(self, field: Float[np.ndarray, "*state"]) -> dict[str, tuple]:
        """Give the variables of a state with their dimensions and attributes."""
        fields = field if self.recipe.channels else field[None]
        return {
            one.name: (self.recipe.state_dims, values, attributes_of(one))
            for one, values in zip(self.recipe.variables, fields, strict=True)
        }

    def field(
        self, made: xr.Dataset, target: int, state: Float[np.ndarray, "*state"]
    ) -> Float[np.ndarray, "*state"]:
        """Take the forecast out of what a model made.

        Arguments:
            target: valid time that it must have, minutes since `MINUTES_EPOCH`.
            state: that it was made of, which stays outside of the mask.

        Raises:
            MemberError: it is not a possible state on the grid at that time.
        """
        before = state if self.recipe.channels else state[None]
        fields = [
            self._of_variable(made, number, target, before[number])
            for number in range(len(self.recipe.variables))
        ]
        return np.stack(fields) if self.recipe.channels else fields[0]

    def _of_variable(
        self, made: xr.Dataset, number: int, target: int, before: Float[np.ndarray, "*grid"]
    ) -> Float[np.ndarray, "*grid"]:
        variable, dims = self.recipe.variables[number], self.recipe.state_dims
        if variable.name not in made.data_vars:
            there = sorted(map(str, made.data_vars))
            raise MemberError(f"there is no variable '{variable.name}' in its output, only {there}")
        own = f"'{variable.name}' in its output" if self.recipe.channels else "its output"
        field = made[variable.name]
        rest = {dim: 0 for dim in field.dims if dim not in dims and field.sizes[dim] == 1}
        field = field.isel(rest)
        if set(field.dims) != set(dims):
            raise MemberError(
                f"{own} has the dimensions {list(map(str, field.dims))}, expected {list(dims)}"
            )
        field = field.transpose(*dims)
        if field.shape != self.shape:
            raise MemberError(f"{own} has the shape {field.shape}, expected {self.shape}")
        self._require_coordinates(field)
        self._require_time(made[variable.name], target)
        units = field.attrs.get("units", variable.units)
        if units != variable.units:
            raise MemberError(f"{own} is in '{units}', expected '{variable.units}'")
        values = np.asarray(field.to_numpy(), self.dtype)
        if self.mask is not None:
            values = np.where(self.mask, values, before).astype(self.dtype)
        if not np.isfinite(values).all():
            lacking = counted(int(np.sum(~np.isfinite(values))), "point")
            raise MemberError(f"{own} is not finite at {lacking}")
        low, high = float(values.min()), float(values.max())
        if low < self.lowest[number] or high > self.highest[number]:
            raise MemberError(
                f"{own} lies between {low:g} and {high:g}, and {variable.name} can only lie "
                f"between {self.lowest[number]:g} and {self.highest[number]:g}"
            )
        return values

    def _require_time(self, field: xr.DataArray, target: int) -> None:
        found = np.atleast_1d(field["time"].values) if "time" in field.coords else np.array([])
        wanted = from_minutes(np.array([target]))[0].astype("datetime64[m]")
        times = [] if found.dtype.kind != "M" else list(found.astype("datetime64[m]"))
        if times != [wanted]:
            raise MemberError(
                f"its output must have the CF time {wanted} as its one time, got "
                f"{[str(time) for time in times] or 'none'}"
            )

    def _require_coordinates(self, field: xr.DataArray) -> None:
        for dim in self.recipe.state_dims:
            if dim not in field.coords or dim not in self.coordinates:
                continue
            own, other = self.coordinates[dim].values, field[dim].values
            step = float(np.max(np.abs(np.diff(own)), initial=0.0)) or 1.0
            if not np.allclose(own, other, rtol=0, atol=1e-3 * step):
                raise MemberError(
                    f"its output has another {dim}: from {other[0]:g} to {other[-1]:g}, expected "
                    f"from {own[0]:g} to {own[-1]:g} in this order"
                )


def write_dataset(dataset: xr.Dataset, path: pathlib.Path) -> None:
    """Write a NetCDF file, which is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    encoding: dict[str, dict[str, Any]] = {
        "time": {"units": MINUTES_UNITS, "calendar": "standard", "dtype": "int64"}
    }
    with _NETCDF:
        dataset.drop_encoding().to_netcdf(temporary, engine="netcdf4", encoding=encoding)
    os.replace(temporary, path)


def read_dataset(path: pathlib.Path) -> xr.Dataset:
    """Read what a model wrote.

    Raises:
        MemberError: there is no file, or it is no NetCDF.
    """
    if not path.is_file():
        raise MemberError("it wrote no output")
    try:
        with _NETCDF, xr.open_dataset(path) as opened:
            return opened.load()
    except _FILE_FAULTS as error:
        said = str(error).strip().splitlines()
        raise MemberError(f"its output cannot be read as NetCDF ({said[-1:]})") from error


def input_digest(dataset: xr.Dataset, model: Sequence[str]) -> str:
    """SHA-256 of all that decides a member's forecast: state, times, seed, and the model.

    Arguments:
        model: what says which model it is.
    """
    digest = hashlib.sha256(json.dumps([list(model), dataset.attrs], default=int).encode())
    for name in sorted(map(str, dataset.variables)):
        values = np.ascontiguousarray(dataset[name].values)
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
