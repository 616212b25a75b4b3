"""Pictures for reports; every function takes arrays and returns a matplotlib figure."""

from vardax_core.calibration.plots.fields import (
    FieldPanel,
    PointSeries,
    SectionPanel,
    maps,
    point_series,
    section,
)
from vardax_core.calibration.plots.spectra import reliability, spectra_curves
from vardax_core.calibration.plots.style import png_bytes, save
from vardax_core.calibration.plots.verification import (
    comparison,
    coverage_curve,
    crps_bars,
    innovation_series,
    rank_histogram,
    spread_error,
)

__all__ = [
    "FieldPanel",
    "PointSeries",
    "SectionPanel",
    "comparison",
    "coverage_curve",
    "crps_bars",
    "innovation_series",
    "maps",
    "png_bytes",
    "point_series",
    "rank_histogram",
    "reliability",
    "save",
    "section",
    "spectra_curves",
    "spread_error",
]
