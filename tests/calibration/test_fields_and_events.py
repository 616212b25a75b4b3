"""Energy score, signal, Brier score and spectra: hand-worked, peers, merging and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules

from vardax_core.calibration import plots
from vardax_core.calibration.events import event_scores, event_sums
from vardax_core.calibration.scores import compute_scores
from vardax_core.calibration.spectra import power_spectrum, spectra, spectrum_sums
from vardax_core.calibration.statistics import fair_energy_score

from .samples import sample


def added(parts):
    return {name: sum(np.asarray(part[name]) for part in parts) for name in parts[0]}


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


def test_brier_sums_worked_by_hand():
    """Two points, four members, threshold 0: p = 3/4 and 0; it occurred at the second alone."""
    ensemble = jnp.array([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0], [-1.0, -1.0]])
    sums = event_sums(jnp.array([-1.0, 1.0]), ensemble, jnp.array([1.0, 2.0]), jnp.zeros(1))
    np.testing.assert_allclose(sums["brier"], [9 / 16 + 2 * 1])
    np.testing.assert_allclose(sums["brier_fair"], [9 / 16 - 3 / 16 / 3 + 2])
    np.testing.assert_allclose(sums["brier_occurred"], [2.0])
    np.testing.assert_allclose(sums["event_weight"][0, [0, 7]], [2.0, 1.0])
    scores = event_scores(sums)
    np.testing.assert_allclose(scores["base_rate"], [2 / 3])
    np.testing.assert_allclose(scores["observed_frequency"][0, [0, 7]], [1.0, 0.0])


def test_nothing_to_score_divides_by_nothing():
    nothing = event_sums(jnp.full(2, jnp.nan), jnp.ones((3, 2)), jnp.ones(2), jnp.zeros(2))
    assert np.all(np.isnan(event_scores(nothing)["brier"]))
    field = jnp.full((4, 4), jnp.nan)
    empty = spectra(spectrum_sums(field, field, field[None]), 4)
    assert np.all(np.isnan(empty.truth))
    assert np.isnan(empty.resolution)
    assert plots.png_bytes(plots.spectra_curves(empty, name="x"))[:4] == b"\x89PNG"
    assert plots.png_bytes(plots.reliability(event_scores(nothing), np.zeros(2)))


def test_a_wave_has_its_power_at_its_wavenumber():
    x = np.arange(16)
    wave = jnp.asarray(3 * np.cos(2 * np.pi * 5 * x / 16)[:, None] * np.ones(16))
    power = power_spectrum(wave)
    np.testing.assert_allclose(power[4], 4.5, rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(power), jnp.var(wave), rtol=1e-12)


def test_effective_resolution_is_where_the_error_takes_over(key):
    """Waves 1 to 4 of 32 are known exactly, the others not at all: 32 / 4 points."""
    x = np.arange(32)
    known = sum(np.cos(2 * np.pi * k * x / 32) for k in range(1, 5))
    unknown = sum(np.cos(2 * np.pi * k * x / 32) for k in range(5, 17))
    truth, mean = jnp.asarray(known + unknown), jnp.asarray(known)
    found = spectra(spectrum_sums(truth, mean, mean[None]), 32)
    assert found.last_known == 4
    assert found.resolution == 8


@pytest.mark.parametrize("cuts", [1, 4, 20])
def test_sums_of_cycles_add_up(key, cuts):
    fields = jax.random.normal(key, (20, 6, 8, 8))
    thresholds = jnp.array([-0.5, 0.0, 1.0])

    def of(cycle):
        weights = jnp.ones(cycle.shape[1:])
        events = event_sums(cycle[0], cycle[1:], weights, thresholds)
        return {**events, **spectrum_sums(cycle[0], cycle[1], cycle[1:])}

    each = [jax.tree.map(np.asarray, of(cycle)) for cycle in fields]
    whole = added(each)
    merged = added([added(each[k : k + 20 // cuts]) for k in range(0, 20, 20 // cuts)])
    for name, value in whole.items():
        np.testing.assert_allclose(merged[name], value, rtol=1e-10, err_msg=name)
