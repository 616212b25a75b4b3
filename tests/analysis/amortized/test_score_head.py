"""Score diffusion with an exact score: density, samplers, and the estimate of the divergence."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier

from vardax_core.analysis.amortized.heads.networks import FieldNetwork
from vardax_core.analysis.amortized.heads.noise import VarianceExploding
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead, TemperingError
from vardax_core.analysis.amortized.heads.score_networks import AbstractScoreNetwork
from vardax_core.analysis.amortized.heads.unet_score import UNetScoreNetwork

pytestmark = pytest.mark.ladder

SIZE, CENTRE, SD = 10, 0.5, 0.3
CTX = jnp.array([0.2])


class TwoModes(AbstractScoreNetwork):
    """The exact F for an even mixture of N(c + m, SD^2 I) and N(c - m, SD^2 I), all m = CENTRE."""

    size: int = eqx.field(static=True)
    context_shape: tuple[int, ...] = eqx.field(static=True, default=(1,))

    @property
    def state_shape(self):
        return (self.size,)

    def __call__(self, z, log_sigma, ctx):
        sigma = jnp.exp(log_sigma)
        noisy = z * (1 + sigma**2) ** 0.5 - ctx[0]
        variance = SD**2 + sigma**2
        tilt = jnp.tanh(CENTRE * jnp.sum(noisy) / variance)
        clean = ctx[0] + (SD**2 * noisy + sigma**2 * CENTRE * tilt) / variance
        skip = (noisy + ctx[0]) / (1 + sigma**2)
        return (clean - skip) * (1 + sigma**2) ** 0.5 / sigma


def exact_log_prob(z):
    parts = [
        -0.5 * jnp.sum((z - 0.2 - m) ** 2) / SD**2 - z.size * jnp.log(SD * (2 * jnp.pi) ** 0.5)
        for m in (CENTRE, -CENTRE)
    ]
    return logsumexp(jnp.stack(parts)) - jnp.log(2.0)


def make_head(size=SIZE, **options):
    return ScoreDiffusionHead(1, (size,), network=TwoModes(size), key=jax.random.key(0), **options)


@cache
def true_samples(n, size=SIZE):
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], (n, 1))
    return 0.2 + sign * CENTRE + SD * rng.standard_normal((n, size))


@eqx.filter_jit
def log_probs(head, z):
    return jax.vmap(lambda a: head.log_prob(a, CTX))(z)


@eqx.filter_jit
def draw(head, key, n):
    return head.sample(CTX, key, n)


def test_with_the_exact_score_the_log_density_is_exact():
    z = jnp.asarray(true_samples(32))
    error = log_probs(make_head(), z) - jax.vmap(exact_log_prob)(z)
    assert float(jnp.sqrt(jnp.mean(error**2))) < 0.02


def test_hutchinson_agrees_within_the_error_that_it_reports(key):
    head = make_head(exact_size=1, n_probes=64)
    z = jnp.asarray(true_samples(32))

    @eqx.filter_jit
    def estimate(z, keys):
        return jax.vmap(lambda a, k: head.log_prob_and_error(a, CTX, k))(z, keys)

    got, error = estimate(z, jax.random.split(key, 32))
    ratio = (got - jax.vmap(exact_log_prob)(z)) / error
    # With 32 independent ratios of unit variance, 5 standard deviations of their mean square.
    assert abs(float(jnp.mean(ratio**2)) - 1) < 5 * (2 / 32) ** 0.5
    assert 0.01 < float(jnp.mean(error)) < 1.0


def c2st(first, second):
    """Accuracy of a classifier that tells two sets apart; 0.5 if they are one."""
    both = np.concatenate([first, second])
    both = (both - first.mean(0)) / first.std(0)
    label = np.repeat([0, 1], [len(first), len(second)])
    classifier = MLPClassifier((20, 20), random_state=1, max_iter=60, early_stopping=True)
    return cross_val_score(classifier, both, label, cv=3).mean()


@pytest.mark.parametrize(
    ("sampler", "n_steps"),
    [
        ("scan", 40),
        ("ode", 40),
        ("sde", 200),
    ],
)
def test_samples_of_every_sampler_are_those_of_the_target(sampler, n_steps, key):
    head = make_head(2, sampler=sampler, n_steps=n_steps)
    samples = np.asarray(draw(head, key, 2000))
    assert c2st(true_samples(2000, 2), samples) <= 0.55


def test_sde_and_ode_samples_agree(key):
    ode, sde = (
        np.asarray(draw(make_head(2, sampler=s, n_steps=n), jax.random.key(i), 2000))
        for i, (s, n) in enumerate((("scan", 40), ("sde", 200)))
    )
    assert c2st(ode, sde) <= 0.55


def test_an_sde_cannot_be_tempered():
    with pytest.raises(TemperingError, match="'scan' or 'ode'"):
        make_head(sampler="sde").tempered(jnp.asarray(2.0))


def test_training_levels_span_the_range_and_grids_end_at_it():
    quantiles = jnp.linspace(0.0, 1.0, 401)[:-1]
    process = VarianceExploding()
    levels = jax.vmap(process.training_log_sigma)(quantiles)
    low, high = process.log_range
    assert low <= float(levels.min()) < low + 1
    assert high - 1 < float(levels.max()) <= high


def test_bad_ranges_steps_and_networks_are_refused(key):
    with pytest.raises(ValueError, match="sigma_min < 1 < sigma_max"):
        VarianceExploding(sigma_max=0.5)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        make_head(n_steps=1)
    with pytest.raises(ValueError, match=r"\(\(1,\), \(10,\)\).*\(\(2,\), \(10,\)\)"):
        ScoreDiffusionHead(2, (SIZE,), network=TwoModes(SIZE), key=key)
    with pytest.raises(ValueError, match="UNetScoreNetwork"):
        ScoreDiffusionHead((2, 8, 8), (8, 8), key=key)
    with pytest.raises(ValueError, match=r"grid \(8, 8\)"):
        UNetScoreNetwork((2, 8, 8), (8, 4), key=key)


def test_around_a_gaussian_an_untrained_field_head_is_that_gaussian(key):
    context, state = (3, 4, 4), (4, 4)
    network = UNetScoreNetwork(context, state, width=4, levels=1, patch=2, key=key)
    network = eqx.tree_at(
        lambda n: (n.unet.outlet.weight, n.unet.outlet.bias), network, replace_fn=jnp.zeros_like
    )
    gaussian = FieldNetwork(context, state, 2, hidden_dim=8, key=key)
    gaussian = eqx.tree_at(lambda g: g.second, gaussian, 5 * gaussian.second)
    head = ScoreDiffusionHead(context, state, network=network, gaussian=gaussian, key=key)
    ctx_key, x_key = jax.random.split(key)
    ctx, x = jax.random.normal(ctx_key, context), jax.random.normal(x_key, state)
    mean, log_sd = gaussian(ctx)
    sd = jnp.where(log_sd > 0, 1 + log_sd, jnp.exp(log_sd)) + 1e-3
    assert float(jnp.std(mean)) > 0.1
    assert float(jnp.std(sd)) > 0.1
    exact = jnp.sum(jax.scipy.stats.norm.logpdf(x, mean, sd))
    np.testing.assert_allclose(eqx.filter_jit(head.log_prob)(x, ctx), exact, atol=1e-2)
    np.testing.assert_allclose(eqx.filter_jit(head.map_estimate)(ctx), mean, atol=1e-3)
    n = 2000
    samples = eqx.filter_jit(head.sample)(ctx, x_key, n)
    np.testing.assert_allclose((samples.mean(0) - mean) / sd, 0.0, atol=5 / n**0.5)
    np.testing.assert_allclose(samples.std(0) / sd, 1.0, atol=5 / (2 * n) ** 0.5)


@pytest.mark.parametrize("context", [1, (3, 4, 4)])
def test_a_gaussian_that_does_not_fit_is_refused(context, key):
    gaussian = FieldNetwork((3, 4, 4), (4, 4), 3, hidden_dim=8, key=key)
    network = None
    if context != 1:
        network = UNetScoreNetwork(context, (4, 4), width=4, levels=1, patch=2, key=key)
    with pytest.raises(ValueError, match="gaussian has"):
        ScoreDiffusionHead(context, (4, 4), network=network, gaussian=gaussian, key=key)
