"""The one-scale model of Lorenz (1996)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.integrate import RungeKutta4, integrate


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
