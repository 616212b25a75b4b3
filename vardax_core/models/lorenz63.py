"""The three-variable convection model of Lorenz (1963)."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.integrate import RungeKutta4, integrate
from vardax_core.models.settings import AbstractModelSettings, Axis, numbered


class Lorenz63(AbstractForecastModel):
    """dx/dt = sigma (y - x), dy/dt = x (rho - z) - y, dz/dt = x y - beta z.

    One step covers `n_steps * step_size` time units. Leading Lyapunov exponent 0.906; a state is
    on the attractor after some 20 time units.

    Attributes:
        step_size: Runge-Kutta step in model time units.
        n_steps: Runge-Kutta steps to one forecast step.
        interval: minutes of valid time that one forecast step stands for.

    Source: Lorenz (1963), doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2
    """

    sigma: float = eqx.field(static=True, default=10.0)
    rho: float = eqx.field(static=True, default=28.0)
    beta: float = eqx.field(static=True, default=8 / 3)
    step_size: float = eqx.field(static=True, default=0.01)
    n_steps: int = eqx.field(static=True, default=25)
    interval: int = eqx.field(static=True, default=60)
    state_shape: tuple[int, ...] = eqx.field(static=True, default=(3,))

    def __check_init__(self):
        if not self.step_size > 0 or self.n_steps < 1:
            raise ValueError(
                f"Lorenz63: step_size must be > 0 and n_steps >= 1, got {self.step_size} and "
                f"{self.n_steps}."
            )

    def tendency(self, state: Float[Array, "3"]) -> Float[Array, "3"]:
        """Time derivative of one state, per model time unit."""
        x, y, z = state
        return jnp.stack([self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z])

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        return integrate(self.tendency, state, self.step_size, self.n_steps, RungeKutta4())


class Lorenz63Settings(AbstractModelSettings):
    """Settings of `Lorenz63`."""

    name: ClassVar[str] = "lorenz63"
    title: ClassVar[str] = "Lorenz (1963): convection in three variables"
    source: ClassVar[str] = "doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2"

    sigma: float = Field(default=10.0, gt=0, description="Prandtl number")
    rho: float = Field(default=28.0, description="Rayleigh number over its critical value")
    beta: float = Field(default=8 / 3, gt=0, description="aspect of the convection cells")
    step_size: float = Field(default=0.01, gt=0, description="Runge-Kutta step in model time")
    n_steps: int = Field(default=25, ge=1, description="Runge-Kutta steps to a model step")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (3,)

    def build(self, interval: int) -> Lorenz63:
        return Lorenz63(
            sigma=self.sigma,
            rho=self.rho,
            beta=self.beta,
            step_size=self.step_size,
            n_steps=self.n_steps,
            interval=interval,
        )

    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        offset = jnp.asarray([0.0, 0.0, self.rho - 1.0], dtype)
        return offset + jax.random.normal(key, self.state_shape, dtype)

    def axes(self) -> tuple[Axis, ...]:
        return (numbered(3, "variable: x, y, z"),)
