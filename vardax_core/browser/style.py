"""What all pictures of the browser have in common."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from bokeh.models import ColorBar, Legend, LinearColorMapper
from bokeh.models.tickers import BasicTicker
from bokeh.plotting import figure

from vardax_core.browser.look import Look

NARROW = {"flex": "1 1 360px", "width": "auto"}
"""Of a picture that stands beside another where there is room."""
WIDE = {"flex": "1 1 100%", "width": "auto"}


def toolbar() -> Mapping[str, Any]:
    """Tools to move a picture with; they stand above it while the pointer is there."""
    return {
        "tools": "pan,wheel_zoom,box_zoom,reset,save",
        "active_scroll": "wheel_zoom",
        "toolbar_location": "above",
    }


def dress(drawn: figure, look: Look, *, x: str = "", y: str = "", grid: bool = True) -> None:
    """Give a picture the common look.

    Arguments:
        drawn: the picture.
        look: light or dark.
        x, y: names of the axes.
        grid: whether lines stand behind what is drawn.
    """
    drawn.background_fill_color, drawn.border_fill_alpha = look.paper, 0.0
    drawn.outline_line_color = look.grid
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.title.text_color = look.ink
    drawn.title.text_font_size = "12px"
    for axis, name in ((drawn.xaxis, x), (drawn.yaxis, y)):
        axis.axis_label = name or None
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "11px"
        for part in ("axis_label_text_color", "major_label_text_color"):
            setattr(axis, part, look.ink)
        for part in ("axis_line_color", "major_tick_line_color", "minor_tick_line_color"):
            setattr(axis, part, look.grid)
    for lines in (drawn.xgrid, drawn.ygrid):
        lines.grid_line_color = look.grid if grid else None


def key_above(drawn: figure, look: Look) -> Legend:
    """A row of names above a picture, where it covers nothing; it has no item yet."""
    made = Legend(
        items=[],
        location="top_left",
        orientation="horizontal",
        label_text_color=look.ink,
        label_text_font_size="10px",
        label_standoff=3,
        glyph_width=14,
        background_fill_alpha=0,
        border_line_alpha=0,
        padding=0,
        spacing=8,
    )
    drawn.add_layout(made, "above")
    return made


def bar_of_colours(mapper: LinearColorMapper, look: Look, **more: Any) -> ColorBar:
    """What the colours of a picture stand for.

    Arguments:
        mapper: of the picture.
        look: light or dark.
        more: settings of Bokeh's ColorBar.
    """
    return ColorBar(
        **{
            "color_mapper": mapper,
            "ticker": BasicTicker(desired_num_ticks=6),
            "width": 12,
            "padding": 4,
            "major_label_text_color": look.ink,
            "title_text_color": look.ink,
            "title_text_font_style": "normal",
            "background_fill_alpha": 0,
            **more,
        }
    )


def tooltips(label: str) -> list[tuple[str, str]]:
    """What the pointer says of an observation.

    Arguments:
        label: unit in brackets.
    """
    return [
        ("platform", "@platform"),
        (f"value{label}", "@value{0.000}"),
        ("O-B", "@innovation{0.000}"),
        ("O-A", "@residual{0.000}"),
        ("", "@quality"),
    ]


def columns_of(table: pd.DataFrame | None, *more: str) -> dict[str, list]:
    """The columns of observations that a picture draws and its pointer says.

    Arguments:
        table: what `observed` gives; None for no observation.
        more: further columns.
    """
    names = ("time", "x", "y", "value", "innovation", "residual", "quality", "platform", *more)
    return {name: [] if table is None else table[name].to_list() for name in names}
