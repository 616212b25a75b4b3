"""What a training leaves to look at: the course of its numbers, and what is said of it."""

import base64
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vardax_core.calibration.plots.style import OKABE_ITO, dress, legend, new_figure, png_bytes
from vardax_core.words import short


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
        """Keep what a training says, where it says a number.

        Arguments:
            done, total: steps.
            figures: numbers by their names.
        """
        self._told_on(done, total, figures)
        if not figures:
            return
        for name in figures.keys() - self.figures.keys():
            self.figures[name] = [float("nan")] * len(self.steps)
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
    lines = [f"# {title}", "", *said, ""]
    if course.steps:
        figure = new_figure(9.0, 3.2)
        axes = figure.subplots()
        for colour, (name, values) in zip(OKABE_ITO, course.figures.items(), strict=False):
            axes.plot(course.steps, values, color=colour, label=name)
        dress(axes, title="what the training told", x="gradient steps")
        legend(axes)
        encoded = base64.b64encode(png_bytes(figure)).decode()
        lines += [f"![course of the training](data:image/png;base64,{encoded})", ""]
        lines += ["| | at the beginning | at the end | lowest |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {name} | {short(values[0])} | {short(values[-1])} | {short(np.nanmin(values))} |"
            for name, values in course.figures.items()
        ]
        lines.append("")
    lines += [f"- {name}: `{value}`" for name, value in about.items()]
    return "\n".join(lines) + "\n"
