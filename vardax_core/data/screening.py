"""The quality control that a recipe asks for, on the observations of many times."""

import numpy as np
import xarray as xr

from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import places_of
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.observations.screening import (
    flag_blacklisted,
    flag_thinned,
    flag_unlike_neighbours,
)
from vardax_core.state.grids import AbstractGrid


def screen(observations: xr.Dataset, recipe: Recipe, grid: AbstractGrid) -> xr.Dataset:
    """Flag what the recipe's `screening` does not let pass; values stay as reported.

    Each valid time is screened alone, so that any part of a period gives the same codes: the
    blacklist first, then the comparison with neighbours, thinning among what is left, and last
    what is kept of the withheld stations.

    Arguments:
        observations: as `observe` makes them.
        recipe: what says how to screen.
        grid: of the state.

    Raises:
        RecipeError: if a station of the blacklist does not exist, or no station would be left.
    """
    wanted = recipe.screening
    if wanted is None:
        return observations
    stations = np.arange(observations.sizes["station"])
    unknown = sorted(set(wanted.blacklist) - set(stations.tolist()))
    if unknown:
        raise RecipeError(
            f"Recipe '{recipe.name}': screening.blacklist names the stations {unknown}, but there "
            f"are those from 0 to {stations.size - 1}; take them out."
        )
    name = recipe.variable.name
    places = places_of(observations, recipe)
    values = observations[name].transpose("time", "station").to_numpy()
    errors = observations[f"{name}_error"].transpose("time", "station").to_numpy()
    codes = observations[QUALITY_CONTROL].transpose("time", "station").to_numpy().copy()
    withheld = _withheld(recipe, stations)
    blacklist, buddies = np.asarray(wanted.blacklist, np.int64), wanted.buddy_check
    for row in range(len(codes)):
        found = flag_blacklisted(codes[row], stations, blacklist)
        if buddies is not None:
            found = flag_unlike_neighbours(
                found,
                values[row].astype(np.float64),
                np.full(stations.size, buddies.expected_sd),
                places,
                grid,
                radius=buddies.radius,
                k=buddies.k,
                fewest=buddies.fewest,
            )
        if wanted.thinning is not None:
            found = flag_thinned(
                found, places, errors[row].astype(np.float64), wanted.thinning, grid
            )
        found = found.copy()
        found[withheld & (found == QualityCode.KEPT)] = QualityCode.WITHHELD
        codes[row] = found
    attrs = observations[QUALITY_CONTROL].attrs
    return observations.assign({QUALITY_CONTROL: (("time", "station"), codes, attrs)})


def _withheld(recipe: Recipe, stations: np.ndarray) -> np.ndarray:
    """Which stations no analysis may see; of those taken from the network, none is blacklisted."""
    drawn = np.zeros(stations.size, bool)
    wanted = recipe.screening.withheld if recipe.screening else None
    if wanted is None:
        return drawn
    if wanted.beside:
        drawn[-wanted.count :] = True
        return drawn
    usable = np.setdiff1d(stations, recipe.screening.blacklist if recipe.screening else ())
    if wanted.count >= usable.size:
        raise RecipeError(
            f"Recipe '{recipe.name}': screening.withheld takes {wanted.count} of {usable.size} "
            "usable stations, which leaves none to analyse; lower its count."
        )
    chosen = np.random.default_rng(wanted.seed).choice(usable, wanted.count, replace=False)
    drawn[chosen] = True
    return drawn
