"""What all pictures share: colours, axes, and files whose bytes depend on the data alone."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from vardax_core.files import write_atomically

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Colours that people with any form of colour blindness can tell apart (Okabe and Ito 2008)."""
TRUTH = "#111111"
OBSERVATION = "#D4A017"
BACKGROUND = "#8C8C8C"
ANALYSIS = OKABE_ITO[0]
INK = "#333333"
GRID = "#DDDDDD"
DPI = 110


def method_colours(names: Sequence[str], primary: str) -> dict[str, str]:
    """One colour for each method: the first for the primary one, the others in their order."""
    ordered = [primary, *(name for name in names if name != primary)]
    return {name: OKABE_ITO[k % len(OKABE_ITO)] for k, name in enumerate(ordered)}


class _Shown(Figure):
    """A figure that a notebook shows, whatever backend it has chosen."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) that belongs to no global state."""
    figure = _Shown(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(
    axes: Axes,
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    grid: Literal["both", "x", "y", ""] = "both",
) -> None:
    """Give axes the common look: quiet frame, light grid, left-aligned title."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(which="both", labelsize=8, colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, axis=grid, color=GRID, linewidth=0.6)


def label_time(axes: Axes, times: np.ndarray) -> None:
    """Concise date labels where the times are dates; cycle numbers otherwise."""
    if np.issubdtype(np.asarray(times).dtype, np.datetime64):
        locator = AutoDateLocator(minticks=4, maxticks=8)
        formatter = ConciseDateFormatter(locator)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(formatter)
        axes.xaxis.get_offset_text().set_fontsize(8)
    else:
        axes.set_xlabel("cycle", fontsize=9, color=INK)


def legend(axes: Axes, **options) -> None:
    """A legend in the common size, without a frame."""
    frame = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.8}
    axes.legend(**{**frame, "fontsize": 8, "labelcolor": INK, **options})


def say_empty(axes: Axes, reason: str) -> None:
    """Write in the middle of the axes why there is nothing to draw."""
    axes.text(
        0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", fontsize=9, color=INK
    )
    axes.set_xticks([])
    axes.set_yticks([])


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG without date or software version: equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, atomically, with the same bytes for the same figure."""
    target = Path(path)
    write_atomically(target, png_bytes(figure))
    return target
