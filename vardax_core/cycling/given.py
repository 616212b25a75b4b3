"""What a cycle is given, made ready for its program."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vardax_core.types import Observations, ensemble_mean


def without_bias(observations: Observations, correction: Float[Array, " obs"]) -> Observations:
    """The same window with a correction taken off the values of every record."""
    return dataclasses.replace(observations, values=observations.values - correction[None])


def all_given(given: Float[Array, "given *state"] | None) -> Bool[Array, ""] | None:
    """Whether all members of a cycle are given, at points of a mask at least; None where members
    never are."""
    if given is None or given.shape[0] == 1:
        return None
    return jnp.all(jnp.any(jnp.isfinite(given.reshape(given.shape[0], -1)), axis=1))


def with_given(
    background: Float[Array, "member *state"], given: Float[Array, "given *state"]
) -> Float[Array, "member *state"]:
    """Put members that are given in the place of the model's, wherever they are finite.

    A single state is the mean about which the anomalies of the model's members are laid.

    Raises:
        ValueError: if there are several, and not as many as there are members.
    """
    count, members = given.shape[0], background.shape[0]
    if count not in (1, members):
        raise ValueError(
            f"A forecast of {count} members is given to an ensemble of {members}; set members to "
            f"{count}."
        )
    if count == 1:
        given = given + (background - ensemble_mean(background)[None])
    return jnp.where(jnp.isfinite(given), given, background)
