"""What makes the truth of a twin, which may know more than the forecast model."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel


def whole(state: Float[Array, "*state"]) -> Float[Array, "*state"]:
    """All of a state."""
    return state


class Nature(eqx.Module):
    """A model of the truth, whose states may have parts that the forecast model does not have.

    Attributes:
        model: of the truth.
        resolved: from a state of it to the part that the forecast model has a state of; what is
            observed, forecast and scored is that part.
        near: a state from whose surroundings the model finds its attractor; None for that of the
            forecast model.
    """

    model: AbstractForecastModel
    resolved: Callable[[Array], Array] = eqx.field(static=True, default=whole)
    near: Float[Array, "*state"] | None = None

    def __check_init__(self):
        if self.near is not None and self.near.shape != self.model.state_shape:
            raise ValueError(
                f"Nature: near has the shape {self.near.shape}, a state of the model "
                f"{self.model.state_shape}; give one state."
            )

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        """Advance the truth by one forecast step from `time`, minutes."""
        return self.model.step(state, time, key=key)

    def begin(self, near: Float[Array, "*any"]) -> Float[Array, "*state"]:
        """The state from which a run to the attractor begins; its own, or else the one given."""
        return near if self.near is None else self.near.astype(near.dtype)


def nature_of(nature: Nature | None, model: AbstractForecastModel) -> Nature:
    """A nature, or that of the forecast model where there is none: a forecast without error."""
    return Nature(model) if nature is None else nature


def resolved_of(
    natures: tuple[Nature, ...], states: tuple[Float[Array, "share ..."], ...]
) -> Float[Array, "stream *state"]:
    """The part of truths that a forecast model has a state of, those of the first nature first."""
    return jnp.concatenate([jax.vmap(n.resolved)(x) for n, x in zip(natures, states, strict=True)])
