"""Sums over one cycle from which every score of any period can be computed.

A score is a function of sums of these statistics, and sums can be added in any order and over
any cut of the period, so that verifying ten years opens no ensemble.
"""

from vardax_core.calibration.statistics.base import (
    AbstractFieldStatistic,
    AbstractStatistic,
    Dimension,
    Sum,
)
from vardax_core.calibration.statistics.fields import (
    COVERAGE_LEVELS,
    HALF_WIDTHS,
    LEVEL,
    LEVEL_90,
    PIT_BIN,
    SPREAD_BIN,
)
from vardax_core.calibration.statistics.registry import (
    FIELD_SUMS,
    REPORTED_STATISTICS,
    SMOOTHED_STATISTICS,
    STATISTICS,
    SUMS,
    cycle_statistics,
    declared_sums,
)
from vardax_core.calibration.statistics.rules import (
    LARGEST_PAIRED_ENSEMBLE,
    fair_crps,
    fair_energy_score,
    gaussian_crps,
    truth_rank,
)
from vardax_core.calibration.statistics.view import CycleView, Smoothed

__all__ = [
    "COVERAGE_LEVELS",
    "FIELD_SUMS",
    "HALF_WIDTHS",
    "LARGEST_PAIRED_ENSEMBLE",
    "LEVEL",
    "LEVEL_90",
    "PIT_BIN",
    "REPORTED_STATISTICS",
    "SMOOTHED_STATISTICS",
    "SPREAD_BIN",
    "STATISTICS",
    "SUMS",
    "AbstractFieldStatistic",
    "AbstractStatistic",
    "CycleView",
    "Dimension",
    "Smoothed",
    "Sum",
    "cycle_statistics",
    "declared_sums",
    "fair_crps",
    "fair_energy_score",
    "gaussian_crps",
    "truth_rank",
]
