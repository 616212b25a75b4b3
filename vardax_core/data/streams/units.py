"""Conversion between the units of a file and those of a variable."""

import dataclasses
import functools
import re
from typing import Any

import numpy as np
from jaxtyping import Float

_POWER = re.compile(r"(?<![\w.])([A-Za-z_µ°%]+)\s*(?:\^|\*\*)?\s*([-+]?\d+)(?![\w.])")
_SPELLINGS = {
    "": "dimensionless",
    "1": "dimensionless",
    "psu": "dimensionless",
    "degree celsius": "degC",
    "degrees celsius": "degC",
    "deg celsius": "degC",
    "degree_celsius": "degC",
    "degrees_celsius": "degC",
    "celsius": "degC",
    "deg_c": "degC",
    "degc": "degC",
    "deg c": "degC",
    "degree_c": "degC",
    "degrees_c": "degC",
    "°c": "degC",
    "degree fahrenheit": "degF",
    "degrees fahrenheit": "degF",
    "fahrenheit": "degF",
    "deg_f": "degF",
    "degf": "degF",
    "deg f": "degF",
    "degree_f": "degF",
    "°f": "degF",
    "kelvin": "kelvin",
    "degree kelvin": "kelvin",
    "degrees kelvin": "kelvin",
    "degk": "kelvin",
    "deg_k": "kelvin",
    "kt": "knot",
    "kts": "knot",
    "knots": "knot",
    "mb": "millibar",
}
"""Spellings of the field that a dictionary of units lacks or takes for something else."""

_AMBIGUOUS = {"C": "degC, or coulomb", "F": "degF, or farad"}


class UnknownUnitsError(ValueError):
    """Units that are not known, or that cannot be converted."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A change of units, value -> factor value + shift.

    Attributes:
        source, target: the units, as they were written.
        factor, shift: in units of the target.
    """

    source: str
    target: str
    factor: float
    shift: float

    def __call__(self, values: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Convert values."""
        return values if self.is_identity else self.factor * values + self.shift

    def scaled(self, differences: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Convert differences, such as errors, which do not move with the zero of a scale."""
        return differences * abs(self.factor)

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return self.factor == 1.0 and self.shift == 0.0

    @property
    def sentence(self) -> str:
        """What is done, for people; empty where nothing is."""
        if self.is_identity:
            return ""
        shift = f" {'+' if self.shift > 0 else '-'} {abs(self.shift):.10g}" if self.shift else ""
        factor = f"{self.factor:.10g} x " if self.factor != 1.0 else ""
        return f"values are converted from {self.source} to {self.target}: {factor}value{shift}"


@functools.lru_cache(maxsize=256)
def conversion(source: str, target: str) -> Conversion:
    """Find the conversion between two units, written as UDUNITS, CF or people do.

    Raises:
        UnknownUnitsError: one of them is not known, or they measure different things.
    """
    if source == target:
        return Conversion(source, target, 1.0, 0.0)
    registry = _registry()
    measured, wanted = _unit(source), _unit(target)
    if measured.dimensionality != wanted.dimensionality:
        raise UnknownUnitsError(
            f"'{source}' cannot be converted to '{target}': {_dimensions(measured)} is not "
            f"{_dimensions(wanted)}; correct the units, or the column that they belong to"
        )
    try:
        zero, one, two = (
            float(registry.Quantity(x, measured).to(wanted).magnitude) for x in (0.0, 1.0, 2.0)
        )
    except Exception as error:
        raise UnknownUnitsError(
            f"'{source}' cannot be converted to '{target}' ({error}); convert the file first"
        ) from error
    if not np.isclose(two - one, one - zero, rtol=1e-9, atol=0):
        raise UnknownUnitsError(
            f"'{source}' and '{target}' are not proportional; convert the file first"
        )
    shift = 0.0 if abs(zero) < 1e-12 else round(zero, 10)
    known = one - zero if shift else one
    return Conversion(source, target, float(f"{known:.12g}"), shift)


def _unit(text: str) -> Any:
    said = " ".join(text.split())
    if said in _AMBIGUOUS:
        raise UnknownUnitsError(f"'{text}' may mean {_AMBIGUOUS[said]}; write which")
    try:
        spelled = _SPELLINGS.get(said.lower())
        if spelled is None:
            powers = _POWER.sub(r"\1**(\2)", said.replace(".", " "))
            spelled = re.sub(r"(?<=[\w)]) (?=[A-Za-z(µ°])", " * ", powers)
        return _registry().Unit(spelled)
    except Exception as error:
        raise UnknownUnitsError(
            f"'{text}' is no unit that is known; write it as UDUNITS does: K, degC, hPa, m s-1"
        ) from error


def _dimensions(unit: Any) -> str:
    return str(unit.dimensionality).strip() or "a plain number"


@functools.cache
def _registry() -> Any:
    import pint  # half a second, which a recipe without streams does not wait for

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
