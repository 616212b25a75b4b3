"""What a recipe of real observations finds in its files, and what is done with each of it."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Int

from vardax_core.data.errors import RecipeError, SourceError
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.masks import frame_mask
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import (
    EQUIVALENT,
    OBSERVED_AT,
    PLATFORM,
    STREAM,
    Reports,
    read_reports,
)
from vardax_core.data.space import state_grid
from vardax_core.data.state_frame import data_folders, prior_fields, state_frame
from vardax_core.data.streams.account import KEPT_AS_RECORDS, Reason, StreamAccount
from vardax_core.data.streams.read import read_stream
from vardax_core.data.streams.records import Records
from vardax_core.data.timeaxis import duration_to_minutes, from_minutes, instant_to_minutes
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.state.axis import GridError
from vardax_core.types import MINUTES_EPOCH
from vardax_core.words import counted

_INSTEAD = {
    Reason.REPEATED: "taken once",
    Reason.SUPERSEDED: "the later value counts",
    Reason.OUTSIDE_PERIOD: "left for a recipe of their period",
}
MARKED = "kept with a mark, not used"


@dataclasses.dataclass(frozen=True)
class StreamFound:
    """A stream of the recipe's period.

    Attributes:
        name: of the stream.
        account: what became of its rows.
        records: with the codes that the store will have, those that are withheld among them.
    """

    name: str
    account: StreamAccount
    records: Records

    def count(self, code: QualityCode) -> int:
        """Give the number of records with a code."""
        return int((self.records.code == code).sum())

    def outcomes(self) -> list[tuple[str, int, str]]:
        """What was found, how often, and what is done with it."""
        withheld = self.count(QualityCode.WITHHELD)
        platforms = np.unique(self.records.platform[self.records.code == QualityCode.WITHHELD]).size
        rows = [("used", self.count(QualityCode.KEPT), "analysed")]
        if withheld:
            of = f": {counted(platforms, 'platform')}" if platforms > 1 else ""
            done = f"no analysis sees them, for verification{of}"
            rows.append(("withheld", withheld, done))
        for reason, (number, _) in self.account.without.items():
            usual = MARKED if reason in KEPT_AS_RECORDS else "left out"
            rows.append((str(reason), number, _INSTEAD.get(reason, usual)))
        return rows


@dataclasses.dataclass(frozen=True)
class Found:
    """Everything that a recipe of real observations finds.

    Attributes:
        recipe: that was looked at.
        frame: of the states; None where it cannot be made.
        streams: that could be read.
        observed: used records by observation time; None where the streams cannot be read.
        fields: sentences on the prior and the forecast.
        faults: sentences on what keeps the recipe from being run.
    """

    recipe: Recipe
    frame: xr.Dataset | None
    streams: tuple[StreamFound, ...]
    observed: Int[np.ndarray, " time"] | None
    fields: tuple[str, ...]
    faults: tuple[str, ...]

    def blind_cycles(self) -> tuple[int, int]:
        """Cycles without any used observation in their window, and all cycles."""
        recipe, window = self.recipe, self.recipe.window
        step = recipe.spacing
        first = recipe.span[0]
        starts = _cycles(recipe)
        if self.observed is None:
            return len(starts), len(starts)
        total = np.concatenate([[0], np.cumsum(self.observed)])
        row = (starts - first) // step
        low = np.clip(row - window.times + 1, 0, len(self.observed))
        high = np.clip(row + 1 + (window.after or 0), 0, len(self.observed))
        return int((total[high] == total[low]).sum()), len(starts)


def look(recipe: Recipe, data_dir: pathlib.Path | None = None) -> Found:
    """Read everything that a recipe of real observations names.

    A file that cannot be used is a fault among those that are returned.
    """
    folders = data_folders(data_dir)
    faults: list[str] = []
    fields: list[str] = []
    try:
        frame = state_frame(recipe, folders)
        state_grid(frame, recipe)
    except (SourceError, RecipeError, GridError) as error:
        return Found(recipe, None, (), None, (), (str(error),))
    for said in (_of_prior, _of_forecast):
        try:
            fields += said(recipe, folders)
        except SourceError as error:
            faults.append(str(error))
    streams: tuple[StreamFound, ...] = ()
    observed = None
    try:
        reports = read_reports(recipe, frame, folders, start=recipe.span[0], end=recipe.span[1])
    except (SourceError, RecipeError) as error:
        each = list(_faults_of_streams(recipe, folders))
        faults += each or [str(error)]
    else:
        streams = tuple(_streams(recipe, reports))
        kept = reports.observations[QUALITY_CONTROL].to_numpy() == QualityCode.KEPT
        observed = kept.sum(axis=1)
        faults += _of_use(recipe, reports, kept)
    return Found(recipe, frame, streams, observed, tuple(fields), tuple(dict.fromkeys(faults)))


def _cycles(recipe: Recipe) -> Int[np.ndarray, " cycle"]:
    first, last = map(instant_to_minutes, (recipe.period.start, recipe.period.end))
    return np.arange(first, last + 1, duration_to_minutes(recipe.cycle_interval))


def _faults_of_streams(recipe: Recipe, folders: Sequence[pathlib.Path]) -> Iterator[str]:
    first, last = from_minutes(np.array(recipe.span))
    for stream in recipe.streams or ():
        variable = recipe.variable_of_stream(stream)
        try:
            read_stream(
                stream,
                dims=recipe.state_dims,
                units=variable.units,
                bounds=(variable.valid_min, variable.valid_max),
                start=first,
                end=last,
                folders=folders,
            )
        except (SourceError, RecipeError) as error:
            yield str(error)


def _of_use(recipe: Recipe, reports: Reports, kept: np.ndarray) -> Iterator[str]:
    if not kept.any():
        first, last = np.datetime_as_string(from_minutes(np.array(recipe.span)), unit="m")
        yield (
            f"observations: none can be used from {first} to {last}; see what is said of each "
            "stream, and correct it, cycle.start and cycle.end, or the grid"
        )
    if EQUIVALENT in reports.observations:
        said = np.isfinite(reports.observations[EQUIVALENT].to_numpy())
        if kept.any() and not said[kept].any():
            yield (
                "forecast: its files say nothing of any observation at its time; correct "
                "forecast.files, or cycle.start and cycle.end"
            )


def _streams(recipe: Recipe, reports: Reports) -> Iterator[StreamFound]:
    """The records of each stream, as the store will have them."""
    data = reports.observations
    name = recipe.observed.name
    codes, numbers = data[QUALITY_CONTROL].to_numpy(), data[STREAM].to_numpy()
    epoch = np.datetime64(MINUTES_EPOCH, "ns")
    for number, account in enumerate(reports.accounts):
        of = (numbers == number) & (codes != QualityCode.MISSING)
        seconds = data[OBSERVED_AT].to_numpy()[of].astype("timedelta64[s]")
        size = int(of.sum())
        records = Records(
            stream=account.stream,
            dims=recipe.state_dims,
            time=(epoch + seconds).astype("datetime64[ns]"),
            place=np.stack([data[dim].to_numpy()[of] for dim in recipe.state_dims], axis=1),
            level=np.full(size, np.nan),
            value=data[name].to_numpy()[of].astype(np.float64),
            error_sd=data[f"{name}_error"].to_numpy()[of].astype(np.float64),
            platform=data[PLATFORM].to_numpy()[of].astype(np.int32),
            platforms=reports.platforms,
            code=codes[of],
            arrival=np.full(size, "NaT", "datetime64[ns]"),
            file=np.zeros(size, np.int32),
            files=("",),
            row=np.arange(1, size + 1),
        )
        yield StreamFound(account.stream, account, records.in_order())


def _of_prior(recipe: Recipe, folders: Sequence[pathlib.Path]) -> Iterator[str]:
    if recipe.prior is None:
        return
    fields = prior_fields(recipe, folders)
    times = fields["time"].to_numpy()
    shape = " x ".join(str(fields.sizes[dim]) for dim in recipe.state_dims)
    yield f"prior: {_span(times)}, {shape} points"
    yield from (f"prior: {text}" for text in _gaps(times))
    for variable in recipe.variables:
        values, name = fields[variable.name].to_numpy(), variable.name if recipe.channels else ""
        low, high, known = np.nanmin(values), np.nanmax(values), np.isfinite(values)
        yield (
            f"prior: {f'{name} ' if name else ''}values {low:.6g} to {high:.6g} {variable.units}, "
            f"{known.mean():.0%} known"
        )
    first, last = from_minutes(np.array(recipe.span))
    inside = int(((times >= first) & (times <= last)).sum())
    if inside:
        yield (
            f"prior: {counted(inside, 'field')} of the observed period; what is learned from them "
            "is not of other days"
        )


def _of_forecast(recipe: Recipe, folders: Sequence[pathlib.Path]) -> Iterator[str]:
    if recipe.forecast_files is None:
        return
    given = GivenForecast(recipe, folders, frame=state_frame(recipe, folders))
    times = from_minutes(np.unique(given.minutes))
    shape = " x ".join(map(str, given.fields.shape[2:]))
    yield f"forecast: {_span(times)}, {counted(given.members, 'member')}, {shape} points"
    yield from (f"forecast: {text}" for text in _gaps(times))
    if lacking_members := given.incomplete():
        yield f"forecast: {lacking_members}"
    cycles = _cycles(recipe)
    lacking = sum(not np.isfinite(given.background(np.array([minute]))).any() for minute in cycles)
    if lacking == len(cycles):
        raise RecipeError(
            "forecast: it has no background for any cycle; correct forecast.files, forecast.ends, "
            "or cycle.start and cycle.end"
        )
    if lacking:
        yield f"forecast: {lacking} of {counted(len(cycles), 'cycle')} have no background"


def _span(times: np.ndarray) -> str:
    first, last = np.datetime_as_string(times[[0, -1]], unit="m")
    every = ""
    if len(times) > 1:
        hours = float(np.median(np.diff(times)) / np.timedelta64(1, "h"))
        every = f" every {hours:g} h"
    return f"{counted(len(times), 'field')}{every}, {first} to {last}"


def _gaps(times: np.ndarray) -> Iterator[str]:
    if len(times) < 3:
        return
    steps = np.diff(times)
    wide = np.flatnonzero(steps > 1.5 * np.median(steps.astype(np.int64)).astype("m8[ns]"))
    if wide.size:
        first, last = np.datetime_as_string(times[[wide[0], wide[0] + 1]], unit="m")
        yield f"{counted(wide.size, 'gap')} in time, the first from {first} to {last}"


def mask_share(frame: xr.Dataset, recipe: Recipe) -> str:
    """How many points belong to the state, in words."""
    mask = frame_mask(frame, recipe.state_dims)
    shape = " x ".join(str(frame.sizes[dim]) for dim in recipe.state_dims)
    grid = state_grid(frame, recipe)
    if mask is None:
        return f"{shape} points, {grid.span()}"
    return f"{shape} points, {grid.span()}; {mask.mean():.0%} of them belong to the state"
