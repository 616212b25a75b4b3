"""What stations would see around points of fields of the past."""

import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.models.climatology import Climatology
from vardax_core.state.grids import Plane
from vardax_core.training import station_pairs as module
from vardax_core.training.station_pairs import PastFields, Windows, station_pairs

SIDE, STATES, MEAN, HOUR = 12, 40, 5.0, 60


def past(change=lambda fields: fields):
    """Waves that travel, of a standard deviation that grows from left to right."""
    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    scale = (1.0 + x / SIDE).astype(np.float32)
    times = np.arange(STATES)
    waves = np.sin(0.5 * x + 0.3 * times[:, None, None]) * np.cos(0.4 * y)
    fields = change((MEAN + scale * waves).astype(np.float32))
    climatology = Climatology(
        mean=jnp.full((1, SIDE, SIDE), MEAN, jnp.float32),
        square_root=jnp.asarray(scale)[..., None],
        interval=HOUR,
        state_shape=(SIDE, SIDE),
    )
    side = np.arange(SIDE) * 1.0
    covariance = SpaceTimeCovariance.of((1.0, 4.0, 600.0), space="matern32", time="matern32")
    return PastFields(
        fields, HOUR * times, Plane.from_axes(side, side), climatology, covariance, scale
    )


def windows(**changes):
    given = {
        "offsets": np.array([-HOUR, 0]),
        "radius": 20.0,
        "most": 12,
        "pace": 4.0 / 600.0,
        "stations": SIDE * SIDE // 2,
        "error_sd": (1e-3, 1e-3),
        "error_factor": 1.0,
    }
    return Windows(**(given | changes))


@pytest.fixture(autouse=True)
def fewer_targets(monkeypatch):
    monkeypatch.setattr(module, "TARGETS", 60)


def test_values_are_those_of_the_fields():
    known = past()
    found = station_pairs(known, windows(), seed=0)
    fields = known.fields.reshape(STATES, -1)
    wanted = fields[found.rows, found.points] - MEAN
    np.testing.assert_allclose(found.pairs.value, wanted, rtol=1e-6)
    np.testing.assert_array_equal(found.pairs.error_variance, 0)
    assert found.pairs.size == 60 * len(module.DENSITIES)


def test_a_point_with_a_precise_station_is_known(monkeypatch):
    """All points are stations, and none is silent: the interpolation gives the field back, but for
    the error of a station, which its variance does not exceed."""
    monkeypatch.setattr(module, "MOST_MISSING", 0.0)
    error = 0.05
    given = windows(stations=2 * SIDE * SIDE, error_sd=(error, error))
    found = station_pairs(past(), given, seed=1)
    np.testing.assert_allclose(found.pairs.views.increment, found.pairs.value, atol=4 * error)
    assert float(jnp.max(found.pairs.views.variance)) <= 1.01 * error**2


def test_nothing_in_reach_explains_nothing():
    found = station_pairs(past(), windows(stations=2, radius=1e-6), seed=2)
    views = found.pairs.views
    elsewhere = np.asarray(views.explained) == 0
    assert elsewhere.mean() > 0.9
    np.testing.assert_array_equal(np.asarray(views.increment)[elsewhere], 0)


def test_what_is_missing_is_not_seen_nor_asked_for():
    """A part of the fields and one state are missing; no number changes where they are not near."""

    def change(fields):
        fields = fields.copy()
        fields[:, :3], fields[7] = np.nan, np.nan
        return fields

    found = station_pairs(past(change), windows(), seed=3)
    assert np.isfinite(np.asarray(found.pairs.value)).all()
    assert not (found.rows == 7).any()
    assert (found.points // SIDE >= 3).all()
    for number in found.pairs.views.inputs(found.pairs.place):
        assert np.isfinite(np.asarray(number)).all()


def test_a_window_that_begins_before_the_fields_has_fewer_records():
    only_first = past()._replace(times=np.array([10**6]), fields=past().fields[:1])
    found = station_pairs(only_first, windows(stations=2 * SIDE * SIDE), seed=4)
    assert (found.rows == 0).all()
    assert np.isfinite(np.asarray(found.pairs.views.increment)).all()


def test_unusual_weather_is_larger_or_smaller_all_around():
    """A factor on all that is seen around a target, and on what is asked for."""
    usual = station_pairs(past(), windows(error_sd=(1e-6, 1e-6)), seed=6)
    other = station_pairs(past(), windows(error_sd=(1e-6, 1e-6)), seed=6, unusual=0.5)
    np.testing.assert_array_equal(other.points, usual.points)
    value = np.asarray(usual.pairs.value)
    factor = np.asarray(other.pairs.value) / value
    assert factor.min() > 0
    assert 0.3 < np.log(factor).std() < 0.7
    increment = np.asarray(usual.pairs.views.increment)
    clear = np.abs(increment) > 0.1
    ratio = np.asarray(other.pairs.views.increment)[clear] / increment[clear]
    np.testing.assert_allclose(ratio, factor[clear], rtol=0.05)


def test_fields_without_a_value_are_refused():
    with pytest.raises(ValueError, match=r"none of \d+ values drawn from 40 states is finite"):
        station_pairs(past(lambda fields: fields * np.nan), windows(), seed=5)
