"""Draw the pictures of the documentation: python docs/make.py."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FIGURES = Path(__file__).parent / "figures"
INK, BOX, STORE = "#333333", "#DCEBF5", "#FBE9D7"
BOXES = {
    "recipe": (0.6, 3.2, "recipe", "observations, grid,\ncycle, model or prior", BOX),
    "method": (0.6, 1.0, "method", "forecast + analysis\nand its settings", BOX),
    "learn": (3.6, 1.0, "training", "weights, from simulation\nor from the past", BOX),
    "gate": (6.6, 1.0, "gates", "laws that weights must\npass before they work", BOX),
    "cycle": (6.6, 3.2, "cycle", "forecast, quality control,\nanalysis, sums of scores", BOX),
    "store": (9.6, 3.2, "store", "every cycle whole,\nor not at all", STORE),
    "report": (9.6, 1.0, "report", "scores, pictures,\ncalibration", STORE),
}
ARROWS = (
    ("recipe", "cycle", "observations"),
    ("recipe", "learn", ""),
    ("method", "learn", ""),
    ("learn", "gate", ""),
    ("gate", "cycle", "champion"),
    ("cycle", "store", "commits"),
    ("store", "report", ""),
)
WIDTH, HEIGHT = 2.2, 1.2


def concepts() -> Figure:
    """Draw how recipe, method, training, gates, cycle, store and report hang together."""
    figure = Figure(figsize=(9.6, 3.9))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.3, 12.1)
    axes.set_ylim(0.6, 4.9)
    axes.set_axis_off()
    for x, y, name, words, colour in BOXES.values():
        style = {"boxstyle": "round,pad=0.02,rounding_size=0.12", "linewidth": 1.0}
        axes.add_patch(
            FancyBboxPatch((x, y), WIDTH, HEIGHT, facecolor=colour, edgecolor=INK, **style)
        )
        axes.text(x + WIDTH / 2, y + 0.9, name, ha="center", weight="bold", color=INK)
        axes.text(
            *(x + WIDTH / 2, y + 0.38, words), ha="center", va="center", fontsize=8, color=INK
        )
    for begin, end, words in ARROWS:
        _arrow(axes, begin, end, words)
    return figure


def _arrow(axes: Axes, begin: str, end: str, words: str) -> None:
    (x0, y0), (x1, y1) = BOXES[begin][:2], BOXES[end][:2]
    if x0 == x1:
        up = y1 > y0
        ends = ((x0 + WIDTH / 2, y0 + HEIGHT * up), (x1 + WIDTH / 2, y1 + HEIGHT * (not up)))
    elif y0 == y1:
        ends = ((x0 + WIDTH, y0 + HEIGHT / 2), (x1, y1 + HEIGHT / 2))
    else:
        ends = ((x0 + WIDTH * 0.8, y0), (x1 + WIDTH / 2, y1 + HEIGHT))
    axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=12, color=INK))
    (xa, ya), (xb, yb) = ends
    offset = 0.1 if x0 == x1 else 0.0
    axes.text(
        *((xa + xb) / 2 + offset, (ya + yb) / 2 + 0.08, words),
        ha="left" if offset else "center",
        fontsize=8,
        color=INK,
    )


def main() -> None:
    """Write all pictures; the same bytes whenever nothing has changed."""
    mpl.rcParams["svg.hashsalt"] = "vardax"
    mpl.rcParams["svg.fonttype"] = "none"
    FIGURES.mkdir(exist_ok=True)
    concepts().savefig(FIGURES / "concepts.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
