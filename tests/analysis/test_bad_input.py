"""Bad input of the analyses ends in words where it can be seen, and as data where it cannot."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import linear_gaussian as lg
from vardax_core.analysis.background_only import BackgroundOnly
from vardax_core.analysis.base import BackgroundShapeError
from vardax_core.analysis.ensemble.enkf import EnKF
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.inflation import (
    InnovationInflation,
    RelaxationToPriorPerturbations,
    RelaxationToPriorSpread,
)
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import (
    LocalizationError,
    plane_network,
    ring_network,
    sphere_network,
)
from vardax_core.analysis.ensemble.transform import EnsembleSizeError
from vardax_core.observations.operators import PointSampling
from vardax_core.state.grids import OutsideDomainError
from vardax_core.types import ErrorCovarianceError, Observations, ResultCode, WindowShapeError

VALUES = jnp.array([1.0, 2.0, 3.0, 4.0])
NOW = jnp.zeros(1, jnp.int32)
ENSEMBLE = jnp.arange(18.0).reshape(3, *lg.STATE_SHAPE)
GRID = np.arange(3.0)
NETWORKS = {
    "ring": lambda stations, width: ring_network(6, stations, width),
    "plane": lambda stations, width: plane_network(
        GRID, GRID, np.stack([stations, stations], axis=1), width
    ),
    "sphere": lambda stations, width: sphere_network(
        GRID, GRID, np.stack([stations, stations], axis=1), width
    ),
}


@pytest.mark.parametrize("error_sd", [0.0, -1.0, jnp.nan])
def test_an_r_that_is_not_positive_is_refused(error_sd, key):
    window = lg.window(VALUES, error_sd=lg.ERROR_SD.at[2].set(error_sd))
    with pytest.raises(
        ErrorCovarianceError, match=r"not positive, first .* at row 0, observation 2"
    ):
        BackgroundOnly(lg.operator())(ENSEMBLE, window, key=key)


@pytest.mark.parametrize("error_sd", [0.0, -1.0])
def test_a_window_is_not_built_on_an_r_that_is_not_positive(error_sd):
    with pytest.raises(ErrorCovarianceError, match="1 observations have an error_sd"):
        Observations.from_values(jnp.ones((1, 2)), jnp.array([[1.0, error_sd]]), NOW)


def test_the_error_of_a_missing_observation_does_not_matter(key):
    values, error_sd = jnp.array([[1.0, jnp.nan, 2.0]]), jnp.array([[1.0, -1.0, jnp.nan]])
    window = Observations.from_values(values, error_sd, NOW)
    np.testing.assert_array_equal(window.mask, [[True, False, False]])
    masked = lg.window(
        VALUES,
        mask=jnp.array([True, False, True, True]),
        error_sd=lg.ERROR_SD.at[1].set(0.0),
    )
    analysis = BackgroundOnly(lg.operator())(ENSEMBLE, masked, key=key)
    assert int(analysis.result) == ResultCode.OK


def test_inside_jit_an_r_that_is_not_positive_ends_as_data(key):
    window = lg.window(VALUES, error_sd=jnp.array([0.0, -1.0, jnp.nan, 0.0]))
    analysis = eqx.filter_jit(ETKF(lg.operator()))(ENSEMBLE, window, key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(analysis.ensemble, ENSEMBLE)


def test_an_h_of_another_shape_is_refused(key):
    step = BackgroundOnly(lg.operator())
    with pytest.raises(WindowShapeError, match="holds 3 observations a time"):
        step(ENSEMBLE, lg.window(jnp.zeros(3), error_sd=jnp.ones(3)), key=key)
    with pytest.raises(BackgroundShapeError, match=r"expects \(member, \*\(2, 3\)\)"):
        step(jnp.zeros((3, 6)), lg.window(VALUES), key=key)
    with pytest.raises(BackgroundShapeError, match="member axis first"):
        step(ENSEMBLE[:0], lg.window(VALUES), key=key)


def test_a_window_whose_arrays_differ_is_refused(key):
    window = Observations(VALUES[None], jnp.ones((1, 4), bool), lg.ERROR_SD[None], NOW)
    other = eqx.tree_at(lambda w: w.times, window, jnp.zeros(2, jnp.int32))
    with pytest.raises(WindowShapeError, match="with one row at least"):
        BackgroundOnly(lg.operator())(ENSEMBLE, other, key=key)


def test_a_window_without_a_row_is_refused(key):
    none = Observations(
        jnp.zeros((0, 4)), jnp.zeros((0, 4), bool), jnp.ones((0, 4)), jnp.zeros(0, jnp.int32)
    )
    with pytest.raises(WindowShapeError, match="one row with the mask False"):
        BackgroundOnly(lg.operator())(ENSEMBLE, none, key=key)


@pytest.mark.parametrize("method", [EnKF, ETKF, FiniteSizeETKF])
def test_a_network_without_a_station_changes_nothing(method, key):
    operator = PointSampling(jnp.zeros(0, jnp.int32), state_shape=lg.STATE_SHAPE)
    empty = lg.window(jnp.zeros(0), error_sd=jnp.ones(0))
    analysis = eqx.filter_jit(method(operator))(ENSEMBLE, empty, key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    np.testing.assert_array_equal(analysis.ensemble, ENSEMBLE)


@pytest.mark.parametrize(
    "make",
    [
        EnKF,
        ETKF,
        FiniteSizeETKF,
        lambda h: LETKF(h, ring_network(6, np.asarray(lg.STATIONS, float), 2.0)),
        lambda h: RelaxationToPriorSpread(ETKF(h), 0.5),
        lambda h: RelaxationToPriorPerturbations(ETKF(h), 0.5),
        lambda h: InnovationInflation(ETKF(h)),
    ],
)
def test_one_member_is_refused(make, key):
    with pytest.raises(EnsembleSizeError, match="at least 2 members"):
        make(lg.operator())(ENSEMBLE[:1], lg.window(VALUES), key=key)


@pytest.mark.parametrize("half_width", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_localization_radius_of_no_length_is_refused(network, half_width):
    with pytest.raises(LocalizationError, match="half_width must be positive"):
        NETWORKS[network](np.array([1.0]), half_width)


@pytest.mark.parametrize("network", NETWORKS)
def test_localization_without_a_station_is_refused(network):
    with pytest.raises(LocalizationError, match="no station"):
        NETWORKS[network](np.zeros(0), 2.0)


def test_a_station_outside_the_domain_is_refused():
    with pytest.raises(LocalizationError, match=r"domain \[0, 6\)"):
        ring_network(6, np.array([1.0, 6.0]), 2.0)
    with pytest.raises(LocalizationError, match=r"\[-90, 90\]"):
        sphere_network(GRID, GRID, np.array([[91.0, 0.0]]), 100.0)
    with pytest.raises(LocalizationError, match="station 1 lies nowhere"):
        plane_network(GRID, GRID, np.array([[1.0, 0.0], [jnp.nan, 1.0]]), 2.0)
    with pytest.raises(LocalizationError, match="station 0 lies nowhere"):
        sphere_network(GRID, GRID, np.array([[1.0, jnp.nan]]), 2.0)
    with pytest.raises(OutsideDomainError, match="drop it or mark it missing"):
        PointSampling(jnp.array([0, 6]), state_shape=lg.STATE_SHAPE)
