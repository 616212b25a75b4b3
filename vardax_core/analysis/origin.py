"""Where a background came from, for analyses that forecast it again."""

import dataclasses
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from vardax_core.analysis.base import AbstractAnalysisStep
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
    """

    ensemble: Float[Array, "member *state"]
    time: Int[Array, ""]
    key: PRNGKeyArray
    model: AbstractForecastModel
    steps: int = eqx.field(static=True)
    valid_range: tuple[float, float] = eqx.field(static=True)

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
        return possible_members(ensemble, self.valid_range)


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


def possible_members(
    ensemble: Float[Array, "member *state"], valid_range: tuple[float, float]
) -> tuple[Float[Array, "member *state"], Int[Array, ""]]:
    """Replace members that left the range of the possible, as a forecast that became unstable.

    One such member would spoil the mean and the spread of all, in this cycle and in every later
    one. Each becomes the mirror image of a possible member about the mean of the possible ones.
    If there is none, the ensemble stays as it is.

    Arguments:
        ensemble: the members.
        valid_range: smallest and largest possible value, unit of the state.

    Returns:
        The members, the possible ones bit for bit, and the number of those replaced.
    """
    members = ensemble.shape[0]
    low, high = valid_range
    flat = ensemble.reshape(members, -1)
    possible = jnp.all(jnp.isfinite(flat) & (flat >= low) & (flat <= high), axis=1)
    count = jnp.sum(possible, dtype=jnp.int32)
    first_possible = jnp.argsort(~possible, stable=True).astype(jnp.int32)
    turn = jnp.cumsum(~possible, dtype=jnp.int32) - 1
    partner = flat[first_possible[turn % jnp.maximum(count, 1)]]
    kept = jnp.where(possible[:, None], flat, 0.0)
    mean = jnp.sum(kept, axis=0, keepdims=True) / jnp.maximum(count, 1).astype(flat.dtype)
    mirrored = jnp.where(possible[:, None], flat, 2 * mean - partner)
    repaired = jnp.where((count > 0) & (count < members), mirrored, flat)
    return repaired.reshape(ensemble.shape), jnp.asarray(members, jnp.int32) - count
