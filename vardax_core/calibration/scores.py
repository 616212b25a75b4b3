"""Scores of a period from the sums of its cycles, each with its estimator and its uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, PRNGKeyArray
from scipy.special import chdtrc

from vardax_core.calibration.bootstrap import SHORTEST_PERIOD, block_length, resample_counts
from vardax_core.calibration.score_definitions import (
    NOTHING_FINITE,
    REASONS,
    Sums,
    definitions_for,
    with_levels,
)


@dataclass(frozen=True)
class Score:
    """One number of a report.

    Attributes:
        name: identifier, the key in `Scores.values`.
        label: what a reader sees.
        value: NaN where it cannot be said; `reason` then says why.
        lower, upper: 95 % confidence interval from the block bootstrap, NaN where not computed.
        units: CF unit.
        estimator: how the number is computed.
        reason: why the value is NaN, or None.
    """

    name: str
    label: str
    value: float
    lower: float
    upper: float
    units: str
    estimator: str
    reason: str | None


@dataclass(frozen=True)
class Scores:
    """The scores of one method over one period.

    Attributes:
        values: the scores by name.
        sums: sum over the period of every statistic, for the curves and histograms.
        cycles: cycles in the period; `values` use those of them that have a truth.
        block: length in cycles of the blocks of the bootstrap, 0 where there was none.
        spread_edges: lower edges of the bins of spread, in the unit of the state.
    """

    values: Mapping[str, Score]
    sums: Mapping[str, np.ndarray]
    cycles: int
    block: int
    spread_edges: np.ndarray

    def __getitem__(self, name: str) -> float:
        return self.values[name].value


def flatness(sums: Sums) -> tuple[float, float]:
    """Chi-square statistic of a rank histogram against a flat one, and its p-value.

    The p-value takes all points for independent; correlation in space and time makes it far too
    small, so that it ranks methods and proves nothing. Fractional weights are turned into an
    effective number of points, (sum w)^2 / sum w^2.

    Source: Hamill (2001), doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2
    """
    histogram, weight = np.asarray(sums["rank_histogram"], float), float(sums["weight"])
    if not weight > 0:
        return float("nan"), float("nan")
    effective = weight**2 / float(sums["squared_weight"])
    expected = 1 / len(histogram)
    statistic = effective * float(np.sum((histogram / weight - expected) ** 2)) / expected
    return statistic, float(chdtrc(len(histogram) - 1, statistic))


def compute_scores(
    statistics: xr.Dataset,
    *,
    key: PRNGKeyArray,
    units: str = "1",
    resamples: int = 400,
) -> Scores:
    """Scores of a period.

    Arguments:
        statistics: what `statistics_dataset` makes, one row for each cycle.
        key: for the block bootstrap of the confidence intervals.
        units: unit of the state.
        resamples: bootstrap resamples; 0 for no intervals.
    """
    series = {str(n): np.asarray(v, np.float64) for n, v in statistics.data_vars.items()}
    series = with_levels(series)
    cycles = statistics.sizes["time"]
    sums = {name: np.asarray(value.sum(axis=0)) for name, value in series.items()}
    resampled, block = _resample(series, cycles, resamples, key)
    values = {}
    for definition in definitions_for(series):
        lower = upper = float("nan")
        if definition.interval and resampled:
            lower, upper = _interval(np.asarray(definition.formula(resampled)))
        value = float(definition.formula(sums))
        values[definition.name] = Score(
            name=definition.name,
            label=definition.label,
            value=value,
            lower=lower,
            upper=upper,
            units=units if definition.in_state_units else "1",
            estimator=definition.estimator,
            reason=_reason(value, sums, definition.needs, cycles),
        )
    statistic, p_value = flatness(sums)
    estimator = (
        "chi-square of the rank histogram against a flat one, all points taken for independent: "
        "correlation in space and time makes the p-value too small (Hamill 2001)"
    )
    for name, label, value in (
        ("rank_chi2", "rank histogram chi2", statistic),
        ("rank_p_value", "rank histogram p-value", p_value),
    ):
        reason = _reason(value, sums, "weight", cycles)
        nan = float("nan")
        values[name] = Score(name, label, value, nan, nan, "1", estimator, reason)
    edges = np.asarray(statistics["spread_bin"], np.float64)
    return Scores(values=values, sums=sums, cycles=cycles, block=block, spread_edges=edges)


def _resample(
    series: Mapping[str, Float[np.ndarray, "time ..."]],
    cycles: int,
    resamples: int,
    key: PRNGKeyArray,
) -> tuple[Sums, int]:
    if cycles < SHORTEST_PERIOD or resamples < 1:
        return {}, 0
    block = block_length(series["rmse"] if np.any(series["cycles"]) else series["chi2"])
    flat = {name: value for name, value in series.items() if value.ndim == 1}
    parts = [
        {name: counts @ value for name, value in flat.items()}
        for counts in resample_counts(cycles, block, resamples=resamples, key=key)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in flat}, block


def _interval(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size < 0.95 * values.size or not finite.size:
        return float("nan"), float("nan")
    lower, upper = np.quantile(finite, (0.025, 0.975))
    return float(lower), float(upper)


def _reason(value: float, sums: Sums, needs: str, cycles: int) -> str | None:
    if np.isfinite(value):
        return None
    if not cycles:
        return "the period holds no cycle"
    if not sums[needs] > 0:
        return REASONS[needs]
    if np.isnan(sums["rmse"]):
        return NOTHING_FINITE
    return "not defined: the quantity under the fraction or the root is not positive"
