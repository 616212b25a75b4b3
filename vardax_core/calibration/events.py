"""Sums that verify the probability of events: a threshold is exceeded."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.calibration.score_definitions import divide

PROBABILITY_BINS = 10


def event_sums(
    truth: Float[Array, "*state"],
    ensemble: Float[Array, "member *state"],
    weights: Float[Array, "*state"],
    thresholds: Float[Array, " threshold"],
) -> dict[str, Array]:
    """Sums of one cycle for the Brier score and the reliability of exceedance probabilities.

    A point counts where its weight is positive and truth and members are finite.

    Arguments:
        truth: true state.
        ensemble: members; the share of them above a threshold is the probability.
        weights: weight of each point.
        thresholds: in the unit of the state.

    Returns:
        By threshold `brier_weight`, `brier` (sum of (p - o)^2), `brier_fair` (what a finite
        ensemble adds by itself taken off; zero for one member), `brier_occurred` (sum of o); by
        threshold and bin of p `event_weight`, `event_probability` and `event_occurred`.

    Source: Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; fair as in Ferro
        (2014), doi:10.1002/qj.2270
    """
    scored = (weights > 0) & jnp.isfinite(truth) & jnp.all(jnp.isfinite(ensemble), axis=0)
    w = jnp.where(scored, weights, 0.0)
    members = ensemble.shape[0]

    def of(threshold: Float[Array, ""]) -> dict[str, Array]:
        occurred = (truth > threshold).astype(w.dtype)
        p = jnp.mean((ensemble > threshold).astype(w.dtype), axis=0)
        error = (p - occurred) ** 2
        fair = error - p * (1 - p) / max(members - 1, 1)
        index = jnp.clip(jnp.floor(p * PROBABILITY_BINS), 0, PROBABILITY_BINS - 1)
        bins = jnp.arange(PROBABILITY_BINS).astype(w.dtype)

        def binned(values: Array) -> Array:
            return jax.vmap(lambda b: jnp.sum(jnp.where(index == b, values, 0.0)))(bins)

        return {
            "brier_weight": jnp.sum(w),
            "brier": jnp.sum(w * error),
            "brier_fair": jnp.sum(w * fair) if members > 1 else jnp.zeros((), w.dtype),
            "brier_occurred": jnp.sum(w * occurred),
            "event_weight": binned(w),
            "event_probability": binned(w * p),
            "event_occurred": binned(w * occurred),
        }

    return jax.vmap(of)(thresholds)


def event_scores(added: Mapping[str, Array | np.ndarray]) -> dict[str, np.ndarray]:
    """Scores by threshold from the added sums of a period; NaN where no point was scored.

    Returns:
        `brier`, `brier_fair`, `brier_skill` against the climatology of the sample, `base_rate`;
        and for the reliability diagram `forecast_probability` and `observed_frequency` by bin.
    """
    sums = {name: np.asarray(value) for name, value in added.items()}
    rate = divide(sums["brier_occurred"], sums["brier_weight"])
    brier = divide(sums["brier"], sums["brier_weight"])
    return {
        "brier": brier,
        "brier_fair": divide(sums["brier_fair"], sums["brier_weight"]),
        "brier_skill": 1 - divide(brier, rate * (1 - rate)),
        "base_rate": rate,
        "forecast_probability": divide(sums["event_probability"], sums["event_weight"]),
        "observed_frequency": divide(sums["event_occurred"], sums["event_weight"]),
    }
