"""A forecast model of standardised states as one of states in their units."""

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel


class Standardised(AbstractForecastModel):
    """The model m of z = (x - c) / s as a model of x: x' = c + s m(z).

    So a model that compares numbers of different units, as one of EOFs of several variables does,
    compares numbers of one size.

    Attributes:
        model: of standardised states.
        centre: c, of all points or of each channel.
        scale: s, positive, likewise.
        state_shape, interval: of the model.
    """

    model: AbstractForecastModel
    centre: Float[Array, "*#state"]
    scale: Float[Array, "*#state"]
    state_shape: tuple[int, ...] = eqx.field(static=True)
    interval: int = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        model: AbstractForecastModel,
        centre: Float[Array, "*#state"],
        scale: Float[Array, "*#state"],
    ) -> "Standardised":
        """Wrap a model."""
        return cls(
            model=model,
            centre=centre,
            scale=scale,
            state_shape=model.state_shape,
            interval=model.interval,
        )

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        centre, scale = self.centre.astype(state.dtype), self.scale.astype(state.dtype)
        later = self.model.step((state - centre) / scale, time, key=key)
        return centre + scale * later
