"""A first recipe, drafted from the files of observations and of fields."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vardax_core.data.drafts.area import Area, area_of
from vardax_core.data.drafts.fields import Described, FieldsFound, described, find_fields
from vardax_core.data.drafts.rhythm import Rhythm, rhythm_of, usual_step
from vardax_core.data.drafts.values import (
    Bounds,
    bounds_of,
    error_of,
    plain_units,
    statistic_of,
    variable_name,
)
from vardax_core.data.errors import RecipeError, SourceError, SourceFormatError
from vardax_core.data.streams.account import NothingUsableError
from vardax_core.data.streams.inspect import Inspected, inspect_file
from vardax_core.data.streams.kinds.gridded import GriddedSource
from vardax_core.data.streams.kinds.table import TableSource
from vardax_core.data.streams.likeness import NoSuchColumnError
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.data.withholding import chance
from vardax_core.state.coordinates import LATITUDE, LONGITUDE

DIMS = (LATITUDE, LONGITUDE)
SHARE = 0.2
SHARE_OF_IMAGES = 0.5
FEWEST_PLATFORMS = 4
UNKNOWN_UNITS = "1"
_COVERED = 0.9


@dataclasses.dataclass(frozen=True)
class DraftStream:
    """A file of observations as a stream of the recipe.

    Attributes:
        found: what is in the file.
        records: in the variable's units.
        units: of the file's values, None where the file states them.
        error_sd: a cautious guess, in the variable's units.
        statistic: `maximum` or `minimum` of the hours before, None for an instant.
        is_dates: whether all times are dates without a clock.
        mask: variable and values that tell the points of the state, None where there is none.
    """

    found: Inspected
    records: Records
    units: str | None
    error_sd: float
    statistic: str | None
    is_dates: bool
    mask: tuple[str, tuple[int, ...]] | None

    @property
    def is_image(self) -> bool:
        """Whether it is images on their own grid."""
        return self.found.stream.source.are_images

    @property
    def has_errors(self) -> bool:
        """Whether the file states an error for each value."""
        return self.found.stream.source.states_errors


@dataclasses.dataclass(frozen=True)
class Draft:
    """Everything that a first recipe says.

    Attributes:
        name: of the data set.
        variable: name, long_name, units and, where a file states it, standard_name.
        bounds: of its values.
        streams: of observations.
        fields: the prior, None without one.
        is_forecast: whether the fields are of the observed period, and so the background.
        area: of a regular grid; None where a file has the grid.
        rhythm: of the cycles.
        seed: of the draw of what is withheld; None where there are too few platforms.
    """

    name: str
    variable: Mapping[str, str]
    bounds: Bounds
    streams: tuple[DraftStream, ...]
    fields: FieldsFound | None
    is_forecast: bool
    area: Area | None
    rhythm: Rhythm
    seed: int | None


def draft_of(
    name: str,
    files: Sequence[str],
    folders: Sequence[pathlib.Path],
    *,
    prior: str | None = None,
    values: Sequence[str] = (),
) -> Draft:
    """Draft a recipe from what files say.

    Arguments:
        name: of the data set.
        files: of observations below the folders, a stream each; patterns are allowed.
        folders: of data.
        prior: file of fields to learn from, or a pattern of several.
        values: columns that are wanted, each of the files that have it; by default the first that
            may be one.

    Raises:
        SourceError: a file cannot be used, or does not say what a recipe must say.
        RecipeError: what the files say does not fit together; names the key.
    """
    # What tells latitude from longitude in a file without a header, and units where it states none.
    fields = None if prior is None else find_fields(prior, folders, None)
    found = [_inspected(file, folders, values, fields) for file in files]
    if not found:
        raise RecipeError("observations: expected a file at least, got none; name one (--from).")
    first = found[0]
    stated = _stated_units(first)
    said = [_described(one, folders) for one in found]
    if prior is not None:
        fields = find_fields(prior, folders, stated, (_column(first), said[0].attrs))
    units = plain_units(first.units) if fields is None else fields.units
    if stated is None and fields is None:
        units = UNKNOWN_UNITS
    records = [_in_units(one, units, fields) for one in found]
    is_forecast = fields is not None and _covers(fields, records)
    statistics = [
        statistic_of(_column(one), usual_step(part), None if fields is None else fields.step)
        if is_forecast
        else None
        for one, part in zip(found, records, strict=True)
    ]
    dates = [_are_dates(part) for part in records]
    if is_forecast:
        records = [
            _later(part) if kind and only else part
            for part, kind, only in zip(records, statistics, dates, strict=True)
        ]
    streams = tuple(
        DraftStream(
            found=one,
            records=part,
            units=_written_units(one, units, fields),
            error_sd=error_of(part),
            statistic=statistic,
            is_dates=only,
            mask=own.mask,
        )
        for one, part, statistic, only, own in zip(
            found, records, statistics, dates, said, strict=True
        )
    )
    hours = 24 if any(statistics) else 0
    rhythm = rhythm_of(
        records, given=(fields.times, hours) if is_forecast and fields is not None else None
    )
    image = next((one for one in streams if one.is_image), None)
    on_file = fields is not None or image is not None
    draft = Draft(
        name=name,
        variable=_variable(_column(first), said[0].attrs, fields, units),
        bounds=bounds_of(records, units, None if fields is None else (fields.low, fields.high)),
        streams=streams,
        fields=fields,
        is_forecast=is_forecast,
        area=None if on_file else area_of(records, rhythm.interval),
        rhythm=rhythm,
        seed=_seed([part for part, one in zip(records, streams, strict=True) if not one.is_image]),
    )
    _check_places(draft)
    return draft


def _inspected(
    file: str, folders: Sequence[pathlib.Path], values: Sequence[str], fields: FieldsFound | None
) -> Inspected:
    grid = None if fields is None else fields.grid
    like = None if fields is None else fields.known
    faults: list[SourceError] = []
    for value in values or (None,):
        try:
            wanted = int(value) if value is not None and value.isdigit() else value
            found = inspect_file(file, folders, value=wanted, grid=grid, like=like)  # type: ignore[arg-type]
        except NothingUsableError as error:
            raise NothingUsableError(
                f"observations.source: {error}\n  What a column is, is guessed from its name and "
                "its attributes; where that is wrong, rename it, or write a recipe of your own, in "
                "observations the source.columns, such as {..., platform: NAME, level: NAME}."
            ) from error
        except SourceFormatError as error:
            faults.append(error)
        else:
            if found.account.used:
                return found
            raise SourceFormatError(
                f"observations: no value of {file} can be used.\n  "
                + "\n  ".join(found.account.sentences())
            )
    choose = isinstance(faults[0], NoSuchColumnError)
    hint = " Or choose the column to observe with --value NAME." if choose else ""
    raise SourceFormatError(f"observations.source: {faults[0]}{hint}")


def _stated_units(found: Inspected) -> str | None:
    """The units that a file states or suggests; None where nothing says them."""
    return None if found.units == UNKNOWN_UNITS else found.units


def _in_units(found: Inspected, units: str, fields: FieldsFound | None) -> Records:
    records = found.records.records
    if _stated_units(found) is None and fields is not None:
        return records
    try:
        convert = conversion(found.units, units)
    except UnknownUnitsError as error:
        raise RecipeError(
            f"observations '{found.stream.name}': {error}. Streams of one recipe observe one "
            "variable; name the right column (--value)."
        ) from error
    return dataclasses.replace(
        records, value=convert(records.value), error_sd=convert.scaled(records.error_sd)
    )


def _written_units(found: Inspected, units: str, fields: FieldsFound | None) -> str | None:
    """What `source.units` says; None where the file states them."""
    source = found.stream.source
    if source.units is None:
        return None
    return units if _stated_units(found) is None and fields is not None else source.units


def _column(found: Inspected) -> str:
    source = found.stream.source
    if isinstance(source, GriddedSource):
        return source.variable
    assert isinstance(source, TableSource), "a file is taken for images or for a table"
    return str(source.columns.value)


def _covers(fields: FieldsFound, parts: Sequence[Records]) -> bool:
    times = np.concatenate([part.time for part in parts])
    inside = (times >= fields.times[0]) & (times <= fields.times[-1] + fields.step)
    return bool(inside.mean() >= _COVERED)


def _are_dates(records: Records) -> bool:
    return bool((records.time == records.time.astype("datetime64[D]")).all())


def _later(records: Records) -> Records:
    return dataclasses.replace(records, time=records.time + np.timedelta64(24, "h"))


def _described(found: Inspected, folders: Sequence[pathlib.Path]) -> Described:
    source = found.stream.source
    if not source.is_described:
        return Described({}, None)
    return described(source.files[0].name, _column(found), folders)


def _variable(
    column: str, own: Mapping[str, Any], fields: FieldsFound | None, units: str
) -> dict[str, str]:
    attrs = {**own, **({} if fields is None else fields.attrs)}
    name = variable_name(column if fields is None else fields.variable)
    shown = "observed value" if column.isdigit() else column
    said = {"name": name, "units": units, "long_name": str(attrs.get("long_name") or shown)}
    standard = attrs.get("standard_name")
    if standard and re.fullmatch(r"[a-z0-9_]+", str(standard)) and standard != "unknown":
        said["standard_name"] = str(standard)
    return said


def _seed(parts: Sequence[Records]) -> int | None:
    """A seed that withholds about the share of the platforms, and one at least."""
    names = [f"{name}" for part in parts for name in part.platforms]
    if len(names) < FEWEST_PLATFORMS:
        return None
    wanted = max(1, round(SHARE * len(names)))
    drawn = {seed: sum(chance(seed, name) < SHARE for name in names) for seed in range(1, 51)}
    return min(drawn, key=lambda seed: (abs(drawn[seed] - wanted) > 0.3 * wanted, seed))


def _check_places(draft: Draft) -> None:
    """Refuse fields that lie elsewhere than the observations."""
    fields = draft.fields
    if fields is None:
        return
    for stream in draft.streams:
        inside = fields.grid.contains(stream.records.place)
        if not inside.any():
            south, west = stream.records.place.min(axis=0)
            north, east = stream.records.place.max(axis=0)
            raise RecipeError(
                f"prior: none of the {len(inside)} observations of '{stream.found.stream.name}' "
                f"(latitude {south:g} to {north:g}, longitude {west:g} to {east:g}) lies on the "
                f"grid of {fields.files}, {fields.grid.span()}; name fields of the same place."
            )
