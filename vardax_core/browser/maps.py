"""A map of a field with its coastlines and observations, drawn again in place."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, HoverTool, LinearColorMapper, Range1d
from bokeh.plotting import figure

from vardax_core.browser.earth import coast, net
from vardax_core.browser.fields import Shown, limits
from vardax_core.browser.look import CHOSEN, PALETTES, Look
from vardax_core.browser.observed import REFUSED, USED, WITHHELD
from vardax_core.browser.raster import Raster
from vardax_core.browser.style import NARROW, bar_of_colours, columns_of, dress, toolbar, tooltips
from vardax_core.calibration.plots.scale import Scale

MARKERS = {USED: "circle", WITHHELD: "diamond", REFUSED: "x"}
"""How observations are drawn, by what became of them."""
SIZES = {USED: 8, WITHHELD: 11, REFUSED: 7}
CROWD = 400
"""More observations than this are drawn smaller."""
COORDINATES = {"longitude": "@longitude", "latitude": "@latitude"}
"""What the pointer says of a place where the axes say no degrees."""
FRAME = 430
"""Points across a map where two stand side by side."""
SURROUNDINGS = (110, 150)
"""Points that axes, title and bars of colours take across and down."""
WITHOUT_AXES = (65, 75)
"""And where there are no axes."""


class Map:
    """One of two maps, which move together.

    Attributes:
        figure: of Bokeh.
    """

    def __init__(
        self,
        raster: Raster,
        look: Look,
        tapped: Callable[[float, float], None],
        ranges: tuple[Range1d, Range1d] | None = None,
    ):
        left, bottom, right, top = raster.bounds
        x, y = ranges or (Range1d(left, right, bounds="auto"), Range1d(bottom, top, bounds="auto"))
        height = FRAME * float(np.clip(raster.aspect, 0.35, 1.4))
        around = SURROUNDINGS if raster.projection is None else WITHOUT_AXES
        wide, high = FRAME + around[0], height + around[1]
        self.ranges = (x, y)
        self.figure = figure(
            x_range=x, y_range=y, sizing_mode="stretch_width", aspect_ratio=wide / high,
            min_width=340, max_width=1000, styles=NARROW, **toolbar(),
        )  # fmt: skip
        dress(self.figure, look, x=raster.x_name, y=raster.y_name, grid=False)
        self._raster = raster
        self._mapper = LinearColorMapper(palette=PALETTES["value"], low=0, high=1)
        self._mapper.nan_color = look.nothing
        places = raster.coordinates() if raster.projection is not None else ()
        self._image = ColumnDataSource(
            {"image": [np.full(raster.nearest.shape, np.nan, "f4")]}
            | {name: [a.astype("f4")] for name, a in zip(COORDINATES, places, strict=False)}
        )
        drawn = self.figure.image(
            image="image", source=self._image, color_mapper=self._mapper,
            x=left, y=bottom, dw=right - left, dh=top - bottom,
        )  # fmt: skip
        self.hover = HoverTool(renderers=[drawn], tooltips=[("value", "@image{0.00}")])
        self.figure.add_tools(self.hover)
        self.bar = bar_of_colours(self._mapper, look)
        self.figure.add_layout(self.bar, "right")
        if raster.projection is not None:
            self._hide_around(raster, look)
        self.figure.line(*coast(raster), color=look.ink, line_width=1.0, line_alpha=0.8)
        self._observations = _Observations(self.figure, look)
        self._mark = ColumnDataSource({"x": [], "y": []})
        self.figure.scatter(
            "x", "y", source=self._mark, marker="cross", size=18, line_width=2.5,
            line_color=CHOSEN,
        )  # fmt: skip
        self.figure.on_event(Tap, lambda event: tapped(event.x, event.y))

    def _hide_around(self, raster: Raster, look: Look) -> None:
        """Leave the page around a map that is no rectangle blank, and draw a net of degrees."""
        self.figure.axis.visible = False
        left, bottom, right, top = raster.bounds
        paper = int(look.paper[1:], 16)
        colour = (0xFF << 24) | ((paper & 0xFF) << 16) | (paper & 0xFF00) | (paper >> 16)
        blank = np.where(raster.nearest < 0, np.uint32(colour), np.uint32(0))
        self.figure.image_rgba([blank], x=left, y=bottom, dw=right - left, dh=top - bottom)
        self.figure.line(*net(raster), color=look.ink, line_width=0.6, line_alpha=0.35)

    def show(self, shown: Shown, colours: tuple[float, float]) -> None:
        """Draw a field.

        Arguments:
            shown: the field.
            colours: limits of its colours.
        """
        palette = PALETTES[shown.colouring]
        self._mapper.update(palette=palette, low=colours[0], high=colours[1])
        boxes = self._raster.boxes(shown.values).astype("f4")
        self._image.data["image"] = [boxes]
        flat = self._raster.projection is None
        named = zip((self._raster.x_name, self._raster.y_name), ("$x", "$y"), strict=True)
        self.hover.tooltips = [
            *((n, f"{at}{{0.00}}") for n, at in (named if flat else COORDINATES.items())),
            (f"value{shown.scale.label}", "@image{0.000}"),
        ]
        self.bar.title = shown.scale.label.strip(" []") or None
        self.figure.title.text = shown.title

    def observe(self, table: pd.DataFrame, fates: Sequence[str], units: str) -> None:
        """Draw observations, coloured by O-B.

        Arguments:
            table: what `observed` gives.
            fates: which are drawn.
            units: of the departures.
        """
        x, y = self._raster.drawn(table["x"].to_numpy(float), table["y"].to_numpy(float))
        there = np.isfinite(x) & np.isfinite(y)
        self._observations.show(table.assign(x=x, y=y)[there], fates, units)

    def mark(self, place: tuple[float, float] | None) -> None:
        """Mark the chosen point."""
        self._mark.data = {"x": [place[0]], "y": [place[1]]} if place else {"x": [], "y": []}


class _Observations:
    """Symbols with their colours and what the pointer says of them."""

    def __init__(self, drawn: figure, look: Look):
        self._mapper = LinearColorMapper(palette=PALETTES["centred"], low=-1, high=1)
        self._mapper.nan_color = "#999999"
        self._sources = {fate: ColumnDataSource(columns_of(None, "size")) for fate in MARKERS}
        self._glyphs = [
            drawn.scatter(
                "x", "y", source=source, marker=MARKERS[fate], size="size", line_color=look.ink,
                fill_color={"field": "innovation", "transform": self._mapper},
                line_width=1.6 if fate == REFUSED else 0.8,
            )
            for fate, source in self._sources.items()
        ]  # fmt: skip
        self._hover = HoverTool(renderers=self._glyphs, tooltips=tooltips(""))
        drawn.add_tools(self._hover)
        self.bar = bar_of_colours(
            self._mapper, look, orientation="horizontal", width="auto", height=8, margin=2
        )
        drawn.add_layout(self.bar, "below")

    def show(self, table: pd.DataFrame, fates: Sequence[str], units: str) -> None:
        used = table["innovation"].to_numpy(float)
        used = used[np.isfinite(used)]
        reach = float(np.percentile(np.abs(used), 98)) if used.size else 1.0
        reach = limits_of_departures(reach)
        self._mapper.update(low=-reach, high=reach)
        label = f" [{units}]" if units not in ("", "1") else ""
        self.bar.title = f"observations: O-B{label}"
        self._hover.tooltips = tooltips(label)
        for fate, source in self._sources.items():
            rows = table[table["fate"] == fate] if fate in fates else table.iloc[:0]
            size = SIZES[fate] * (0.6 if len(table) > CROWD else 1.0)
            source.data = columns_of(rows.assign(size=size), "size")


def limits_of_departures(reach: float) -> float:
    """A round number at or beyond some departure."""
    one = Shown(np.array([max(reach, 1e-12)]), "", "", Scale("1"), "centred")
    return limits(one)[1]
