"""The units that people use."""

from collections.abc import Mapping
from dataclasses import dataclass

CELSIUS = 273.15
_TEMPERATURE = "temperature"


@dataclass(frozen=True)
class Scale:
    """How numbers of a variable are shown.

    Attributes:
        units: what people use.
        offset: what is taken off a value, and not off a difference.
    """

    units: str
    offset: float = 0.0

    @property
    def label(self) -> str:
        """The unit in brackets; nothing where it is 1."""
        return "" if self.units in ("", "1") else f" [{self.units}]"


def scale_of(attrs: Mapping[str, object]) -> Scale:
    """Degrees Celsius for temperatures in kelvin, and else the unit that the store says.

    Arguments:
        attrs: CF attributes of the variable.
    """
    units = str(attrs.get("units", "1"))
    named = f"{attrs.get('standard_name', '')} {attrs.get('long_name', '')}".lower()
    if units == "K" and _TEMPERATURE in named and "difference" not in named:
        return Scale("°C", CELSIUS)
    return Scale(units)
