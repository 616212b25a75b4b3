"""Forecasts that keep a part of what they were given."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.settings import AbstractModelSettings, Axis, numbered


class DampedPersistence(AbstractForecastModel):
    """Anomalies from the climatology that decay, and noise that makes up for what is lost.

    x' - c(t + interval) = a (x - c(t)) + (1 - a^2)^1/2 e with e drawn from the covariance of the
    climatology, which is therefore stationary. Of all linear forecasts that know one number, this
    one errs least if a is the autocorrelation over one step; with 1 it is persistence.

    Attributes:
        climatology: mean for each slot of the day, and covariance of the anomalies.
        correlation: a, from 0 to 1; of all points, or of each channel.
        interval: minutes of valid time that one step stands for.

    Source: Lorenz (1973), doi:10.1175/1520-0450(1973)012<0543:OTEOPO>2.0.CO;2
    """

    climatology: Climatology
    correlation: Float[Array, "*#state"]
    interval: int = eqx.field(static=True)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.climatology.state_shape

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        climate, dtype = self.climatology, state.dtype
        kept, root = self.correlation.astype(dtype), climate.square_root.astype(dtype)
        now, later = (climate.mean_at(t).astype(dtype) for t in (time, time + self.interval))
        lost = jnp.sqrt(jnp.maximum(1 - kept**2, 0.0))
        noise = jax.random.normal(key, root.shape[-1:], dtype)
        return later + kept * (state - now) + lost * (root @ noise)


class DampedPersistenceSettings(AbstractModelSettings):
    """Settings of `DampedPersistence` on a ring of points that vary independently."""

    name: ClassVar[str] = "damped-persistence"
    title: ClassVar[str] = "anomalies decay, and noise makes up for what is lost"
    source: ClassVar[str] = "doi:10.1175/1520-0450(1973)012<0543:OTEOPO>2.0.CO;2"
    ring: ClassVar[bool] = True

    size: int = Field(default=40, ge=1, description="number of variables")
    correlation: float = Field(
        default=0.9, ge=0, lt=1, description="of a variable with itself one step later"
    )
    mean: float = Field(default=0.0, description="about which the variables vary")
    sd: float = Field(default=1.0, gt=0, description="standard deviation of each variable")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.size,)

    def build(self, interval: int) -> DampedPersistence:
        climatology = Climatology(
            mean=jnp.full((1, self.size), self.mean, jnp.float32),
            square_root=self.sd * jnp.eye(self.size, dtype=jnp.float32),
            interval=interval,
            state_shape=self.state_shape,
        )
        return DampedPersistence(  # type: ignore[call-arg]
            climatology=climatology,
            correlation=jnp.asarray(self.correlation, jnp.float32),
            interval=interval,
        )

    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        return self.mean + self.sd * jax.random.normal(key, self.state_shape, dtype)

    def axes(self) -> tuple[Axis, ...]:
        return (numbered(self.size, "index on the ring"),)
