"""Cycles of a setting's twins, and their scores."""

import jax
import jax.numpy as jnp
import numpy as np
from twins.learning import program_of
from twins.settings import Setting

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.calibration.ranks import matched_rank_histogram
from vardax_core.calibration.statistics import COVERAGE_LEVELS
from vardax_core.training.nature import nature_of
from vardax_core.training.twin_cycles import cycle_twin, twin_start
from vardax_core.types import ensemble_mean

BURN_IN = 400
ON_ATTRACTOR = 1000
"""Model steps from a random state to a nature run."""


def cycled(
    setting: Setting, analysis_step: AbstractAnalysisStep, smoother, streams, cycles, *, key
):
    """Cycle every stream: sums of statistics, scores of each age, and one point, of each cycle."""
    n = setting.model.state_shape[0]
    program = program_of(setting, analysis_step)
    nature = nature_of(setting.nature, setting.model)

    def look(memory, truth, given, output):
        ensemble = output.analysis.ensemble
        smooth = jnp.zeros((0, 3))
        if smoother is not None:
            history, past_truth = memory
            history = smoother.update(history, output.background, ensemble)
            past_truth = jnp.concatenate([given.truth[None], past_truth[:-1]])
            memory = (history, past_truth)
            error = jnp.mean(history, axis=1) - past_truth
            variance = jnp.var(history, axis=1, ddof=1)
            smooth = jnp.stack(
                [
                    jnp.sqrt(jnp.mean(error**2, axis=1)),
                    jnp.mean(variance, axis=1),
                    jnp.mean(jnp.abs(error) <= 1.645 * jnp.sqrt(variance), axis=1),
                ],
                axis=1,
            )
        kept = {
            name: output.statistics[name]
            for name in (
                "rmse",
                "variance",
                "weight",
                "non_finite_weight",
                "coverage",
                "rank_histogram",
            )
        }
        point = {
            "truth": given.truth[1],
            "background": ensemble_mean(output.background)[1],
            "members": ensemble[:, 1],
            "value": given.observations.values[-1, 1],
            "seen": given.observations.mask[-1, 1],
        }
        return memory, (kept, smooth, point)

    def one(k):
        k_away, k_start, k_cycles = jax.random.split(k, 3)
        near = setting.centre + setting.scale * jax.random.normal(k_away, (n,))
        truth, ensemble = twin_start(
            nature, near, setting.members, 2 * setting.nearness, ON_ATTRACTOR, key=k_start
        )
        memory = ()
        if smoother is not None:
            memory = (
                smoother.init(ensemble),
                jnp.broadcast_to(nature.resolved(truth), (setting.lag + 1, n)),
            )
        return cycle_twin(
            program,
            setting.observing,
            truth,
            ensemble,
            cycles,
            look,
            memory,
            nature=nature,
            key=k_cycles,
        )

    return jax.jit(jax.vmap(one))(jax.random.split(key, streams))


def scored(out) -> dict:
    """Scores of the analysis over streams and cycles after the burn-in."""
    sums, smooth, _ = out
    sums = {name: np.asarray(v)[:, BURN_IN:] for name, v in sums.items()}
    lost = sums["non_finite_weight"] > 0
    rmse = np.where(lost, np.nan, sums["rmse"])
    weight = sums["weight"].sum()
    row = {
        "rmse_a": float(rmse.mean()),
        "spread": float(np.sqrt(sums["variance"].sum() / weight)),
        "rms_error": float(np.sqrt((rmse**2).mean())),
        "coverage_90": float(
            sums["coverage"].sum(axis=(0, 1))[COVERAGE_LEVELS.index(0.9)] / weight
        ),
        "worst_stream": float(rmse.mean(axis=1).max()),
        "lost_streams": int(lost.any(axis=1).sum()),
        "rank_histogram": (
            sums["rank_histogram"].sum(axis=(0, 1)) / weight * sums["rank_histogram"].shape[2]
        ).tolist(),
    }
    histogram = np.asarray(row["rank_histogram"])
    row["rank_departure"] = float(
        np.abs(histogram - matched_rank_histogram(len(histogram) - 1)).max()
    )
    # The rms over cycles, not the mean of their RMSEs, is what the mean variance is to match.
    row["spread_over_rmse"] = row["spread"] / row["rms_error"]
    smooth = np.asarray(smooth)[:, BURN_IN:]
    row["lags"] = [
        {
            "lag": age,
            "rmse_a": float(smooth[:, :, age, 0].mean()),
            "spread_over_rmse": float(
                np.sqrt(smooth[:, :, age, 1].mean() / (smooth[:, :, age, 0] ** 2).mean())
            ),
            "coverage_90": float(smooth[:, :, age, 2].mean()),
        }
        for age in range(smooth.shape[2])
    ]
    return row


def line(label: str, row: dict) -> str:
    return (
        f"{label:44}{row['rmse_a']:>8.4f}{row.get('spread', np.nan):>8.4f}"
        f"{row['spread_over_rmse']:>8.3f}{row['coverage_90']:>8.3f}"
        f"{row.get('worst_stream', np.nan):>8.3f}"
    )
