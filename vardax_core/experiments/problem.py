"""What a recipe gives a method: the prior that it may learn from, and the network it sees."""

import numpy as np
import xarray as xr

from vardax_core.data.observed_period import ObservedPeriod
from vardax_core.data.recipe import Recipe
from vardax_core.data.truth_sources import TwinSource
from vardax_core.data.twin import draw_network
from vardax_core.methods.base import Problem
from vardax_core.methods.channels_prior import ChannelsPrior
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.forecast_prior import ForecastPrior
from vardax_core.methods.priors import AbstractPrior, SimulationPrior
from vardax_core.methods.reported_prior import ReportedPrior
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import sampling
from vardax_core.observations.placement import PlacedPoints
from vardax_core.observations.settings import Sites
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.observing import FixedNetwork

Learnable = xr.Dataset | ObservedPeriod
"""Fields of a training period that are taken for the truth, or real observations."""


def prior_of(recipe: Recipe, learnable: Learnable | None = None) -> AbstractPrior:
    """Give what a recipe's methods may learn from.

    Arguments:
        learnable: what there is of the training period, where it is at hand.
    """
    if recipe.reported:
        assert not isinstance(learnable, xr.Dataset), "fields alone are no real observations"
        return (ChannelsPrior if recipe.channels else ReportedPrior)(recipe, learnable)
    if isinstance(recipe.source, TwinSource):
        return SimulationPrior(recipe)
    if recipe.training is None and recipe.forecast_files is not None:
        return ForecastPrior(recipe)
    assert not isinstance(learnable, ObservedPeriod), "simulated observations are no real ones"
    return FieldsPrior(recipe, learnable)


def operator_of(recipe: Recipe, sites: Sites) -> AbstractObservationOperator:
    """Give the observation operator of a simulated network.

    Raises:
        ValueError: if the recipe's operator does not fit the grid.
    """
    settings = recipe.simulation.operator
    if settings is None:
        return sampling(sites.points, sites.state_shape)
    return settings.build(sites)


def problem_of(
    recipe: Recipe,
    prior: AbstractPrior,
    grid: AbstractGrid,
    members: int,
    stations: np.ndarray | None = None,
) -> Problem:
    """Put together what a method is built for.

    Arguments:
        grid: of a state, or of each of its channels.
        stations: flat index in the state of each; by default those that the recipe draws.
    """
    chosen, shape = stations, recipe.state_shape(grid.shape)
    operator: AbstractObservationOperator
    if recipe.reported:
        operator = PlacedPoints.nowhere(shape, 2 ** len(grid.shape))
    else:
        chosen = draw_network(recipe, grid.shape) if stations is None else stations
        operator = operator_of(recipe, Sites(grid, chosen, shape))
    return Problem(
        recipe=recipe,
        prior=prior,
        operator=operator,
        observing=FixedNetwork(recipe.error_sd),
        grid=grid,
        stations=chosen,
        members=members,
    )
