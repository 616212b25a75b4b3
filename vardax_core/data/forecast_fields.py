"""Forecasts that are given as files: what they say at analysis times, and of each observation."""

import contextlib
import datetime
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from vardax_core.data.streams.files import Found, find_files
from vardax_core.data.timeaxis import duration_to_minutes, instant_to_minutes, to_minutes
from vardax_core.observations.settings import AbstractTimeStatistic
from vardax_core.paths import default_cache_dir

UNKNOWN = np.iinfo(np.int64).min
"""Start of a forecast of which nothing says it."""
MEMBER = "member"
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
        found = find_files(self.section.files, folders)
        read = _read_once(_identity(recipe, found, frame), lambda: _read(recipe, found, frame))
        self.minutes: Int[np.ndarray, " field"] = read.minutes
        self.starts: Int[np.ndarray, " field"] = read.starts
        self.fields: Float[np.ndarray, "field member *state"] = read.fields

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
    """Fields of forecasts of a file, or of all files."""

    shown: str
    minutes: Int[np.ndarray, " field"]
    starts: Int[np.ndarray, " field"]
    fields: Float[np.ndarray, "field member *state"]


_LAST: dict[str, _Part] = {}
"""What was read last: a run asks for the same forecasts several times."""


def _read_once(identity: str, read: Callable[[], _Part]) -> _Part:
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


def _read(recipe: Recipe, found: Sequence[Found], frame: xr.Dataset | None) -> _Part:
    """All fields in the order of their valid times, and those of one time in that of starts."""
    section = recipe.forecast_files
    assert section is not None, "asked for with a forecast"
    parts = [
        part for file in found for part in _of_file(recipe, section, file.path, file.name, frame)
    ]
    _require_as_many_members(parts)
    minutes = np.concatenate([part.minutes for part in parts])
    starts = np.concatenate([part.starts for part in parts])
    # Of two fields of one forecast the first file's comes last, and is the one that counts.
    order = np.lexsort((-np.arange(minutes.size), starts, minutes))
    fields = np.concatenate([part.fields for part in parts])[order]
    return _Part("", minutes[order], starts[order], fields)


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
            joined = stacked(xr.Dataset({n: f for n, (f, _) in fields.items()}), recipe)
            states = joined.transpose("time", MEMBER, ...).to_numpy()
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
    field = _taken(selected(dataset[one.name], shown, one.select), section, shown)
    for forecast, starts in forecasts_of(
        field.astype(np.float32).load(), shown, starts=section.starts, leads=section.leads
    ):
        made, _ = canonical_field(
            forecast.to_dataset(), shown, recipe, one.name, one.variable, beside=(MEMBER,)
        )
        yield made if frame is None else on_axes(made, frame, recipe.state_dims, shown), starts


def _taken(field: xr.DataArray, section: ForecastFields, shown: str) -> xr.DataArray:
    """The members of a forecast that the recipe wants, on the axis `MEMBER`; of a single forecast
    the only one."""
    dims = [dim for dim in field.dims if dim in MEMBER_DIMS]
    if not dims:
        return field.drop_vars(MEMBER, errors="ignore").expand_dims(MEMBER)
    dim = str(dims[0])
    numbers = field[dim].values if dim in field.coords else np.arange(field.sizes[dim])
    wanted = numbers if section.members is None else np.array(section.members)
    lacking = np.setdiff1d(wanted, numbers)
    if lacking.size:
        raise SourceFormatError(
            f"{shown}: there are no members {lacking.tolist()}, only {numbers.tolist()}; correct "
            "forecast.members."
        )
    rows = [int(np.flatnonzero(numbers == number)[0]) for number in wanted]
    field = field.isel({dim: rows}).drop_vars(dim, errors="ignore")
    return field if dim == MEMBER else field.rename({dim: MEMBER})


def _require_as_many_members(parts: Sequence[_Part]) -> None:
    first, *others = parts
    for other in others:
        if other.fields.shape[1:] != first.fields.shape[1:]:
            raise SourceFormatError(
                f"{other.shown}: its forecasts have {other.fields.shape[1]} members on "
                f"{other.fields.shape[2:]} points, those of {first.shown} {first.fields.shape[1]} "
                f"on {first.fields.shape[2:]}; name files of one ensemble on one grid."
            )
