"""What values are, guessed from themselves: units, bounds, errors, extremes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vardax_core.data.streams.records import Records
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.observations.kinds.hours import Maximum, Minimum

_PLAIN = ("degC", "K", "hPa", "Pa", "m", "m s-1", "degF", "knot", "mm")
_EXTREMES = (
    (Maximum.name, re.compile(r"max|^tx$|_tx$", re.IGNORECASE)),
    (Minimum.name, re.compile(r"min|^tn$|_tn$", re.IGNORECASE)),
)
_DAILY = (1380.0, 1500.0)
"""Minutes between two values of a day each."""
SHARE_OF_SD = 0.1


class Bounds(NamedTuple):
    """A range of possible values, and the range that was found."""

    low: float
    high: float
    found: tuple[float, float]


def plain_units(units: str) -> str:
    """The usual spelling of units, where there is one of the same meaning."""
    for plain in _PLAIN:
        try:
            if conversion(units, plain).is_identity:
                return plain
        except UnknownUnitsError:
            continue
    return units


def bounds_of(
    parts: Sequence[Records], units: str, also: tuple[float, float] | None = None
) -> Bounds:
    """Guess the range of possible values: the range found, as wide again on either side, rounded.

    Arguments:
        parts: records of every stream, in the variable's units.
        units: of the variable; nothing is below the zero of kelvin.
        also: a range that must lie within, such as that of a prior.
    """
    values = np.concatenate([part.value for part in parts])
    low, high = _usual_range(values)
    if also is not None:
        low, high = min(low, also[0]), max(high, also[1])
    width = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-12)
    step = 10.0 ** np.floor(np.log10(width))
    lower = float(f"{np.floor((low - width) / step) * step:.10g}")
    upper = float(f"{np.ceil((high + width) / step) * step:.10g}")
    if units == "K":
        lower = max(lower, 0.0)
    return Bounds(lower, upper, (float(values.min()), float(values.max())))


def error_of(records: Records) -> float:
    """A cautious standard deviation of the error: a tenth of that of the values, two digits; where
    the provider states errors, their median."""
    stated = records.error_sd[np.isfinite(records.error_sd) & (records.error_sd > 0)]
    if stated.size:
        return float(f"{np.median(stated):.2g}")
    low, high = _usual_range(records.value)
    values = records.value[(records.value >= low) & (records.value <= high)]
    sd = float(values.std())
    return float(f"{SHARE_OF_SD * sd:.2g}") if sd > 0 else float(f"{max(abs(high), 1.0) / 100:.2g}")


def statistic_of(column: str, step: float, apart: np.timedelta64 | None) -> str | None:
    """Whether a column is of daily extremes: by its name, a value a day, and fields of hours.

    Arguments:
        column: its name.
        step: minutes between two values of a platform.
        apart: time between two fields that a statistic can be made of.
    """
    daily = _DAILY[0] <= step <= _DAILY[1]
    if not daily or apart is None or apart >= np.timedelta64(12, "h"):
        return None
    return next((kind for kind, written in _EXTREMES if written.search(column)), None)


def variable_name(written: str) -> str:
    """A name that stores can have, from that of a column."""
    plain = re.sub(r"\W+", "_", re.sub(r"\s*[\[(].*", "", written)).strip("_").lower()
    return plain if re.match(r"[a-z]", plain) else "observed"


def _usual_range(values: Float[np.ndarray, " record"]) -> tuple[float, float]:
    """Smallest and largest value, those left out that lie far from nearly all."""
    low, high = np.quantile(values, [0.005, 0.995])
    reach = 3.0 * (high - low)
    near = values[(values >= low - reach) & (values <= high + reach)]
    return float(near.min()), float(near.max())
