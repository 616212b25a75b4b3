"""Getting onto a model's attractor, and how fast neighbours part on it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel


def spin_up(
    model: AbstractForecastModel,
    state: Float[Array, "*state"],
    n_steps: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "*state"]:
    """The state `n_steps` steps after `state`; the model's docstring says how many are enough."""

    def body(carry, k):
        x, time = carry
        return (model.step(x, time, key=k), time + model.interval), None

    start = (state, jnp.zeros((), jnp.int32))
    return jax.lax.scan(body, start, jax.random.split(key, n_steps))[0][0]


def leading_lyapunov_exponent(
    model: AbstractForecastModel,
    state: Float[Array, "*state"],
    n_steps: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """Mean growth rate per step of an infinitesimal error along the orbit from `state`.

    The first tenth of the steps only turns the error into the fastest growing direction. Divide
    by the model time of one step to get the exponent per unit of model time.

    Source: Benettin et al. (1980), doi:10.1007/BF02128236
    """
    start_key, key = jax.random.split(key)
    error = jax.random.normal(start_key, state.shape, state.dtype)

    def body(carry, k):
        x, e, time = carry
        new, grown = jax.jvp(lambda y: model.step(y, time, key=k), (x,), (e,))
        size = jnp.sqrt(jnp.sum(grown**2))
        return (new, grown / size, time + model.interval), jnp.log(size)

    start = (state, error / jnp.sqrt(jnp.sum(error**2)), jnp.zeros((), jnp.int32))
    _, growth = jax.lax.scan(body, start, jax.random.split(key, n_steps))
    return jnp.mean(growth[n_steps // 10 :])
