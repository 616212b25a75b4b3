"""The one-scale model of Lorenz (1996)."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.integrate import RungeKutta4, integrate
from vardax_core.models.settings import AbstractModelSettings, Axis, numbered


class Lorenz96(AbstractForecastModel):
    """dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F on a periodic ring.

    One time unit stands for five days, so the default step of 0.05 is six hours. With 40
    variables and F = 8 the leading Lyapunov exponent is about 1.67 per time unit; a state near
    F is on the attractor after some 20 time units.

    Attributes:
        state_shape: (number of variables on the ring,).
        forcing: F.
        step_size: Runge-Kutta step in model time units.
        n_steps: Runge-Kutta steps to one forecast step.
        interval: minutes of valid time that one forecast step stands for.

    Source: Lorenz (1996), Proc. Seminar on Predictability, ECMWF; Lorenz and Emanuel (1998),
    doi:10.1175/1520-0469(1998)055<0399:OSFSWO>2.0.CO;2
    """

    forcing: float = eqx.field(static=True, default=8.0)
    step_size: float = eqx.field(static=True, default=0.05)
    n_steps: int = eqx.field(static=True, default=1)
    interval: int = eqx.field(static=True, default=360)
    state_shape: tuple[int, ...] = eqx.field(static=True, default=(40,))

    def __check_init__(self):
        if len(self.state_shape) != 1 or self.state_shape[0] < 4:
            raise ValueError(
                f"Lorenz96: state_shape must be (N,) with N >= 4, got {self.state_shape}."
            )
        if not self.step_size > 0 or self.n_steps < 1:
            raise ValueError(
                f"Lorenz96: step_size must be > 0 and n_steps >= 1, got {self.step_size} and "
                f"{self.n_steps}."
            )

    def tendency(self, state: Float[Array, " n"]) -> Float[Array, " n"]:
        """Time derivative of one state, per model time unit."""
        ahead = jnp.roll(state, -1)
        behind = jnp.roll(state, 1)
        return (ahead - jnp.roll(state, 2)) * behind - state + self.forcing

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        return integrate(self.tendency, state, self.step_size, self.n_steps, RungeKutta4())


class Lorenz96Settings(AbstractModelSettings):
    """Settings of `Lorenz96`."""

    name: ClassVar[str] = "lorenz96"
    title: ClassVar[str] = "Lorenz (1996): a ring of one scale"
    source: ClassVar[str] = "doi:10.1175/1520-0469(1998)055<0399:OSFSWO>2.0.CO;2"
    later: ClassVar[frozenset[str]] = frozenset({"n_steps"})
    ring: ClassVar[bool] = True

    size: int = Field(default=40, ge=4, description="number of variables")
    forcing: float = Field(default=8.0, description="the model's F")
    step_size: float = Field(default=0.05, gt=0, description="Runge-Kutta step in model time")
    n_steps: int = Field(default=1, ge=1, description="Runge-Kutta steps to a model step")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.size,)

    def build(self, interval: int) -> Lorenz96:
        return Lorenz96(
            state_shape=self.state_shape,
            forcing=self.forcing,
            step_size=self.step_size,
            n_steps=self.n_steps,
            interval=interval,
        )

    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        return self.forcing + jax.random.normal(key, self.state_shape, dtype)

    def axes(self) -> tuple[Axis, ...]:
        return (numbered(self.size, "index on the ring"),)
