"""What a recipe gives a method: the prior that it may learn from, and the network it sees."""

import numpy as np
import xarray as xr

from vardax_core.data.recipe import Recipe
from vardax_core.data.truth_sources import TwinSource
from vardax_core.data.twin import draw_network
from vardax_core.methods.base import Problem
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.priors import AbstractPrior, SimulationPrior
from vardax_core.observations.operators import sampling
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.observing import FixedNetwork


def prior_of(recipe: Recipe, nature_run: xr.Dataset | None = None) -> AbstractPrior:
    """Give what a recipe's methods may learn from.

    Arguments:
        nature_run: fields of the training period, where they are at hand.
    """
    if isinstance(recipe.source, TwinSource):
        return SimulationPrior(recipe)
    return FieldsPrior(recipe, nature_run)


def problem_of(
    recipe: Recipe,
    prior: AbstractPrior,
    grid: AbstractGrid,
    members: int,
    stations: np.ndarray | None = None,
) -> Problem:
    """Put together what a method is built for.

    Arguments:
        grid: of a state.
        stations: flat index of the grid point of each; by default those that the recipe draws.
    """
    chosen = draw_network(recipe, grid.shape) if stations is None else stations
    return Problem(
        recipe=recipe,
        prior=prior,
        operator=sampling(chosen, grid.shape),
        observing=FixedNetwork(recipe.error_sd),
        grid=grid,
        stations=chosen,
        members=members,
    )
