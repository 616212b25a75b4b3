"""An amortized posterior as an analysis step of the cycle."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_departures import LocalDepartures
from vardax_core.analysis.amortized.posterior import BATCH_OF_RANK, AmortizedPosterior
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import (
    Analysis,
    Batch,
    Batch1D,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


class PosteriorAnalysisStep(AbstractAnalysisStep):
    """The analysis members are drawn anew from q(x | observations, background statistics).

    The mean and the spread of the analysis are the head's own marginals. The posterior gets the
    values, the mask, the error standard deviations, the times relative to the analysis time, and
    mean and spread of the background; which of them it uses, its encoder says. Members of one
    cycle have no link with those of the next.

    Attributes:
        posterior: the trained posterior.
        operator: observation operator H, which says where the observations are.
        on_grid: put what the observations say of the state at their grid points, as
            `LocalDepartures` does, and not one after another.
        n_moments: draws behind the mean and spread of heads without closed-form moments.
        rows: how many rows the posterior is shown, the last ones; rows that a shorter window lacks
            count as unobserved. None for the window as it comes.
    """

    posterior: AmortizedPosterior
    operator: AbstractObservationOperator
    on_grid: bool = eqx.field(static=True, default=False)
    n_moments: int = eqx.field(static=True, default=256)
    rows: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.posterior.head.state_shape != self.operator.state_shape:
            raise ValueError(
                f"PosteriorAnalysisStep: the head gives states of shape "
                f"{self.posterior.head.state_shape}, H takes {self.operator.state_shape}; build "
                "both for one grid."
            )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        batch = self.batch(background, observations)
        ensemble = self.posterior.sample(batch, key, background.shape[0])[0]
        mean, spread = self.posterior.marginals(batch, key, self.n_moments)
        return Analysis(
            ensemble=ensemble,
            mean=mean[0],
            spread=spread[0],
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={},
        )

    def batch(self, background: Float[Array, "member *state"], observations: Observations) -> Batch:
        """The batch of one sample that the posterior is shown for one window."""
        if self.rows is not None:
            observations = last_rows(observations, self.rows)
        mask = observations.mask.astype(background.dtype)
        values, error_sd = observations.values * mask, observations.error_sd
        times = (observations.times - observations.times[-1]).astype(background.dtype)
        background_mean, spread = ensemble_mean(background), ensemble_spread(background)
        common = {
            "background_mean": background_mean[None],
            "background_spread": spread[None],
            "times": times[None],
        }
        if not self.on_grid:
            return Batch1D(input=values[None], mask=mask[None], error_sd=error_sd[None], **common)

        def row_on_grid(
            row: Float[Array, " obs"], present: Float[Array, " obs"], error: Float[Array, " obs"]
        ) -> tuple[Float[Array, "*state"], Float[Array, "*state"], Float[Array, "*state"]]:
            seen = LocalDepartures.of(self.operator, background, spread, present, error)
            known, departures = seen.weights > 0, seen.on_grid(row - seen.centre)
            state = jnp.where(known, background_mean.reshape(-1) + departures, 0.0)
            fields = (state, known.astype(state.dtype), seen.error_sd)
            return jax.tree.map(lambda x: x.reshape(background_mean.shape), fields)

        state, known, error = jax.vmap(row_on_grid)(values, mask, error_sd)
        return BATCH_OF_RANK[background_mean.ndim + 1](
            input=state[None], mask=known[None], error_sd=error[None], **common
        )


def last_rows(observations: Observations, rows: int) -> Observations:
    """The last rows of a window; those that it lacks are unobserved, at the time of its first."""
    missing = max(0, rows - observations.values.shape[0])

    def part(array: Array, fill: float | bool) -> Array:
        above = jnp.full((missing, *array.shape[1:]), fill, array.dtype)
        return jnp.concatenate([above, array[-rows:]])

    times = observations.times
    return Observations(
        values=part(observations.values, 0.0),
        mask=part(observations.mask, False),
        error_sd=part(observations.error_sd, 1.0),
        times=jnp.concatenate([jnp.broadcast_to(times[:1], (missing,)), times[-rows:]]),
        past=observations.past,
    )
