"""Forecasts from the analyses of a setting's twins, against their truth."""

import jax
import jax.numpy as jnp
import numpy as np
from twins.learning import program_of
from twins.scoring import ON_ATTRACTOR
from twins.settings import Setting

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.calibration.statistics.rules import fair_crps
from vardax_core.training.nature import nature_of
from vardax_core.training.twin_cycles import cycle_twin, twin_start

LEADS = (1, 5, 20)
"""Cycles."""
SPARSE = 20
"""Cycles between two forecasts of a stream."""


def forecast_scores(
    setting: Setting, step: AbstractAnalysisStep, streams: int, cycles: int, *, key
) -> np.ndarray:
    """Mean CRPS of each stream at each of `LEADS`, unit of the state, shape (stream, lead).

    Arguments:
        cycles: of each stream, a multiple of `SPARSE`; the first fifth is left out.
    """
    model, program = setting.model, program_of(setting, step)
    nature = nature_of(setting.nature, model)
    n = model.state_shape[0]

    def look(memory, truth, given, output):
        return memory, (truth, output.analysis.ensemble)

    def one(k):
        k_away, k_start, k_cycles, k_forecast = jax.random.split(k, 4)
        near = setting.centre + setting.scale * jax.random.normal(k_away, (n,))
        truth, ensemble = twin_start(
            nature, near, setting.members, 2 * setting.nearness, ON_ATTRACTOR, key=k_start
        )
        truths, ensembles = cycle_twin(
            program,
            setting.observing,
            truth,
            ensemble,
            cycles,
            look,
            every=SPARSE,
            nature=nature,
            key=k_cycles,
        )
        first = len(truths) // 5
        now = jnp.zeros((), jnp.int32)

        def ahead(given):
            def cycle(carry, number):
                x, members = carry
                k_now = jax.random.fold_in(k_forecast, number)
                x = nature.step(x, now, key=k_now)
                members = jax.vmap(lambda m: model.step(m, now, key=k_now))(members)
                return (x, members), jnp.mean(fair_crps(nature.resolved(x), members))

            crps = jax.lax.scan(cycle, given, jnp.arange(max(LEADS)))[1]
            return crps[jnp.asarray(LEADS) - 1]

        return jnp.mean(jax.lax.map(ahead, (truths[first:], ensembles[first:])), axis=0)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(key, streams)))
