"""Curves, drawn again in place: a point over time, and a one-dimensional state at a date."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, HoverTool, LegendItem, Span
from bokeh.plotting import figure
from jaxtyping import Float

from vardax_core.browser.earth import one_path
from vardax_core.browser.look import CHOSEN, Look
from vardax_core.browser.series import Series
from vardax_core.browser.style import WIDE, columns_of, dress, key_above, toolbar, tooltips

HEIGHT = 260
PROFILE_HEIGHT = 320
LINE = ("x", "y")
BAND = ("x", "low", "high")


def milliseconds(time: np.datetime64) -> float:
    """A time as Bokeh counts it."""
    return float(time.astype("datetime64[ms]").astype(np.int64))


def _empty(names: Sequence[str]) -> dict[str, list]:
    return {name: [] for name in names}


class Curves:
    """A point over time: analysis with its band, background, truth, observations.

    Attributes:
        figure: of Bokeh.
    """

    def __init__(self, look: Look, chosen: Callable[[np.datetime64], None]):
        self.figure = figure(
            height=HEIGHT,
            sizing_mode="stretch_width",
            x_axis_type="datetime",
            styles=WIDE,
            **toolbar(),
        )
        dress(self.figure, look)
        self._bands = [ColumnDataSource(_empty(BAND)) for _ in look.lines]
        for source, colour in zip(self._bands, look.lines, strict=True):
            self.figure.varea(*BAND, source=source, fill_alpha=0.25, fill_color=colour)
        styles: dict[str, dict[str, Any]] = {
            "background": {"line_color": look.background, "line_dash": "dashed"},
            "truth": {"line_color": look.ink},
            **{f"method {n}": {"line_color": c, "line_width": 2} for n, c in enumerate(look.lines)},
        }
        self._lines = {name: _Line(self.figure, style) for name, style in styles.items()}
        self._dots = _Dots(self.figure, look, "time", "value")
        self._now = Span(dimension="height", line_color=CHOSEN, line_width=1.5, line_dash="dotted")
        self.figure.add_layout(self._now)
        self._key = key_above(self.figure, look)
        self.figure.on_event(Tap, lambda event: chosen(np.datetime64(int(event.x), "ms")))

    def show(self, found: Sequence[tuple[str, Series]], now: np.datetime64) -> None:
        """Draw the same point of one or two methods.

        Arguments:
            found: name of each method, and its series.
            now: the date that the maps show.
        """
        first = found[0][1]
        shown = {
            "background": ("background", first.times, first.background),
            "truth": ("truth", first.times, first.truth),
        }
        for number, source in enumerate(self._bands):
            source.data = _empty(BAND)
            if number < len(found):
                name, one = found[number]
                source.data = {"x": one.times, "low": one.low, "high": one.high}
                shown[f"method {number}"] = (f"{name}, 90 % band", one.times, one.mean)
        items = [
            LegendItem(label=shown[name][0], renderers=[line.drawn])
            for name, line in self._lines.items()
            if line.show(*shown.get(name, ("", (), ()))[1:])
        ]
        items += self._dots.show(first.observations, first.scale.label)
        self._key.items = items[::-1]
        self.figure.title.text = first.title
        self.figure.yaxis.axis_label = first.scale.label.strip(" []") or None
        self._now.location = milliseconds(now)


@dataclass(frozen=True)
class Lines:
    """A one-dimensional state, in the units that are shown.

    Attributes:
        positions: coordinate of the points.
        first, second: name and values of the two fields; None where there is no second.
        members: of the first one's ensemble; none where it is not an analysis.
        background, truth: empty where they are not known, or are one of the two.
        observations: what `observed` gives.
        units: a label in brackets.
    """

    positions: Float[np.ndarray, " point"]
    first: tuple[str, Float[np.ndarray, " point"]]
    second: tuple[str, Float[np.ndarray, " point"]] | None
    members: Float[np.ndarray, "member point"]
    background: Float[np.ndarray, " some"]
    truth: Float[np.ndarray, " known"]
    observations: pd.DataFrame
    units: str


class Profile:
    """A one-dimensional state at a date: members, means, truth and observations.

    Attributes:
        figure: of Bokeh.
    """

    def __init__(self, look: Look, x: str, tapped: Callable[[float, float], None]):
        self.figure = figure(
            height=PROFILE_HEIGHT, sizing_mode="stretch_width", styles=WIDE, **toolbar()
        )
        dress(self.figure, look, x=x)
        self._members = ColumnDataSource({"x": [], "y": []})
        cloud = self.figure.line(
            "x", "y", source=self._members, line_color=look.lines[0], line_alpha=0.3
        )
        self._cloud = LegendItem(label="members", renderers=[cloud])
        styles: dict[str, dict[str, Any]] = {
            "background": {"line_color": look.background, "line_dash": "dashed"},
            "truth": {"line_color": look.ink, "line_width": 1.5},
            "second": {"line_color": look.lines[1], "line_width": 2},
            "first": {"line_color": look.lines[0], "line_width": 2.5},
        }
        self._lines = {name: _Line(self.figure, style) for name, style in styles.items()}
        self._dots = _Dots(self.figure, look, "x", "y")
        self._now = Span(dimension="height", line_color=CHOSEN, line_dash="dotted", visible=False)
        self.figure.add_layout(self._now)
        self._key = key_above(self.figure, look)
        self.figure.on_event(Tap, lambda event: tapped(event.x, event.y))

    def show(self, found: Lines, title: str) -> None:
        """Draw a date.

        Arguments:
            found: what is drawn.
            title: what it is.
        """
        count = len(found.members)
        x, y = one_path([found.positions] * count, found.members)
        self._members.data = {"x": x, "y": y}
        named = {
            "background": ("background", found.background),
            "truth": ("truth", found.truth),
            "second": found.second or ("", ()),
            "first": found.first,
        }
        items = [
            LegendItem(label=named[name][0], renderers=[line.drawn])
            for name, line in self._lines.items()
            if line.show(found.positions[: len(named[name][1])], named[name][1])
        ]
        items += self._dots.show(found.observations, found.units)
        self._key.items = items[::-1] + ([self._cloud] if count else [])
        self.figure.title.text = title
        self.figure.yaxis.axis_label = found.units.strip(" []") or None

    def mark(self, place: float | None) -> None:
        """Mark the chosen point."""
        self._now.update(visible=place is not None, location=place)


class _Line:
    def __init__(self, drawn: figure, style: dict[str, Any]):
        self._source = ColumnDataSource(_empty(LINE))
        self.drawn = drawn.line(*LINE, source=self._source, **style)

    def show(self, x: Any, y: Any) -> bool:
        """Draw the line; whether there is one."""
        self._source.data = {"x": x, "y": y}
        return len(y) > 0


class _Dots:
    def __init__(self, drawn: figure, look: Look, x: str, y: str):
        self._source = ColumnDataSource(columns_of(None))
        self._drawn = drawn.scatter(
            x, y, source=self._source, size=8, line_width=0.6, line_color=look.ink,
            fill_color=look.observation,
        )  # fmt: skip
        self._hover = HoverTool(renderers=[self._drawn], tooltips=tooltips(""))
        drawn.add_tools(self._hover)

    def show(self, table: pd.DataFrame, units: str) -> list[LegendItem]:
        """Draw observations; their name, where there is one."""
        self._source.data = columns_of(table)
        self._hover.tooltips = tooltips(units)
        return [LegendItem(label="observations", renderers=[self._drawn])] if len(table) else []
