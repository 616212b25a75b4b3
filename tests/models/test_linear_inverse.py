"""The linear inverse model and the climatology it rests on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.models.climatology import Climatology
from vardax_core.models.linear_inverse import STABILITY_LIMIT, LinearInverseModel
from vardax_core.training.statistics import fit_climatology

HOUR = 60
MEMORY = np.array([0.9, 0.6, 0.3])


@pytest.fixture(scope="module")
def series():
    """Three independent AR(1) processes of standard deviation 3, 2 and 1, hourly."""
    rng = np.random.default_rng(0)
    length = 6000
    states = np.zeros((length, 3))
    for k in range(1, length):
        states[k] = MEMORY * states[k - 1] + np.sqrt(1 - MEMORY**2) * rng.standard_normal(3)
    return states * np.array([3.0, 2.0, 1.0]), HOUR * np.arange(length)


def flat_climatology(root):
    size = root.shape[0]
    return Climatology(
        mean=jnp.zeros((24, size)),
        square_root=jnp.asarray(root),
        interval=HOUR,
        state_shape=(size,),
    )


def fit(series, **options):
    states, times = series
    root = np.diag(np.sqrt(np.mean(states**2, axis=0)))
    return LinearInverseModel.fit(flat_climatology(root), states, times, interval=HOUR, **options)


def test_propagator_recovers_an_autoregression(series):
    model = fit(series, modes=3)
    # Sampling error of an autocorrelation is at most 1 / sqrt(6000) = 0.013: four of them.
    np.testing.assert_allclose(model.propagator, np.diag(MEMORY), atol=0.052)
    assert float(model.stability_factor) == 1.0


def test_remainder_is_damped_by_its_own_autocorrelation(series):
    model = fit(series, modes=2)
    assert float(model.damping) == pytest.approx(MEMORY[2], abs=0.052)


@pytest.mark.parametrize("modes", [1, 2, 3])
def test_climatological_covariance_is_stationary(series, modes):
    model = fit(series, modes=modes)
    root = np.asarray(model.climatology.square_root, np.float64)
    linear = np.asarray(
        jax.vmap(lambda x: model.mean_step(x, jnp.asarray(0)))(jnp.eye(3)), np.float64
    ).T
    rest = np.sqrt(1 - float(model.damping) ** 2) * np.eye(3 - modes)
    forcing = np.block(
        [
            [np.asarray(model.forcing), np.zeros((modes, 3 - modes))],
            [np.zeros((3 - modes, modes)), rest],
        ]
    )
    noise = root @ forcing
    covariance = root @ root.T
    np.testing.assert_allclose(
        linear @ covariance @ linear.T + noise @ noise.T, covariance, atol=1e-5
    )


def test_noise_has_the_stated_covariance(series, key):
    model = fit(series, modes=2)
    start = jnp.zeros((4000, 3))
    drawn = model.forecast(start, jnp.asarray(0), key=key)
    scale = np.diag(np.asarray(model.climatology.square_root))
    whitened = np.cov(np.asarray(drawn) / scale, rowvar=False)
    expected = np.eye(3)
    expected[:2, :2] = np.asarray(model.forcing) @ np.asarray(model.forcing).T
    expected[2, 2] = 1 - float(model.damping) ** 2
    # Each entry has a sampling error below sqrt(2 / 4000) = 0.022.
    np.testing.assert_allclose(whitened, expected, atol=0.09)


def test_an_unstable_fit_is_shrunk_and_says_so():
    times = HOUR * np.arange(40)
    growing = np.stack([1.1 ** np.arange(40.0), np.sin(np.arange(40.0))], axis=1)
    # The climatology claims far less variance than the states have.
    model = LinearInverseModel.fit(
        flat_climatology(0.1 * np.eye(2)), growing, times, interval=HOUR, modes=2
    )
    assert float(model.stability_factor) < 1
    radius = np.abs(np.linalg.eigvals(np.asarray(model.propagator, np.float64))).max()
    assert radius <= STABILITY_LIMIT + 1e-6


def test_shrinkage_scales_the_propagator(series):
    full, half = fit(series, modes=2), fit(series, modes=2, shrinkage=0.5)
    np.testing.assert_allclose(half.propagator, 0.5 * full.propagator, rtol=1e-6)


def test_forecast_follows_the_daily_mean():
    hours = np.arange(24 * 12)
    rng = np.random.default_rng(1)
    fields = 10.0 * (hours % 24)[:, None] + rng.standard_normal((len(hours), 4))
    climatology = fit_climatology(fields, HOUR * hours, interval=3 * HOUR)
    mean = np.asarray(climatology.mean, np.float64)
    model = LinearInverseModel.fit(
        climatology, fields - mean[hours % 24], HOUR * hours, interval=3 * HOUR, modes=2
    )
    forecast = model.mean_step(climatology.mean_at(jnp.asarray(300)), jnp.asarray(300))
    np.testing.assert_allclose(forecast, climatology.mean_at(jnp.asarray(480)), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": 9}, "9 modes"),
        ({"shrinkage": 1.0}, "shrinkage"),
        ({"interval": 90}, "90 minutes apart"),
    ],
)
def test_bad_arguments_are_explained(series, options, message):
    states, times = series
    arguments = {"interval": HOUR, "modes": 2, **options}
    with pytest.raises(ValueError, match=message):
        LinearInverseModel.fit(flat_climatology(np.eye(3)), states, times, **arguments)
