"""What the browser shows, as values that stand in its address."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

from vardax_core.browser.projections import FLAT, PROJECTIONS
from vardax_core.words import did_you_mean

QUANTITIES: Mapping[str, str] = {
    "analysis": "analysis mean",
    "background": "background mean",
    "increment": "increment (A - B)",
    "spread": "analysis spread",
    "member": "analysis member",
    "truth": "truth",
    "error": "error (A - truth)",
}
"""What can be seen of a cycle, and what it is called."""
NOTHING = "nothing"
"""In the place of the second quantity: one picture alone."""
APART = {"theme"}
"""Parts of an address that belong to the page and not to what it shows."""


@dataclass(frozen=True)
class Layer:
    """One field to look at.

    Attributes:
        method: name of the experiment among those of its data set.
        time: analysis time (ISO 8601, UTC), or the one before it that is nearest; empty: the last.
        quantity: a key of `QUANTITIES`.
    """

    method: str
    time: str
    quantity: str


@dataclass(frozen=True)
class View:
    """All that the browser's address says; empty texts stand for what is usual.

    Attributes:
        dataset, method: whose analyses; empty: the first that is there.
        time: see `Layer`.
        quantity: of the first picture.
        other: of the second picture, or `NOTHING`.
        other_method, other_time: of the second picture; empty: as in the first.
        difference: whether the second picture is the first field less the second one.
        member: which one, where a member is shown.
        variable: of the state; empty: the first.
        point: index of the grid along each dimension, by commas; empty: none was chosen.
        score: what colours the calendar; empty: the first there is.
        map: how places of the earth are drawn, a key of `PROJECTIONS`.
        middle: longitude in the middle of the map, degrees; empty: the usual one.
    """

    dataset: str = ""
    method: str = ""
    time: str = ""
    quantity: str = "analysis"
    other: str = "increment"
    other_method: str = ""
    other_time: str = ""
    difference: bool = False
    member: int = 0
    variable: str = ""
    point: str = ""
    score: str = ""
    map: str = FLAT
    middle: str = ""

    @property
    def first(self) -> Layer:
        """The field of the first picture."""
        return Layer(self.method, self.time, self.quantity)

    @property
    def second(self) -> Layer | None:
        """The field of the second picture, None where there is none."""
        if self.other == NOTHING:
            return None
        return Layer(self.other_method or self.method, self.other_time or self.time, self.other)

    @property
    def indices(self) -> tuple[int, ...] | None:
        """The chosen point of the grid, None where none was chosen."""
        return tuple(map(int, self.point.split(","))) if self.point else None

    def changed(self, **values: Any) -> "View":
        """The same view with other values."""
        return dataclasses.replace(self, **values)

    def query(self) -> str:
        """The part of an address behind the question mark; what is usual is left out."""
        usual = View()
        said = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(usual, field.name)
        }
        return urlencode({name: _written(value) for name, value in said.items()}, safe=":,/")


def _written(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def view_of(query: str) -> tuple[View, tuple[str, ...]]:
    """The view that an address stands for, and what of it was not understood, a sentence each.

    Arguments:
        query: what `View.query` writes, with or without the question mark.
    """
    known = {field.name: field for field in dataclasses.fields(View)}
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in parse_qsl(query.removeprefix("?")):
        if name in APART:
            continue
        if name not in known:
            faults.append(f"The address says {name}={text!r}{did_you_mean(name, list(known))}")
            continue
        try:
            values[name] = _READ.get(name, str)(text)
        except ValueError as error:
            faults.append(f"The address says {name}={text!r}: expected {error}.")
    return View(**values), tuple(faults)


def _quantity(text: str) -> str:
    if text not in QUANTITIES:
        raise ValueError(f"one of {', '.join(QUANTITIES)}")
    return text


def _other(text: str) -> str:
    if text != NOTHING and text not in QUANTITIES:
        raise ValueError(f"{NOTHING}, or one of {', '.join(QUANTITIES)}")
    return text


def _map(text: str) -> str:
    if text not in PROJECTIONS:
        raise ValueError(f"one of {', '.join(PROJECTIONS)}")
    return text


def _longitude(text: str) -> str:
    try:
        found = float(text)
    except ValueError as error:
        raise ValueError("a longitude in degrees") from error
    if not -360 <= found <= 360:
        raise ValueError("a longitude from -360 to 360")
    return f"{found:g}"


def _instant(text: str) -> str:
    try:
        found = np.datetime64(text, "m")
    except ValueError as error:
        raise ValueError("a date such as 2019-03-21T06:00") from error
    return "" if np.isnat(found) else str(found)


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _count(text: str) -> int:
    if not text.isdigit():
        raise ValueError("a whole number from 0")
    return int(text)


def _point(text: str) -> str:
    if not all(part.isdigit() for part in text.split(",")):
        raise ValueError("whole numbers from 0, by commas")
    return text


_READ = {
    "quantity": _quantity,
    "other": _other,
    "time": _instant,
    "other_time": _instant,
    "difference": _yes,
    "member": _count,
    "point": _point,
    "map": _map,
    "middle": _longitude,
}
