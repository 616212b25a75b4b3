"""The statistics of every cycle."""

from collections.abc import Iterable

from jaxtyping import Array

from vardax_core.calibration.statistics import fields, observed
from vardax_core.calibration.statistics.base import (
    AbstractFieldStatistic,
    AbstractStatistic,
    Sum,
)
from vardax_core.calibration.statistics.view import CycleView

STATISTICS: tuple[AbstractStatistic, ...] = (
    fields.Weights(),
    fields.AnalysisMoments(),
    fields.BackgroundMoments(),
    fields.GaussianCRPS(),
    fields.FairCRPS(),
    fields.EnergyScore(),
    fields.Coverage(),
    fields.PitHistogram(),
    fields.RankHistogram(),
    fields.SpreadAndError(),
    fields.Quarters(),
    observed.Innovations(),
    observed.Withheld(),
)
"""What is kept of every cycle."""

SMOOTHED_STATISTICS: tuple[AbstractStatistic, ...] = (fields.SmoothedMoments(),)
"""What is kept beside it where there is a smoother."""


REPORTED_STATISTICS: tuple[AbstractStatistic, ...] = (observed.WithheldPrediction(),)
"""What is kept beside it where observations are real."""


def declared_sums(statistics: Iterable[AbstractStatistic]) -> dict[str, Sum]:
    """What statistics give, by name."""
    return {one.name: one for statistic in statistics for one in statistic.sums}


SUMS = declared_sums((*STATISTICS, *SMOOTHED_STATISTICS, *REPORTED_STATISTICS))
"""Everything that a store may hold of a cycle."""

FIELD_SUMS = frozenset(
    declared_sums(
        statistic
        for statistic in (*STATISTICS, *SMOOTHED_STATISTICS)
        if isinstance(statistic, AbstractFieldStatistic)
    )
)
"""Those that every channel has, where a state has channels."""


def cycle_statistics(view: CycleView) -> dict[str, Array]:
    """The sums of one cycle; those of a smoothed analysis are among them if there is one, and
    those of the predictions of real observations where these are real."""
    smoothed = SMOOTHED_STATISTICS if view.fields.smoothed is not None else ()
    reported = REPORTED_STATISTICS if view.reported else ()
    found: dict[str, Array] = {}
    for statistic in (*STATISTICS, *smoothed, *reported):
        found |= statistic.of(view)
    return found
