"""A script in the style of the seed library, for every head: build, call, sample, score, step."""

import jax
import jax.numpy as jnp
import pytest

import vardax_core as vardax

HEADS = {
    "regression": vardax.RegressionHead,
    "flow": vardax.ConditionalFlowHead,
    "score": vardax.ScoreDiffusionHead,
}


@pytest.mark.slow
@pytest.mark.parametrize("head_type", list(HEADS))
def test_a_seed_style_script_runs(head_type):
    batch_size, window, n = 3, 2, 4
    key = jax.random.PRNGKey(0)
    encoder = vardax.MLPObsEncoder(input_size=window * n, context_dim=6, hidden_dim=8, key=key)
    head = HEADS[head_type](context_dim=6, state_shape=(window, n), hidden_dim=8, depth=2, key=key)
    config = vardax.AmortizedConfig(head_type=head_type, n_samples=8)
    model = vardax.AmortizedPosterior(encoder=encoder, head=head, config=config)
    batch = vardax.Batch1D(
        input=jax.random.normal(key, (batch_size, window, n)),
        mask=jnp.ones((batch_size, window, n)),
        target=jnp.zeros((batch_size, window, n)),
    )

    @jax.jit
    def everything(batch):
        return (
            model(batch),
            model.sample(batch, key),
            model.sample(batch, key, n=5),
            model.log_prob(batch.target, batch),
        )

    estimate, samples, five, log_prob = everything(batch)
    assert estimate.shape == (batch_size, window, n)
    assert samples.shape == (batch_size, 8, window, n)
    assert five.shape == (batch_size, 5, window, n)
    assert log_prob.shape == (batch_size,)
    step = model.as_analysis_step()
    forecast = jnp.zeros((batch_size, window, n))
    obs = forecast.at[:, 0, 0].set(jnp.nan)
    analysis = jax.jit(lambda f, o: step(f, o, obs_op=None, obs_err_cov=None))(forecast, obs)
    assert analysis.shape == forecast.shape
    for value in (estimate, samples, log_prob, analysis):
        assert bool(jnp.all(jnp.isfinite(value)))
