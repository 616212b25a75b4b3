"""Which column is observed: by its standard name, its name and its units, as what is wanted."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vardax_core.data.errors import SourceFormatError
from vardax_core.data.streams.units import UnknownUnitsError, conversion

Attributes = Mapping[str, Any]

_COUNTS = re.compile(
    r"(^|_)(num|number|count|counts|cycle|index|idx|ids?|flags?|row|profile|seq)(_|$)|_qc$"
)
_FLAGS = ("flag_values", "flag_meanings", "flag_masks")
_QUANTITIES = {
    "temperature": r"temp|tmp|^t$|^t2|t2m|sst|max_?t|min_?t|tmax|tmin|dew|^theta|^tos$|^tas|^ta$",
    "salinity": r"psal|salin|^salt|^sal$|^sss|^sos?$",
    "pressure": r"pres|slp|^msl|^p$|cbl",
    "wind": r"wind|wdsp|^[uv]\d*m?$|^ff$",
    "precipitation": r"rain|precip|^tp$",
    "sea level": r"^adt|^sla|^ssh|sea_level|sea_surface_height|^zos$",
    "humidity": r"humid|^rh$|^q\d*$",
}
"""What names say of the quantity, in small letters."""


class NoSuchColumnError(SourceFormatError):
    """No column looks like what is needed."""


def is_counted(name: str, attrs: Attributes) -> bool:
    """Whether a column is a count, an identifier or a flag, and so nothing that was observed."""
    standard = str(attrs.get("standard_name", ""))
    return (
        bool(_COUNTS.search(name.strip().lower()))
        or any(key in attrs for key in _FLAGS)
        or standard.startswith("number_of_")
        or standard.endswith(("status_flag", "quality_flag"))
    )


def is_pressure(name: str) -> bool:
    """Whether a column is of pressure by its name, which may be a level."""
    return bool(re.search(_QUANTITIES["pressure"], name.strip().lower()))


def likeness(name: str, attrs: Attributes, other: str, of_other: Attributes) -> int:
    """How much two variables are the same: 0 if they are not, the more the surer.

    An equal standard name counts most, then an equal name, then one of the same quantity, then
    units that can be converted; 1 where nothing says that they differ.
    """
    units, theirs = attrs.get("units"), of_other.get("units")
    known = units is not None and theirs is not None
    if known and not _convertible(str(units), str(theirs)):
        return 0
    standard = attrs.get("standard_name")
    if standard is not None and standard == of_other.get("standard_name"):
        return 5
    quantities = _quantities(name, attrs), _quantities(other, of_other)
    if all(quantities) and not quantities[0] & quantities[1]:
        return 0
    if name.strip().lower() == other.strip().lower():
        return 4
    if all(quantities):
        return 3
    return 2 if known else 1


def most_like(
    file: str, columns: Mapping[str, Attributes], wanted: Mapping[str, Attributes]
) -> str:
    """The column that is most like one of the variables that are wanted.

    Arguments:
        file: its name, for errors.
        columns: that may be observed, with their attributes as far as these are known.
        wanted: variables, such as those of a prior.

    Raises:
        NoSuchColumnError: none is, or several may be and nothing says which.
    """
    alike = {
        name: max(likeness(name, attrs, other, of) for other, of in wanted.items())
        for name, attrs in columns.items()
    }
    best = max(alike.values(), default=0)
    found = [name for name, value in alike.items() if value == best]
    if best > 1 or (best == 1 and len(found) == 1):
        return found[0]
    which = ", ".join(f"'{name}' ({of.get('units', 'no units')})" for name, of in wanted.items())
    raise NoSuchColumnError(
        f"{file}: expected a column like {which} of the prior, got {_listed(columns)}, "
        + (
            "and nothing says which is meant."
            if best
            else "none of which is; name a prior of what is observed."
        )
    )


def _listed(columns: Mapping[str, Attributes]) -> str:
    return (
        ", ".join(
            f"'{name}'" + (f" ({attrs['units']})" if attrs.get("units") else "")
            for name, attrs in columns.items()
        )
        or "no column of numbers but places, times, levels, counts and flags"
    )


def observable(names: Sequence[str], attrs: Mapping[str, Attributes]) -> list[str]:
    """Those of some columns that may be observed, in their order."""
    return [name for name in names if not is_counted(name, attrs.get(name, {}))]


def _quantities(name: str, attrs: Attributes) -> set[str]:
    said = (name.strip().lower(), str(attrs.get("standard_name", "")))
    return {
        quantity
        for quantity, written in _QUANTITIES.items()
        if any(re.search(written, text) for text in said)
    }


def _convertible(units: str, wanted: str) -> bool:
    try:
        conversion(units, wanted)
    except UnknownUnitsError:
        return False
    return True
