"""Pictures for reports; every function takes arrays and returns a matplotlib figure."""

from vardax_core.calibration.plots.fields import (
    FieldPanel,
    PointSeries,
    SectionPanel,
    maps,
    point_series,
    section,
)
from vardax_core.calibration.plots.observed_map import ObservedMap, observed_map
from vardax_core.calibration.plots.style import png_bytes, save
from vardax_core.calibration.plots.verification import (
    comparison,
    coverage_curve,
    crps_bars,
    innovation_series,
    rank_histogram,
    spread_error,
)
from vardax_core.calibration.plots.withheld import (
    withheld_comparison,
    withheld_coverage,
    withheld_pit,
)

__all__ = [
    "FieldPanel",
    "ObservedMap",
    "PointSeries",
    "SectionPanel",
    "comparison",
    "coverage_curve",
    "crps_bars",
    "innovation_series",
    "maps",
    "observed_map",
    "png_bytes",
    "point_series",
    "rank_histogram",
    "save",
    "section",
    "spread_error",
    "withheld_comparison",
    "withheld_coverage",
    "withheld_pit",
]
