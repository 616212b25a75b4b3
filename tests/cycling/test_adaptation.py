"""Spread adaptation on Gaussian twins whose right factor is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.cycling.adaptation import SpreadAdaptation, SpreadState
from vardax_core.observations.departures import Departures
from vardax_core.observations.operators import Identity
from vardax_core.types import Observations

N = 40
ERROR = 0.3


def correlation():
    place = np.arange(N)
    return np.exp(-np.abs(np.subtract.outer(place, place)) / 6.0)


def step_believing(variance):
    """OI whose B has the right shape and the given variance."""
    matrix = jnp.asarray(variance * correlation())
    return OptimalInterpolation(Identity((N,)), DenseCovariance.from_matrix(matrix, (N,)))


def updated(adaptation, state, step, window, *, key):
    """The state after one cycle whose background is zero."""
    background = jnp.zeros((2, N))
    departures = Departures.of(step.operator, background, window)
    return adaptation.update(state, step, background, window, departures, key=key)


def cycle_factors(believed, cycles=150, adaptation=None, error=ERROR):
    """Factors of a run whose truth has unit variance."""
    adaptation = adaptation or SpreadAdaptation(memory=40.0)
    step = step_believing(believed)
    root = jnp.asarray(np.linalg.cholesky(correlation()))

    def body(state, key):
        truth_key, noise_key, update_key = jax.random.split(key, 3)
        truth = root @ jax.random.normal(truth_key, (N,))
        values = truth + error * jax.random.normal(noise_key, (N,))
        observations = Observations(
            values[None], jnp.ones((1, N), bool), jnp.full((1, N), error), jnp.zeros((1,), int)
        )
        factor = adaptation.factor(state)
        state = updated(adaptation, state, step, observations, key=update_key)
        return state, factor

    keys = jax.random.split(jax.random.key(0), cycles)
    run = eqx.filter_jit(lambda: jax.lax.scan(body, adaptation.init(float), keys))
    return np.asarray(run()[1])


def observations(mask=True, value=1.0):
    return Observations(
        jnp.full((2, N), value),
        jnp.broadcast_to(jnp.asarray(mask), (2, N)),
        jnp.full((2, N), ERROR),
        jnp.asarray([0, 60]),
    )


def expected_factor(believed):
    """True over claimed spread at every fifth point, analysed from the others."""
    rest = np.arange(N) % 5 != 0
    b = believed * correlation()
    gain = np.linalg.solve(b[np.ix_(rest, rest)] + ERROR**2 * np.eye(rest.sum()), b[rest]).T
    claimed = b - gain @ b[rest]
    left = correlation() - gain @ correlation()[rest]
    error = left - left[:, rest] @ gain.T + ERROR**2 * gain @ gain.T
    return np.sqrt(np.diag(error)[~rest].sum() / np.diag(claimed)[~rest].sum())


@pytest.mark.slow
@pytest.mark.parametrize("believed", [0.4, 1.0, 2.5])
def test_factor_converges_to_the_ratio_of_true_and_claimed_spread(believed):
    factors = cycle_factors(believed)
    assert factors[0] == 1.0
    # 40 remembered cycles of 40 observations: the standard error of the ratio of variances is
    # about sqrt(2 / 800) = 5 %, of the factor half of it, plus the prior's pull of 4 in 44.
    assert factors[-60:].mean() == pytest.approx(expected_factor(believed), rel=0.1)


def test_the_factor_stays_in_its_range():
    narrow = SpreadAdaptation(memory=40.0, prior_cycles=0.1, smallest=0.9, largest=1.1)
    assert cycle_factors(0.2, cycles=20, adaptation=narrow)[-1] == pytest.approx(1.1)
    assert cycle_factors(5.0, cycles=20, adaptation=narrow)[-1] == pytest.approx(0.9)


def test_factor_by_hand():
    adaptation = SpreadAdaptation(prior_cycles=2.0)
    state = SpreadState(*(jnp.asarray(x) for x in (6.0, 2.0, 4.0)))
    # The prior adds 2 cycles of the mean variance 0.5 to both sums: (6 + 1) / (2 + 1).
    assert float(adaptation.factor(state)) == pytest.approx((7 / 3) ** 0.5)


@eqx.filter_jit
def update(state, window):
    return updated(SpreadAdaptation(), state, step_believing(1.0), window, key=jax.random.key(1))


@pytest.mark.parametrize(
    "window",
    [
        observations(mask=False),
        # Only an older row is seen: nothing can be judged at the analysis time.
        observations(mask=np.array([[True], [False]])),
        # One site cannot be withheld and analysed at once.
        observations(mask=np.arange(N)[None] == 3),
        observations(value=np.inf),
    ],
    ids=["none", "none now", "one site", "infinite"],
)
def test_a_cycle_that_cannot_be_judged_leaves_the_state(window):
    state = SpreadState(*(jnp.asarray(x) for x in (6.0, 2.0, 4.0)))
    after = update(state, window)
    np.testing.assert_array_equal(jax.tree.leaves(after), jax.tree.leaves(state))


def test_every_observation_is_withheld_once_and_its_fold_is_not_seen():
    # With B = 0 apart from the diagonal a withheld site is analysed as the background.
    step = OptimalInterpolation(Identity((N,)), DenseCovariance.from_matrix(2.0 * jnp.eye(N), (N,)))
    values = jnp.arange(float(N))
    window = Observations(
        values[None], jnp.ones((1, N), bool), jnp.full((1, N), ERROR), jnp.zeros((1,), int)
    )
    adaptation = SpreadAdaptation()
    state = updated(adaptation, adaptation.init(float), step, window, key=jax.random.key(1))
    assert float(state.squared_error) == pytest.approx(float(jnp.mean(values**2)) - ERROR**2)
    assert float(state.variance) == pytest.approx(2.0)
    assert float(state.weight) == 1.0


def test_applying_a_factor_scales_spread_and_anomalies(key):
    analysis = step_believing(1.0)(jnp.zeros((4, N)), observations(), key=key)
    scaled = SpreadAdaptation().apply(analysis, jnp.asarray(1.5))
    np.testing.assert_allclose(scaled.spread, 1.5 * analysis.spread)
    np.testing.assert_array_equal(scaled.mean, analysis.mean)
    np.testing.assert_allclose(
        scaled.ensemble - scaled.mean[None], 1.5 * (analysis.ensemble - analysis.mean[None])
    )
    assert float(scaled.diagnostics["spread_factor"]) == 1.5


@pytest.mark.parametrize(
    "options", [{"folds": 1}, {"memory": 0.0}, {"prior_cycles": 0.0}, {"smallest": 1.2}]
)
def test_bad_settings_are_refused(options):
    with pytest.raises(ValueError, match="SpreadAdaptation"):
        SpreadAdaptation(**options)
