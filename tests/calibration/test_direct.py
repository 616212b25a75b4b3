"""Scores from sums are those of all members at once, however the period is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules

from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.calibration.score_definitions import DEFINITIONS
from vardax_core.calibration.scores import compute_scores
from vardax_core.calibration.statistics import LEVEL_90, CycleView, cycle_statistics
from vardax_core.observations.departures import Departures
from vardax_core.observations.operators import Identity
from vardax_core.types import Observations

from .samples import dates, sample

CYCLES, SIZE, MEMBERS = 300, 40, 12


@pytest.fixture(scope="module")
def cycles():
    rng = np.random.default_rng(7)
    truth = rng.normal(size=(CYCLES, SIZE))
    background = truth[:, None] + rng.normal(size=(CYCLES, MEMBERS, SIZE))
    ensemble = truth[:, None] + 0.1 + 0.4 * rng.normal(size=(CYCLES, MEMBERS, SIZE))
    return truth, background, ensemble, truth + 0.5 * rng.normal(size=(CYCLES, SIZE))


@pytest.fixture(scope="module")
def scores(cycles):
    def of(truth, background, ensemble, observed, key):
        mean = jnp.mean(ensemble, axis=0)
        operator = Identity((SIZE,))
        times = jnp.zeros(1, jnp.int32)
        window = Observations.from_values(observed[None], jnp.full((1, SIZE), 0.5), times)
        departures = Departures.of(operator, background, window)
        spread = jnp.std(ensemble, axis=0, ddof=1)
        view = CycleView.of(
            truth=truth,
            weights=jnp.ones_like(truth),
            background=background,
            members=ensemble,
            mean=mean,
            spread=spread,
            departures=departures,
            residuals=departures.residuals(operator, mean, ensemble),
            key=key,
        )
        return cycle_statistics(view)

    keys = jax.random.split(jax.random.key(0), CYCLES)
    sums = jax.jit(jax.vmap(of))(*map(jnp.asarray, cycles), keys)
    data = statistics_dataset({k: np.asarray(v) for k, v in sums.items()}, dates(CYCLES))
    return compute_scores(data, key=keys[0], resamples=0)


def test_scores_from_sums_are_those_of_the_ensembles(cycles, scores):
    truth, background, ensemble, observed = cycles
    mean, sd = ensemble.mean(axis=1), ensemble.std(axis=1, ddof=1)
    innovation, residual = observed - background.mean(axis=1), observed - mean
    variance = background.var(axis=1, ddof=1)
    energy = scoringrules.es_ensemble(truth, ensemble, m_axis=1, estimator="fair")
    expected = {
        "rmse": np.mean(np.sqrt(np.mean((mean - truth) ** 2, axis=1))),
        "rmse_pooled": np.sqrt(np.mean((mean - truth) ** 2)),
        "bias": np.mean(mean - truth),
        "mae": np.mean(np.abs(mean - truth)),
        "spread": np.mean(np.sqrt(np.mean(sd**2, axis=1))),
        "spread_over_rmse": np.sqrt(np.mean(sd**2) / np.mean((mean - truth) ** 2)),
        "crps_gaussian": np.mean(scoringrules.crps_normal(truth, mean, sd)),
        "crps_fair": np.mean(
            scoringrules.crps_ensemble(truth, ensemble, m_axis=1, estimator="fair")
        ),
        "energy_score": np.mean(energy) / np.sqrt(SIZE),
        "coverage_90": np.mean(np.abs(truth - mean) <= 1.6448536269514722 * sd),
        "innovation_mean": np.mean(innovation),
        "innovation_rms": np.sqrt(np.mean(innovation**2)),
        "residual_mean": np.mean(residual),
        "innovation_chi2": np.mean(innovation**2 / (variance + 0.25)),
        "desroziers_error_sd": np.sqrt(np.mean(innovation * residual)),
        "signal": np.mean(residual * (innovation - residual)) / 0.25,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(scores[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("segments", [1, 7, 500])
def test_merged_segments_give_the_same_scores(key, segments):
    data = sample(key, cycles=1000)
    series = {str(n): np.asarray(v, np.float64) for n, v in data.data_vars.items()}
    series["coverage_90"] = series["coverage"][:, LEVEL_90]
    whole = {name: value.sum(axis=0) for name, value in series.items()}
    merged = {
        name: sum(part.sum(axis=0) for part in np.array_split(value, segments))
        for name, value in series.items()
    }
    for definition in DEFINITIONS:
        np.testing.assert_allclose(
            definition.formula(merged),
            definition.formula(whole),
            rtol=1e-10,
            atol=1e-12,
            err_msg=definition.name,
        )
