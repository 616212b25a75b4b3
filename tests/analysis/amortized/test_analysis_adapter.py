"""The call-compatible analysis step and the amortized step of the cycle."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vardax_core as vardax
from vardax_core.analysis.adapter import ErrorCovarianceError
from vardax_core.analysis.amortized.encoders import AbstractObsEncoder
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.observations.linear import LinearMatrix
from vardax_core.observations.nonlinear import square
from vardax_core.observations.operators import Identity, PointSampling
from vardax_core.types import ResultCode


def make_posterior(key, state_shape, context_dim):
    head = vardax.RegressionHead(context_dim, state_shape, hidden_dim=8, key=key)
    config = vardax.AmortizedConfig("regression")
    return vardax.AmortizedPosterior(vardax.IdentityObsEncoder(), head, config)


def test_a_batch_of_trajectories_gives_a_batch_of_estimates(key):
    posterior = make_posterior(key, (2, 4), 16)
    forecast = jax.random.normal(key, (3, 2, 4))
    obs = forecast.at[:, 0, 0].set(jnp.nan)
    analysis = posterior.as_analysis_step()(forecast, obs, obs_op=None, obs_err_cov=None)
    mask = jnp.isfinite(obs).astype(obs.dtype)
    expected = posterior(vardax.Batch1D(jnp.nan_to_num(obs), mask))
    np.testing.assert_array_equal(analysis, expected)


@pytest.mark.parametrize("obs_shape", [(4,), (1, 4)])
def test_one_state_gives_the_estimate_and_an_ensemble_gives_samples(key, obs_shape):
    posterior = make_posterior(key, (4,), 8)
    step = posterior.as_analysis_step()
    obs = jnp.arange(4.0).at[1].set(jnp.nan).reshape(obs_shape)
    one = step(jnp.zeros(4), obs, obs_op=None, obs_err_cov=1.0)
    assert one.shape == (4,)
    ensemble = step(jnp.zeros((5, 4)), obs, obs_op=None, obs_err_cov=jnp.ones(4))
    assert ensemble.shape == (5, 4)
    assert len(np.unique(np.asarray(ensemble)[:, 0])) == 5
    again = step(jnp.zeros((5, 4)), obs, obs_op=None, obs_err_cov=jnp.ones(4))
    np.testing.assert_array_equal(ensemble, again)
    other = step(jnp.zeros((5, 4)), obs + 1.0, obs_op=None, obs_err_cov=jnp.ones(4))
    other_one = step(jnp.zeros(4), obs + 1.0, obs_op=None, obs_err_cov=1.0)
    noise, other_noise = (
        np.asarray(ensemble) - np.asarray(one),
        np.asarray(other) - np.asarray(other_one),
    )
    assert not np.allclose(noise, other_noise, rtol=0.1)


def test_fields_are_told_from_trajectories(key):
    posterior = make_posterior(key, (3, 4), 24)
    step = posterior.as_analysis_step(window_rank=3)
    assert step(jnp.zeros((3, 4)), jnp.ones((3, 4)), obs_op=None, obs_err_cov=None).shape == (3, 4)
    step = posterior.as_analysis_step()
    ensemble = step(jnp.zeros((5, 3, 4)), jnp.ones((1, 3, 4)), obs_op=None, obs_err_cov=None)
    assert ensemble.shape == (5, 3, 4)


class Nudging(AbstractAnalysisStep):
    """The analysis of N(background, 1) for each member and point."""

    operator: Identity

    def analyse(self, background, observations, *, key):
        precision = jnp.where(observations.mask[0], observations.error_sd[0] ** -2, 0.0)
        gain = precision / (1 + precision)
        ensemble = jax.vmap(lambda x: x + gain * (observations.values[0] - x))(background)
        return vardax.Analysis(
            ensemble, ensemble.mean(0), ensemble.std(0), jnp.asarray(0, jnp.int32), {}
        )


def test_the_adapter_of_a_step_is_the_step(key):
    step = Nudging(Identity((4,)))
    background = jax.random.normal(key, (6, 4))
    obs = jnp.array([1.0, jnp.nan, 0.5, -1.0])
    adapter = vardax.AnalysisAdapter.of_step(step)
    got = adapter(background, obs, obs_op=step.operator, obs_err_cov=0.25 * jnp.eye(4))
    observations = vardax.Observations.from_values(
        obs[None], jnp.full((1, 4), 0.5), jnp.zeros(1, jnp.int32)
    )
    expected = step(background, observations, key=key)
    np.testing.assert_array_equal(got, expected.ensemble)
    one = adapter(background[0], obs, obs_op=step.operator, obs_err_cov=jnp.full(4, 0.25))
    np.testing.assert_allclose(one[0], (background[0, 0] + 4 * 1.0) / 5, rtol=1e-12)
    np.testing.assert_allclose(one[1], background[0, 1], rtol=1e-12)


def test_covariances_that_cannot_be_used_are_refused():
    step = vardax.AnalysisAdapter.of_step(Nudging(Identity((2,))))
    background, obs = jnp.eye(2), jnp.ones(2)
    with pytest.raises(ErrorCovarianceError, match="pass a variance"):
        step(background, obs, obs_op=None, obs_err_cov=None)
    with pytest.raises(ErrorCovarianceError, match="correlated"):
        step(background, obs, obs_op=None, obs_err_cov=jnp.array([[1.0, 0.2], [0.2, 1.0]]))
    with pytest.raises(ErrorCovarianceError, match=r"\(3,\) does not fit.*\(2,\)"):
        step(background, obs, obs_op=None, obs_err_cov=jnp.ones(3))
    with pytest.raises(ErrorCovarianceError, match="positive"):
        step(background, obs, obs_op=None, obs_err_cov=0.0)


class Everything(AbstractObsEncoder):
    """Shows the head all that the step passes."""

    def __call__(self, input, mask, background_mean, background_spread, error_sd, times):
        parts = (input, mask, background_mean, background_spread, error_sd, times)
        return jnp.concatenate([p.reshape(-1) for p in parts])


def test_the_step_shows_the_posterior_background_and_observations(key):
    operator = PointSampling(jnp.array([3, 1, 3]), (5,))
    observations = vardax.Observations(
        values=jnp.array([[7.0, 2.0, 9.0], [4.0, 8.0, 6.0]]),
        mask=jnp.array([[True, False, False], [True, True, True]]),
        error_sd=jnp.array([[1.0, 1.0, 1.0], [0.5, 0.25, 1.5]]),
        times=jnp.array([60, 120]),
    )
    background = jnp.stack([jnp.zeros(5), jnp.full(5, 2.0)])
    head = vardax.RegressionHead(42, (5,), hidden_dim=4, key=key)
    posterior = vardax.AmortizedPosterior(Everything(), head, vardax.AmortizedConfig())
    step = vardax.PosteriorAnalysisStep(posterior, operator, on_grid=True)
    batch = step.batch(background, observations)
    np.testing.assert_array_equal(batch.input[0], [[0, 0, 0, 7.0, 0], [0, 8.0, 0, 5.0, 0]])
    np.testing.assert_array_equal(batch.mask[0], [[0, 0, 0, 1, 0], [0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(batch.error_sd[0], [[1, 1, 1, 1, 1], [1, 0.25, 1, 1.0, 1]])
    np.testing.assert_array_equal(batch.times[0], [-60, 0])
    np.testing.assert_allclose(batch.background_mean[0], 1.0)
    np.testing.assert_allclose(batch.background_spread[0], 2**0.5)
    analysis = eqx.filter_jit(step)(background, observations, key=key)
    assert int(analysis.result) == ResultCode.OK
    np.testing.assert_allclose(analysis.mean, posterior(batch)[0], rtol=1e-10)
    nothing = eqx.tree_at(lambda o: o.mask, observations, jnp.zeros((2, 3), bool))
    unchanged = step(background, nothing, key=key)
    assert int(unchanged.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(unchanged.ensemble, background)


def test_what_a_curved_operator_says_is_put_on_the_grid_as_a_state(key):
    """x^2 of members within 1 % of 3, and -5 x: both say that x is 3.1, with an error of 0.2."""
    members = 3 + 0.03 * jnp.linspace(-1, 1, 8)[:, None] * jnp.ones((1, 5))
    head = vardax.RegressionHead(30, (5,), hidden_dim=4, key=key)
    posterior = vardax.AmortizedPosterior(Everything(), head, vardax.AmortizedConfig())
    at = PointSampling(jnp.array([3]), (5,))
    for operator, value, error in (
        (square((1,)) @ at, 9.6, 1.2),
        (LinearMatrix(-5 * jnp.eye(1), (1,)) @ at, -15.5, 1.0),
    ):
        step = vardax.PosteriorAnalysisStep(posterior, operator, on_grid=True)
        observations = vardax.Observations.from_values(
            jnp.full((1, 1), value), jnp.full((1, 1), error), jnp.zeros(1, jnp.int32)
        )
        batch = step.batch(members, observations)
        np.testing.assert_allclose(batch.input[0], [[0, 0, 0, 3.1, 0]], atol=1e-3)
        np.testing.assert_allclose(batch.error_sd[0], [[1, 1, 1, 0.2, 1]], atol=1e-3)
        np.testing.assert_array_equal(batch.mask[0], [[0, 0, 0, 1, 0]])


def test_a_posterior_of_another_grid_is_refused(key):
    with pytest.raises(ValueError, match=r"\(4,\).*\(5,\)"):
        vardax.PosteriorAnalysisStep(make_posterior(key, (4,), 8), Identity((5,)))
