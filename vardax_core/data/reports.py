"""Records of real observations as the dataset that cycles are made of: a row to an observation
time, a column to each of the records that are nearest to it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from vardax_core.data.channels import channel_attributes
from vardax_core.data.conventions import attributes_of, error_attributes, global_attributes
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.heights import HEIGHT_SHIFT, height_shift, orography, told
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.space import state_grid
from vardax_core.data.streams.account import NothingUsableError, StreamAccount
from vardax_core.data.streams.read import StreamRecords, read_stream
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.revisions import superseded_times
from vardax_core.data.streams.sections import Stream
from vardax_core.data.timeaxis import (
    MINUTES_UNITS,
    from_minutes,
    instant_to_minutes,
    to_minutes,
)
from vardax_core.data.withholding import images_before, withheld_records
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode, flag_attributes
from vardax_core.state.grids import AbstractGrid
from vardax_core.types import MINUTES_EPOCH

OBSERVED_AT = "observation_time"
PLATFORM, STREAM = "platform", "stream"
IDENTITY, SUPERSEDED_AT = "observation_id", "superseded_time"
OWN_CODE = "own_quality_control"
EQUIVALENT, SHIFT = "forecast_equivalent", "forecast_shift"
SECONDS_UNITS = f"seconds since {MINUTES_EPOCH.replace('T', ' ')}"


@dataclasses.dataclass(frozen=True)
class Reports:
    """The real observations of a period.

    Attributes:
        observations: dataset on (time, station); beside what `observe` gives, the place of each
            record under the names of the recipe's state_dims, its time in seconds
            (`observation_time`), and the numbers of its platform, stream and, if any, channel.
            Versions of one observation share an `observation_id`; those before the last have the
            code SUPERSEDED, a `superseded_time`, and the code that they had in
            `own_quality_control`.
        platforms: `stream/platform` of every platform, by number.
        accounts: what became of the rows of each stream.
        refused: why nothing of a stream was used, though it was before.
    """

    observations: xr.Dataset
    platforms: tuple[str, ...]
    accounts: tuple[StreamAccount, ...]
    refused: tuple[str, ...] = ()


def read_reports(
    recipe: Recipe,
    frame: xr.Dataset,
    folders: Sequence[pathlib.Path],
    *,
    start: int,
    end: int,
    known: Sequence[str] = (),
) -> Reports:
    """Read the real observations of a period.

    Arguments:
        recipe: with streams.
        frame: of its states; see `state_frame`.
        folders: that files are looked for in.
        start, end: first and last observation time, minutes since `MINUTES_EPOCH`.
        known: platforms that have a number already; with some, a stream of which nothing can be
            used is left out.

    Raises:
        SourceError: a stream cannot be read, or holds nothing that can be used.
    """
    slots = observation_times(recipe, start, end)
    step = recipe.spacing
    before = images_before(recipe) * step
    grid = state_grid(frame, recipe)
    first, last = (
        from_minutes(np.array([slots[0] - before, slots[-1]])) + np.array([-1, 1]) * _half(step)
        if slots.size
        else from_minutes(np.array([start, start]))
    )
    parts: list[_Part] = []
    lifted = any(stream.heights is not None for stream in recipe.streams or ())
    heights = orography(recipe, folders) if lifted else None
    accounts, refused = [], []
    for stream in recipe.streams or ():
        variable = recipe.variable_of_stream(stream)
        try:
            found = read_stream(
                stream,
                dims=recipe.state_dims,
                units=variable.units,
                bounds=(variable.valid_min, variable.valid_max),
                start=first,
                end=last,
                folders=folders,
                grid=grid,
            )
        except NothingUsableError as error:
            # A stream whose new rows are all at fault must not stop what runs.
            if not known:
                raise
            refused.append(str(error))
            continue
        account, of_stream = found.account, _parts_of(found, stream, recipe)
        of_stream = [part.taken(np.isin(part.slot, slots)) for part in of_stream]
        if stream.heights is not None and heights is not None:
            account = told(account, of_stream[0].records)
            of_stream = [
                dataclasses.replace(part, shift=height_shift(stream, part.records, grid, heights))
                for part in of_stream
            ]
        parts += of_stream
        accounts.append(account)
    platforms = _numbered(known, [part.records for part in parts])
    dataset = _in_columns(recipe, parts, slots, platforms)
    if recipe.forecast_files is not None:
        dataset = _with_equivalents(
            dataset, recipe, grid, GivenForecast(recipe, folders, frame=frame)
        )
    return Reports(dataset, tuple(platforms), tuple(accounts), tuple(refused))


@dataclasses.dataclass(frozen=True)
class _Part:
    """Records of a stream, in the order of their columns; `until` is NaT where they are current,
    and `shift` what their heights add to them."""

    records: Records
    slot: Int[np.ndarray, " record"]
    identity: Int[np.ndarray, " record"]
    until: np.ndarray
    shift: Float[np.ndarray, " record"]

    def taken(self, which: Bool[np.ndarray, " record"]) -> "_Part":
        arrays = (self.slot, self.identity, self.until, self.shift)
        return _Part(self.records.taken(which), *(array[which] for array in arrays))


def _parts_of(found: StreamRecords, stream: Stream, recipe: Recipe) -> list[_Part]:
    """The records of a stream and the versions before them, as the recipe withholds them."""
    named = stream.source.gap is None
    ends = superseded_times(found.records, found.superseded, named=named)
    seen = found.records.code == QualityCode.KEPT
    current = (found.records, _slots_of(found.records, recipe))
    parts = []
    for records, until in (
        (found.records, np.full(len(found.records), np.datetime64("NaT", "ns"))),
        (found.superseded, ends),
    ):
        slot, identity = _slots_of(records, recipe), records.identities(named=named)
        if stream.source.are_images:
            records = _by_image(records, slot)
        withheld = withheld_records(recipe.withheld, records, slot, recipe.spacing, *current, seen)
        withheld &= records.code == QualityCode.KEPT
        code = np.where(withheld, np.int8(QualityCode.WITHHELD), records.code)
        kept = dataclasses.replace(records, code=code)
        parts.append(_Part(kept, slot, identity, until, np.zeros(len(kept))))
    return parts


def _by_image(records: Records, slot: Int[np.ndarray, " record"]) -> Records:
    """The same with every image a platform of its own, named by its observation time."""
    images, number = np.unique(slot, return_inverse=True)
    names = tuple(str(np.datetime_as_string(t, unit="m")) for t in from_minutes(images))
    return dataclasses.replace(
        records, platform=number.reshape(-1).astype(np.int32), platforms=names
    )


def observation_times(recipe: Recipe, start: int, end: int) -> Int[np.ndarray, " time"]:
    """Minutes of all observation times of a recipe in a period, both ends included."""
    step, origin = recipe.spacing, instant_to_minutes(recipe.period.start)
    return np.arange(start + (origin - start) % step, end + 1, step, dtype=np.int64)


def _half(step: int) -> np.timedelta64:
    return np.timedelta64(step * 30, "s")


def _slots_of(records: Records, recipe: Recipe) -> Int[np.ndarray, " record"]:
    """Minutes of the observation time that each record is nearest to; between two, the later."""
    step, origin = recipe.spacing, instant_to_minutes(recipe.period.start)
    seconds = (records.time - from_minutes(np.array([origin]))[0]) / np.timedelta64(1, "s")
    return origin + step * np.floor(seconds / (60 * step) + 0.5).astype(np.int64)


def _numbered(known: Sequence[str], parts: Sequence[Records]) -> dict[str, int]:
    numbers = {name: number for number, name in enumerate(known)}
    for records in parts:
        for name in records.platforms:
            numbers.setdefault(f"{records.stream}/{name}", len(numbers))
    return numbers


def _in_columns(
    recipe: Recipe,
    parts: Sequence[_Part],
    slots: Int[np.ndarray, " time"],
    platforms: Mapping[str, int],
) -> xr.Dataset:
    counts = np.zeros(slots.size, np.int64)
    placed = []
    for part in parts:
        records, row = part.records, np.searchsorted(slots, part.slot)
        order = np.argsort(row, kind="stable")
        own = np.bincount(row, minlength=slots.size)
        rank = np.arange(len(records)) - np.repeat(np.cumsum(own) - own, own)
        column = np.empty(len(records), np.int64)
        column[order] = rank + counts[row[order]]
        counts += own
        placed.append((row, column))
    shape = (slots.size, max(int(counts.max(initial=0)), 1))
    name, dims = recipe.observed.name, recipe.state_dims
    channels = [recipe.variable_of_stream(stream).name for stream in recipe.streams or ()]
    columns: dict[str, np.ndarray] = {
        name: np.full(shape, np.nan, np.float32),
        f"{name}_error": np.full(shape, recipe.error_sd, np.float32),
        QUALITY_CONTROL: np.full(shape, QualityCode.MISSING, np.int8),
        "arrival_time": np.full(shape, np.iinfo(np.int64).min, np.int64),
        **{dim: np.full(shape, np.nan, np.float64) for dim in dims},
        OBSERVED_AT: np.zeros(shape, np.int64),
        PLATFORM: np.full(shape, -1, np.int32),
        STREAM: np.full(shape, -1, np.int8),
        IDENTITY: np.zeros(shape, np.int64),
        SUPERSEDED_AT: np.full(shape, np.iinfo(np.int64).min, np.int64),
        OWN_CODE: np.full(shape, QualityCode.MISSING, np.int8),
        **({CHANNEL: np.full(shape, -1, np.int8)} if recipe.channels else {}),
    }
    if any(stream.heights is not None for stream in recipe.streams or ()):
        columns[HEIGHT_SHIFT] = np.full(shape, np.nan, np.float32)
    streams = {stream.name: number for number, stream in enumerate(recipe.streams or ())}
    for part, at in zip(parts, placed, strict=True):
        records, current = part.records, np.isnat(part.until)
        numbers = [platforms[f"{records.stream}/{name}"] for name in records.platforms]
        columns[name][at] = records.value
        columns[f"{name}_error"][at] = records.error_sd
        columns[QUALITY_CONTROL][at] = np.where(current, records.code, QualityCode.SUPERSEDED)
        columns[OWN_CODE][at] = records.code
        columns[IDENTITY][at] = part.identity
        columns[SUPERSEDED_AT][at] = to_minutes(part.until)
        columns["arrival_time"][at] = to_minutes(records.arrival)
        for axis, dim in enumerate(dims):
            columns[dim][at] = records.place[:, axis]
        columns[OBSERVED_AT][at] = seconds_of(records.time)
        columns[PLATFORM][at] = np.array(numbers, np.int32)[records.platform]
        number = streams[records.stream]
        columns[STREAM][at] = number
        if recipe.channels:
            columns[CHANNEL][at] = recipe.channels.index(channels[number])
        if HEIGHT_SHIFT in columns:
            columns[HEIGHT_SHIFT][at] = part.shift
    attrs = _attributes(recipe)
    return xr.Dataset(
        {key: (("time", "station"), values, attrs[key]) for key, values in columns.items()},
        {"time": ("time", from_minutes(slots), {"standard_name": "time", "axis": "T"})},
        global_attributes(recipe),
    )


def seconds_of(times: np.ndarray) -> np.ndarray:
    """int64 seconds since `MINUTES_EPOCH`; integers are taken as such seconds already."""
    if times.dtype.kind == "M":
        return (times - np.datetime64(MINUTES_EPOCH)) // np.timedelta64(1, "s")
    return times.astype(np.int64)


def _with_equivalents(
    dataset: xr.Dataset, recipe: Recipe, grid: AbstractGrid, forecast: GivenForecast
) -> xr.Dataset:
    """Add what the forecast says of each observation at its own time and of its own hours, and
    how this differs from what the background of its analysis time says."""
    codes = dataset[OWN_CODE].to_numpy()
    used = (codes == QualityCode.KEPT) | (codes == QualityCode.WITHHELD)
    own, shift = np.full((2, *codes.shape), np.nan)
    streams = dataset[STREAM].to_numpy()
    times = to_minutes(dataset["time"].values)
    for row, minute in enumerate(times):
        background = forecast.background(np.array([minute]))[0].mean(axis=0).reshape(-1)
        for number, stream in enumerate(recipe.streams or ()):
            of = used[row] & (streams[row] == number)
            if not of.any():
                continue
            places = [dataset[dim].to_numpy()[row][of] for dim in recipe.state_dims]
            points, weights = stream.seen_as.stencil(grid, np.stack(places, axis=1))
            if recipe.channels:
                channel = recipe.channels.index(recipe.variable_of_stream(stream).name)
                points = points + channel * grid.size
            seconds = dataset[OBSERVED_AT].to_numpy()[row][of]
            said = forecast.equivalents(int(minute), seconds, stream.statistic, points, weights)
            own[row, of] = said
            shift[row, of] = said - np.sum(weights * background[points], axis=1)
    units = {"units": recipe.observed.units}
    dims = ("time", "station")
    return dataset.assign(
        {
            EQUIVALENT: (
                dims,
                own.astype(np.float32),
                {"long_name": "forecast equivalent of the observation at its own time"} | units,
            ),
            SHIFT: (
                dims,
                shift.astype(np.float32),
                {"long_name": "the same minus the equivalent at the analysis time"} | units,
            ),
        }
    )


def _attributes(recipe: Recipe) -> dict[str, dict]:
    name, streams = recipe.observed.name, recipe.streams or ()
    calendar = {"calendar": "proleptic_gregorian"}
    return {
        name: attributes_of(recipe.observed)
        | {"ancillary_variables": f"{name}_error {QUALITY_CONTROL}"},
        f"{name}_error": error_attributes(recipe),
        QUALITY_CONTROL: flag_attributes(),
        "arrival_time": {"long_name": "arrival time", "units": MINUTES_UNITS} | calendar,
        **{dim: {"long_name": f"{dim} of the observation"} for dim in recipe.state_dims},
        OBSERVED_AT: {"long_name": "time of the observation", "units": SECONDS_UNITS} | calendar,
        PLATFORM: {"long_name": "number of the platform", "units": "1"},
        HEIGHT_SHIFT: {
            "long_name": "what the height above the grid's adds to the observation",
            "units": recipe.variable.units,
        },
        STREAM: {
            "long_name": "stream of the observation",
            "flag_values": list(range(len(streams))),
            "flag_meanings": " ".join(stream.name for stream in streams),
        },
        IDENTITY: {"long_name": "number that the versions of one observation share", "units": "1"},
        SUPERSEDED_AT: {
            "long_name": "time at which a later version of the observation arrived",
            "units": MINUTES_UNITS,
        }
        | calendar,
        OWN_CODE: flag_attributes()
        | {"long_name": "quality control code, whatever came to supersede the value"},
        CHANNEL: channel_attributes(recipe),
    }


def last_observed(reports: Reports) -> int | None:
    """Minutes of the last observation time that has a record; None if none has."""
    codes = reports.observations[QUALITY_CONTROL].to_numpy()
    rows = np.flatnonzero((codes != QualityCode.MISSING).any(axis=1))
    times = to_minutes(reports.observations["time"].values)
    return int(times[rows[-1]]) if rows.size else None
