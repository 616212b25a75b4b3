"""What is known of the Lorenz models: fixed points, invariants, growth rates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.models.attractor import leading_lyapunov_exponent, spin_up
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.models.lorenz96 import Lorenz96

TIME = jnp.asarray(0, jnp.int32)


def test_lorenz63_rests_at_its_fixed_points(key):
    model = Lorenz63()
    c = np.sqrt(model.beta * (model.rho - 1))
    for point in ([0.0, 0.0, 0.0], [c, c, 27.0], [-c, -c, 27.0]):
        state = jnp.array(point)
        np.testing.assert_allclose(model.step(state, TIME, key=key), state, atol=1e-12)


def test_lorenz63_contracts_volumes_at_the_known_rate(key):
    """The flow's divergence is -(sigma + 1 + beta) everywhere (Lorenz 1963, equation 29)."""
    model = Lorenz63(step_size=0.001, n_steps=100)
    jacobian = jax.jacfwd(lambda x: model.step(x, TIME, key=key))(jnp.array([1.0, 2.0, 20.0]))
    rate = np.linalg.slogdet(np.asarray(jacobian))[1] / 0.1
    assert rate == pytest.approx(-(10 + 1 + 8 / 3), rel=1e-6)


def test_lorenz96_rests_at_the_forcing(key):
    state = jnp.full((40,), 8.0)
    np.testing.assert_allclose(Lorenz96().step(state, TIME, key=key), state, rtol=1e-14)


def test_lorenz96_advection_keeps_energy():
    """Forcing and damping alone change the energy: x . dx/dt = F sum x - x . x."""
    state = jax.random.normal(jax.random.key(4), (40,))
    model = Lorenz96()
    expected = 8.0 * jnp.sum(state) - jnp.sum(state**2)
    assert float(state @ model.tendency(state)) == pytest.approx(float(expected), rel=1e-12)


def test_lorenz96_does_not_know_where_the_ring_starts(key):
    model = Lorenz96()
    state = 8.0 + jax.random.normal(key, (40,))
    moved = model.step(jnp.roll(state, 7), TIME, key=key)
    np.testing.assert_allclose(moved, jnp.roll(model.step(state, TIME, key=key), 7), rtol=1e-13)


@pytest.mark.parametrize("model", [Lorenz63, Lorenz96])
def test_the_scheme_is_of_fourth_order(model, key):
    """Half the step, a sixteenth of the error; 10 % for the next term of the expansion."""
    state = spin_up(model(), 5.0 + jnp.arange(1.0 * model().state_shape[0]) % 3, 100, key=key)
    exact, coarse, fine = (
        model(step_size=0.2 / n, n_steps=n).step(state, TIME, key=key) for n in (640, 40, 80)
    )
    ratio = float(jnp.linalg.norm(coarse - exact) / jnp.linalg.norm(fine - exact))
    assert 14 < ratio < 18


@pytest.mark.parametrize(
    ("model", "per_step", "expected", "n_steps"),
    [
        (Lorenz63(n_steps=10), 0.1, 0.906, 20000),
        (Lorenz96(), 0.05, 1.67, 20000),
    ],
)
def test_errors_grow_at_the_known_rate(model, per_step, expected, n_steps, key):
    """Within 3 %: the finite orbit's sampling error is about 1 %."""

    @eqx.filter_jit
    def exponent():
        start = 5.0 + jnp.arange(1.0 * model.state_shape[0]) % 3
        start = spin_up(model, start, 500, key=key)
        return leading_lyapunov_exponent(model, start, n_steps, key=key)

    assert float(exponent()) / per_step == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("model", [Lorenz63, Lorenz96])
@pytest.mark.parametrize("bad", [{"step_size": 0.0}, {"step_size": float("nan")}, {"n_steps": 0}])
def test_a_step_of_no_length_is_refused(model, bad):
    with pytest.raises(ValueError, match="step_size must be > 0"):
        model(**bad)


@pytest.mark.parametrize("shape", [(3,), (4, 4)])
def test_a_ring_is_one_row_of_four_or_more(shape):
    with pytest.raises(ValueError, match="N >= 4"):
        Lorenz96(state_shape=shape)
