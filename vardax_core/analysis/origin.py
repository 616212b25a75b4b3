"""Where a background came from, for analyses that forecast it again."""

import dataclasses
from typing import TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.possible import Climate, Range, possible_members
from vardax_core.models.base import AbstractForecastModel

Tree = TypeVar("Tree", bound=PyTree)


class Origin(eqx.Module):
    """The analysis that a background was forecast from, and how.

    Attributes:
        ensemble: analysis ensemble of the cycle before.
        time: its valid time in minutes since `MINUTES_EPOCH`.
        key: of the forecast; a model with random forcing has the same forcing each time.
        model: forecast model.
        steps: model steps from there to the background.
        valid_range: smallest and largest possible value of the state, see `possible_members`.
        climate: whence members are drawn where too few are possible, or None.
    """

    ensemble: Float[Array, "member *state"]
    time: Int[Array, ""]
    key: PRNGKeyArray
    model: AbstractForecastModel
    steps: int = eqx.field(static=True)
    valid_range: Range = eqx.field(static=True)
    climate: Climate | None = None

    def forecast(
        self, ensemble: Float[Array, "member *state"]
    ) -> tuple[Float[Array, "member *state"], Int[Array, ""]]:
        """What becomes of an ensemble by the time of the background, and how many of its members
        had an impossible forecast and were replaced."""

        def body(index, ensemble):
            time = self.time + index * self.model.interval
            return self.model.forecast(ensemble, time, key=jax.random.fold_in(self.key, index))

        if self.steps == 1:
            ensemble = body(0, ensemble)
        else:
            ensemble = jax.lax.fori_loop(0, self.steps, body, ensemble)
        return self.possible(ensemble)

    def possible(
        self, forecast: Float[Array, "member *state"]
    ) -> tuple[Float[Array, "member *state"], Int[Array, ""]]:
        """Estimate the members of a forecast that are impossible or not there, and count them."""
        return possible_members(
            forecast,
            self.valid_range,
            self.climate,
            before=self.ensemble,
            time=self.time + self.steps * self.model.interval,
            key=jax.random.fold_in(self.key, self.steps),
        )


class AbstractIterativeStep(AbstractAnalysisStep):
    """An analysis that forecasts again from where its background came from.

    Attributes:
        origin: that; None for a background that nothing is known of, and outside of a cycle.
    """

    origin: eqx.AbstractVar[Origin | None]


def needs_origin(tree: PyTree) -> bool:
    """Whether an iterative analysis is among the parts."""
    return any(map(_is_iterative, jax.tree.leaves(tree, is_leaf=_is_iterative)))


def with_origin(tree: Tree, origin: Origin) -> Tree:
    """The same parts, of which those know the origin of the background that want to."""

    def told(part):
        return dataclasses.replace(part, origin=origin) if _is_iterative(part) else part

    return jax.tree.map(told, tree, is_leaf=_is_iterative)


def _is_iterative(part: object) -> bool:
    return isinstance(part, AbstractIterativeStep)
