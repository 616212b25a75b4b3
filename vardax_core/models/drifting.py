"""A model with an error of known size, as the nature of a twin whose forecast lacks it."""

from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.models.base import AbstractForecastModel


class Drifting(AbstractForecastModel):
    """Another model with a constant tendency beside its own.

    Attributes:
        model: the other one.
        drift: what each step adds to the state, in its unit; a scalar, or one for every point.
    """

    model: AbstractForecastModel
    drift: Float[Array, "*#state"]

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.model.state_shape

    @property
    def interval(self) -> int:
        return self.model.interval

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        return self.model.step(state, time, key=key) + self.drift
