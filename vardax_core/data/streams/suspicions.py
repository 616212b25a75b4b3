"""What looks wrong in a stream as a whole, though no row alone shows it."""

from collections.abc import Iterator

import numpy as np

from vardax_core.data.streams.account import Reason
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.rows import Reader
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.state.coordinates import LATITUDE, LONGITUDE
from vardax_core.words import counted

_ALTERNATIVES = ("K", "degC", "degF", "Pa", "hPa", "kPa", "m s-1", "km h-1", "knot", "mile h-1",
                 "m", "cm", "mm", "km", "foot", "1", "%", "kg m-2 s-1", "kg m-2 h-1")  # fmt: skip
_MOST = 0.5
"""Part of a stream above which a fault is one of the whole stream."""
_NEARLY_ALL = 0.9
_COMMON = 0.02
"""Part of a stream at one time of the day above which that is a usual time."""


def suspicions(reader: Reader, records: Records) -> Iterator[str]:
    """Say what looks wrong and what to do about it.

    Arguments:
        reader: with the tally of everything that was read.
        records: that are used or marked.
    """
    yield from reader.tally.doubts
    yield from swapped(reader)
    yield from _units(reader)
    yield from _errors(reader)
    yield from _zones(reader)
    yield from _odd_hours(records)
    yield from _other_period(reader, records)


def swapped(reader: Reader) -> Iterator[str]:
    """Say that latitude and longitude are swapped, by where places fall: outside, and inside when
    swapped."""
    if not reader.tally.places or set(reader.spherical) != {LATITUDE, LONGITUDE}:
        return
    places = np.concatenate(reader.tally.places)
    if not places.size or len(reader.dims) != 2:
        return
    latitude = reader.spherical[LATITUDE]
    swapped = places[:, ::-1]
    real = np.abs(swapped[:, latitude]) <= 90.0
    now = np.abs(places[:, latitude]) <= 90.0
    if reader.grid is not None:
        for inside, at in ((now, places), (real, swapped)):
            if inside.any():
                inside[inside] = reader.grid.contains(at[inside])
    if now.mean() < 1 - _MOST and real.mean() > _MOST:
        where = "on the sphere" if reader.grid is None else "within the grid"
        yield (
            f"latitude and longitude look swapped: of {counted(len(places), 'place')} that were "
            f"looked at, {now.mean():.0%} lie {where}, and {real.mean():.0%} when swapped; swap "
            "the two columns in the recipe"
        )


def _units(reader: Reader) -> Iterator[str]:
    """Units other than stated, by bounds: values outside, and inside in other units."""
    low, high = reader.stream.bounds_within(reader.bounds)
    units = reader.tally.units
    if not reader.tally.values or units is None:
        return
    values = np.concatenate(reader.tally.values)

    def part_inside(written: str) -> float:
        converted = conversion(written, reader.units)(values)
        return float(np.mean((converted >= low) & (converted <= high)))

    if not values.size or part_inside(units) > 1 - _MOST:
        return
    better = {}
    for other in _ALTERNATIVES:
        try:
            if conversion(other, units).is_identity:
                continue
            better[other] = part_inside(other)
        except UnknownUnitsError:
            continue
    fitting = [other for other, part in better.items() if part > _NEARLY_ALL]
    said = (
        f"most values are out of bounds [{low:g}, {high:g}] {reader.units} when read in {units}: "
        f"they run from {values.min():g} to {values.max():g}"
    )
    if fitting:
        yield f"{said}, and would fit in {' or '.join(fitting)}; correct the units"
    else:
        yield f"{said}; correct the column, the units, or the bounds"


def _errors(reader: Reader) -> Iterator[str]:
    number, example = reader.tally.bad_errors
    if number:
        instead = (
            f"error_sd {reader.stream.error_sd:g} is used there"
            if reader.stream.error_sd is not None
            else "they count as not given"
        )
        yield (
            f"errors that are zero, negative or no number: {number} (first {example}), expected "
            f"positive ones; {instead}"
        )


def _zones(reader: Reader) -> Iterator[str]:
    number, example = reader.tally.zoneless
    if number and reader.stream.source.time.zone is None:
        others = f", while {reader.tally.zoned} state theirs" if reader.tally.zoned else ""
        yield (
            f"{counted(number, 'time')} without a time zone (first {example}){others}: they are "
            "read as UTC; write time.zone, which may be UTC"
        )


def _odd_hours(records: Records) -> Iterator[str]:
    """A few times off the hours of the day that nearly all others share."""
    day = records.time.astype("datetime64[D]")
    of_day = (records.time - day).astype("timedelta64[s]").astype(np.int64)
    usual, count = np.unique(of_day, return_counts=True)
    common = usual[count >= max(3.0, _COMMON * len(records))]
    odd = ~np.isin(of_day, common)
    if common.size and odd.any() and odd.mean() <= 1 - _NEARLY_ALL:
        at = int(np.argmax(odd))
        others = ", ".join(_clock(second) for second in common[:8].tolist())
        yield (
            f"times at odd hours: {int(odd.sum())} of {len(records)} (first "
            f"{records.files[records.file[at]]} row {records.row[at]}: "
            f"{_second(records.time[at])}), the others are at {others}"
            + (", ..." if common.size > 8 else "")
        )


def _second(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="s"))


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _other_period(reader: Reader, records: Records) -> Iterator[str]:
    without = reader.tally.without.get(Reason.OUTSIDE_PERIOD)
    if without is not None and not len(records):
        yield (
            f"no observation lies in the period {_second(reader.start)} to {_second(reader.end)}: "
            f"{counted(without[0], 'row')} outside of it (first {without[1]}); are these the files "
            "of another period?"
        )
