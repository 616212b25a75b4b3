"""The posterior: encoder and head joined, seed-style use, and bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vardax_core as vardax
from vardax_core.analysis.amortized.checks import BatchValueError, MissingFieldError
from vardax_core.analysis.amortized.encoders import AbstractObsEncoder, EncoderSignatureError
from vardax_core.analysis.amortized.heads.base import (
    ContextShapeError,
    SampleCountError,
    StateShapeError,
)
from vardax_core.analysis.amortized.posterior import HeadMismatchError
from vardax_core.analysis.amortized.scaling import AffineScaling, ConstantDataError
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport

BATCH, WINDOW, SIZE = 3, 2, 4


@pytest.fixture
def batch(key):
    x_key, y_key = jax.random.split(key)
    mask = jnp.ones((BATCH, WINDOW, SIZE)).at[0, 0, 1].set(0)
    return vardax.Batch1D(
        input=jax.random.normal(y_key, (BATCH, WINDOW, SIZE)),
        mask=mask,
        target=jax.random.normal(x_key, (BATCH, SIZE)),
    )


def make_posterior(encoder, key, state_shape=(SIZE,), context_dim=2 * WINDOW * SIZE):
    head = vardax.RegressionHead(context_dim, state_shape, hidden_dim=8, key=key)
    return vardax.AmortizedPosterior(
        encoder, head, vardax.AmortizedConfig(head_type="regression", n_samples=8)
    )


@pytest.fixture
def posterior(key):
    return make_posterior(vardax.IdentityObsEncoder(), key)


class BackgroundEncoder(AbstractObsEncoder):
    """Shows the head what the posterior passes for the optional fields."""

    def __call__(self, input, mask, background_mean, error_sd):
        return jnp.concatenate([input.reshape(-1), background_mean, error_sd.reshape(-1)])


def test_results_have_one_row_for_each_sample(posterior, batch, key):
    @eqx.filter_jit
    def everything(posterior, batch):
        return (
            posterior(batch),
            posterior.sample(batch, key),
            posterior.sample(batch, key, n=5),
            posterior.log_prob(batch.target, batch),
            *posterior.marginals(batch, key),
            posterior.loss(batch, key),
        )

    shapes = [x.shape for x in everything(posterior, batch)]
    state = (BATCH, SIZE)
    assert shapes == [
        state,
        (BATCH, 8, SIZE),
        (BATCH, 5, SIZE),
        (BATCH,),
        state,
        state,
        (BATCH,),
    ]


def test_a_batch_is_the_stack_of_its_samples(posterior, batch, key):
    encoder, head = posterior.encoder, posterior.head
    seen = jnp.where(batch.mask > 0, batch.input, 0.0)
    for i in range(BATCH):
        ctx = encoder(seen[i], batch.mask[i])
        np.testing.assert_allclose(posterior(batch)[i], head.map_estimate(ctx), rtol=1e-12)
        np.testing.assert_allclose(
            posterior.log_prob(batch.target, batch)[i],
            head.log_prob(batch.target[i], ctx),
            rtol=1e-12,
        )


def test_what_is_masked_is_never_seen(posterior, batch):
    hidden = eqx.tree_at(lambda b: b.input, batch, batch.input.at[0, 0, 1].set(jnp.nan))
    np.testing.assert_array_equal(posterior(hidden), posterior(batch))
    scaled = eqx.tree_at(
        lambda p: p.input_scaling,
        posterior,
        AffineScaling(jnp.full((1, 1), 3.0), jnp.full((1, 1), 2.0)),
        is_leaf=lambda x: x is None,
    )
    np.testing.assert_array_equal(scaled(hidden), scaled(batch))


def test_optional_fields_reach_an_encoder_that_names_them(batch, key):
    posterior = make_posterior(BackgroundEncoder(), key, context_dim=2 * WINDOW * SIZE + SIZE)
    with pytest.raises(MissingFieldError, match="background_mean is None"):
        posterior(batch)
    full = vardax.Batch1D(
        batch.input,
        batch.mask,
        background_mean=jnp.full((BATCH, SIZE), 5.0),
        error_sd=jnp.full((BATCH, WINDOW, SIZE), 0.6),
    )
    scaling = AffineScaling(jnp.full((1,), 1.0), jnp.full((1,), 2.0))
    posterior = eqx.tree_at(lambda p: p.head.scaling, posterior, scaling)
    ctx = posterior.context(full)
    # The background is standardised as the state is: (5 - 1) / 2.
    np.testing.assert_allclose(ctx[:, WINDOW * SIZE : -WINDOW * SIZE], 2.0)
    np.testing.assert_allclose(ctx[:, -WINDOW * SIZE :], 0.6)


def test_a_field_with_a_default_may_be_missing(batch, key):
    class SometimesEncoder(AbstractObsEncoder):
        def __call__(self, input, mask, error_sd=None):
            return input.reshape(-1) if error_sd is None else (input / error_sd).reshape(-1)

    posterior = make_posterior(SometimesEncoder(), key, context_dim=WINDOW * SIZE)
    halved = eqx.tree_at(
        lambda b: b.error_sd, batch, jnp.full_like(batch.input, 2.0), is_leaf=lambda x: x is None
    )
    np.testing.assert_allclose(posterior.context(batch), 2 * posterior.context(halved))


def test_loss_quantiles_are_spread_evenly_over_the_batch(batch, key):
    class QuantileLoss(vardax.AbstractPosteriorHead):
        context_shape: tuple[int, ...] = eqx.field(static=True, default=(16,))
        state_shape: tuple[int, ...] = eqx.field(static=True, default=(SIZE,))
        support: AbstractSupport = EVERYWHERE
        scaling: AffineScaling = AffineScaling.identity(1)
        head_type = "score"

        def standard_map(self, ctx):
            return ctx[:SIZE]

        def standard_sample(self, ctx, key, n):
            return jnp.zeros((n, SIZE))

        def standard_log_prob(self, z, ctx):
            return jnp.zeros(())

        def standard_marginals(self, ctx, key, n):
            return jnp.zeros(SIZE), jnp.ones(SIZE)

        def standard_loss(self, z, ctx, key, quantile):
            return quantile

        def standard_chi2(self, z, ctx):
            return jnp.sum(z**2)

        def started(self, fit):
            return self

        def tempered(self, scale):
            return self

    posterior = vardax.AmortizedPosterior(
        vardax.IdentityObsEncoder(), QuantileLoss(), vardax.AmortizedConfig("score")
    )
    quantiles = np.sort(posterior.loss(batch, key))
    np.testing.assert_allclose(np.diff(quantiles), 1 / BATCH, rtol=1e-10)
    assert 0 <= quantiles[0] < 1 / BATCH


def test_a_simulated_twin_can_be_learned_with_a_plain_optax_loop(key):
    x = jax.random.normal(key, (512, SIZE))
    y = x[:, None, :] + 0.1 * jax.random.normal(jax.random.key(1), (512, 1, SIZE))
    batch = vardax.Batch1D(input=y, mask=jnp.ones_like(y), target=x)
    posterior = make_posterior(vardax.IdentityObsEncoder(), key, context_dim=2 * SIZE)
    optimizer = optax.adam(1e-2)
    state = optimizer.init(eqx.filter(posterior, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        grads = eqx.filter_grad(lambda m: jnp.mean(m.loss(batch, key)))(model)
        # The bias correction of Adam divides a float by an integer count.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(grads, state)
        return eqx.apply_updates(model, updates), state

    for _ in range(150):
        posterior, state = step(posterior, state)
    error = jnp.sqrt(jnp.mean((posterior(batch) - x) ** 2))
    # The posterior sd is 0.0995; a prior mean would be off by 1.
    assert float(error) < 0.2


def test_unknown_head_types_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['flow', 'regression', 'score'\].*'gan'"):
        vardax.AmortizedConfig(head_type="gan")
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        vardax.AmortizedConfig(n_samples=0)


def test_head_and_configuration_of_different_types_are_refused(posterior):
    with pytest.raises(HeadMismatchError, match=r"'regression'.*'flow'"):
        vardax.AmortizedPosterior(posterior.encoder, posterior.head, vardax.AmortizedConfig("flow"))


def test_an_encoder_with_an_unknown_parameter_is_refused(posterior):
    class Wrong(AbstractObsEncoder):
        def __call__(self, input, mask, spread):
            return input.reshape(-1)

    with pytest.raises(EncoderSignatureError, match="spread"):
        vardax.AmortizedPosterior(Wrong(), posterior.head, posterior.config)


BAD_BATCHES = {
    "NaN observed": (lambda b: b.input, jnp.nan, r"\(1, 1, 2\) is nan"),
    "inf observed": (lambda b: b.input, jnp.inf, r"\(1, 1, 2\) is inf"),
    "mask not 0 or 1": (lambda b: b.mask, 0.5, r"0\.5 at \(1, 1, 2\)"),
}


@pytest.mark.parametrize("fault", list(BAD_BATCHES))
def test_values_that_mean_nothing_are_refused(fault, posterior, batch):
    where, value, message = BAD_BATCHES[fault]
    bad = eqx.tree_at(where, batch, where(batch).at[1, 1, 2].set(value))
    with pytest.raises(BatchValueError, match=message):
        posterior(bad)


def test_bad_targets_and_missing_targets_are_refused(posterior, batch, key):
    bad = eqx.tree_at(lambda b: b.target, batch, batch.target.at[2, 1].set(jnp.nan))
    with pytest.raises(BatchValueError, match=r"target at \(2, 1\) is nan"):
        posterior.loss(bad, key)
    with pytest.raises(MissingFieldError, match=r"batch\.target is None"):
        posterior.loss(vardax.Batch1D(batch.input, batch.mask), key)


def test_empty_batches_and_masks_of_another_shape_are_refused(posterior, batch):
    empty = vardax.Batch1D(jnp.zeros((0, WINDOW, SIZE)), jnp.zeros((0, WINDOW, SIZE)))
    with pytest.raises(BatchValueError, match="is empty"):
        posterior(empty)
    with pytest.raises(BatchValueError, match=r"\(1, 2, 4\).*\(3, 2, 4\)"):
        posterior(eqx.tree_at(lambda b: b.mask, batch, batch.mask[:1]))


def test_contexts_states_and_counts_that_do_not_fit_are_refused(batch, key):
    posterior = make_posterior(vardax.IdentityObsEncoder(), key, context_dim=7)
    with pytest.raises(ContextShapeError, match=r"\(7,\).*\(16,\)"):
        posterior(batch)
    posterior = make_posterior(vardax.IdentityObsEncoder(), key)
    with pytest.raises(StateShapeError, match=r"\(4,\).*\(5,\)"):
        posterior.log_prob(jnp.zeros((BATCH, 5)), batch)
    with pytest.raises(SampleCountError, match="at least 1, got 0"):
        posterior.sample(batch, key, n=0)


def test_constant_data_cannot_be_standardised():
    with pytest.raises(ConstantDataError, match="1 of 3"):
        AffineScaling.fitted(jnp.array([[1.0, 2.0, 3.0], [0.0, 2.0, 1.0]]))


@pytest.mark.parametrize(
    ("per", "shape"), [("element", (2, 4, 4)), ("channel", (2, 1, 1)), ("all", (1, 1, 1))]
)
def test_scalings_standardise_and_their_log_det_is_the_jacobian(per, shape, key):
    x = 3.0 + 2.0 * jax.random.normal(key, (50, 2, 4, 4))
    scaling = AffineScaling.fitted(x, per=per)
    assert scaling.scale.shape == shape
    z = jax.vmap(scaling.to_standard)(x)
    np.testing.assert_allclose(jnp.mean(z), 0.0, atol=1e-10)
    np.testing.assert_allclose(jnp.mean(z**2), 1.0, rtol=1e-10)
    np.testing.assert_allclose(jax.vmap(scaling.from_standard)(z), x, rtol=1e-12)
    jacobian = jax.jacfwd(lambda a: scaling.to_standard(a.reshape(2, 4, 4)).reshape(-1))(
        x[0].reshape(-1)
    )
    expected = jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(scaling.log_det((2, 4, 4)), expected, rtol=1e-10)


def test_unobserved_elements_do_not_enter_a_scaling():
    x = jnp.array([[1.0, 9.0], [3.0, jnp.nan], [99.0, 7.0]])
    weight = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    scaling = AffineScaling.fitted(x, weight=weight)
    np.testing.assert_allclose(scaling.shift, [2.0, 8.0])
    np.testing.assert_allclose(scaling.scale, [1.0, 1.0])
