"""What is known of the two-scale, Kuramoto-Sivashinsky, quasi-geostrophic, stochastic models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.models.attractor import leading_lyapunov_exponent, spin_up
from vardax_core.models.kuramoto_sivashinsky import KuramotoSivashinsky
from vardax_core.models.linear import LinearModel
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.models.quasi_geostrophic import QuasiGeostrophic
from vardax_core.models.stochastic import AdditiveNoise, PerturbedTendency
from vardax_core.models.two_scale_lorenz96 import TwoScaleLorenz96

pytestmark = pytest.mark.ladder

TIME = jnp.asarray(0, jnp.int32)


def test_without_coupling_the_slow_scale_is_lorenz96():
    model = TwoScaleLorenz96(slow=8, fast=4, forcing=8.0, coupling=0.0)
    state = jax.random.normal(jax.random.key(2), model.state_shape)
    slow = model.tendency(state)[:8]
    np.testing.assert_allclose(slow, Lorenz96(state_shape=(8,)).tendency(state[:8]), rtol=1e-12)


def test_the_coupling_of_the_scales_keeps_energy():
    """Advection and coupling exchange energy; forcing and damping alone change the total."""
    model = TwoScaleLorenz96(slow=8, fast=4)
    state = jax.random.normal(jax.random.key(2), model.state_shape)
    x, y = state[:8], state[8:]
    change = state @ model.tendency(state)
    expected = 10.0 * jnp.sum(x) - x @ x - 10.0 * (y @ y)
    assert float(change) == pytest.approx(float(expected), rel=1e-10)


def test_the_fast_scale_slows_the_slow_one(key):
    """Coupled at F = 10, the slow variables keep a mean near 2.5 and a spread of 3 to 5
    (Lorenz 1996, figure 6; Wilks 2005)."""
    model = TwoScaleLorenz96(slow=8, fast=8)
    start = jnp.concatenate([jnp.full(8, 10.0), jnp.zeros(64)])
    start = start + 0.1 * jax.random.normal(key, start.shape)
    states = jax.jit(lambda x: model.trajectory(x, TIME, 1500, key=key))(start)[200:, :8]
    assert 1.5 < float(jnp.mean(states)) < 3.5
    assert 2.5 < float(jnp.std(states)) < 5.5


@pytest.mark.parametrize("wave", [1, 3, 5])
def test_small_flames_grow_at_the_linear_rate(wave, key):
    """exp((k^2 - k^4) t) for a wave of the zero state."""
    model = KuramotoSivashinsky(state_shape=(64,), length=22.0)
    k = 2 * np.pi * wave / 22.0
    state = jnp.cos(2 * jnp.pi * wave * jnp.arange(64.0) / 64)
    grown = model.tangent(jnp.zeros(64), state, TIME, key=key)
    np.testing.assert_allclose(grown, np.exp(k**2 - k**4) * state, atol=1e-10)


def test_the_mean_of_a_flame_front_stays(key):
    model = KuramotoSivashinsky(state_shape=(64,), length=22.0)
    state = 0.3 + jax.random.normal(key, (64,))
    after = spin_up(model, state, 20, key=key)
    assert float(jnp.mean(after)) == pytest.approx(float(jnp.mean(state)), rel=1e-10)


def test_flames_converge_with_the_step(key):
    """Half the step, between an eighth and a sixteenth of the error: stiff waves keep exponential
    Runge-Kutta schemes between the third and the fourth order (Hochbruck and Ostermann 2005)."""
    start = jnp.sin(2 * jnp.pi * jnp.arange(64.0) / 64) + 0.5 * jnp.cos(
        4 * jnp.pi * jnp.arange(64.0) / 64
    )
    exact, coarse, fine = (
        KuramotoSivashinsky(state_shape=(64,), length=22.0, step_size=8.0 / n, n_steps=n).step(
            start, TIME, key=key
        )
        for n in (2048, 128, 256)
    )
    ratio = float(jnp.linalg.norm(coarse - exact) / jnp.linalg.norm(fine - exact))
    assert 8 < ratio < 18


def test_flames_of_length_22_are_chaotic_at_the_known_rate(key):
    """Leading exponent 0.043 (Edson et al. 2019, doi:10.1017/S1446181119000105), within 15 %:
    the orbit is short against the exponent."""
    model = KuramotoSivashinsky(state_shape=(32,), length=22.0, n_steps=8)

    @eqx.filter_jit
    def exponent():
        start = spin_up(model, jax.random.normal(key, (32,)), 200, key=key)
        start = start - jnp.mean(start)
        return leading_lyapunov_exponent(model, start, 8000, key=key) / 2.0

    assert float(exponent()) == pytest.approx(0.043, rel=0.15)


def eddy_model(**changes):
    return QuasiGeostrophic(size=16, **changes)


def test_inversion_gives_back_the_potential_vorticity(key):
    model = eddy_model()
    q = 1e-6 * jax.random.normal(key, model.state_shape)
    q = q - jnp.mean(q, axis=(1, 2), keepdims=True)
    psi = model.streamfunction(q)
    k = 2 * np.pi * np.fft.fftfreq(16, 1 / 16) / 1e6
    laplacian = jnp.fft.ifft2(
        jnp.asarray(-(k[:, None] ** 2 + k[None] ** 2) + 0j)[None] * jnp.fft.fft2(psi)
    ).real
    f1 = 1 / (15e3**2 * 1.25)
    stretching = jnp.stack([f1 * (psi[1] - psi[0]), 0.25 * f1 * (psi[0] - psi[1])])
    np.testing.assert_allclose(laplacian + stretching, q, atol=1e-16)


def test_eddies_exchange_energy_and_enstrophy_and_lose_none(key):
    """Without shear, beta and drag, advection keeps -sum h psi q and, up to aliasing, q^2."""
    model = eddy_model(beta=0.0, shear=0.0, friction=0.0)
    spectrum = jnp.fft.rfft2(1e-6 * jax.random.normal(key, model.state_shape))
    low = (np.arange(9) < 5)[None] & (np.abs(np.fft.fftfreq(16, 1 / 16)) < 5)[:, None]
    spectrum = (jnp.where(low[None], spectrum, 0.0)).at[:, 0, 0].set(0.0)
    q = jnp.fft.irfft2(spectrum)
    change = jnp.fft.irfft2(model.spectral_tendency(spectrum))
    psi, depth = model.streamfunction(q), jnp.array([0.2, 0.8])[:, None, None]
    size = jnp.sum(depth * jnp.abs(psi * change))
    assert abs(float(jnp.sum(depth * psi * change))) < 1e-12 * float(size)
    assert abs(float(jnp.sum(q * change))) < 1e-12 * float(jnp.sum(jnp.abs(q * change)))


def phillips_growth_rate(model, k):
    """Growth rate of the zonal wave k from the eigenvalues of the two-layer problem."""
    f1 = 1 / (model.deformation_radius**2 * (1 + model.depth_ratio))
    f2 = model.depth_ratio * f1
    stretch = np.array([[-(k**2) - f1, f1], [f2, -(k**2) - f2]])
    gradient = np.diag([model.beta + f1 * model.shear, model.beta - f2 * model.shear])
    flow = np.diag([model.shear, 0.0])
    drag = np.diag([0.0, model.friction * k**2])
    # d(stretch psi)/dt = -ik (flow stretch + gradient) psi + drag psi
    tendency = -1j * k * (flow @ stretch + gradient) + drag
    return np.max(np.linalg.eigvals(np.linalg.solve(stretch, tendency)).real)


@pytest.mark.parametrize("waves", [6, 8, 10])
def test_baroclinic_waves_grow_at_the_phillips_rate(waves, key):
    """The largest eigenvalue of one step of 24 hours on the zonal waves about the mean flow."""
    model = QuasiGeostrophic(size=32, n_steps=24)
    expected = phillips_growth_rate(model, 2 * np.pi * waves / 1e6)
    assert expected > 1e-8
    phase = 2 * jnp.pi * waves * jnp.arange(32.0) / 32
    profiles = jnp.stack([jnp.cos(phase), jnp.sin(phase)])
    waves = jnp.einsum("ij,kx->ikjx", jnp.eye(2), profiles).reshape(4, 2, 1, 32)
    waves = jnp.broadcast_to(waves, (4, 2, 32, 32))
    stepped = jax.jit(jax.vmap(lambda x: model.tangent(jnp.zeros_like(x), x, TIME, key=key)))(waves)
    matrix = jnp.einsum("alyx,blyx->ab", waves, stepped) / 512
    growth = np.log(np.max(np.abs(np.linalg.eigvals(matrix)))) / (24 * 3600.0)
    assert growth == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scheme", [AdditiveNoise, PerturbedTendency])
def test_no_noise_is_the_model_itself(scheme, key):
    model = Lorenz96(state_shape=(6,))
    state = jnp.arange(6.0)
    quiet = scheme(model, 0.0).step(state, TIME, key=key)
    np.testing.assert_allclose(quiet, model.step(state, TIME, key=key), rtol=1e-13)


def test_additive_noise_has_its_standard_deviation(key):
    """Of 6000 draws, within 4.5 standard errors of sd / sqrt(2 n)."""
    model = AdditiveNoise(LinearModel(jnp.eye(3), (3,)), 0.5)
    new = model.forecast(jnp.zeros((2000, 3)), TIME, key=key)
    assert float(jnp.std(new)) == pytest.approx(0.5, abs=4.5 * 0.5 / np.sqrt(2 * 6000))
    assert np.abs(np.corrcoef(np.asarray(new).T)[0, 1]) < 4.5 / np.sqrt(2000)


def test_a_perturbed_tendency_is_one_factor_for_all_variables(key):
    model = Lorenz96(state_shape=(6,))
    state = jnp.arange(6.0)
    change = PerturbedTendency(model, 0.3).step(state, TIME, key=key) - state
    factor = change / (model.step(state, TIME, key=key) - state)
    np.testing.assert_allclose(factor, np.full(6, factor[0]), rtol=1e-9)
    assert abs(float(factor[0]) - 1) > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TwoScaleLorenz96(slow=3), "slow >= 4"),
        (lambda: KuramotoSivashinsky(state_shape=(31,)), "N even"),
        (lambda: KuramotoSivashinsky(length=0.0), "must be > 0"),
        (lambda: QuasiGeostrophic(size=9), "size must be even"),
        (lambda: QuasiGeostrophic(deformation_radius=0.0), "positive"),
        (lambda: QuasiGeostrophic(step_size=50.0, n_steps=1), "whole minute"),
        (lambda: LinearModel(jnp.eye(4), (2, 3)), "does not step a state"),
        (lambda: AdditiveNoise(Lorenz96(), -1.0), "sd must be >= 0"),
        (lambda: PerturbedTendency(Lorenz96(), float("nan")), "sd must be >= 0"),
    ],
)
def test_a_model_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
