"""The training loop: it finds known posteriors, resumes bit for bit, and stops at nonsense."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vardax_core as vardax
from vardax_core.training.checkpoint import CheckpointError
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.loop import NonFiniteLossError
from vardax_core.training.preparation import standardised
from vardax_core.training.recalibration import RecalibrationError, recalibrated
from vardax_core.training.sources import ArraySource, SimulatorSource

pytestmark = pytest.mark.ladder

PRIOR = jnp.array([[1.0, 0.6], [0.6, 2.0]])
ERROR_SD = jnp.array([0.5, 1.0])
SHORT = FitSettings(n_steps=60, check_every=20, learning_rate=3e-3, patience=None)


def simulate(key, n=256):
    x_key, e_key = jax.random.split(key)
    root = jnp.linalg.cholesky(PRIOR)
    x = 3.0 + jax.random.normal(x_key, (n, 2)) @ root.T
    y = x + ERROR_SD[None] * jax.random.normal(e_key, (n, 2))
    return vardax.Batch1D(input=y[:, None], mask=jnp.ones((n, 1, 2)), target=x)


def make_posterior(rank=1, hidden_dim=4, seed=0):
    head = vardax.RegressionHead(
        4, (2,), rank=rank, hidden_dim=hidden_dim, depth=1, key=jax.random.key(seed)
    )
    posterior = vardax.AmortizedPosterior(
        vardax.IdentityObsEncoder(), head, vardax.AmortizedConfig("regression")
    )
    sample = simulate(jax.random.key(99), 2000)
    return standardised(posterior, sample)


def leaves(model):
    return jax.tree.leaves(eqx.filter(model, eqx.is_array))


def assert_same(first, second):
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_trained_low_rank_gaussian_is_the_kalman_posterior(key):
    settings = FitSettings(
        n_steps=2500, check_every=500, learning_rate=1e-2, patience=None, weight_decay=0.0
    )
    source = SimulatorSource(lambda k: simulate(k, 512), jax.random.key(3))
    result = fit(
        make_posterior(), source, simulate(jax.random.key(4), 4000), settings=settings, key=key
    )
    gain = PRIOR @ jnp.linalg.inv(PRIOR + jnp.diag(ERROR_SD**2))
    covariance = (jnp.eye(2) - gain) @ PRIOR
    posterior, head = result.posterior, result.posterior.head
    test = simulate(jax.random.key(5), 2000)
    exact = 3.0 + (test.input[:, 0] - 3.0) @ gain.T
    contexts = posterior.context(test)
    _, sd, columns = jax.vmap(head.moments)(contexts)
    got = jnp.einsum("bri,brj->bij", columns, columns)
    got = got + jax.vmap(jnp.diag)(sd**2)
    scale = head.scaling.scale
    got = got * jnp.outer(scale, scale)[None]
    precision = jnp.linalg.inv(covariance)
    # Kullback-Leibler divergence of the trained from the exact posterior, mean over observations.
    departure = posterior(test) - exact
    trace = jnp.einsum("ij,bji->b", precision, got)
    distance = jnp.einsum("bi,ij,bj->b", departure, precision, departure)
    log_ratio = jnp.linalg.slogdet(covariance)[1] - jnp.linalg.slogdet(got)[1]
    divergence = 0.5 * (trace - 2 + distance + log_ratio)
    assert float(jnp.mean(divergence)) < 1e-3


def test_a_resumed_training_ends_with_the_same_weights(key, tmp_path):
    source = ArraySource(simulate(jax.random.key(1), 300), batch_size=64, seed=2)
    validation = simulate(jax.random.key(2), 100)
    path = tmp_path / "training.eqx"

    class KilledError(Exception):
        pass

    def kill(step, *_):
        if step == 40:
            raise KilledError

    whole = fit(make_posterior(), source, validation, settings=SHORT, key=key)
    with pytest.raises(KilledError):
        fit(
            make_posterior(),
            source,
            validation,
            settings=SHORT,
            key=key,
            checkpoint=path,
            on_check=kill,
        )
    seen = []
    resumed = fit(
        make_posterior(),
        source,
        validation,
        settings=SHORT,
        key=key,
        checkpoint=path,
        on_check=lambda step, *_: seen.append(step),
    )
    assert seen == [60]
    assert_same(resumed.posterior, whole.posterior)
    assert resumed.validation_loss == whole.validation_loss
    assert resumed.steps == [20, 40, 60]
    with pytest.raises(CheckpointError, match="is of a training"):
        fit(
            make_posterior(),
            source,
            validation,
            settings=FitSettings(n_steps=40, check_every=20),
            key=key,
            checkpoint=path,
        )
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="expected sha256"):
        fit(make_posterior(), source, validation, settings=SHORT, key=key, checkpoint=path)


def test_a_loss_that_is_not_finite_stops_with_step_and_sample(key):
    def broken(k):
        batch = simulate(k, 8)
        # Only the batch of step 3 holds it: the key of a step is its own.
        bad = jnp.all(
            jax.random.key_data(k) == jax.random.key_data(jax.random.fold_in(jax.random.key(6), 3))
        )
        target = batch.target.at[5, 1].set(jnp.where(bad, jnp.nan, batch.target[5, 1]))
        return eqx.tree_at(lambda b: b.target, batch, target)

    source = SimulatorSource(broken, jax.random.key(6))
    with pytest.raises(NonFiniteLossError, match=r"step 3 .* sample 5"):
        fit(make_posterior(), source, simulate(key, 50), settings=SHORT, key=key)


def test_training_stops_when_validation_no_longer_improves(key):
    source = ArraySource(simulate(jax.random.key(1), 30), batch_size=30)
    settings = FitSettings(
        n_steps=3000, check_every=50, learning_rate=3e-2, ema=0.0, warm_up=0.0, patience=3
    )
    validation = simulate(jax.random.key(2), 200)
    result = fit(make_posterior(hidden_dim=32), source, validation, settings=settings, key=key)
    assert result.steps[-1] < 3000
    assert result.convergence.finished
    assert "no better loss since step" in result.convergence.words
    assert result.steps[-1] - result.best_step == 3 * 50
    # The best may be the start itself, a linear fit, before any step.
    assert result.best_loss <= min(result.validation_loss)
    kept = jnp.mean(result.posterior.loss(validation, jax.random.split(key)[1]))
    np.testing.assert_allclose(kept, result.best_loss, rtol=1e-6)


def test_a_training_that_is_too_short_goes_on_until_it_is_done(key):
    """Steps of .001 do not bring a standardised mean to its place in 80; each round has a schedule
    of its own, so that the first is the same whatever follows."""
    source = SimulatorSource(lambda k: simulate(k, 64), jax.random.key(3))
    validation = simulate(jax.random.key(4), 400)
    short = FitSettings(n_steps=80, check_every=10, patience=None, ema=0.9)
    once = fit(make_posterior(), source, validation, settings=short, key=key)
    longer = dataclasses.replace(short, longest=2)
    more = fit(make_posterior(), source, validation, settings=longer, key=key)
    assert not once.convergence.finished
    assert "give it more steps" in once.convergence.words
    assert once.steps[-1] == 80
    assert more.steps[-1] == 160
    assert more.validation_loss[:8] == once.validation_loss
    assert more.best_loss < once.best_loss - once.convergence.brought


def test_scalings_are_kept_through_training(key):
    before = make_posterior()
    source = ArraySource(simulate(jax.random.key(1), 300), batch_size=64)
    after = fit(before, source, simulate(jax.random.key(2), 50), settings=SHORT, key=key).posterior
    assert_same(before.head.scaling, after.head.scaling)
    assert_same(before.input_scaling, after.input_scaling)
    assert any(not np.array_equal(a, b) for a, b in zip(leaves(before), leaves(after), strict=True))


def test_a_training_killed_in_its_second_round_ends_with_the_same_weights(key, tmp_path):
    source = ArraySource(simulate(jax.random.key(1), 300), batch_size=64, seed=2)
    validation = simulate(jax.random.key(2), 100)
    settings = FitSettings(n_steps=40, check_every=10, patience=None, longest=2)
    path = tmp_path / "training.eqx"
    whole = fit(make_posterior(), source, validation, settings=settings, key=key)
    assert whole.steps[-1] == 80

    def kill_at(end):
        def kill(step, *_):
            if step == end:
                raise KeyboardInterrupt

        return kill

    for end in (40, 60):
        with pytest.raises(KeyboardInterrupt):
            fit(
                make_posterior(),
                source,
                validation,
                settings=settings,
                key=key,
                checkpoint=path,
                on_check=kill_at(end),
            )
    resumed = fit(make_posterior(), source, validation, settings=settings, key=key, checkpoint=path)
    assert_same(resumed.posterior, whole.posterior)
    assert resumed.validation_loss == whole.validation_loss


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="multiple of check_every, got 50 and 20"):
        FitSettings(n_steps=50, check_every=20)
    with pytest.raises(ValueError, match="ema"):
        FitSettings(ema=1.0)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_recalibration_finds_the_factor_by_which_a_spread_is_wrong(factor, key):
    settings = FitSettings(n_steps=800, check_every=100, learning_rate=1e-2, patience=None)
    source = SimulatorSource(lambda k: simulate(k, 512), jax.random.key(3))
    good = fit(
        make_posterior(), source, simulate(jax.random.key(4), 500), settings=settings, key=key
    ).posterior
    wrong = eqx.tree_at(lambda p: p.head, good, good.head.tempered(jnp.asarray(factor)))
    n = 4000
    held_out, checked = simulate(jax.random.key(8), n), simulate(jax.random.key(9), n)
    mended, report = recalibrated(wrong, held_out, checked)
    # The factor has a standard error of 1 / sqrt(2 n size); five of them and the fit's own error.
    assert abs(report.scale * factor - 1) < 5 / (4 * n) ** 0.5 + 0.02
    assert report.accepted
    assert report.log_prob_after > report.log_prob_before
    assert abs(report.chi2_after - 1) < 0.1 < abs(report.chi2_before - 1)
    np.testing.assert_allclose(
        jnp.mean(mended.log_prob(checked.target, checked)), report.log_prob_after, rtol=1e-9
    )
    # Fitted on targets that do not belong to the observations it makes the third split less
    # likely and is not kept.
    shuffled = eqx.tree_at(lambda b: b.target, held_out, held_out.target[::-1])
    unchanged, report = recalibrated(mended, shuffled, checked)
    assert not report.accepted
    assert report.scale == 1.0
    assert_same(unchanged, mended)


def test_a_factor_that_is_not_finite_is_refused():
    batch = simulate(jax.random.key(8), 10)
    bad = eqx.tree_at(lambda b: b.target, batch, batch.target.at[0, 0].set(jnp.inf))
    with pytest.raises(RecalibrationError, match="gives the factor"):
        recalibrated(make_posterior(), bad, batch)
