"""Laws of every forecast model: one line in `MODELS` brings a model under all of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.drifting import Drifting
from vardax_core.models.kuramoto_sivashinsky import KuramotoSivashinsky
from vardax_core.models.linear import LinearModel
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.models.persistence import DampedPersistence
from vardax_core.models.quasi_geostrophic import QuasiGeostrophic
from vardax_core.models.standardised import Standardised
from vardax_core.models.stochastic import AdditiveNoise, PerturbedTendency
from vardax_core.models.two_scale_lorenz96 import TwoScaleLorenz96

TIME = jnp.asarray(0, jnp.int32)


class Rescaled(AbstractForecastModel):
    """A model whose state is measured in another unit, so that one set of steps suits all."""

    model: AbstractForecastModel
    unit: float = eqx.field(static=True)

    @property
    def state_shape(self):
        return self.model.state_shape

    @property
    def interval(self):
        return self.model.interval

    def step(self, state, time, *, key):
        return self.model.step(state * self.unit, time, key=key) / self.unit


def climatology():
    root = jax.random.normal(jax.random.key(5), (4, 3))
    return Climatology(
        mean=jnp.arange(8.0).reshape(2, 4), square_root=root, interval=60, state_shape=(4,)
    )


def wave(n):
    return jnp.cos(2 * jnp.pi * jnp.arange(1.0 * n) / n) + 0.3 * jnp.sin(
        6 * jnp.pi * jnp.arange(1.0 * n) / n
    )


def eddies():
    """A state of the size of saturated eddies, 1e-6 per second, in units of which it is tested."""
    model = QuasiGeostrophic(size=8, n_steps=2)
    return Rescaled(model, 1e-6), jax.random.normal(jax.random.key(1), model.state_shape)


MODELS = {
    "lorenz63": lambda: (Lorenz63(), jnp.array([1.5, -1.5, 25.5])),
    "lorenz96": lambda: (Lorenz96(), 8.0 + jax.random.normal(jax.random.key(1), (40,))),
    "lorenz96_long": lambda: (
        Lorenz96(state_shape=(12,), step_size=0.02, n_steps=5),
        8.0 + jax.random.normal(jax.random.key(1), (12,)),
    ),
    "standardised": lambda: (
        Standardised.of(Lorenz63(), jnp.array([10.0, 0.0, -5.0]), jnp.array([2.0, 0.5, 1.5])),
        jnp.array([13.0, -0.75, 33.25]),
    ),
    "climatology": lambda: (climatology(), jnp.zeros(4)),
    "damped_persistence": lambda: (
        DampedPersistence(climatology(), jnp.asarray(0.8), 60),
        jnp.ones(4),
    ),
    "linear": lambda: (
        LinearModel(jnp.asarray(np.random.default_rng(1).normal(size=(6, 6))), (2, 3)),
        jnp.ones((2, 3)),
    ),
    "two_scale": lambda: (
        TwoScaleLorenz96(slow=4, fast=3, n_steps=2),
        jax.random.normal(jax.random.key(1), (16,)),
    ),
    "kuramoto_sivashinsky": lambda: (
        KuramotoSivashinsky(state_shape=(32,), length=22.0, n_steps=2),
        wave(32),
    ),
    "quasi_geostrophic": eddies,
    "additive_noise": lambda: (
        AdditiveNoise(Lorenz63(), 0.1),
        jnp.array([1.5, -1.5, 25.5]),
    ),
    "drifting": lambda: (Drifting(Lorenz63(), jnp.asarray(0.1)), jnp.array([1.5, -1.5, 25.5])),
    "perturbed_tendency": lambda: (
        PerturbedTendency(Lorenz63(), 0.1),
        jnp.array([1.5, -1.5, 25.5]),
    ),
}

STOCHASTIC = ("climatology", "damped_persistence", "additive_noise", "perturbed_tendency")
DETERMINISTIC = tuple(name for name in MODELS if name not in STOCHASTIC)

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
    """Between 1e-2 and 1e-6 the error falls tenfold per tenfold step, until it is rounding."""
    model, state = case
    direction = jnp.asarray(RNG.normal(size=state.shape))
    step = jax.jit(lambda x: model.step(x, TIME, key=key).ravel())
    tangent = eqx.filter_jit(model.tangent)(state, direction, TIME, key=key).ravel()
    base = step(state)
    steps = 10.0 ** -np.arange(2, 7)
    errors = np.array(
        [float(jnp.linalg.norm((step(state + e * direction) - base) / e - tangent)) for e in steps]
    )
    rounding = 1e-14 * (1 + float(jnp.linalg.norm(base))) / steps
    ratios = errors[:-1] / np.maximum(errors[1:], 1e-300)
    tenfold = (ratios > 9) & (ratios < 11)
    assert errors[0] <= rounding[0] or tenfold[0], errors
    assert np.all((errors[1:] <= rounding[1:]) | tenfold), errors


def test_the_adjoint_is_the_transpose_of_the_tangent(case, key):
    model, state = case
    x = jnp.asarray(RNG.normal(size=state.shape))
    y = jnp.asarray(RNG.normal(size=state.shape))
    forward = float(jnp.sum(eqx.filter_jit(model.tangent)(state, x, TIME, key=key) * y))
    backward = float(jnp.sum(x * eqx.filter_jit(model.adjoint)(state, y, TIME, key=key)))
    assert forward == pytest.approx(backward, rel=1e-10, abs=1e-12)


def test_a_forecast_has_the_shape_of_its_ensemble(case, key):
    model, state = case
    ensemble = state[None] + 0.1 * jnp.asarray(RNG.normal(size=(5, *state.shape)))
    forecast = model.forecast(ensemble, TIME, key=key)
    assert forecast.shape == ensemble.shape
    assert bool(jnp.all(jnp.isfinite(forecast)))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_deterministic_model_steps_each_member_alone(name, key):
    model, state = MODELS[name]()
    ensemble = state[None] + 0.1 * jnp.asarray(RNG.normal(size=(5, *state.shape)))
    order = jnp.array([3, 0, 4, 1, 2])
    forecast = model.forecast(ensemble, TIME, key=key)
    shuffled = model.forecast(ensemble[order], TIME, key=jax.random.key(99))
    np.testing.assert_allclose(forecast[order], shuffled, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_step_works_in_single_precision(name, key):
    model, state = MODELS[name]()
    floats, rest = eqx.partition(model, eqx.is_inexact_array)
    single = eqx.combine(jax.tree.map(lambda x: x.astype(jnp.float32), floats), rest)
    new = single.step(state.astype(jnp.float32), TIME, key=key)
    assert new.dtype == jnp.float32
    np.testing.assert_allclose(new, model.step(state, TIME, key=key), rtol=1e-4, atol=1e-4)
