"""Which members of a forecast a file holds, and how those of several files are one ensemble."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.timeaxis import from_minutes
from vardax_core.words import counted

UNKNOWN = np.iinfo(np.int64).min
"""Start of a forecast of which nothing says it."""
MEMBER = "member"
MEMBER_DIMS = (
    *("number", "member", "realization", "realisation", "ensemble_member", "member_id"),
    *("ensemble_number", "ens", "ensemble"),
)

Number = int | float | str | None
"""What a file calls a member; None where nothing says which one it holds."""


class Part(NamedTuple):
    """Fields of forecasts of a file.

    Attributes:
        shown: name of the file.
        numbers: of its members.
    """

    shown: str
    numbers: tuple[Number, ...]
    minutes: Int[np.ndarray, " field"]
    starts: Int[np.ndarray, " field"]
    fields: Float[np.ndarray, "field member *state"]


class Incomplete(NamedTuple):
    """A field that was left out since no file holds some members of it."""

    minute: int
    start: int
    lacking: tuple[Number, ...]


class Ensemble(NamedTuple):
    """Fields of all files in the order of valid times, those of one time in that of starts.

    Attributes:
        incomplete: fields that are not among them.
        numbers: of the members.
    """

    minutes: Int[np.ndarray, " field"]
    starts: Int[np.ndarray, " field"]
    fields: Float[np.ndarray, "field member *state"]
    incomplete: tuple[Incomplete, ...]
    numbers: tuple[Number, ...]


def members_taken(
    field: xr.DataArray, beside: xr.Dataset, wanted: Sequence[int] | None, shown: str
) -> tuple[xr.DataArray, tuple[Number, ...], tuple[Number, ...]]:
    """The members of a file that a recipe wants, on the axis `MEMBER`.

    Arguments:
        field: with a dimension of members; a scalar coordinate says which one it is without it.
        beside: what the file holds, of which a scalar variable may be that coordinate as well.
        wanted: their numbers; by default all.
        shown: name of the file.

    Returns:
        The field, the numbers of its members, and those of all members of the file.

    Raises:
        SourceFormatError: members are wanted, and nothing says which the file holds.
    """
    dim = next((str(dim) for dim in field.dims if _is_along_members(field, dim)), None)
    if dim is None:
        number = _scalar_number(field, beside)
        if number is None and wanted is not None:
            raise SourceFormatError(
                f"{shown}: forecast.members is {list(wanted)}, and nothing says which member this "
                "file holds; expected a dimension or a scalar coordinate such as 'realization'. "
                "Give it one (xarray: assign_coords(realization=1)), or leave forecast.members out "
                "where each file is a single forecast."
            )
        alone = field.drop_vars(MEMBER, errors="ignore").expand_dims(MEMBER)
        taken = [0] if wanted is None or number in wanted else []
        return alone.isel({MEMBER: taken}), (number,) if taken else (), (number,)
    numbers = _numbers_along(field, dim, wanted, shown)
    rows = [numbers.index(n) for n in numbers if wanted is None or n in wanted]
    along = [c for c in field.coords if field[c].dims == (dim,)]
    field = field.isel({dim: rows}).drop_vars(along)
    if dim != MEMBER:
        field = field.drop_vars(MEMBER, errors="ignore").rename({dim: MEMBER})
    return field, tuple(numbers[row] for row in rows), numbers


def _is_along_members(field: xr.DataArray, dim: Hashable) -> bool:
    if dim in field.coords:
        return _is_of_members(field[dim])
    return str(dim).lower() in MEMBER_DIMS or bool(_coordinates_of(field, dim))


def _coordinates_of(field: xr.DataArray, dim: Hashable) -> list[Hashable]:
    """Coordinates that number the members along a dimension, that of its own name first."""
    found = [c for c in field.coords if field[c].dims == (dim,) and _is_of_members(field[c])]
    return sorted(found, key=lambda c: c != dim)


def _is_of_members(coordinate: xr.DataArray) -> bool:
    told = coordinate.attrs.get("standard_name") == "realization"
    return told or str(coordinate.name).lower() in MEMBER_DIMS


def _scalar_number(field: xr.DataArray, beside: xr.Dataset) -> Number:
    scalars = {str(c).lower(): field[c] for c in field.coords if not field[c].ndim}
    scalars |= {str(v).lower(): beside[v] for v in beside.data_vars if not beside[v].ndim}
    told = [c for c in scalars.values() if c.attrs.get("standard_name") == "realization"]
    for found in (*told, *(scalars[name] for name in MEMBER_DIMS if name in scalars)):
        number = _plain(found.values.item())
        if number is not None:
            return number
    return None


def _plain(number: object) -> Number:
    """What a coordinate says of a member; None where it is missing."""
    if isinstance(number, bytes):
        return number.decode(errors="replace")
    return number if isinstance(number, int | float | str) and number == number else None


def _numbers_along(
    field: xr.DataArray, dim: str, wanted: Sequence[int] | None, shown: str
) -> tuple[Number, ...]:
    """The numbers of members along a dimension: their places where nothing tells them apart."""
    places = tuple(range(field.sizes[dim]))
    named = _coordinates_of(field, dim)
    if not named:
        return places
    numbers = tuple(map(_plain, field[named[0]].values.tolist()))
    if len(set(numbers)) == len(numbers) and None not in numbers:
        return numbers
    if wanted is not None:
        raise SourceFormatError(
            f"{shown}: the coordinate '{named[0]}' does not tell the members apart "
            f"({list(numbers)}), so that forecast.members cannot choose; give each a number of its "
            "own."
        )
    return places


def require_members(
    wanted: Sequence[int] | None, there: Sequence[tuple[str, tuple[Number, ...]]]
) -> None:
    """Refuse a recipe that names members which no file holds.

    Arguments:
        there: names of the files, and all members of each.

    Raises:
        SourceFormatError: naming them and those that there are.
    """
    known = _in_order([numbers for _, numbers in there])
    lacking = [number for number in wanted or () if number not in known]
    if lacking:
        raise SourceFormatError(
            f"{_all_of([shown for shown, _ in there])}: there are no members {lacking}, only "
            f"{list(known)}; correct forecast.members, or name the files of the others in "
            "forecast.files."
        )


def joined(parts: Sequence[Part], wanted: Sequence[int] | None) -> Ensemble:
    """Join what files hold of forecasts, some of them other members of the same ones.

    A field of which some members are in no file is left out, as one that has not come.

    Arguments:
        parts: of at least one file.
        wanted: numbers of the members, in their order; by default all that there are.

    Raises:
        SourceFormatError: files are on different grids; two hold the same field of the same
            member, or do not say of which; or no field has all members.
    """
    _require_one_grid(parts)
    times = np.concatenate([np.stack([part.minutes, part.starts], axis=1) for part in parts])
    keys, rows = np.unique(times, axis=0, return_inverse=True)
    if wanted is None and len(keys) == len(times):
        parts = _by_place(parts)
    _require_told(parts)
    numbers = _in_order([part.numbers for part in parts]) if wanted is None else tuple(wanted)
    cuts = np.cumsum([len(part.minutes) for part in parts])[:-1]
    of_parts = np.split(rows.reshape(-1), cuts)
    shape = (len(keys), len(numbers))
    owner, there = np.full(shape, -1), np.zeros(shape, bool)
    known = [_known(part) for part in parts]
    places = [
        np.ix_(own, np.array([numbers.index(number) for number in part.numbers]))
        for part, own in zip(parts, of_parts, strict=True)
    ]
    for at, (part, place) in enumerate(zip(parts, places, strict=True)):
        there[place] = True
        twice = np.argwhere(known[at] & (owner[place] >= 0))
        if twice.size:
            field, member = map(int, twice[0])
            other = parts[owner[place][field, member]].shown
            minute, start = int(part.minutes[field]), int(part.starts[field])
            raise _twice(other, part.shown, part.numbers[member], minute, start)
        owner[place] = np.where(known[at], at, owner[place])
    some = np.any(owner >= 0, axis=1)
    kept = some & np.all(there, axis=1)
    incomplete = tuple(
        Incomplete(
            int(keys[row, 0]),
            int(keys[row, 1]),
            tuple(numbers[n] for n in np.where(~there[row])[0]),
        )
        for row in np.flatnonzero(some & ~kept)
    )
    if incomplete and not kept.any():
        raise _none_complete(parts, numbers, incomplete[0])
    row_of = np.cumsum(kept) - 1
    fields = np.full((int(kept.sum()), len(numbers), *parts[0].fields.shape[2:]), np.nan, "f4")
    for part, own, finite in zip(parts, of_parts, known, strict=True):
        for column, number in enumerate(part.numbers):
            taken = kept[own] & finite[:, column]
            fields[row_of[own[taken]], numbers.index(number)] = part.fields[taken, column]
    minutes, starts = keys[kept].T
    return Ensemble(minutes, starts, fields, incomplete, numbers)


def _known(part: Part) -> Bool[np.ndarray, "field member"]:
    """Where a member of a field has a value anywhere."""
    return np.array([[np.isfinite(one).any() for one in field] for field in part.fields], bool)


def _in_order(found: Sequence[tuple[Number, ...]]) -> tuple[Number, ...]:
    """All members, in the order of the first file where it holds them all, else in their own."""
    numbers = tuple(dict.fromkeys(number for one in found for number in one))
    if len(numbers) == len(found[0]):
        return numbers
    texts = sorted(number for number in numbers if isinstance(number, str))
    return (*sorted(number for number in numbers if isinstance(number, int | float)), *texts)


def _by_place(parts: Sequence[Part]) -> Sequence[Part]:
    """Files that each hold other forecasts, with as many members as each other: these are numbered
    by their places where their own numbers change from forecast to forecast."""
    places = tuple(range(len(parts[0].numbers)))
    counts, known = {len(part.numbers) for part in parts}, {part.numbers for part in parts}
    if len(counts) > 1 or len(set().union(*map(frozenset, known))) == len(places):
        return parts
    return [part._replace(numbers=places) for part in parts]


def _require_told(parts: Sequence[Part]) -> None:
    """Refuse a file that does not say its member beside others that do."""
    silent = [part for part in parts if None in part.numbers]
    telling = [part for part in parts if None not in part.numbers]
    if silent and telling:
        known = _in_order([part.numbers for part in telling])
        raise SourceFormatError(
            f"{silent[0].shown}: nothing says which member it holds, while others, such as "
            f"{telling[0].shown}, tell theirs (members {list(known)}); give it a scalar coordinate "
            "such as 'realization' (xarray: assign_coords(realization=1)), or leave it out of "
            "forecast.files."
        )


def _require_one_grid(parts: Sequence[Part]) -> None:
    first, *others = parts
    for other in others:
        if other.fields.shape[2:] != first.fields.shape[2:]:
            raise SourceFormatError(
                f"{other.shown}: its forecasts are on {other.fields.shape[2:]} points, those of "
                f"{first.shown} on {first.fields.shape[2:]}; name files of one ensemble on one "
                "grid."
            )


def _twice(one: str, other: str, number: Number, minute: int, start: int) -> SourceFormatError:
    who = f"'{one}' holds twice" if one == other else f"'{one}' and '{other}' both hold"
    field, repair = _field_of(minute, start), "leave one of them out of forecast.files"
    if number is not None:
        return SourceFormatError(
            f"{who} the member {number} of {field}; {repair}, or correct the number of its member."
        )
    if start == UNKNOWN:
        repair += ", or give them a coordinate of their starts (forecast.starts)"
    return SourceFormatError(
        f"{who} {field}, and nothing says that these are different members. If they are, give each "
        "file the number of its member as a scalar coordinate 'realization' (xarray: "
        f"assign_coords(realization=1)); else {repair}."
    )


def _none_complete(
    parts: Sequence[Part], numbers: tuple[Number, ...], first: Incomplete
) -> SourceFormatError:
    return SourceFormatError(
        f"{_all_of([part.shown for part in parts])}: no field of a forecast has all members "
        f"{list(numbers)}; {_field_of(first.minute, first.start)} lacks {list(first.lacking)}. "
        "Name in forecast.members those that every forecast has, or add the files of the others."
    )


def _all_of(names: Sequence[str]) -> str:
    """Files in words, by the name of the first."""
    first, *others = dict.fromkeys(names)
    return f"{first} and {counted(len(others), 'other file')}" if others else first


def said_of_incomplete(
    ensemble: Ensemble, first: int | None = None, last: int | None = None
) -> str:
    """Say in a sentence which fields were left out since members of them are in no file.

    Arguments:
        first, last: valid times, minutes since `MINUTES_EPOCH`, of the fields that matter.

    Returns:
        The sentence; empty where there are none.
    """
    found = [
        one
        for one in ensemble.incomplete
        if (first is None or first <= one.minute) and (last is None or one.minute <= last)
    ]
    if not found:
        return ""
    minute, start, lacking = min(found, key=lambda one: (one.start, one.minute))
    starts = len({one.start for one in found})
    whose = "" if start == UNKNOWN else f" of {counted(starts, 'forecast')}"
    return (
        f"{counted(len(found), 'field')}{whose} left out, as if not arrived, for want of members "
        f"in the files: {_field_of(minute, start)} lacks {list(lacking)} of "
        f"{counted(len(ensemble.numbers), 'member')}; add these files, or name in forecast.members "
        "those that every forecast has"
    )


def _field_of(minute: int, start: int) -> str:
    valid = _shown(minute)
    return (
        f"the field of {valid}"
        if start == UNKNOWN
        else (f"the forecast from {_shown(start)} for {valid}")
    )


def _shown(minute: int) -> str:
    return str(np.datetime_as_string(from_minutes(np.array([minute]))[0], unit="m"))
