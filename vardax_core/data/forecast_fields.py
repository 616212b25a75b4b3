"""Forecasts that are given as files: what they say at analysis times, and of each observation."""

import contextlib
import pathlib
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.fields import canonical_field
from vardax_core.data.places import open_place
from vardax_core.data.recipe import Recipe
from vardax_core.data.reported import ForecastFields
from vardax_core.data.sources import default_cache_dir
from vardax_core.data.streams.files import find_files
from vardax_core.data.timeaxis import to_minutes
from vardax_core.observations.settings import AbstractTimeStatistic

MEMBER_DIMS = ("number", "member", "realization", "ensemble", "ensemble_member")


class GivenForecast:
    """Fields of a forecast, read from files.

    Attributes:
        section: what the recipe says of it.
        minutes: valid times of the fields, since `MINUTES_EPOCH`, ascending.
        fields: (time, member, *state), float32.
    """

    def __init__(self, recipe: Recipe, folders: Sequence[pathlib.Path]):
        """Read the fields.

        Raises:
            SourceError: a file cannot be used.
        """
        assert recipe.forecast_files is not None, "asked for with a forecast"
        self.section: ForecastFields = recipe.forecast_files
        self._step = recipe.spacing
        parts = [
            _with_members(recipe, self.section, file.path, file.name)
            for file in find_files(self.section.files, folders)
        ]
        joined = xr.concat(parts, "time").sortby("time") if len(parts) > 1 else parts[0]
        _, first = np.unique(joined["time"].values, return_index=True)
        joined = joined.isel(time=first)
        self.minutes: Int[np.ndarray, " time"] = to_minutes(joined["time"].values)
        self.fields: Float[np.ndarray, "time member *state"] = joined.to_numpy()

    @property
    def members(self) -> int:
        """How many there are; 1 for a single forecast."""
        return self.fields.shape[1]

    def background(
        self, minutes: Int[np.ndarray, " cycle"]
    ) -> Float[np.ndarray, "cycle member *s"]:
        """What is forecast for analysis times; NaN where the files do not say.

        Arguments:
            minutes: since `MINUTES_EPOCH`.
        """
        ends = minutes + int(self.section.ends.total_seconds() // 60)
        return np.stack([self._at(int(end), self.section.statistic) for end in ends])

    def equivalents(
        self,
        seconds: Int[np.ndarray, " obs"],
        statistic: AbstractTimeStatistic | None,
        points: Int[np.ndarray, "obs corner"],
        weights: Float[np.ndarray, "obs corner"],
    ) -> Float[np.ndarray, " obs"]:
        """What the forecast mean says of observations at their own times.

        Arguments:
            seconds: of each since `MINUTES_EPOCH`; with a statistic the end of its hours.
            statistic: what the observations are of the hours before; None for instants, between
                whose fields the forecast is interpolated.
            points, weights: of the grid around each.
        """
        found = np.full(seconds.size, np.nan)
        for second in np.unique(seconds):
            of = seconds == second
            field = self._mean_at(second / 60, statistic).reshape(-1)
            found[of] = np.sum(weights[of] * field[points[of]], axis=1)
        return found

    def _mean_at(self, minute: float, statistic: AbstractTimeStatistic | None) -> np.ndarray:
        if statistic is not None:
            return self._at(round(minute), statistic).mean(axis=0)
        after = int(np.searchsorted(self.minutes, minute))
        near = np.clip([after - 1, after], 0, len(self.minutes) - 1)
        low, high = self.minutes[near]
        if minute < self.minutes[0] or minute > self.minutes[-1] or high - low > self._step:
            return np.full(self.fields.shape[2:], np.nan)
        share = 0.0 if high == low else (minute - low) / (high - low)
        first, last = (self.fields[n].mean(axis=0) for n in near)
        return first if share == 0 else (1 - share) * first + share * last

    def _at(self, minute: int, statistic: AbstractTimeStatistic | None) -> np.ndarray:
        """The members at an instant, or their statistic over the hours before it."""
        nothing = np.full(self.fields.shape[1:], np.nan, np.float32)
        if statistic is None:
            row = int(np.searchsorted(self.minutes, minute))
            there = row < len(self.minutes) and self.minutes[row] == minute
            return self.fields[row] if there else nothing
        begin = minute - 60 * statistic.hours
        rows = slice(*np.searchsorted(self.minutes, [begin, minute]))
        part = self.fields[rows]
        usual = np.median(np.diff(self.minutes)) if len(self.minutes) > 1 else np.inf
        if len(part) * usual < 60 * statistic.hours:
            return nothing
        return statistic.reduced(part)


def _with_members(
    recipe: Recipe, section: ForecastFields, path: pathlib.Path, shown: str
) -> xr.DataArray:
    """The variable of a file on (time, member, *state_dims)."""
    opened = open_place(path, default_cache_dir(), variable=section.variable)
    with contextlib.closing(opened.dataset) as dataset:
        if section.variable not in dataset.data_vars:
            raise SourceFormatError(
                f"{shown}: there is no variable '{section.variable}', only "
                f"{sorted(map(str, dataset.data_vars))}; correct forecast.variable."
            )
        field = dataset[section.variable]
        for dim, value in section.select.items():
            if dim not in field.dims or dim not in field.coords:
                raise SourceFormatError(
                    f"{shown}: variable '{section.variable}' has no dimension '{dim}' with "
                    f"coordinates, only {list(map(str, field.dims))}; correct forecast.select."
                )
            if not np.any(np.isclose(field[dim].values.astype(float), value)):
                there = ", ".join(f"{level:g}" for level in field[dim].values.astype(float)[:8])
                raise SourceFormatError(
                    f"{shown}: there is no {dim} {value:g}, only {there}; correct forecast.select."
                )
            field = field.sel({dim: value}, method="nearest")
        dims = [dim for dim in field.dims if dim in MEMBER_DIMS]
        numbers = range(field.sizes[dims[0]]) if dims else [None]
        members = []
        for number in numbers:
            one = field if number is None else field.isel({dims[0]: number}, drop=True)
            made, _ = canonical_field(one.to_dataset(), shown, recipe, section.variable)
            members.append(made.astype(np.float32).load())
        return xr.concat(members, "member").transpose("time", "member", *recipe.state_dims)
