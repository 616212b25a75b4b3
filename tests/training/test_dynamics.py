"""A 4DVarNet's dynamics, learned from rows that follow one another."""

import jax
import jax.numpy as jnp
import pytest

from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.encoders import IdentityObsEncoder
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.variational.four_dvar_net import FourDVarNet1D, window_posterior
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.training.dynamics import learn_dynamics
from vardax_core.training.preparation import standardised
from vardax_core.types import Batch1D

ROWS, POINTS = 4, 8


@pytest.fixture(scope="module")
def windows():
    model = Lorenz96(state_shape=(POINTS,))
    start = 8.0 + jax.random.normal(jax.random.key(0), (POINTS,))
    now = jnp.zeros((), jnp.int32)
    run = jax.jit(lambda x: model.trajectory(x, now, 1200, key=jax.random.key(1)))(start)
    return run[400:].reshape(-1, ROWS, POINTS)


def posterior_of(windows):
    network = FourDVarNet1D(ROWS, hidden=4, iterations=2, products=1, key=jax.random.key(2))
    posterior = window_posterior(network, (POINTS,), hidden_dim=4, key=jax.random.key(3))
    return standardised(posterior, Batch1D(windows, jnp.ones_like(windows), windows), per="all")


@pytest.mark.slow
def test_the_model_is_in_the_family_and_is_found(windows):
    """Lorenz-96 is linear plus one product; the midpoint rule is off by O(dt^3) a step, some
    0.05^3 / 24 of a third derivative of order 10^3 standard units."""
    before = posterior_of(windows)
    after, error = learn_dynamics(before, windows, steps=400, key=jax.random.key(4))
    rows = jax.vmap(before.input_scaling.to_standard)(windows)
    persistence = float(jnp.sqrt(jnp.mean((rows[:, 1:] - rows[:, :-1]) ** 2)))
    assert float(error) < 0.1 * persistence
    followed = jax.vmap(after.encoder.prior)(rows[:, :-1])
    whole = float(jnp.sqrt(jnp.mean((followed - rows[:, 1:]) ** 2)))
    # One batch of 256 pairs of 8 points beside all of them: equal but for sampling.
    assert whole == pytest.approx(float(error), rel=0.3)


def test_only_the_dynamics_change(windows):
    before = posterior_of(windows)
    after, _ = learn_dynamics(before, windows, steps=2, key=jax.random.key(4))
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), before.head, after.head)
    assert all(jax.tree.leaves(same))
    assert not bool(
        jnp.all(before.encoder.prior.features.weight == after.encoder.prior.features.weight)
    )


def test_what_has_no_dynamics_is_refused(windows):
    head = RegressionHead(2 * ROWS * POINTS, (POINTS,), key=jax.random.key(0))
    other = AmortizedPosterior(IdentityObsEncoder(), head, AmortizedConfig("regression"))
    with pytest.raises(ValueError, match="IdentityObsEncoder, which has no dynamics"):
        learn_dynamics(other, windows, key=jax.random.key(0))
    with pytest.raises(ValueError, match="no pair of rows"):
        learn_dynamics(posterior_of(windows), windows[:, :1], key=jax.random.key(0))
