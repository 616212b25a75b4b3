"""What every score is: a function of sums of statistics, with its estimator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vardax_core.calibration.statistics import LEVEL_90

Numbers = np.ndarray | np.floating
Sums = Mapping[str, Numbers]

NO_TRUTH = "no point with a truth was scored"
NO_OBSERVATIONS = "no observation was used"
ONE_MEMBER = "the fair estimator needs a truth and at least two members"
NOTHING_FINITE = "a cycle left no finite member"
NOT_SMOOTHED = "no smoothed analysis with a truth was scored"
NOTHING_WITHHELD = "no observation was withheld"
REASONS = {
    "cycles": NO_TRUTH,
    "weight": NO_TRUTH,
    "ensemble_weight": ONE_MEMBER,
    "observations": NO_OBSERVATIONS,
    "withheld_observations": NOTHING_WITHHELD,
    "smoothed_cycles": NOT_SMOOTHED,
    "smoothed_weight": NOT_SMOOTHED,
}


@dataclass(frozen=True)
class ScoreDefinition:
    """A score as a function of sums; the function works on one period or on many resamples."""

    name: str
    label: str
    estimator: str
    formula: Callable[[Sums], Numbers]
    needs: str
    in_state_units: bool = True
    interval: bool = False


def divide(numerator: Numbers, denominator: Numbers) -> np.ndarray:
    """Quotient of two arrays, NaN where the denominator is not positive."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, float), np.asarray(denominator, float)
    )
    nan = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=nan, where=denominator > 0)


def _mean(name: str, count: str) -> Callable[[Sums], Numbers]:
    return lambda s: divide(s[name], s[count])


def _root(name: str, count: str) -> Callable[[Sums], Numbers]:
    return lambda s: np.sqrt(divide(s[name], s[count]))


def _spread_over_rmse(prefix: str = "") -> Callable[[Sums], Numbers]:
    return lambda s: np.sqrt(divide(s[f"{prefix}variance"], s[f"{prefix}squared_error"]))


def _root_of_positive(value: Numbers) -> Numbers:
    return np.sqrt(np.where(value >= 0, value, np.nan))


def _desroziers_background(s: Sums) -> Numbers:
    return divide(s["squared_innovation"] - s["innovation_residual"], s["observations"])


_TIME_MEAN = "time mean over the cycles"
_POOLED = "over all points of all cycles together"
_RATIO = f"root of mean variance over mean squared error, {_POOLED}"
_TARGET = (
    "1 if mean and spread are those of the truth given the observations; for M members that are "
    "equals of the truth and their plain average sqrt(M / (M + 1)), Fortin et al. (2014), "
    "doi:10.1175/JHM-D-14-0008.1"
)
_DESROZIERS = "Desroziers et al. (2005), doi:10.1256/qj.05.108"

DEFINITIONS = (
    ScoreDefinition(
        "rmse", "rmse.a", f"{_TIME_MEAN} of the RMSE of the analysis mean",
        _mean("rmse", "cycles"), "cycles", interval=True,
    ),
    ScoreDefinition(
        "rmse_pooled", "RMSE (pooled)", f"root mean squared error {_POOLED}",
        _root("squared_error", "weight"), "weight", interval=True,
    ),
    ScoreDefinition(
        "bias", "bias", "mean of analysis mean - truth", _mean("error", "weight"), "weight",
        interval=True,
    ),
    ScoreDefinition(
        "mae", "mean absolute error", "mean of |analysis mean - truth|",
        _mean("absolute_error", "weight"), "weight", interval=True,
    ),
    ScoreDefinition(
        "spread", "spread", f"{_TIME_MEAN} of the root mean analysis variance",
        _mean("spread", "cycles"), "cycles", interval=True,
    ),
    ScoreDefinition(
        "spread_pooled", "spread (pooled)", f"root mean analysis variance {_POOLED}",
        _root("variance", "weight"), "weight", interval=True,
    ),
    ScoreDefinition(
        "spread_over_rmse", "spread/RMSE", f"{_RATIO}; {_TARGET}",
        _spread_over_rmse(), "weight", False, True,
    ),
    ScoreDefinition(
        "crps_gaussian", "CRPS (Gaussian)",
        "closed form for N(mean, spread^2), Gneiting et al. (2005), doi:10.1175/MWR2904.1",
        _mean("crps_gaussian_sum", "weight"), "weight", interval=True,
    ),
    ScoreDefinition(
        "crps_fair", "CRPS (fair ensemble)",
        "of the members, fair estimator, Ferro (2014), doi:10.1002/qj.2270",
        _mean("crps_fair_sum", "ensemble_weight"), "ensemble_weight", interval=True,
    ),
    ScoreDefinition(
        "energy_score", "energy score (fair)",
        f"{_TIME_MEAN} of the fair energy score of whole states in the norm root of mean square, "
        "Gneiting and Raftery (2007), doi:10.1198/016214506000001437",
        lambda s: np.where(
            np.asarray(s["ensemble_weight"]) > 0, divide(s["energy_score"], s["cycles"]), np.nan
        ),
        "ensemble_weight", interval=True,
    ),
    ScoreDefinition(
        "coverage_90", "90 % coverage",
        "share of truths within mean +- 1.645 spread; 0.9 if calibrated and Gaussian",
        _mean("coverage_90", "weight"), "weight", False, True,
    ),
    ScoreDefinition(
        "background_rmse", "background RMSE", f"{_TIME_MEAN} of the RMSE of the background mean",
        _mean("background_rmse", "cycles"), "cycles", interval=True,
    ),
    ScoreDefinition(
        "background_spread", "background spread", f"{_TIME_MEAN} of the background spread",
        _mean("background_spread", "cycles"), "cycles", interval=True,
    ),
    ScoreDefinition(
        "background_spread_over_rmse", "background spread/RMSE", _RATIO,
        _spread_over_rmse("background_"), "weight", False, True,
    ),
    ScoreDefinition(
        "background_bias", "background bias", "mean of background mean - truth",
        _mean("background_error", "weight"), "weight", interval=True,
    ),
    ScoreDefinition(
        "innovation_mean", "O-B mean", "mean over used observations",
        _mean("innovation", "observations"), "observations", interval=True,
    ),
    ScoreDefinition(
        "innovation_rms", "O-B rms", "root mean square over used observations",
        _root("squared_innovation", "observations"), "observations", interval=True,
    ),
    ScoreDefinition(
        "residual_mean", "O-A mean", "mean over used observations",
        _mean("residual", "observations"), "observations", interval=True,
    ),
    ScoreDefinition(
        "residual_rms", "O-A rms", "root mean square over used observations",
        _root("squared_residual", "observations"), "observations", interval=True,
    ),
    ScoreDefinition(
        "innovation_chi2", "innovation chi2 per observation",
        "mean of (O-B)^2 / (HBH' + R), diagonals only; 1 if the statistics are right",
        _mean("chi2", "observations"), "observations", False, True,
    ),
    ScoreDefinition(
        "desroziers_error_sd", "observation error sd (estimated)",
        f"root of mean (O-A)(O-B), {_DESROZIERS}",
        lambda s: _root_of_positive(divide(s["innovation_residual"], s["observations"])),
        "observations",
    ),
    ScoreDefinition(
        "signal", "degrees of freedom for signal per observation",
        "mean of (O-A)(A-B)/R: what the analysis takes from an observation, 0 to 1 "
        "(Lupu et al. 2011, doi:10.1175/2010MWR3404.1)",
        _mean("signal_sum", "observations"), "observations", False, True,
    ),
    ScoreDefinition(
        "assumed_error_sd", "observation error sd (assumed)", "root of mean R",
        _root("error_variance", "observations"), "observations",
    ),
    ScoreDefinition(
        "desroziers_background_sd", "background sd at observations (estimated)",
        f"root of mean (A-B)(O-B), {_DESROZIERS}",
        lambda s: _root_of_positive(_desroziers_background(s)), "observations",
    ),
    ScoreDefinition(
        "withheld_rms", "withheld O-A rms",
        "root mean square over observations that no analysis saw",
        _root("withheld_squared_residual", "withheld_observations"), "withheld_observations",
        interval=True,
    ),
    ScoreDefinition(
        "withheld_background_rms", "withheld O-B rms",
        "root mean square over observations that no analysis saw",
        _root("withheld_squared_innovation", "withheld_observations"), "withheld_observations",
        interval=True,
    ),
    ScoreDefinition(
        "withheld_mean", "withheld O-A mean", "mean over observations that no analysis saw",
        _mean("withheld_residual", "withheld_observations"), "withheld_observations",
        interval=True,
    ),
    ScoreDefinition(
        "withheld_chi2", "withheld chi2 per observation",
        "mean of (O-A)^2 / (HAH' + R) over observations that no analysis saw; 1 if calibrated",
        _mean("withheld_chi2", "withheld_observations"), "withheld_observations", False, True,
    ),
    ScoreDefinition(
        "assumed_background_sd", "background sd at observations (assumed)", "root of mean HBH'",
        _root("observed_background_variance", "observations"), "observations",
    ),
)  # fmt: skip


SMOOTHED_DEFINITIONS = (
    ScoreDefinition(
        "smoothed_rmse", "smoothed rmse", f"{_TIME_MEAN} of the RMSE of the smoothed mean",
        _mean("smoothed_rmse", "smoothed_cycles"), "smoothed_cycles", interval=True,
    ),
    ScoreDefinition(
        "smoothed_spread", "smoothed spread", f"{_TIME_MEAN} of the smoothed spread",
        _mean("smoothed_spread", "smoothed_cycles"), "smoothed_cycles", interval=True,
    ),
    ScoreDefinition(
        "smoothed_spread_over_rmse", "smoothed spread/RMSE", _RATIO,
        _spread_over_rmse("smoothed_"), "smoothed_weight", False, True,
    ),
    ScoreDefinition(
        "smoothed_bias", "smoothed bias", "mean of smoothed mean - truth",
        _mean("smoothed_error", "smoothed_weight"), "smoothed_weight", interval=True,
    ),
)  # fmt: skip
"""Scores of an experiment with a lag."""


def _withheld_ratio(s: Sums) -> Numbers:
    return np.sqrt(divide(s["withheld_predicted_variance"], s["withheld_squared_residual"]))


REPORTED_DEFINITIONS = (
    ScoreDefinition(
        "withheld_crps", "withheld CRPS",
        "closed form for N(HA, HAH' + R) at observations that no analysis saw, Gneiting et al. "
        "(2005), doi:10.1175/MWR2904.1",
        _mean("withheld_crps_sum", "withheld_observations"), "withheld_observations", interval=True,
    ),
    ScoreDefinition(
        "withheld_spread", "withheld spread",
        "root of mean HAH' + R at observations that no analysis saw",
        _root("withheld_predicted_variance", "withheld_observations"), "withheld_observations",
        interval=True,
    ),
    ScoreDefinition(
        "withheld_spread_over_rms", "withheld spread/RMS",
        "root of mean HAH' + R over mean squared O-A at observations that no analysis saw; 1 if "
        "calibrated",
        _withheld_ratio, "withheld_observations", False, True,
    ),
    ScoreDefinition(
        "withheld_coverage_90", "withheld 90 % coverage",
        "share of observations that no analysis saw within 1.645 root of HAH' + R; 0.9 if "
        "calibrated and Gaussian",
        _mean("withheld_coverage_90", "withheld_observations"), "withheld_observations", False,
        True,
    ),
)  # fmt: skip
"""Scores of real observations that were withheld."""


def with_levels(
    series: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The statistics of every cycle with the counts of the 90 % interval by a name of their own."""
    found = dict(series)
    found["coverage_90"] = series["coverage"][:, LEVEL_90]
    if "withheld_coverage" in series:
        found["withheld_coverage_90"] = series["withheld_coverage"][:, LEVEL_90]
    return found


def definitions_for(names: Mapping[str, object]) -> tuple[ScoreDefinition, ...]:
    """The scores that can be computed of statistics with these names."""
    found: tuple[ScoreDefinition, ...] = DEFINITIONS
    if "smoothed_cycles" in names:
        found += SMOOTHED_DEFINITIONS
    if "withheld_crps_sum" in names:
        found += REPORTED_DEFINITIONS
    return found
