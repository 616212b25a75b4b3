"""Stochastic variants of a forecast model."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel


class AdditiveNoise(AbstractForecastModel):
    """A model whose every step is followed by a draw of independent Gaussian noise.

    Attributes:
        model: the model that is perturbed.
        sd: standard deviation of the noise of one step, in the unit of the state.
    """

    model: AbstractForecastModel
    sd: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.sd >= 0:
            raise ValueError(f"AdditiveNoise: sd must be >= 0, got {self.sd}.")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.model.state_shape

    @property
    def interval(self) -> int:
        return self.model.interval

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        model_key, noise_key = jax.random.split(key)
        new = self.model.step(state, time, key=model_key)
        return new + self.sd * jax.random.normal(noise_key, new.shape, new.dtype)


class PerturbedTendency(AbstractForecastModel):
    """A model whose change over each step is multiplied by one random factor 1 + sd e.

    Attributes:
        model: the model that is perturbed.
        sd: standard deviation of the factor.

    Source: Buizza et al. (1999), doi:10.1002/qj.49712556006
    """

    model: AbstractForecastModel
    sd: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.sd >= 0:
            raise ValueError(f"PerturbedTendency: sd must be >= 0, got {self.sd}.")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.model.state_shape

    @property
    def interval(self) -> int:
        return self.model.interval

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        model_key, noise_key = jax.random.split(key)
        change = self.model.step(state, time, key=model_key) - state
        return state + (1 + self.sd * jax.random.normal(noise_key, (), state.dtype)) * change
