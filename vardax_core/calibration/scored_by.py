"""By what a comparison is made: by the truth, or by real observations that were withheld."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from vardax_core.calibration.scores import Scores


class ScoredBy(NamedTuple):
    """The names of five scores that mean the same of a truth and of withheld observations.

    Attributes:
        rmse, spread, ratio, crps, coverage: in the order of tables.
    """

    rmse: str
    spread: str
    ratio: str
    crps: str
    coverage: str

    @property
    def withheld(self) -> bool:
        """Whether they are of withheld observations."""
        return self is BY_WITHHELD

    @property
    def words(self) -> str:
        """What the five numbers are, in a sentence."""
        if self.withheld:
            return (
                "Scores are those of observations that no analysis saw, each predicted by the "
                "Gaussian with the analysis' equivalent for its mean and HAH' + R for its variance."
            )
        return (
            "rmse.a and spread: time means of the cycles' values; CRPS and coverage: of the "
            "Gaussian with the analysis mean and spread."
        )


BY_TRUTH = ScoredBy("rmse", "spread", "spread_over_rmse", "crps_gaussian", "coverage_90")
BY_WITHHELD = ScoredBy(
    "withheld_rms",
    "withheld_spread",
    "withheld_spread_over_rms",
    "withheld_crps",
    "withheld_coverage_90",
)


def scored_by(scores: Iterable[Scores]) -> ScoredBy:
    """Find what a comparison can be made by: the truth where there is one, else withheld
    observations if there are some."""
    every = list(scores)
    by_truth = any(np.isfinite(one["rmse"]) for one in every)
    by_withheld = any(
        BY_WITHHELD.crps in one.values and np.isfinite(one[BY_WITHHELD.crps]) for one in every
    )
    return BY_WITHHELD if by_withheld and not by_truth else BY_TRUTH
