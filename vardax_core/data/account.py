"""What became of everything that a source holds for a period, in numbers and in words."""

import abc
import dataclasses
import datetime

import numpy as np
import xarray as xr

from vardax_core.data.recipe import Recipe
from vardax_core.data.sources import Source
from vardax_core.data.streams.account import StreamAccount
from vardax_core.data.timeaxis import (
    from_minutes,
    instant_to_minutes,
    to_minutes,
)
from vardax_core.data.truth_sources import FileSource, TwinSource
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode


class AbstractAccount(abc.ABC):
    """What became of everything that a source holds for a period."""

    @abc.abstractmethod
    def sentences(self) -> list[str]:
        """Everything, for a log."""

    @abc.abstractmethod
    def warnings(self) -> list[str]:
        """What somebody who runs it should see."""


@dataclasses.dataclass(frozen=True)
class ReportsAccount(AbstractAccount):
    """What became of the rows of real observations.

    Attributes:
        streams: of each stream.
        waiting: minutes of the observation times after the last record.
        refused: why nothing of a stream was used, though it was before.
    """

    streams: tuple[StreamAccount, ...]
    waiting: np.ndarray
    refused: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        return [text for stream in self.streams for text in stream.sentences()]

    def warnings(self) -> list[str]:
        found = [*self.refused]
        found += [text for stream in self.streams for text in stream.warnings()]
        if self.waiting.size:
            found.append(_said_of_waiting(self.waiting))
        return found


@dataclasses.dataclass(frozen=True)
class Account(AbstractAccount):
    """What was taken for a period and what was not; every number counts something of the source.

    Attributes:
        origin: what the observations are, in one sentence.
        notes: what was done to have the variable on the recipe's axes.
        rounded: times that were off an observation time of the recipe and moved onto it.
        furthest, within: how far the worst of them was off, and how far it might have been.
        taken: observation times that were taken.
        lacking: minutes of the observation times in the period that the source does not have,
            but for those after its end.
        waiting: minutes of those after its end.
        between: times in the period that are no observation time and were passed over.
        unbinned: stations outside of every cell of the recipe's binning.
        codes: how many values have each quality code.
    """

    origin: str
    notes: tuple[str, ...]
    rounded: int
    furthest: datetime.timedelta
    within: datetime.timedelta
    taken: int
    lacking: np.ndarray
    waiting: np.ndarray
    between: int
    unbinned: int
    codes: dict[QualityCode, int]

    def sentences(self) -> list[str]:
        codes = ", ".join(f"{n} {code.name.lower()}" for code, n in self.codes.items() if n)
        found = [self.origin, *self.notes, f"observation times: {self.taken}; values: {codes}"]
        if self.between:
            found.append(
                "times of the source that are no observation times and were passed over: "
                f"{self.between}"
            )
        return found

    def warnings(self) -> list[str]:
        found = []
        if self.rounded:
            found.append(
                "times of the source moved onto the observation times that they are near: "
                f"{self.rounded}, by up to {_seconds(self.furthest)} s (allowed are "
                f"{_seconds(self.within)} s)"
            )
        if self.lacking.size:
            found.append(
                f"observation times that the source lacks and that count as missing: "
                f"{self.lacking.size} of {self.taken + self.lacking.size} "
                f"({span_of(self.lacking)})"
                + (f"; times of it that lie between: {self.between}" if self.between else "")
            )
        if self.waiting.size:
            found.append(_said_of_waiting(self.waiting))
        if self.unbinned:
            found.append(f"stations in no cell of the binning, not used: {self.unbinned}")
        return found


def _said_of_waiting(minutes: np.ndarray) -> str:
    return (
        f"the source ends early; observation times that are waited for: {minutes.size} "
        f"({span_of(minutes)})"
    )


def _seconds(duration: datetime.timedelta) -> str:
    return f"{duration.total_seconds():g}"


def span_of(minutes: np.ndarray) -> str:
    """First and last of some minutes since `MINUTES_EPOCH`, for people."""
    first, last = np.datetime_as_string(from_minutes(minutes[[0, -1]]), unit="m")
    return str(first) if first == last else f"{first} to {last}"


def origin_of(recipe: Recipe) -> str:
    """What the observations of a recipe are, in one sentence."""
    if recipe.reported:
        names = ", ".join(f"'{stream.name}'" for stream in recipe.streams or ())
        return f"observations are real: {names}; there is no truth"
    if isinstance(recipe.source, TwinSource):
        field = f"a run of the model {recipe.source.model}"
    else:
        assert isinstance(recipe.source, FileSource), "the rest are real"
        field = f"the fields of '{recipe.source.variable}' in a file"
    return (
        f"observations are simulated: {field} are taken for the truth, and errors with standard "
        f"deviation {recipe.error_sd:g} {recipe.variable.units} are added"
    )


def account_of(
    recipe: Recipe,
    source: Source | None,
    period: tuple[int, int],
    nature_run: xr.Dataset,
    screened: xr.Dataset,
    observations: xr.Dataset,
) -> Account:
    """Count what was taken for a period.

    Arguments:
        source: None for a twin.
        period: first and last minute that were asked for.
        nature_run: what was read of the source.
        screened, observations: before and after the recipe's binning.
    """
    step = recipe.spacing
    origin = instant_to_minutes(recipe.period.start)
    first, last = period
    expected = np.arange(first + (origin - first) % step, last + 1, step, dtype=np.int64)
    taken = to_minutes(observations["time"].values)
    there = to_minutes(nature_run["time"].values)
    absent = np.setdiff1d(expected, taken)
    codes = observations[QUALITY_CONTROL].to_numpy()
    binned = "station_count" in observations.coords
    used = int(observations["station_count"].sum()) if binned else screened.sizes["station"]
    zero = datetime.timedelta(0)
    rounding = None if source is None else source.rounding
    return Account(
        origin=origin_of(recipe),
        notes=() if source is None else source.notes,
        rounded=rounding.moved if rounding else 0,
        furthest=rounding.furthest if rounding else zero,
        within=rounding.within if rounding else zero,
        taken=taken.size,
        lacking=absent[absent < there[-1]],
        waiting=absent[absent > there[-1]],
        between=there.size - taken.size,
        unbinned=screened.sizes["station"] - used,
        codes={code: int((codes == code).sum()) for code in QualityCode},
    )
