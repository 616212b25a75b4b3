"""Forecasts that are given as files: what they say at analysis times, and of each observation."""

import contextlib
import datetime
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from vardax_core.data.channel_fields import opened_variables, require_same_axes
from vardax_core.data.channels import stacked
from vardax_core.data.errors import SourceFormatError
from vardax_core.data.field_times import forecasts_of
from vardax_core.data.fields import canonical_field, on_axes, selected
from vardax_core.data.places import Opened
from vardax_core.data.recipe import FileVariable, Recipe
from vardax_core.data.reported import ForecastFields
from vardax_core.data.sources import default_cache_dir
from vardax_core.data.streams.files import find_files
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes, to_minutes
from vardax_core.observations.settings import AbstractTimeStatistic

UNKNOWN = np.iinfo(np.int64).min
"""Start of a forecast of which nothing says it."""
MEMBER_DIMS = ("number", "member", "realization", "ensemble", "ensemble_member")


class GivenForecast:
    """Fields of forecasts, read from files.

    What is known at an instant is, of every valid time, the field of the latest forecast that had
    arrived by then. A forecast whose start the files do not say has always arrived.

    Attributes:
        section: what the recipe says of it.
        minutes: valid times of all fields, since `MINUTES_EPOCH`, ascending; forecasts that overlap
            have some of them several times.
        starts: of the forecast that each is of, `UNKNOWN` where nothing says it.
        fields: (field, member, *state), float32.
    """

    def __init__(
        self,
        recipe: Recipe,
        folders: Sequence[pathlib.Path],
        cut_off: datetime.timedelta | None = None,
        frame: xr.Dataset | None = None,
    ):
        """Read the fields.

        Arguments:
            frame: with the axes of the states, at which fields are taken; by default at their own.
            cut_off: from an analysis time to the instant by which its forecast must have arrived;
                by default the latency of the recipe.

        Raises:
            SourceError: a file cannot be used.
        """
        assert recipe.forecast_files is not None, "asked for with a forecast"
        self.section: ForecastFields = recipe.forecast_files
        self._step = recipe.spacing
        self._period = recipe.period
        self._interval = duration_to_minutes(recipe.cycle_interval)
        waits = recipe.latency if cut_off is None else cut_off
        self._wait = waits - (self.section.arrival_delay or datetime.timedelta(0))
        parts = [
            part
            for file in find_files(self.section.files, folders)
            for part in _of_file(recipe, self.section, file.path, file.name, frame)
        ]
        _require_as_many_members(parts)
        minutes = np.concatenate([part.minutes for part in parts])
        starts = np.concatenate([part.starts for part in parts])
        # Of two fields of one forecast the first file's comes last, and is the one that counts.
        order = np.lexsort((-np.arange(minutes.size), starts, minutes))
        self.minutes: Int[np.ndarray, " field"] = minutes[order]
        self.starts: Int[np.ndarray, " field"] = starts[order]
        self.fields: Float[np.ndarray, "field member *state"] = np.concatenate(
            [part.fields for part in parts]
        )[order]

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
        ends = minutes + self._ends
        return np.stack(
            [
                self._at(int(end), self.section.statistic, self._known(int(minute)))
                for minute, end in zip(minutes, ends, strict=True)
            ]
        )

    def origins(
        self, minutes: Int[np.ndarray, " cycle"]
    ) -> tuple[Int[np.ndarray, " cycle"], Float[np.ndarray, " cycle"]]:
        """The starts of the forecasts that backgrounds are of, and how far they reach.

        Arguments:
            minutes: analysis times, since `MINUTES_EPOCH`.

        Returns:
            Starts, `UNKNOWN` where the files do not say, and leads in minutes, NaN there. With a
            statistic of some hours, of the last field that it is of.
        """
        starts = np.full(len(minutes), UNKNOWN, np.int64)
        leads = np.full(len(minutes), np.nan)
        before = 0 if self.section.statistic is None else 1
        for number, minute in enumerate(minutes):
            rows, end = self._known(int(minute)), int(minute) + self._ends
            valid = self.minutes[rows]
            at = int(np.searchsorted(valid, end)) - before
            there = 0 <= at < rows.size and (before or valid[at] == end)
            if there and self.starts[rows[at]] != UNKNOWN:
                starts[number] = self.starts[rows[at]]
                leads[number] = valid[at] - starts[number]
        return starts, leads

    @functools.cached_property
    def usual_lead(self) -> float | None:
        """The commonest lead of the backgrounds of the recipe's cycles in minutes; None where the
        files say none."""
        first, last = (instant_to_minutes(t) for t in (self._period.start, self._period.end))
        cycles = np.arange(first, last + 1, self._interval)
        _, leads = self.origins(cycles)
        values, counts = np.unique(leads[np.isfinite(leads)], return_counts=True)
        return float(values[np.argmax(counts)]) if values.size else None

    @property
    def _ends(self) -> int:
        return int(self.section.ends.total_seconds() // 60)

    def _known(self, minute: int) -> Int[np.ndarray, " known"]:
        """Numbers of the fields that count for an analysis time, in the order of valid times."""
        deadline = minute + int(self._wait.total_seconds() // 60)
        rows = np.flatnonzero(self.starts <= deadline)
        last = np.append(np.diff(self.minutes[rows]) > 0, np.ones(min(rows.size, 1), bool))
        return rows[last]

    def equivalents(
        self,
        minute: int,
        seconds: Int[np.ndarray, " obs"],
        statistic: AbstractTimeStatistic | None,
        points: Int[np.ndarray, "obs corner"],
        weights: Float[np.ndarray, "obs corner"],
    ) -> Float[np.ndarray, " obs"]:
        """What the forecast mean says of observations at their own times.

        Arguments:
            minute: analysis time that they belong to, since `MINUTES_EPOCH`.
            seconds: of each since `MINUTES_EPOCH`; with a statistic the end of its hours.
            statistic: what the observations are of the hours before; None for instants, between
                whose fields the forecast is interpolated.
            points, weights: of the state around each.
        """
        found, known = np.full(seconds.size, np.nan), self._known(minute)
        for second in np.unique(seconds):
            of = seconds == second
            field = self._mean_at(second / 60, statistic, known).reshape(-1)
            found[of] = np.sum(weights[of] * field[points[of]], axis=1)
        return found

    def _mean_at(
        self,
        minute: float,
        statistic: AbstractTimeStatistic | None,
        known: Int[np.ndarray, " known"],
    ) -> np.ndarray:
        if statistic is not None:
            return self._at(round(minute), statistic, known).mean(axis=0)
        nothing = np.full(self.fields.shape[2:], np.nan)
        if not known.size:
            return nothing
        valid = self.minutes[known]
        after = int(np.searchsorted(valid, minute))
        near = np.clip([after - 1, after], 0, len(valid) - 1)
        low, high = valid[near]
        if minute < valid[0] or minute > valid[-1] or high - low > self._step:
            return nothing
        share = 0.0 if high == low else (minute - low) / (high - low)
        first, last = (self.fields[known[n]].mean(axis=0) for n in near)
        return first if share == 0 else (1 - share) * first + share * last

    def _at(
        self, minute: int, statistic: AbstractTimeStatistic | None, known: Int[np.ndarray, " known"]
    ) -> np.ndarray:
        """The members at an instant, or their statistic over the hours before it."""
        nothing = np.full(self.fields.shape[1:], np.nan, np.float32)
        valid = self.minutes[known]
        if statistic is None:
            row = int(np.searchsorted(valid, minute))
            there = row < len(valid) and valid[row] == minute
            return self.fields[known[row]] if there else nothing
        begin = minute - 60 * statistic.hours
        rows = known[slice(*np.searchsorted(valid, [begin, minute]))]
        usual = np.median(np.diff(valid)) if len(valid) > 1 else np.inf
        if len(rows) * usual < 60 * statistic.hours:
            return nothing
        return statistic.reduced(self.fields[rows])


class _Part(NamedTuple):
    """Fields of one forecast of a file."""

    shown: str
    minutes: Int[np.ndarray, " field"]
    starts: Int[np.ndarray, " field"]
    fields: Float[np.ndarray, "field member *state"]


def _of_file(
    recipe: Recipe,
    section: ForecastFields,
    path: pathlib.Path,
    shown: str,
    frame: xr.Dataset | None,
) -> Iterator[_Part]:
    """The forecasts of a file; a field of which nothing is known is left out."""
    with contextlib.ExitStack() as stack:
        opened = opened_variables(path, recipe, section, default_cache_dir(), stack)
        found = [
            list(_members_of(one, opened, recipe, section, shown, frame))
            for one in recipe.in_files(section)
        ]
        for together in zip(*found, strict=True):
            fields = dict(zip((one.name for one in recipe.variables), together, strict=True))
            require_same_axes({name: field for name, (field, _) in fields.items()}, shown)
            field, starts = together[0]
            states = stacked(xr.Dataset({n: f for n, (f, _) in fields.items()}), recipe)
            states = states.transpose("time", "member", ...).to_numpy()
            there = np.isfinite(states).reshape(len(states), -1).any(axis=1)
            minutes = to_minutes(field["time"].values)
            begins = np.full(minutes.shape, UNKNOWN, np.int64)
            if starts is not None:
                begins = np.broadcast_to(to_minutes(np.atleast_1d(starts)), minutes.shape)
            yield _Part(shown, minutes[there], begins[there], states[there])


def _members_of(
    one: FileVariable,
    opened: Mapping[str, Opened],
    recipe: Recipe,
    section: ForecastFields,
    shown: str,
    frame: xr.Dataset | None,
) -> Iterator[tuple[xr.DataArray, np.ndarray | None]]:
    """A variable of each forecast of a file on (time, member, *state_dims), and its starts."""
    dataset = opened[one.name].dataset
    if one.name not in dataset.data_vars:
        raise SourceFormatError(
            f"{shown}: there is no variable '{one.name}', only "
            f"{sorted(map(str, dataset.data_vars))}; correct forecast.variable."
        )
    forecasts = forecasts_of(
        selected(dataset[one.name], shown, one.select),
        shown,
        starts=section.starts,
        leads=section.leads,
    )
    for field, starts in forecasts:
        members = []
        for member in _taken(field, section, shown):
            made, _ = canonical_field(member.to_dataset(), shown, recipe, one.name, one.variable)
            if frame is not None:
                made = on_axes(made, frame, recipe.state_dims, shown)
            members.append(made.astype(np.float32).load())
        yield xr.concat(members, "member"), starts


def _taken(field: xr.DataArray, section: ForecastFields, shown: str) -> Iterator[xr.DataArray]:
    """The members of a forecast that the recipe wants; the forecast itself where it is single."""
    dims = [dim for dim in field.dims if dim in MEMBER_DIMS]
    if not dims:
        yield field
        return
    numbers = field[dims[0]].values if dims[0] in field.coords else np.arange(field.sizes[dims[0]])
    wanted = numbers if section.members is None else np.array(section.members)
    lacking = np.setdiff1d(wanted, numbers)
    if lacking.size:
        raise SourceFormatError(
            f"{shown}: there are no members {lacking.tolist()}, only {numbers.tolist()}; correct "
            "forecast.members."
        )
    for number in wanted:
        yield field.isel({dims[0]: int(np.flatnonzero(numbers == number)[0])}, drop=True)


def _require_as_many_members(parts: Sequence[_Part]) -> None:
    first, *others = parts
    for other in others:
        if other.fields.shape[1:] != first.fields.shape[1:]:
            raise SourceFormatError(
                f"{other.shown}: its forecasts have {other.fields.shape[1]} members on "
                f"{other.fields.shape[2:]} points, those of {first.shown} {first.fields.shape[1]} "
                f"on {first.fields.shape[2:]}; name files of one ensemble on one grid."
            )
