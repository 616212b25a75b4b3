"""The statistics that a store keeps of each cycle, as scores are computed from them."""

import xarray as xr

from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.data.recipe import Recipe

NOT_SUMS = ("result", "spread_factor", "analysis_method", "trust_score", "replaced_members")
"""Diagnostics of a store that are no sums of statistics."""


def stored_statistics(recipe: Recipe, diagnostics: xr.Dataset) -> xr.Dataset:
    """The statistics of each cycle of a store, as `compute_scores` takes them.

    Arguments:
        recipe: of the experiment.
        diagnostics: the store's group.
    """
    return statistics_dataset(
        {str(n): a.to_numpy() for n, a in diagnostics.data_vars.items() if n not in NOT_SUMS},
        diagnostics["time"].to_numpy(),
        units=recipe.variable.units,
        spread_scale=recipe.observation.error_sd,
    )
