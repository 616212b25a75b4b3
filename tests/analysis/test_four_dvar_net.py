"""4DVarNet: shapes, symmetries, and that it learns with `fit` and serves as an analysis step."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.encoders import EncoderInputError
from vardax_core.analysis.amortized.step import PosteriorAnalysisStep
from vardax_core.analysis.variational.four_dvar_net import (
    FourDVarNet1D,
    FourDVarNet2D,
    last_row,
    ring_matrix,
    window_posterior,
)
from vardax_core.observations.operators import PointSampling
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.preparation import standardised
from vardax_core.training.sources import SimulatorSource
from vardax_core.types import Batch1D, Batch2D, Observations, ResultCode

ROWS, POINTS = 3, 8
NETWORKS = {
    "one": (lambda key: FourDVarNet1D(3, hidden=4, iterations=2, key=key), (3, 8), Batch1D),
    "two": (lambda key: FourDVarNet2D(2, hidden=4, iterations=2, key=key), (2, 6, 5), Batch2D),
}


@pytest.fixture(params=NETWORKS)
def case(request, key):
    make, shape, _ = NETWORKS[request.param]
    return make(key), shape


def test_the_context_holds_the_window_its_mask_and_the_memory(case, key):
    network, shape = case
    mask = (jax.random.uniform(key, shape) > 0.5).astype(jnp.zeros(()).dtype)
    context = eqx.filter_jit(network)(jax.random.normal(key, shape), mask)
    assert context.shape == (2 * shape[0] + 4, *shape[1:])
    assert bool(jnp.all(jnp.isfinite(context)))
    np.testing.assert_array_equal(context[shape[0] : 2 * shape[0]], mask)


def test_what_is_not_observed_does_not_matter(case, key):
    network, shape = case
    mask = (jax.random.uniform(key, shape) > 0.5).astype(jnp.zeros(()).dtype)
    values = jax.random.normal(key, shape)
    other = jnp.where(mask > 0, values, 1e9)
    run = eqx.filter_jit(network)
    np.testing.assert_array_equal(run(values, mask), run(other, mask))


def test_the_grid_has_no_first_point(case, key):
    network, shape = case
    values, mask = jax.random.normal(key, shape), jnp.ones(shape)
    run = eqx.filter_jit(network)
    moved = run(jnp.roll(values, 2, axis=-1), mask)
    np.testing.assert_allclose(moved, jnp.roll(run(values, mask), 2, axis=-1), atol=1e-10)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_circulant_product_is_the_convolution(kernel, key):
    network = FourDVarNet1D(3, kernel=kernel, key=key)
    conv, row = network.prior.features, jax.random.normal(key, (POINTS,))
    found = (row @ ring_matrix(conv, POINTS)).reshape(-1, POINTS)
    np.testing.assert_allclose(found, conv(row[None]), atol=1e-12)


def test_the_cost_is_that_of_a_weak_constraint(key):
    """Zero where the observations are met and every row follows from the one before."""
    network = FourDVarNet1D(ROWS, hidden=4, iterations=2, key=key)
    rows = [jax.random.normal(key, (1, POINTS))]
    for _ in range(ROWS - 1):
        rows.append(network.prior(rows[-1]))
    states = jnp.concatenate(rows)
    assert float(network.model_error(states)) == pytest.approx(0.0, abs=1e-20)
    assert float(network.misfit(states, states + 2.0, jnp.ones_like(states))) == pytest.approx(
        4.0 * states.size
    )
    off = states.at[-1, 0].add(0.5)
    assert float(network.model_error(off)) == pytest.approx(0.25)


def test_a_window_of_another_length_is_refused(key):
    with pytest.raises(EncoderInputError, match="build it with window=4"):
        FourDVarNet1D(3, key=key)(jnp.zeros((4, 8)), jnp.ones((4, 8)))


@pytest.mark.parametrize(
    "bad", [{"hidden": 0}, {"iterations": 0}, {"kernel": 4}, {"products": 0}, {"window": 1}]
)
def test_a_network_without_size_is_refused(bad, key):
    with pytest.raises(ValueError, match="must be >= 2"):
        FourDVarNet1D(**{"window": 3, "key": key, **bad})


def waves(key, n):
    """Travelling waves seen at half of their points with an error of 0.1."""
    phase_key, mask_key, error_key = jax.random.split(key, 3)
    phases = jax.random.uniform(phase_key, (n, 1, 1)) * 2 * jnp.pi
    x, t = jnp.arange(8.0) * 2 * jnp.pi / 8, jnp.arange(3.0)
    truth = jnp.sin(x[None, None, :] + t[None, :, None] + phases)
    mask = (jax.random.uniform(mask_key, truth.shape) > 0.5).astype(truth.dtype)
    noisy = truth + 0.1 * jax.random.normal(error_key, truth.shape)
    return Batch1D(noisy * mask, mask, truth)


@functools.cache
def untrained():
    network = FourDVarNet1D(ROWS, hidden=8, iterations=3, kernel=3, key=jax.random.key(0))
    posterior = window_posterior(network, (POINTS,), key=jax.random.key(1))
    return standardised(posterior, waves(jax.random.key(2), 256), per="all")


@functools.cache
def trained():
    source = SimulatorSource(functools.partial(waves, n=32), jax.random.key(3))
    settings = FitSettings(n_steps=200, check_every=100, learning_rate=1e-2, ema=0.9)
    validation = waves(jax.random.key(4), 64)
    return fit(untrained(), source, validation, settings=settings, key=jax.random.key(5)).posterior


@pytest.mark.ladder
def test_it_learns_with_fit_to_fill_gaps():
    """The error falls below a third of the untrained network's, and the spread to its size."""
    batch = waves(jax.random.key(6), 256)

    def rmse(posterior):
        return float(jnp.sqrt(jnp.mean((eqx.filter_jit(posterior)(batch) - batch.target) ** 2)))

    assert rmse(trained()) < rmse(untrained()) / 3
    _, sd = trained().marginals(batch, jax.random.key(0), 2)
    assert float(jnp.sqrt(jnp.mean(sd**2))) == pytest.approx(rmse(trained()), rel=0.3)


def step_and_window(posterior, mask=True):
    stations = jnp.array([0, 2, 3, 5, 6])
    step = PosteriorAnalysisStep(last_row(posterior), PointSampling(stations, (POINTS,)), True)
    batch = waves(jax.random.key(7), 1)
    window = Observations(
        batch.target[0][:, stations],
        jnp.full((ROWS, 5), mask),
        jnp.full((ROWS, 5), 0.1),
        60 * jnp.arange(ROWS, dtype=jnp.int32),
    )
    return eqx.filter_jit(step), window, batch.target[0]


@pytest.mark.slow
def test_its_last_row_is_an_analysis_step(key):
    step, window, _ = step_and_window(untrained())
    background = jax.random.normal(key, (6, POINTS))
    analysis = step(background, window, key=key)
    assert int(analysis.result) == ResultCode.OK
    assert analysis.ensemble.shape == (6, POINTS)
    grid = jnp.zeros((ROWS, POINTS)).at[:, jnp.array([0, 2, 3, 5, 6])].set(window.values)
    mask = jnp.zeros((ROWS, POINTS)).at[:, jnp.array([0, 2, 3, 5, 6])].set(1.0)
    whole = untrained()(Batch1D(grid[None], mask[None]))[0]
    np.testing.assert_allclose(analysis.mean, whole[-1], atol=1e-12)
    again = step(background, window, key=key)
    np.testing.assert_array_equal(again.ensemble, analysis.ensemble)


def test_without_an_observation_the_analysis_is_the_background(key):
    step, window, _ = step_and_window(untrained(), mask=False)
    background = jax.random.normal(key, (6, POINTS))
    analysis = step(background, window, key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(analysis.ensemble, background)


@pytest.mark.ladder
def test_a_trained_step_sees_the_wave(key):
    step, window, truth = step_and_window(trained())
    analysis = step(jnp.zeros((500, POINTS)), window, key=key)
    np.testing.assert_allclose(analysis.mean, truth[-1], atol=0.3)
    sample = np.std(np.asarray(analysis.ensemble), axis=0, ddof=1)
    np.testing.assert_allclose(sample, analysis.spread, rtol=4.5 / np.sqrt(2 * 500))
