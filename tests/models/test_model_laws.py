"""Laws of every forecast model: one line in `MODELS` brings a model under all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.models.climatology import Climatology
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.models.lorenz96 import Lorenz96

TIME = jnp.asarray(0, jnp.int32)


def climatology():
    root = jax.random.normal(jax.random.key(5), (4, 3))
    return Climatology(
        mean=jnp.arange(8.0).reshape(2, 4), square_root=root, interval=60, state_shape=(4,)
    )


MODELS = {
    "lorenz63": lambda: (Lorenz63(), jnp.array([1.5, -1.5, 25.5])),
    "lorenz96": lambda: (Lorenz96(), 8.0 + jax.random.normal(jax.random.key(1), (40,))),
    "lorenz96_long": lambda: (
        Lorenz96(state_shape=(12,), step_size=0.02, n_steps=5),
        8.0 + jax.random.normal(jax.random.key(1), (12,)),
    ),
    "climatology": lambda: (climatology(), jnp.zeros(4)),
}

RNG = np.random.default_rng(3)


@pytest.fixture(params=MODELS)
def case(request):
    return MODELS[request.param]()


def test_a_step_keeps_the_shape_and_stays_finite(case, key):
    model, state = case
    assert state.shape == model.state_shape
    new = model.step(state, TIME, key=key)
    assert new.shape == state.shape
    assert new.dtype == state.dtype
    assert bool(jnp.all(jnp.isfinite(new)))


def test_a_step_is_reproducible(case, key):
    model, state = case
    once = model.step(state, TIME, key=key)
    np.testing.assert_array_equal(once, model.step(state, TIME, key=key))


def test_a_trajectory_is_repeated_steps(case, key):
    model, state = case
    states = model.trajectory(state, TIME, 3, key=key)
    time, x = TIME, state
    for i, k in enumerate(jax.random.split(key, 3)):
        x = model.step(x, time, key=k)
        time = time + model.interval
        np.testing.assert_allclose(states[i], x, rtol=1e-12, atol=1e-12)


def test_the_tangent_model_passes_the_taylor_test(case, key):
    """Between 1e-1 and 1e-6 the error of the linearisation falls tenfold per tenfold step."""
    model, state = case
    direction = jnp.asarray(RNG.normal(size=state.shape))
    tangent = model.tangent(state, direction, TIME, key=key)
    base = model.step(state, TIME, key=key)
    size = float(jnp.linalg.norm(tangent.ravel()))
    errors = []
    for epsilon in 10.0 ** -np.arange(1, 7):
        difference = model.step(state + epsilon * direction, TIME, key=key) - base
        errors.append(float(jnp.linalg.norm((difference / epsilon - tangent).ravel())))
    if size == 0.0:
        assert max(errors) == 0.0
    else:
        ratios = np.array(errors[:-1]) / np.array(errors[1:])
        assert np.all((ratios > 9) & (ratios < 11)), ratios


def test_the_adjoint_is_the_transpose_of_the_tangent(case, key):
    model, state = case
    x = jnp.asarray(RNG.normal(size=state.shape))
    y = jnp.asarray(RNG.normal(size=state.shape))
    forward = float(jnp.sum(model.tangent(state, x, TIME, key=key) * y))
    backward = float(jnp.sum(x * model.adjoint(state, y, TIME, key=key)))
    assert forward == pytest.approx(backward, rel=1e-10, abs=1e-12)


def test_a_forecast_has_the_shape_of_its_ensemble(case, key):
    model, state = case
    ensemble = state[None] + 0.1 * jnp.asarray(RNG.normal(size=(5, *state.shape)))
    forecast = model.forecast(ensemble, TIME, key=key)
    assert forecast.shape == ensemble.shape
    assert bool(jnp.all(jnp.isfinite(forecast)))


@pytest.mark.parametrize("name", ["lorenz63", "lorenz96", "lorenz96_long"])
def test_a_deterministic_model_steps_each_member_alone(name, key):
    model, state = MODELS[name]()
    ensemble = state[None] + 0.1 * jnp.asarray(RNG.normal(size=(5, *state.shape)))
    order = jnp.array([3, 0, 4, 1, 2])
    forecast = model.forecast(ensemble, TIME, key=key)
    shuffled = model.forecast(ensemble[order], TIME, key=jax.random.key(99))
    np.testing.assert_allclose(forecast[order], shuffled, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["lorenz63", "lorenz96"])
def test_a_step_works_in_single_precision(name, key):
    model, state = MODELS[name]()
    new = model.step(state.astype(jnp.float32), TIME, key=key)
    assert new.dtype == jnp.float32
    np.testing.assert_allclose(new, model.step(state, TIME, key=key), rtol=1e-4, atol=1e-4)
