"""A linear model given by its matrix."""

import math

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel


class LinearModel(AbstractForecastModel):
    """x(t + interval) = A x(t), with which the Kalman filter is exact.

    Attributes:
        matrix: A over the flattened state; the identity makes a persistence forecast.
        state_shape: shape of one state.
        interval: minutes of valid time that one step stands for.

    Raises:
        ValueError: if the matrix does not fit the state.
    """

    matrix: Float[Array, "n n"]
    state_shape: tuple[int, ...] = eqx.field(static=True)
    interval: int = eqx.field(static=True, default=60)

    def __check_init__(self):
        size = math.prod(self.state_shape)
        if self.matrix.shape != (size, size):
            raise ValueError(
                f"LinearModel: a matrix {self.matrix.shape} does not step a state "
                f"{self.state_shape} of {size} points."
            )

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        return (self.matrix @ state.reshape(-1)).reshape(self.state_shape)
