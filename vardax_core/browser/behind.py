"""What lies behind a value of an analysis, in words and tables."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from vardax_core.browser.observed import WORDS
from vardax_core.browser.opened import NothingToShowError, Opened
from vardax_core.calibration.plots import png_bytes
from vardax_core.calibration.plots.scale import scale_of
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.explained import Explained
from vardax_core.experiments.pictures import support_figure
from vardax_core.experiments.reopened import reopened
from vardax_core.experiments.why import explain
from vardax_core.observations.quality import QualityCode
from vardax_core.store import ExperimentStore, StoreError
from vardax_core.words import counted

SHOWN = 12
"""Observations of a table."""


@dataclass(frozen=True)
class Behind:
    """What an analysis is made of at a point.

    Attributes:
        said: sentences.
        entered: the observations that entered, those that gave most first.
        others: those of the analysis time that did not, and why.
    """

    said: tuple[str, ...]
    entered: pd.DataFrame
    others: pd.DataFrame

    def html(self) -> str:
        """The sentences and tables of a page."""
        parts = [f"<p>{escape(' '.join(self.said))}</p>"]
        for title, table in (("Observations that entered", self.entered), ("Others", self.others)):
            if len(table):
                more = len(table) - SHOWN
                said = f"{title}, the first {SHOWN} of {len(table)}" if more > 0 else title
                numbers = table.head(SHOWN).to_html(
                    index=False, border=0, float_format="{:.4g}".format, justify="left"
                )
                parts.append(f"<p><b>{said}</b></p>{numbers}")
        return "".join(parts)


def behind(opened: Opened, number: int, point: Sequence[int], variable: str, root: Path) -> Behind:
    """Make an analysis again, and say what every observation gave to it at a point.

    Arguments:
        opened: the experiment.
        number: of the cycle.
        point: index of the grid along each dimension.
        variable: of the state; empty: the first.
        root: folder of all runs, in which trained weights are.

    Raises:
        NothingToShowError: it cannot be told, and why.
    """
    name = opened.variable(variable)
    scale = scale_of(opened.attributes(name))
    with _made_again(opened, root) as (made, store):
        flat = int(np.ravel_multi_index(tuple(point), opened.shape))
        place = tuple(float(x) for x in made.space(store).grid.points()[flat])
        found = explain(made, store, opened.times[number].astype("datetime64[ns]"), place, name)
    units, offset = scale.label.strip(" []"), scale.offset
    given = found.increment - found.rest
    said = [
        f"Background {found.background - offset:.4g} {units}, analysis "
        f"{found.analysis - offset:.4g} {units} by {found.method} ({found.result}).",
        f"Of the method's increment of {found.increment:.3g} {units}, "
        f"{counted(len(found.entered), 'observation')} gave {given:.3g}; {found.rest:.2g} comes "
        "from no observation.",
    ]
    if found.replaced:
        said.insert(1, f"Replaced: {found.replaced}.")
    return Behind(
        tuple(" ".join(one.split()) for one in said),
        pd.DataFrame(
            [
                _row(one, offset)
                | {
                    "weight": one.weight,
                    f"gave{scale.label}": one.contribution,
                }
                for one in found.entered
            ]
        ),
        pd.DataFrame(
            [
                _row(one, offset) | {"what became of it": _fate(one.code), "why": one.rule}
                for one in found.others
            ]
        ),
    )


def rests_on(opened: Opened, number: int, root: Path) -> str:
    """A picture, for a page, of what an analysis rests on at every point of the grid.

    Raises:
        NothingToShowError: it cannot be told, and why.
    """
    with _made_again(opened, root) as (made, store):
        figure = support_figure(made, store, opened.times[number].astype("datetime64[ns]"))
    picture = b64encode(png_bytes(figure)).decode()
    said = "Observations in reach, localization, inflation and degrees of freedom for signal."
    return f'<img alt="{said}" style="max-width: 100%" src="data:image/png;base64,{picture}">'


@contextmanager
def _made_again(opened: Opened, root: Path) -> Iterator[tuple[Experiment, ExperimentStore]]:
    """An experiment and its store, in double precision.

    Raises:
        NothingToShowError: it cannot be told, and why.
    """
    try:
        with jax.enable_x64(True):
            store = ExperimentStore.open(opened.location)
            yield reopened(store, root), store
    except (ValueError, LookupError, OSError, StoreError) as error:
        raise NothingToShowError(f"What lies behind it cannot be told: {error}") from error


def _row(one: Explained, offset: float) -> dict[str, object]:
    what = " ".join(filter(None, (one.stream, one.platform)))
    return {
        "platform": what,
        "place": ", ".join(f"{x:.2f}" for x in one.place),
        "value": one.value - offset,
        "O-B": one.innovation,
        "error": one.error_sd,
    }


def _fate(code: str) -> str:
    return WORDS.get(QualityCode[code.upper()], code) if code else ""
