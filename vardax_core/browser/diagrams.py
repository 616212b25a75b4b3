"""Pictures of boxes over time, drawn again in place: a Hovmoeller diagram, and the calendar."""

from collections.abc import Callable

import numpy as np
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, FactorRange, HoverTool, LinearColorMapper, Span, TapTool
from bokeh.plotting import figure

from vardax_core.browser.calendar import Calendar
from vardax_core.browser.curves import milliseconds
from vardax_core.browser.fields import Shown
from vardax_core.browser.look import CHOSEN, PALETTES, Look
from vardax_core.browser.series import Diagram
from vardax_core.browser.style import NARROW, WIDE, bar_of_colours, dress, toolbar

HEIGHT = 340
ROW = 18
"""Points down of a row of the calendar."""
LEAST_ROWS = 5
MOST_ROWS = 40


class Hovmoeller:
    """A one-dimensional state over time; time runs down.

    Attributes:
        figure: of Bokeh.
    """

    def __init__(
        self, look: Look, x: str, tapped: Callable[[float, np.datetime64], None], ranges=None
    ):
        more = {} if ranges is None else {"x_range": ranges[0], "y_range": ranges[1]}
        self.figure = figure(
            height=HEIGHT, sizing_mode="stretch_width", min_width=340, y_axis_type="datetime",
            styles=NARROW, **more, **toolbar(),
        )  # fmt: skip
        dress(self.figure, look, x=x, grid=False)
        self.figure.y_range.flipped = True
        self.figure.x_range.range_padding = self.figure.y_range.range_padding = 0
        self.ranges = (self.figure.x_range, self.figure.y_range)
        self._mapper = LinearColorMapper(palette=PALETTES["value"], nan_color=look.nothing)
        names = ("image", "x", "y", "dw", "dh")
        self._image = ColumnDataSource({name: [] for name in names})
        drawn = self.figure.image(*names, source=self._image, color_mapper=self._mapper)
        self._hover = HoverTool(
            renderers=[drawn],
            tooltips=[(x, "$x{0.0}"), ("time", "$y{%F %H:%M}"), ("value", "@image{0.000}")],
            formatters={"$y": "datetime"},
        )
        self.figure.add_tools(self._hover)
        self.bar = bar_of_colours(self._mapper, look)
        self.figure.add_layout(self.bar, "right")
        self._now = Span(dimension="width", line_color=CHOSEN, line_width=1.5, line_dash="dotted")
        self.figure.add_layout(self._now)
        self.figure.on_event(Tap, lambda event: tapped(event.x, np.datetime64(int(event.y), "ms")))

    def show(
        self, found: Diagram, shown: Shown, now: np.datetime64, colours: tuple[float, float]
    ) -> None:
        """Draw a period.

        Arguments:
            found: the numbers.
            shown: a field of the same kind, for title, unit and palette.
            now: the date that is chosen.
            colours: limits of the colours.
        """
        low, high = colours
        self._mapper.update(palette=PALETTES[shown.colouring], low=low, high=high)
        times = found.times.astype("datetime64[ms]").astype(np.int64).astype(float)
        step = float(times[1] - times[0]) if len(times) > 1 else 6 * 3.6e6
        width = float(found.positions[1] - found.positions[0]) if len(found.positions) > 1 else 1.0
        self._image.data = {
            "image": [found.values.astype("f4")],
            "x": [float(found.positions[0]) - width / 2],
            "y": [times[0] - step / 2],
            "dw": [width * len(found.positions)],
            "dh": [step * len(times)],
        }
        self.bar.title = shown.scale.label.strip(" []") or None
        self.figure.title.text = shown.name
        self._now.location = milliseconds(now)


class CalendarPicture:
    """The cycles of an experiment, a box each or for each day; a click goes to the first of a box.

    Attributes:
        figure: of Bokeh.
    """

    def __init__(self, look: Look, chosen: Callable[[str], None]):
        self.figure = figure(
            x_range=FactorRange(), y_range=FactorRange(), height=200, x_axis_location="above",
            sizing_mode="stretch_width", min_width=340, tools="tap,save", toolbar_location="above",
            styles=WIDE,
        )  # fmt: skip
        dress(self.figure, look, grid=False)
        self.figure.select_one(TapTool).behavior = "select"
        self.figure.xaxis.major_label_text_font_size = "9px"
        self._mapper = LinearColorMapper(palette=PALETTES["spread"], nan_color=look.nothing)
        names = ("row", "column", "value", "time")
        self._boxes = ColumnDataSource({name: [] for name in names})
        drawn = self.figure.rect(
            "column", "row", width=0.94, height=0.9, source=self._boxes, line_color=None,
            fill_color={"field": "value", "transform": self._mapper}, nonselection_fill_alpha=1.0,
        )  # fmt: skip
        here = ("row", "column")
        self._here = ColumnDataSource({name: [] for name in here})
        self.figure.rect(
            "column", "row", width=0.94, height=0.9, source=self._here, fill_color=None,
            line_color=CHOSEN, line_width=2.5,
        )  # fmt: skip
        hover = HoverTool(
            renderers=[drawn], tooltips=[("from", "@time"), ("score", "@value{0.000}")]
        )
        self.figure.add_tools(hover)
        self.bar = bar_of_colours(self._mapper, look)
        self.figure.add_layout(self.bar, "right")
        self._chosen = chosen
        self._boxes.selected.on_change("indices", self._tapped)

    def _tapped(self, name: str, old: list[int], new: list[int]) -> None:
        if new:
            time = self._boxes.data["time"][new[0]]
            self._boxes.selected.indices = []
            self._chosen(time)

    def show(self, found: Calendar, now: np.datetime64) -> None:
        """Draw a score.

        Arguments:
            found: the calendar.
            now: the date that is chosen.
        """
        finite = found.values[np.isfinite(found.values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        self._mapper.update(low=low, high=high if high > low else low + 1.0)
        self.figure.x_range.factors = list(found.columns)
        self.figure.y_range.factors = list(found.rows[::-1])
        self.figure.height = 70 + ROW * min(max(len(found.rows), LEAST_ROWS), MOST_ROWS)
        self._boxes.data = {
            "row": list(found.row),
            "column": list(found.column),
            "value": found.values,
            "time": list(found.times),
        }
        self.figure.title.text = f"{found.title} of every cycle"
        self.mark(found, now)

    def mark(self, found: Calendar, now: np.datetime64) -> None:
        """Mark the box of a date."""
        times = np.array(found.times, "datetime64[m]")
        number = int(np.searchsorted(times, now, side="right")) - 1
        box: dict[str, list[str]] = {"row": [], "column": []}
        if number >= 0:
            box = {"row": [found.row[number]], "column": [found.column[number]]}
        self._here.data = box
