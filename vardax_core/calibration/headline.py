"""Five numbers of the last cycles beside those of the cycles before them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from vardax_core.calibration.scored_by import BY_WITHHELD
from vardax_core.calibration.scores import Score, Scores, compute_scores

WITH_TRUTH = ("rmse", "crps_gaussian", "spread_over_rmse", "coverage_90", "innovation_chi2")
WITHOUT_TRUTH = (
    "innovation_rms",
    "residual_rms",
    "innovation_mean",
    "innovation_chi2",
    "desroziers_error_sd",
)
WITHHELD = (
    "withheld_rms",
    "withheld_background_rms",
    "withheld_mean",
    "withheld_chi2",
    "innovation_chi2",
)
TARGETS: Mapping[str, float] = {
    "rmse": 0.0,
    "crps_gaussian": 0.0,
    "spread_over_rmse": 1.0,
    "coverage_90": 0.9,
    "innovation_chi2": 1.0,
    "innovation_rms": 0.0,
    "innovation_mean": 0.0,
    "withheld_rms": 0.0,
    "withheld_background_rms": 0.0,
    "withheld_mean": 0.0,
    "withheld_chi2": 1.0,
    "withheld_crps": 0.0,
    "withheld_spread_over_rms": 1.0,
    "withheld_coverage_90": 0.9,
}
"""What a score should be as near to as it can."""


@dataclass(frozen=True)
class Headline:
    """The last cycles of a method and as many before them.

    Attributes:
        cycles: in each of the two.
        now, before: their scores.
        validated: values of scores in the gates that let the weights go to work, by name.
    """

    cycles: int
    now: Scores
    before: Scores
    validated: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The five scores: by the truth where there is one, else by withheld observations where
        there are some, else by those that were used."""
        if np.isfinite(self.now["rmse"]):
            return WITH_TRUTH
        if BY_WITHHELD.crps in self.now.values and np.isfinite(self.now[BY_WITHHELD.crps]):
            return (*BY_WITHHELD[:1], *BY_WITHHELD[2:], "innovation_chi2")
        return WITHHELD if np.isfinite(self.now["withheld_rms"]) else WITHOUT_TRUTH


def headline(
    statistics: xr.Dataset,
    *,
    cycles: int | None = None,
    validated: Mapping[str, float] | None = None,
    key: PRNGKeyArray,
    units: str = "1",
) -> Headline:
    """Score the last cycles of a period and as many before them.

    Arguments:
        statistics: what `statistics_dataset` makes, one row for each cycle.
        cycles: in each of the two; half of the period by default and at most.
        validated: see `Headline`.
        key: for the bootstrap.
        units: unit of the state.

    Raises:
        ValueError: if `cycles` is not positive.
    """
    if cycles is not None and cycles < 1:
        raise ValueError(f"headline: cycles must be 1 or more, got {cycles}.")
    length = statistics.sizes["time"]
    half = length // 2 if cycles is None else min(cycles, length // 2)

    def scores(first: int, last: int) -> Scores:
        return compute_scores(statistics.isel(time=slice(first, last)), key=key, units=units)

    return Headline(
        cycles=half,
        now=scores(length - half, length),
        before=scores(length - 2 * half, length - half),
        validated=dict(validated or {}),
    )


def change(now: Score, before: Score) -> str:
    """An arrow, and whether that is better, if the two differ by more than chance explains.

    They do if the difference of the values exceeds the root of the sum of squares of half their
    95 % intervals.
    """
    chance = math.hypot(now.upper - now.lower, before.upper - before.lower) / 2
    difference = now.value - before.value
    if not (math.isfinite(chance) and math.isfinite(difference)):
        return "-"
    if abs(difference) <= chance:
        return "→"
    arrow = "↑" if difference > 0 else "↓"
    target = TARGETS.get(now.name)
    if target is None:
        return arrow
    nearer = abs(now.value - target) < abs(before.value - target)
    return f"{arrow} {'better' if nearer else 'worse'}"
