"""The fields of a cycle, as they are shown: in the units of people, with limits for colours."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from vardax_core.browser.opened import NothingToShowError, Opened
from vardax_core.browser.view import QUANTITIES, Layer
from vardax_core.calibration.plots.scale import Scale, scale_of

Colouring = Literal["value", "spread", "centred"]
CENTRED = ("increment", "error")
"""Quantities whose middle is zero."""
STEPS = 20
"""Limits of colours are multiples of a round number, so many of which fit between them or fewer:
they stand still where a field hardly changes."""
OUTSIDE = 0.2
"""Percent of the numbers at either end whose colours may be those of the limit."""


LAST_BITS = 4
"""Differences of so many last bits of single precision count as none."""


@dataclass(frozen=True)
class Shown:
    """A field to look at.

    Attributes:
        values: one number for each point of the grid.
        name: what it is, and of which method.
        when: analysis time, for people.
        scale: the unit of the numbers, which are in it already.
        colouring: what colours suit it.
    """

    values: Float[np.ndarray, "*state"]
    name: str
    when: str
    scale: Scale
    colouring: Colouring

    @property
    def title(self) -> str:
        """What it is, of which method, and when."""
        return f"{self.name}, {self.when}"


def field(opened: Opened, layer: Layer, *, variable: str = "", member: int = 0) -> Shown:
    """Read what a layer shows.

    Arguments:
        opened: the experiment of its method.
        layer: time and quantity.
        variable: of the state; empty: the first.
        member: which one, where the quantity is a member.

    Raises:
        NothingToShowError: the store has it not.
    """
    name, number = opened.variable(variable), opened.number(layer.time)
    scale = scale_of(opened.attributes(name))
    values = _read(opened, layer.quantity, name, number, member)
    what = f"analysis member {member}" if layer.quantity == "member" else QUANTITIES[layer.quantity]
    said = (f"{what}, {opened.label}", f"{opened.time(number).replace('T', ' ')} UTC")
    if layer.quantity in CENTRED:
        return Shown(values, *said, Scale(scale.units), "centred")
    if layer.quantity == "spread":
        return Shown(values, *said, Scale(scale.units), "spread")
    return Shown(values - scale.offset, *said, scale, "value")


def difference(first: Shown, second: Shown) -> Shown:
    """The first field less the second.

    Raises:
        NothingToShowError: they are of different grids.
    """
    if first.values.shape != second.values.shape:
        raise NothingToShowError(
            f"The fields have {first.values.shape} and {second.values.shape} points, so that they "
            "have no difference; choose two methods of one data set."
        )
    when = first.when if first.when == second.when else f"{first.when} and {second.when}"
    name = f"({first.name}) less ({second.name})"
    values = less(first.values, second.values, first.scale.offset)
    return Shown(values, name, when, Scale(first.scale.units), "centred")


def less(
    first: Float[np.ndarray, "*state"], second: Float[np.ndarray, "*state"], offset: float = 0.0
) -> Float[np.ndarray, "*state"]:
    """A difference, zero where it is no more than the last bit that a store keeps.

    Arguments:
        first, second: numbers.
        offset: what was taken off both since they were read.
    """
    apart = first - second
    bit = LAST_BITS * np.finfo(np.float32).eps * (np.abs(first) + abs(offset))
    return np.where(np.abs(apart) <= bit, 0.0, apart)


def limits(*shown: Shown) -> tuple[float, float]:
    """Limits of the colours of fields of one kind: round numbers, and zero in the middle or at the
    bottom where that belongs to the kind."""
    finite = [one.values[np.isfinite(one.values)] for one in shown]
    values = np.concatenate([one.ravel() for one in finite]) if finite else np.empty(0)
    if not values.size:
        return (-1.0, 1.0) if shown[0].colouring == "centred" else (0.0, 1.0)
    low, high = (float(v) for v in np.percentile(values, [OUTSIDE, 100 - OUTSIDE]))
    if shown[0].colouring == "centred":
        reach = _outwards(0.0, max(abs(low), abs(high), 1e-12))[1]
        return -reach, reach
    if shown[0].colouring == "spread":
        return 0.0, _outwards(0.0, max(high, 1e-12))[1]
    return _outwards(low, high)


def _outwards(low: float, high: float) -> tuple[float, float]:
    if high <= low:
        reach = max(abs(low), 1.0) * 1e-3
        low, high = low - reach, high + reach
    step = (high - low) / STEPS
    magnitude = 10.0 ** np.floor(np.log10(step))
    step = next(m for m in (1, 2, 5, 10) if m * magnitude >= step * 0.999999) * magnitude
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _read(opened: Opened, quantity: str, name: str, number: int, member: int) -> np.ndarray:
    def analysis(suffix: str) -> np.ndarray:
        found = opened.analysis[f"{name}_{suffix}"].isel(time=number)
        return np.asarray(found.to_numpy(), float)

    match quantity:
        case "analysis":
            return analysis("mean")
        case "spread":
            return analysis("spread")
        case "background":
            return opened.mean("background", name, number)
        case "increment":
            return less(analysis("mean"), opened.mean("background", name, number))
        case "member":
            if member >= opened.members:
                raise NothingToShowError(
                    f"Expected a member from 0 to {opened.members - 1}, got {member}."
                )
            found = opened.analysis[name].isel(time=number, member=member)
            return np.asarray(found.to_numpy(), float)
        case "truth":
            return truth(opened, name, number)
        case _:
            return less(analysis("mean"), truth(opened, name, number))


def truth(opened: Opened, name: str, number: int) -> Float[np.ndarray, "*state"]:
    """The truth of a cycle, in the units of the store.

    Raises:
        NothingToShowError: nobody knows it.
    """
    held = opened.group("nature_run")
    if held is None:
        raise NothingToShowError(
            f"{opened.dataset} is of real observations, whose truth nobody knows; choose another "
            "quantity."
        )
    return np.asarray(held[name].sel(time=opened.times[number]).to_numpy(), float)


def quantities(opened: Opened) -> tuple[str, ...]:
    """What can be seen of an experiment."""
    known = opened.group("nature_run") is not None
    return tuple(q for q in QUANTITIES if known or q not in ("truth", "error"))
