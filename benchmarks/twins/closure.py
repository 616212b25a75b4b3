"""A forecast model of one scale for a nature of two: what the fast variables do, by regression."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.integrate import RungeKutta4, integrate
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.models.two_scale_lorenz96 import TwoScaleLorenz96
from vardax_core.training.nature import Nature

DEGREE = 4
RUN, SPIN_UP = 2000, 400
"""Forecast steps of the run that the closure is fitted to, and before it."""


class ClosedLorenz96(AbstractForecastModel):
    """Lorenz-96 with a polynomial of each variable in place of the fast ones.

    Attributes:
        model: without the fast variables.
        coefficients: of the polynomial, the highest power first.
        low, high: ends of the values that it was fitted to; beyond them it stays as it is there.

    Source: Wilks (2005), doi:10.1256/qj.04.03
    """

    model: Lorenz96
    coefficients: tuple[float, ...] = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    @property
    def state_shape(self):
        return self.model.state_shape

    @property
    def interval(self):
        return self.model.interval

    def tendency(self, state):
        inside = jnp.clip(state, self.low, self.high)
        total = jnp.zeros_like(state)
        for coefficient in self.coefficients:
            total = total * inside + coefficient
        return self.model.tendency(state) + total

    def step(self, state, time, *, key):
        return integrate(
            self.tendency, state, self.model.step_size, self.model.n_steps, RungeKutta4()
        )


def slow_variables(state):
    """The first 36 of a state of the nature."""
    return state[:36]


def two_scales() -> tuple[Nature, ClosedLorenz96]:
    """A nature of 36 slow variables and ten fast ones to each, and a forecast of the slow ones."""
    two = TwoScaleLorenz96()
    rest = jnp.zeros(two.state_shape).at[: two.slow].set(two.forcing / 2)
    start = rest + 0.1 * jax.random.normal(jax.random.key(36), rest.shape)
    now, key = jnp.zeros((), jnp.int32), jax.random.key(0)

    @jax.jit
    def states(state):
        def body(state, _):
            state = two.step(state, now, key=key)
            return state, state

        return jax.lax.scan(body, state, length=SPIN_UP + RUN)[1][SPIN_UP:]

    found = np.asarray(states(start), np.float64)
    x = found[:, : two.slow]
    strength = two.coupling * two.time_ratio / two.space_ratio
    fast = -strength * found[:, two.slow :].reshape(*x.shape, two.fast).sum(axis=2)
    coefficients = np.polyfit(x.ravel(), fast.ravel(), DEGREE)
    low, high = np.quantile(x, [0.001, 0.999])
    plain = Lorenz96(
        forcing=two.forcing,
        state_shape=(two.slow,),
        step_size=two.step_size * two.n_steps,
        interval=two.interval,
    )
    closed = ClosedLorenz96(plain, tuple(map(float, coefficients)), float(low), float(high))
    return Nature(two, slow_variables, start), closed
