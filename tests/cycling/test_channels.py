"""A state with two channels: observed in one, corrected in both, scored apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.calibration.scores import compute_scores
from vardax_core.calibration.statistics import FIELD_SUMS
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.scan import run_segment
from vardax_core.models.quasi_geostrophic import QuasiGeostrophic
from vardax_core.observations.operators import PointSampling
from vardax_core.types import Observations

SIZE, MEMBERS, CYCLES, MODES = 16, 20, 4, 5
LAYERS = ("upper", "lower")
EDDIES, UNCERTAIN, ERROR = 5e-7, 1e-7, 2e-8
"""Potential vorticity of the eddies, of what is not known of it, and of the observations' error,
per second: currents of some centimetres per second."""
KEY = jax.random.key(5)
MODEL = QuasiGeostrophic(size=SIZE, n_steps=2)
SHAPE = (2, SIZE, SIZE)
UPPER = PointSampling(jnp.arange(SIZE * SIZE), SHAPE)


def smooth_fields(count, key):
    """Long waves with the same pattern in both layers, three times as strong in the lower one."""
    grid = 2 * np.pi * np.arange(SIZE) / SIZE
    numbers = list(np.ndindex(3, 3))[1 : MODES + 1]
    waves = [np.cos(east * grid[None] + north * grid[:, None]) for east, north in numbers]
    layers = np.array([1.0, 3.0])[:, None, None]
    modes = jnp.asarray(np.stack(waves)[:, None] * layers[None])
    return jnp.einsum("ck,k...->c...", jax.random.normal(key, (count, MODES)), modes)


@pytest.fixture(scope="module")
def cycled():
    """Truths and the output of cycles whose members differ as the truth does from their mean."""
    k_base, k_draws, k_error = jax.random.split(KEY, 3)
    base = EDDIES * smooth_fields(1, k_base)
    drawn = base + UNCERTAIN * smooth_fields(MEMBERS + 1, k_draws)
    program = CycleProgram(
        model=MODEL,
        step=ETKF(UPPER),
        adaptation=None,
        score_weights=jnp.ones(SHAPE),
        spread_scale=UNCERTAIN,
        channels=True,
    )
    start = jnp.zeros((), jnp.int32)
    truth = MODEL.trajectory(drawn[0], start, CYCLES, key=KEY)[-CYCLES:]
    values = jax.vmap(UPPER)(truth)
    values = values + ERROR * jax.random.normal(k_error, values.shape)
    minutes = (1 + jnp.arange(CYCLES, dtype=jnp.int32))[:, None] * MODEL.interval
    windows = jax.vmap(Observations.from_values)(
        values[:, None], jnp.full((CYCLES, 1, values.shape[1]), ERROR), minutes
    )
    quality = jnp.zeros(values.shape, jnp.int8)
    given = jax.vmap(CycleInput)(windows, quality, truth, jnp.ones(CYCLES, bool))
    _, output = run_segment(program, program.initial_state(drawn[1:], start), given, key=KEY)
    return truth, output


@pytest.fixture(scope="module")
def scores(cycled):
    _, output = cycled
    times = np.datetime64("2020-01-01", "ns") + np.arange(CYCLES) * np.timedelta64(2, "h")
    data = statistics_dataset(
        output.statistics, times, units="s-1", spread_scale=UNCERTAIN, channels=LAYERS
    )
    assert {n for n, v in data.data_vars.items() if "channel" in v.dims} == {
        n for n in FIELD_SUMS if not n.startswith("smoothed_")
    }
    return {
        name: compute_scores(data.sel(channel=name), key=KEY, units="s-1", resamples=0)
        for name in LAYERS
    }


def test_each_layer_has_the_scores_of_its_own_fields(cycled, scores):
    truth, output = cycled
    squared = np.mean(np.asarray(output.analysis.mean - truth) ** 2, axis=(2, 3))
    variance = np.mean(np.asarray(output.analysis.spread) ** 2, axis=(2, 3))
    for number, name in enumerate(LAYERS):
        found = scores[name]
        np.testing.assert_allclose(found["rmse"], np.sqrt(squared[:, number]).mean())
        np.testing.assert_allclose(found["spread"], np.sqrt(variance[:, number]).mean())
        assert found.values["rmse"].units == "s-1"
    assert scores["upper"]["innovation_rms"] == scores["lower"]["innovation_rms"]


def test_what_is_seen_of_the_upper_layer_corrects_the_lower_one_as_well(cycled):
    """The first background is `UNCERTAIN` times the waves off, in the lower layer three times so.
    256 observations of 5 waves leave each amplitude a standard deviation of about
    ERROR / sqrt(256 / 2), a hundredth of `UNCERTAIN`: a tenth is far above what chance leaves."""
    _, output = cycled
    first, before = (np.asarray(output.statistics[n])[0] for n in ("rmse", "background_rmse"))
    assert before[1] == pytest.approx(3 * before[0], rel=0.2)
    assert (first < 0.1 * before).all()


def test_both_layers_are_the_exact_answer_of_the_members_covariance(cycled):
    """The Kalman filter's, with B of all points of both layers as the members have it."""
    _, output = cycled
    background = np.asarray(output.background[0]).reshape(MEMBERS, -1)
    departures = output.departures
    b = np.cov(background.T)
    observed = slice(0, SIZE * SIZE)
    total = b[observed, observed] + ERROR**2 * np.eye(SIZE * SIZE)
    gain = np.linalg.solve(total, b[observed]).T
    mean = background.mean(axis=0) + gain @ np.asarray(departures.innovation[0])
    variance = np.diag(b) - np.sum(gain * b[:, observed], axis=1)
    # HBH' + R has a condition number below 1e5, double precision is 1e-16.
    np.testing.assert_allclose(
        np.asarray(output.analysis.mean[0]).ravel(), mean, atol=1e-6 * UNCERTAIN
    )
    np.testing.assert_allclose(
        np.asarray(output.analysis.spread[0]).ravel() ** 2, variance, atol=1e-6 * UNCERTAIN**2
    )
