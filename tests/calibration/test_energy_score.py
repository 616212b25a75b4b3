"""Energy score and signal: hand-worked, and beside a peer."""

import jax
import jax.numpy as jnp
import numpy as np
import scoringrules

from vardax_core.calibration.scores import compute_scores
from vardax_core.calibration.statistics import fair_energy_score

from .samples import sample


def test_energy_score_agrees_with_scoringrules(key):
    truth_key, ensemble_key = jax.random.split(key)
    truth = jax.random.normal(truth_key, (3, 4))
    ensemble = jax.random.normal(ensemble_key, (9, 3, 4))
    expected = scoringrules.es_ensemble(
        np.array(truth).ravel(), np.array(ensemble).reshape(9, 12), estimator="fair"
    )
    np.testing.assert_allclose(fair_energy_score(truth, ensemble), expected, rtol=1e-12)


def test_energy_score_of_two_members_by_hand():
    """|x - y| = 5 and 0, their distance 5: (5 + 0) / 2 - 2 * 5 / (2 * 2 * 1) = 0."""
    found = fair_energy_score(jnp.zeros(2), jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_signal_is_what_the_gain_takes(key):
    """The samples' gain is 4 sd^2 / (4 sd^2 + 1): with sd = 0.2 the signal is 0.1379 for each
    observation; n = 200 * 36 products of variance about K^2 (2 + ...) < 4 K^2."""
    scores = compute_scores(sample(key, cycles=200), key=key, resamples=0)
    gain = 4 * 0.04 / (4 * 0.04 + 1)
    assert abs(scores["signal"] - gain) < 5 * 2 * gain / np.sqrt(200 * 36)
