"""Forecasts that are given as files: what they say at analysis times, and of each observation."""

import contextlib
import datetime
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from vardax_core.data.channel_fields import opened_variables, require_same_axes
from vardax_core.data.channels import stacked
from vardax_core.data.errors import SourceFormatError
from vardax_core.data.field_times import forecasts_of
from vardax_core.data.fields import canonical_field, on_axes, selected
from vardax_core.data.forecast_members import (
    MEMBER,
    UNKNOWN,
    Ensemble,
    Number,
    Part,
    joined,
    members_taken,
    require_members,
    said_of_incomplete,
)
from vardax_core.data.places import Opened
from vardax_core.data.recipe import FileVariable, Recipe
from vardax_core.data.reported import ForecastFields
from vardax_core.data.streams.files import Found, find_files
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes, to_minutes
from vardax_core.observations.settings import AbstractTimeStatistic
from vardax_core.paths import default_cache_dir


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
        found = find_files(self.section.files, folders)
        read = _read_once(_identity(recipe, found, frame), lambda: _read(recipe, found, frame))
        self.minutes: Int[np.ndarray, " field"] = read.minutes
        self.starts: Int[np.ndarray, " field"] = read.starts
        self.fields: Float[np.ndarray, "field member *state"] = read.fields
        self._ensemble = read

    @property
    def members(self) -> int:
        """How many there are; 1 for a single forecast."""
        return self.fields.shape[1]

    def incomplete(self, minutes: Int[np.ndarray, " cycle"] | None = None) -> str:
        """Say which fields are left out since the files lack members of them; empty where none are.

        Arguments:
            minutes: analysis times, since `MINUTES_EPOCH`, for which they matter; by default all.
        """
        if minutes is None:
            return said_of_incomplete(self._ensemble)
        before = 0 if self.section.statistic is None else 60 * self.section.statistic.hours
        first, last = int(minutes.min()) + self._ends, int(minutes.max()) + self._ends
        return said_of_incomplete(self._ensemble, first - before, last)

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


_LAST: dict[str, Ensemble] = {}
"""What was read last: a run asks for the same forecasts several times."""


def _read_once(identity: str, read: Callable[[], Ensemble]) -> Ensemble:
    if identity not in _LAST:
        made = read()
        _LAST.clear()
        _LAST[identity] = made
    return _LAST[identity]


def _identity(recipe: Recipe, found: Sequence[Found], frame: xr.Dataset | None) -> str:
    """What decides the fields: files, as they are now, variables and axes."""
    said = [recipe.model_dump_json(include={"forecast", "variable", "further", "state_dims"})]
    said += [f"{file.path} {file.identity}" for file in found]
    if frame is not None:
        said += [str(frame[dim].values.tolist()) for dim in recipe.state_dims if dim in frame]
    return "\n".join(said)


def _read(recipe: Recipe, found: Sequence[Found], frame: xr.Dataset | None) -> Ensemble:
    """All fields in the order of their valid times, and those of one time in that of starts."""
    section = recipe.forecast_files
    assert section is not None, "asked for with a forecast"
    parts: list[Part] = []
    there: list[tuple[str, tuple[Number, ...]]] = []
    for file in found:
        with contextlib.ExitStack() as stack:
            opened = opened_variables(file.path, recipe, section, default_cache_dir(), stack)
            fields, numbers, known = _members_of(opened, recipe, section, file.name)
            there.append((file.name, known))
            if numbers:
                parts += _of_file(fields, numbers, recipe, section, file.name, frame)
    require_members(section.members, there)
    return joined(parts, section.members)


def _of_file(
    fields: Sequence[tuple[FileVariable, xr.DataArray]],
    numbers: tuple[Number, ...],
    recipe: Recipe,
    section: ForecastFields,
    shown: str,
    frame: xr.Dataset | None,
) -> Iterator[Part]:
    """The forecasts of a file."""
    found = [
        list(_forecasts_of(one, field, recipe, section, shown, frame)) for one, field in fields
    ]
    for together in zip(*found, strict=True):
        made = dict(zip((one.name for one in recipe.variables), together, strict=True))
        require_same_axes({name: field for name, (field, _) in made.items()}, shown)
        field, starts = together[0]
        channels = stacked(xr.Dataset({n: f for n, (f, _) in made.items()}), recipe)
        states = channels.transpose("time", MEMBER, ...).to_numpy()
        minutes = to_minutes(field["time"].values)
        begins = np.full(minutes.shape, UNKNOWN, np.int64)
        if starts is not None:
            begins = np.broadcast_to(to_minutes(np.atleast_1d(starts)), minutes.shape)
        yield Part(shown, numbers, minutes, begins, states)


def _forecasts_of(
    one: FileVariable,
    field: xr.DataArray,
    recipe: Recipe,
    section: ForecastFields,
    shown: str,
    frame: xr.Dataset | None,
) -> Iterator[tuple[xr.DataArray, np.ndarray | None]]:
    """A variable of each forecast of a file on (time, member, *state_dims), and its starts."""
    for forecast, starts in forecasts_of(
        field.astype(np.float32).load(), shown, starts=section.starts, leads=section.leads
    ):
        made, _ = canonical_field(
            forecast.to_dataset(), shown, recipe, one.name, one.variable, beside=(MEMBER,)
        )
        yield made if frame is None else on_axes(made, frame, recipe.state_dims, shown), starts


def _members_of(
    opened: Mapping[str, Opened], recipe: Recipe, section: ForecastFields, shown: str
) -> tuple[list[tuple[FileVariable, xr.DataArray]], tuple[Number, ...], tuple[Number, ...]]:
    """The variables of a file with the members that are taken, unread; the numbers of these, and of
    all members."""
    fields, told = [], []
    for one in recipe.in_files(section):
        dataset = opened[one.name].dataset
        if one.name not in dataset.data_vars:
            raise SourceFormatError(
                f"{shown}: there is no variable '{one.name}', only "
                f"{sorted(map(str, dataset.data_vars))}; correct forecast.variable."
            )
        field = selected(dataset[one.name], shown, one.select)
        taken, numbers, known = members_taken(field, dataset, section.members, shown)
        fields.append((one, taken))
        told.append((one.name, numbers, known))
    name, numbers, known = told[0]
    for other, _, others in told[1:]:
        if others != known:
            raise SourceFormatError(
                f"{shown}: the variables '{name}' and '{other}' of a state have other members, "
                f"{list(known)} and {list(others)}; write both with the same ones."
            )
    return fields, numbers, known
