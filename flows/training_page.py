"""What a training leaves to look at: the course of its numbers, and what is said of it."""

import base64
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from vardax_core.calibration.page import table
from vardax_core.calibration.plots.style import ANALYSIS, dress, new_figure, png_bytes
from vardax_core.words import short

MEANT = {
    "loss": "what training lowers; only its fall says something, not its size",
    "rmse": "RMSE of the analyses in the cycles of the training, in the unit of the state",
    "error": "RMSE of the analyses in the cycles of the training, over the spread at its start",
    "spread/error": "1 where the spread is as large as the error",
    "validation": "the loss on cases that are not trained on; it should fall with the other",
}
"""What the numbers are that a training tells."""


class Course:
    """The figures that a training tells of, step by step; told on to another.

    Attributes:
        steps: at which there are numbers.
        figures: by their name, a number for each of the steps.
    """

    def __init__(self, told_on: Callable[[int, int, dict[str, float]], None]):
        self.steps: list[int] = []
        self.figures: dict[str, list[float]] = {}
        self._told_on = told_on

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Keep what a training says of its steps, where it says a number.

        Arguments:
            done, total: steps; before the first, numbers are of what precedes them.
            figures: numbers by their names.
        """
        self._told_on(done, total, figures)
        if not figures or not done:
            return
        for name in figures:
            self.figures.setdefault(name, [float("nan")] * len(self.steps))
        self.steps.append(done)
        for name, values in self.figures.items():
            values.append(float(figures.get(name, float("nan"))))


def training_page(
    title: str, course: Course, said: Sequence[str], about: Mapping[str, object]
) -> str:
    """The page in Markdown, with its picture inside.

    Arguments:
        title: what was trained.
        course: what the training told.
        said: sentences on how it ended.
        about: what else is known of it.
    """
    lines = [f"# {title}", ""]
    for sentence in said:
        lines += [sentence, ""]
    if course.steps:
        figure = new_figure(9.0, 2.8)
        panels = figure.subplots(1, len(course.figures), squeeze=False)[0]
        for axes, (name, values) in zip(panels, course.figures.items(), strict=True):
            axes.plot(course.steps, values, color=ANALYSIS, marker="o", markersize=3)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            dress(axes, title=name, x="gradient steps")
        encoded = base64.b64encode(png_bytes(figure)).decode()
        lines += [f"![course of the training](data:image/png;base64,{encoded})", ""]
        rows = [
            [name, short(values[0]), short(values[-1]), short(np.nanmin(values))]
            for name, values in course.figures.items()
        ]
        lines += [table(["number", "at the beginning", "at the end", "lowest"], rows), ""]
        lines += [*(f"- {name}: {MEANT[name]}" for name in course.figures if name in MEANT), ""]
    lines += [f"- {name}: `{value}`" for name, value in about.items()]
    return "\n".join(lines) + "\n"
