"""Scores of an analysis in long cycles of its own, one of each twin."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.models.base import AbstractForecastModel
from vardax_core.training.nature import Nature
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import TwinPlan, climate_range, cycle_twins, twin_program


class TwinScores(NamedTuple):
    """Means over the cycles of each twin.

    Attributes:
        variance: of the ensemble, over all points.
        squared_error: of the mean.
        crps: fair, of the members, unit of the state.
    """

    variance: Float[np.ndarray, " stream"]
    squared_error: Float[np.ndarray, " stream"]
    crps: Float[np.ndarray, " stream"]


class Twins(NamedTuple):
    """What an analysis is scored on.

    Attributes:
        model: of the forecast.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        plan: how many twins, and how long they are cycled.
        nature: makes the truths; the forecast's own model, without error, if there is none.
    """

    model: AbstractForecastModel
    observing: AbstractObservingSystem
    near: Float[Array, "*state"]
    plan: TwinPlan
    nature: Nature | None = None

    def scores(self, step: LocalTransformStep, key: PRNGKeyArray) -> TwinScores:
        """Cycle new twins; steps that are given one key see the same truths and observations."""
        return TwinScores(*np.asarray(_cycled(step, *self, key=key), np.float64))


@eqx.filter_jit
def _cycled(
    step: LocalTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    nature: Nature | None,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "3 stream"]:
    valid_range = climate_range(step.centre, step.scale)
    program = twin_program(model, step, valid_range=valid_range, dtype=near.dtype)

    def look(memory, truth, given, output):
        found = output.statistics
        crps = jnp.sum(found["crps_fair_sum"]) / jnp.sum(found["ensemble_weight"])
        return memory, jnp.stack([found["variance"] / found["weight"], found["rmse"] ** 2, crps])

    kept = cycle_twins(program, observing, near, plan, look, nature=nature, key=key)
    return jnp.moveaxis(kept.mean(axis=1), -1, 0)


@eqx.filter_jit
def errors_of_cycles(
    program: CycleProgram,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "stream cycle"]:
    """RMSE of the analysis in every cycle of new twins, of the first channel where there are
    several; NaN where a point of it is not finite.

    Arguments:
        program, observing, near, plan, key: see `cycle_twins`.
    """

    def look(
        memory: tuple, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[tuple, Array]:
        lost, error = output.statistics["non_finite_weight"] > 0, output.statistics["rmse"]
        if program.channels:
            lost, error = jnp.any(lost), error[0]
        return memory, jnp.where(lost, jnp.nan, error)

    return cycle_twins(program, observing, near, plan, look, key=key)
