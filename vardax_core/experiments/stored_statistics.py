"""The statistics that a store keeps of each cycle, as scores are computed from them."""

from collections.abc import Iterable

import xarray as xr

from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.calibration.statistics import STATISTICS, SUMS, declared_sums
from vardax_core.data.recipe import Recipe
from vardax_core.store.errors import StructureError


def refuse_older_store(diagnostics: Iterable[object]) -> None:
    """Refuse to score or continue a store whose diagnostics are those of an earlier version.

    Arguments:
        diagnostics: names of the variables in that group.

    Raises:
        StructureError: if statistics of this version are missing.
    """
    there = set(diagnostics)
    missing = [name for name in declared_sums(STATISTICS) if name not in there]
    if missing:
        raise StructureError(
            f"diagnostics: expected {', '.join(missing)}, which a store made by an earlier version "
            "of vardax does not hold. Its analyses can be opened and exported as before; to score "
            "or to continue it, assimilate its period again in a store of its own (another --root)."
        )


def stored_statistics(
    recipe: Recipe, diagnostics: xr.Dataset, channel: str | None = None
) -> xr.Dataset:
    """The statistics of each cycle of a store, as `compute_scores` takes them.

    Arguments:
        recipe: of the experiment.
        diagnostics: the store's group.
        channel: name of the variable whose fields are scored; by default the first.

    Raises:
        RecipeError: if there is no such variable.
        StructureError: if an earlier version made the store.
    """
    refuse_older_store(diagnostics.data_vars)
    variable = recipe.variable_of(channel or recipe.variable.name)
    found = statistics_dataset(
        {name: diagnostics[name].to_numpy() for name in SUMS if name in diagnostics},
        diagnostics["time"].to_numpy(),
        units=variable.units,
        spread_scale=recipe.error_sd,
        channels=recipe.channels,
    )
    return found.sel(channel=variable.name, drop=True) if recipe.channels else found
