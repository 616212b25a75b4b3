"""What forecasts from files say of the states, where nothing else does."""

import functools
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.recipe import Recipe
from vardax_core.data.state_frame import data_folders
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.methods.priors import AbstractPrior, UnknownPriorError
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.persistence import DampedPersistence

MOST = 200
"""Fields from which a climate is made; of more, every second or third is taken."""


class ForecastPrior(AbstractPrior):
    """Forecasts in files: all of their fields and members are what the climate is known by.

    Where the files have no background for a cycle, the analysis before persists.

    Attributes:
        recipe: with the files.
    """

    simulates: ClassVar[bool] = False
    dense: ClassVar[bool] = False

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    @property
    def ring(self) -> bool:
        return False

    @property
    def local(self) -> bool:
        return True

    @functools.cached_property
    def climatology(self) -> Climatology:
        """Mean and covariance of the fields.

        Raises:
            SourceError: if a file cannot be used.
        """
        forecast = GivenForecast(self.recipe, data_folders())
        return climate_of_fields(
            forecast.fields.reshape(-1, *forecast.fields.shape[2:]),
            interval=duration_to_minutes(self.recipe.cycle_interval),
        )

    @property
    def model(self) -> AbstractForecastModel:
        climatology = self.climatology
        return DampedPersistence(  # type: ignore[call-arg]
            climatology=climatology,
            correlation=jnp.ones((), jnp.float32),
            interval=climatology.interval,
        )

    @property
    def covariance(self) -> Float[Array, "n n"]:
        raise UnknownPriorError(
            f"{self.recipe.name}: the covariances of all points with one another are not held "
            "where forecasts come from files; choose a local method."
        )

    @property
    def varying(self) -> Bool[np.ndarray, "*state"]:
        return np.asarray(jnp.sum(self.climatology.square_root**2, axis=-1)) > 0


def climate_of_fields(fields: Float[np.ndarray, "field *state"], *, interval: int) -> Climatology:
    """Make a climatology of fields, each of which is as likely as the others.

    Arguments:
        fields: NaN where missing, which then are taken to be the mean.
        interval: minutes of one forecast of the climatology.
    """
    some = fields[:: -(-len(fields) // MOST)].astype(np.float64)
    known = np.isfinite(some)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, some, 0.0).sum(axis=0) / count
    departures = np.where(known, some - mean, 0.0) / np.sqrt(np.maximum(count - 1, 1))
    return Climatology(
        mean=jnp.asarray(mean[None], jnp.float32),
        square_root=jnp.asarray(np.moveaxis(departures, 0, -1), jnp.float32),
        interval=interval,
        state_shape=some.shape[1:],
    )
