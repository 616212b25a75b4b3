"""Trained posteriors before the gates: what a head cannot represent, and what it was not told."""

import functools

import jax
import jax.numpy as jnp
import pytest

import vardax_core as vardax
from vardax_core.calibration.gates.base import run_gates
from vardax_core.calibration.gates.context import collect
from vardax_core.calibration.gates.posterior import posterior_pairs
from vardax_core.calibration.gates.sets import gates_for
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.preparation import linear_start, standardised
from vardax_core.training.sources import SimulatorSource

SIZE, PAIRS, DRAWS = 6, 500, 31
ERROR_SD = 2.0
SETTINGS = FitSettings(
    n_steps=300, check_every=150, learning_rate=5e-3, patience=None, weight_decay=0.0
)


def simulate(key, n=256, error_sd=ERROR_SD):
    """A state of a common mode and small differences, of which each point is observed badly: the
    posterior is that of the mode, a diagonal plus one column."""
    mode_key, own_key, noise_key = jax.random.split(key, 3)
    x = jax.random.normal(mode_key, (n, 1)) + 0.5 * jax.random.normal(own_key, (n, SIZE))
    y = x + error_sd * jax.random.normal(noise_key, (n, SIZE))
    return vardax.Batch1D(input=y[:, None], mask=jnp.ones((n, 1, SIZE)), target=x)


@functools.cache
def trained(rank, error_sd=ERROR_SD):
    head = vardax.RegressionHead(
        2 * SIZE, (SIZE,), rank=rank, hidden_dim=4, depth=1, key=jax.random.key(1)
    )
    posterior = vardax.AmortizedPosterior(
        vardax.IdentityObsEncoder(), head, vardax.AmortizedConfig("regression")
    )
    make = functools.partial(simulate, error_sd=error_sd)
    sample = make(jax.random.key(2), 20000)
    source = SimulatorSource(lambda k: make(k, 512), jax.random.key(3))
    start = linear_start(standardised(posterior, sample), sample)
    validation = make(jax.random.key(4), 1000)
    return fit(start, source, validation, settings=SETTINGS, key=jax.random.key(5)).posterior


@functools.cache
def results(rank, trained_with=ERROR_SD):
    batch = simulate(jax.random.key(6), PAIRS)
    pairs = posterior_pairs(trained(rank, trained_with), batch, DRAWS, key=jax.random.key(7))
    context = collect([pairs], key=jax.random.key(8))
    return {r.name: r for r in run_gates(gates_for(context), context)}


@pytest.mark.ladder
def test_a_diagonal_head_on_a_correlated_posterior_fails():
    found = results(rank=0)
    assert found["coordinates"].passed, found["coordinates"].message
    assert not found["projections"].passed
    assert not found["density coverage"].passed


@pytest.mark.ladder
def test_its_low_rank_sibling_passes():
    failed = [r.message for r in results(rank=1).values() if not r.passed]
    assert not failed


@pytest.mark.ladder
def test_a_model_trained_on_another_observation_error_fails():
    found = results(1, 1.0)
    assert not found["coordinates"].passed
    assert "narrow" in found["coordinates"].message
