"""The two-scale model of Lorenz (1996)."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.integrate import RungeKutta4, integrate
from vardax_core.models.settings import AbstractModelSettings, Axis, numbered


class TwoScaleLorenz96(AbstractForecastModel):
    """A slow ring of K variables, each coupled to J fast ones on one long ring.

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_{j,k} and
    dY_j/dt = c b Y_{j+1} (Y_{j-1} - Y_{j+2}) - c Y_j + (h c / b) X_k. The state holds the slow
    variables, then the fast ones. One time unit stands for five days; a state near X = F, Y = 0
    is on the attractor after some 10 time units.

    Attributes:
        slow: K.
        fast: J, fast variables to a slow one.
        forcing: F.
        coupling, time_ratio, space_ratio: h, c and b.
        step_size: Runge-Kutta step in model time units; the fast scale needs 0.005 or less.
        n_steps: Runge-Kutta steps to one forecast step.
        interval: minutes of valid time that one forecast step stands for.

    Source: Lorenz (1996), Proc. Seminar on Predictability, ECMWF, section 4.
    """

    slow: int = eqx.field(static=True, default=36)
    fast: int = eqx.field(static=True, default=10)
    forcing: float = eqx.field(static=True, default=10.0)
    coupling: float = eqx.field(static=True, default=1.0)
    time_ratio: float = eqx.field(static=True, default=10.0)
    space_ratio: float = eqx.field(static=True, default=10.0)
    step_size: float = eqx.field(static=True, default=0.005)
    n_steps: int = eqx.field(static=True, default=10)
    interval: int = eqx.field(static=True, default=360)

    def __check_init__(self):
        if self.slow < 4 or self.fast < 1 or not self.step_size > 0 or self.n_steps < 1:
            raise ValueError(
                "TwoScaleLorenz96: needs slow >= 4, fast >= 1, step_size > 0 and n_steps >= 1, "
                f"got {self.slow}, {self.fast}, {self.step_size} and {self.n_steps}."
            )

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.slow * (1 + self.fast),)

    def tendency(self, state: Float[Array, " n"]) -> Float[Array, " n"]:
        """Time derivative of one state, per model time unit."""
        x, y = state[: self.slow], state[self.slow :]
        strength = self.coupling * self.time_ratio / self.space_ratio
        slow = jnp.roll(x, 1) * (jnp.roll(x, -1) - jnp.roll(x, 2)) - x + self.forcing
        slow = slow - strength * jnp.sum(y.reshape(self.slow, self.fast), axis=1)
        advection = jnp.roll(y, -1) * (jnp.roll(y, 1) - jnp.roll(y, -2))
        fast = self.time_ratio * (self.space_ratio * advection - y)
        fast = fast + strength * jnp.repeat(x, self.fast)
        return jnp.concatenate([slow, fast])

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        return integrate(self.tendency, state, self.step_size, self.n_steps, RungeKutta4())


class TwoScaleLorenz96Settings(AbstractModelSettings):
    """Settings of `TwoScaleLorenz96`."""

    name: ClassVar[str] = "lorenz96-two-scale"
    title: ClassVar[str] = "Lorenz (1996): a slow ring coupled to a fast one"
    source: ClassVar[str] = "Lorenz (1996), Proc. Seminar on Predictability, ECMWF, section 4"

    slow: int = Field(default=36, ge=4, description="number of slow variables")
    fast: int = Field(default=10, ge=1, description="fast variables to a slow one")
    forcing: float = Field(default=10.0, description="the model's F")
    coupling: float = Field(default=1.0, ge=0, description="the model's h")
    time_ratio: float = Field(default=10.0, gt=0, description="the model's c")
    space_ratio: float = Field(default=10.0, gt=0, description="the model's b")
    step_size: float = Field(default=0.005, gt=0, description="Runge-Kutta step in model time")
    n_steps: int = Field(default=10, ge=1, description="Runge-Kutta steps to a model step")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.slow * (1 + self.fast),)

    def build(self, interval: int) -> TwoScaleLorenz96:
        return TwoScaleLorenz96(**self.model_dump(), interval=interval)

    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        rest = jnp.zeros(self.slow * self.fast, dtype)
        slow = jnp.full(self.slow, self.forcing, dtype)
        noise = jax.random.normal(key, self.state_shape, dtype)
        return jnp.concatenate([slow, rest]) + jnp.asarray(0.1, dtype) * noise

    def axes(self) -> tuple[Axis, ...]:
        (size,) = self.state_shape
        return (numbered(size, "the slow variables, then the fast ones"),)
