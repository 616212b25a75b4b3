"""What cycles are made with beside the recipe: a reject list, what is withheld, what was known."""

import dataclasses
import datetime
from typing import Any

import numpy as np

from vardax_core.data.recipe import Recipe
from vardax_core.data.rejected import Rejection, list_record, rejected_of
from vardax_core.data.timeaxis import from_minutes
from vardax_core.experiments.settings import ExperimentSettings

WITHHELD, MOMENT, CUT_OFF = "withheld", "known_at", "cut_off_minutes"
"""Commit metadata keys: what was withheld beside the recipe's own, up to when what had arrived was
known, and the cut-off where it is another than the experiment's."""


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What cycles are made with.

    Attributes:
        rejected: entries of a reject list.
        withheld: observations that no analysis sees, for verification, beside those that the
            recipe withholds.
        moment: minutes since `MINUTES_EPOCH`; what arrived later is not known. None for all that
            is stored.
        cut_off: leave out what arrived later than this after an analysis time; None for no limit.
    """

    rejected: tuple[Rejection, ...]
    withheld: tuple[Rejection, ...] = ()
    moment: int | None = None
    cut_off: datetime.timedelta | None = None

    @classmethod
    def usual(cls, recipe: Recipe, settings: ExperimentSettings) -> "Circumstances":
        """Those of an experiment's own cycles: the reject list beside the recipe, as it is now."""
        return cls(rejected_of(recipe.name), cut_off=settings.cut_off)

    def record(self, settings: ExperimentSettings) -> dict[str, Any]:
        """What a commit says of them; nothing of what is usual."""
        found = list_record(self.rejected)
        if self.withheld:
            found[WITHHELD] = [one.model_dump(mode="json") for one in self.withheld]
        if self.moment is not None:
            found[MOMENT] = str(from_minutes(np.array([self.moment]))[0].astype("datetime64[m]"))
        if self.cut_off != settings.cut_off:
            limit = self.cut_off
            found[CUT_OFF] = None if limit is None else limit / datetime.timedelta(minutes=1)
        return found
