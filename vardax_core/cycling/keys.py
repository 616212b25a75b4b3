"""Random keys that depend on what they are for and not on how a period is cut."""

from enum import IntEnum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PRNGKeyArray


class Purpose(IntEnum):
    """What a key of one cycle is used for; the numbers are part of every store's content."""

    INITIAL = 0
    FORECAST = 1
    ANALYSIS = 2
    ADAPTATION = 3
    VERIFICATION = 4
    TRAINING = 5
    VALIDATION = 6
    TUNING = 7
    BIAS = 8


def cycle_key(
    experiment: PRNGKeyArray, cycle: int | Int[Array, ""], purpose: Purpose
) -> PRNGKeyArray:
    """The key of one purpose in one cycle, folded from the experiment's key."""
    return jax.random.fold_in(jax.random.fold_in(experiment, cycle), int(purpose))


def cycle_keys(experiment: PRNGKeyArray, cycle: int | Int[Array, ""]) -> Key[Array, " purpose"]:
    """The keys of one cycle for every purpose, by its number: those of `cycle_key`."""
    own = jax.random.fold_in(experiment, cycle)
    return jax.vmap(lambda purpose: jax.random.fold_in(own, purpose))(jnp.arange(len(Purpose)))
