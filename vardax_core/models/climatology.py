"""The forecast that knows the calendar and nothing else."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel

MINUTES_A_DAY = 24 * 60

Minutes = TypeVar("Minutes", int, Array, np.ndarray)


def slot_of(time: Minutes, slots: int) -> Minutes:
    """Which of `slots` equal parts of the day the minutes `time` since `MINUTES_EPOCH` fall in."""
    return (time % MINUTES_A_DAY) * slots // MINUTES_A_DAY


class Climatology(AbstractForecastModel):
    """Members drawn from a Gaussian climatology, whatever the state was.

    The members are antithetic pairs about the climatological mean, so that with an even number
    of members their average is that mean.

    Attributes:
        mean: climatological mean for each of `slots` equal parts of the day.
        square_root: columns L with covariance B = L L' of the anomalies.
        interval: minutes of one step.
        state_shape: shape of one state.
    """

    mean: Float[Array, "slots *state"]
    square_root: Float[Array, "*state rank"]
    interval: int = eqx.field(static=True)
    state_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if self.mean.shape[1:] != self.state_shape or self.square_root.shape[:-1] != (
            self.state_shape
        ):
            raise ValueError(
                f"Climatology: mean {self.mean.shape} and square_root {self.square_root.shape} "
                f"must be (slots, *{self.state_shape}) and (*{self.state_shape}, rank)."
            )

    def mean_at(self, time: Int[Array, ""]) -> Float[Array, "*state"]:
        """The climatological mean at the minute `time` since `MINUTES_EPOCH`."""
        return self.mean[slot_of(time, self.mean.shape[0])]

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        noise = jax.random.normal(key, self.square_root.shape[-1:], self.square_root.dtype)
        return self.mean_at(time + self.interval) + self.square_root @ noise

    def forecast(
        self, ensemble: Float[Array, "member *state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "member *state"]:
        members, rank = ensemble.shape[0], self.square_root.shape[-1]
        half = jax.random.normal(key, (members // 2, rank), self.square_root.dtype)
        middle = jnp.zeros((members % 2, rank), half.dtype)
        noise = jnp.concatenate([half, -half, middle])
        anomalies = jnp.tensordot(noise, self.square_root, axes=(1, -1))
        return self.mean_at(time + self.interval)[None] + anomalies
