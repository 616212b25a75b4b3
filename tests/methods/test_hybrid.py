"""The hybrid analysis: 3D-Var at one end, the ensemble filter at the other."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from tests.methods import runs
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.hybrid_step import HybridStep
from vardax_core.analysis.variational.minimisers import QuasiNewton
from vardax_core.analysis.variational.three_dvar import ThreeDVar
from vardax_core.types import ensemble_mean

MEAN, VALUES = jnp.arange(6.0).reshape(2, 3), jnp.array([1.0, 1.5, 3.5, 4.0])
CLOSE = QuasiNewton(tolerance=1e-10)


def members(count=5):
    return lg.exact_ensemble(MEAN, 0.7 * lg.background_covariance().matrix + jnp.eye(6), 8)[:count]


def analysed(step, background, key):
    return eqx.filter_jit(step)(background, lg.window(VALUES), key=key)


def anomalies(ensemble):
    return ensemble - ensemble_mean(ensemble)[None]


@pytest.mark.slow
def test_without_a_share_of_the_members_the_mean_is_3dvars(key):
    static = lg.background_covariance()
    step = HybridStep(ETKF(lg.operator(), rotate=False), static, 0.0, CLOSE)
    found = analysed(step, members(), key)
    expected = analysed(ThreeDVar(lg.operator(), static, CLOSE), members(), key)
    filtered = analysed(ETKF(lg.operator(), rotate=False), members(), key)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(anomalies(found.ensemble), anomalies(filtered.ensemble), atol=1e-12)


def test_without_a_static_part_the_mean_is_that_of_the_filter(key):
    """B = w P, so that the mean is the filter's with anomalies that are sqrt(w) times as large."""
    weight, background = 0.6, members()
    small = DenseCovariance.from_matrix(1e-10 * lg.background_covariance().matrix, lg.STATE_SHAPE)
    step = HybridStep(ETKF(lg.operator(), rotate=False), small, weight, CLOSE)
    found = analysed(step, background, key)
    narrowed = ensemble_mean(background)[None] + weight**0.5 * anomalies(background)
    expected = analysed(ETKF(lg.operator()), narrowed, key)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)


def test_in_between_the_mean_is_that_of_the_kalman_filter_with_both(key):
    weight, background = 0.3, members()
    static = lg.background_covariance()
    sample = np.cov(np.asarray(background).reshape(len(background), -1).T)
    both = (1 - weight) * np.asarray(static.matrix) + weight * sample
    expected, _ = lg.kalman(ensemble_mean(background), both, VALUES)
    step = HybridStep(ETKF(lg.operator()), static, weight, CLOSE)
    found = analysed(step, background, key)
    np.testing.assert_allclose(found.mean.ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(ensemble_mean(found.ensemble), found.mean, atol=1e-12)


@pytest.mark.parametrize("weight", [-0.1, 1.0])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(ValueError, match=r"weight must lie in \[0, 1\)"):
        HybridStep(ETKF(lg.operator()), lg.background_covariance(), weight)


@pytest.mark.ladder
@pytest.mark.slow
def test_with_few_members_it_is_better_than_either_end(tmp_path):
    """Six members on a ring of twelve points: what they know of the flow is worth a quarter of the
    error of a 3D-Var (.47 to .35), and without a localization they lose the truth alone (1.1)."""
    made = runs.recipe(cycles=80)
    static, filtered, found = (
        runs.rmse(runs.cycle(tmp_path / name, made, name, members=6))
        for name in ("3dvar", "etkf", "hybrid")
    )
    assert found < 0.85 * static
    assert found < 0.85 * filtered
