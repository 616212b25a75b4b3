"""The spread of a trained analysis, made to match its errors in cycles of its own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.models.base import AbstractForecastModel
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.twin_cycles import TwinPlan, climate_range, cycle_twins, twin_program

LEAST_SHARE = 0.75
"""Of the streams that must stay near their truths."""


def calibrate_spread(
    step: LocalTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    *,
    rounds: int = 4,
    key: PRNGKeyArray,
) -> tuple[LocalTransformStep, Float[np.ndarray, " round"]]:
    """Move the inflation of an analysis until its spread is its error, over long cycles.

    The training's score weighs streams far from their truth less, and a rare large error counts
    little in a log-density, so that the variance of all cycles together may fall short of their
    squared error. One number, the bias of the network's inflation, is moved by the log of their
    ratio; where nothing is observed in reach it has no effect, as before. Streams whose cold start
    the analysis did not survive are left out.

    Arguments:
        step: the trained analysis.
        model: of nature and forecast, without model error.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        plan: how many twins each correction is measured on, new ones each time, and how long.
        rounds: corrections; each is measured in cycles of the analysis that the last one left.
        key: everything random follows from it.

    Returns:
        The step, and spread over RMSE before each correction.

    Raises:
        ValueError: if too many streams lose their truth.

    Source: Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1, on which spread is to match which
    error.
    """

    def look(memory, truth, given, output):
        found = output.statistics
        return memory, jnp.stack([found["variance"] / found["weight"], found["rmse"] ** 2])

    @eqx.filter_jit
    def streams(step: LocalTransformStep, k: PRNGKeyArray) -> Array:
        program = twin_program(
            model, step, valid_range=climate_range(step.centre, step.scale), dtype=near.dtype
        )
        return cycle_twins(program, observing, near, plan, look, key=k).mean(axis=1)

    ratios = []
    for number in range(rounds):
        found = np.asarray(streams(step, jax.random.fold_in(key, number)), np.float64)
        near_truth = np.isfinite(found).all(axis=1) & (found[:, 1] < step.scale**2)
        if near_truth.sum() < LEAST_SHARE * plan.streams:
            raise ValueError(
                f"calibrate_spread: after {number} corrections {near_truth.sum()} of "
                f"{plan.streams} streams stayed within the climate's standard deviation of their "
                f"truth, {LEAST_SHARE:.0%} are needed; train the analysis longer."
            )
        variance, squared_error = found[near_truth].mean(axis=0)
        ratio = float(np.sqrt(variance / squared_error))
        ratios.append(ratio)
        bias = step.network.last.bias
        step = eqx.tree_at(
            lambda s: s.network.last.bias, step, bias.at[-2].add(-float(np.log(ratio)))
        )
    return step, np.asarray(ratios)
