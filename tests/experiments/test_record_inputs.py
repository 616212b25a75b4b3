"""Windows of records: at most four shapes whatever the counts, and every record once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from tests.cycling.test_placement import ETKF, GRID, PlacedPoints, program
from tests.experiments import reported
from vardax_core.experiments.record_inputs import RecordInputs
from vardax_core.experiments.settings import default_settings
from vardax_core.observations.placement import ReportedErrors
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

WIDTH, DAYS = 256, 24
RNG = np.random.default_rng(4)
START = np.datetime64("2019-03-01T12:00", "ns")


def observations(counts):
    """Records at random places, so many at each time."""
    shape = (len(counts), WIDTH)
    there = np.arange(WIDTH)[None] < np.asarray(counts)[:, None]
    times = START + np.arange(len(counts)) * np.timedelta64(1, "D")
    codes = np.where(there, QualityCode.KEPT, QualityCode.MISSING).astype(np.int8)
    columns = {
        "sst": np.arange(np.prod(shape)).reshape(shape).astype(np.float32),
        "sst_error": np.full(shape, 0.2, np.float32),
        QUALITY_CONTROL: codes,
        "latitude": RNG.uniform(50, 53, shape),
        "longitude": RNG.uniform(-5, 0, shape),
        "observation_time": np.broadcast_to(times[:, None], shape).copy(),
        "platform": np.zeros(shape, np.int32),
        "stream": np.broadcast_to(np.arange(WIDTH) % 2, shape).astype(np.int8),
    }
    dims = ("time", "station")
    return xr.Dataset({k: (dims, v) for k, v in columns.items()}, {"time": times}), times


def recipe():
    """Two streams, of which the second sees discs."""
    (drifters,) = reported.values()["observations"]
    wide = drifters | {"name": "wide", "operator": {"kind": "footprint", "radius": 150.0}}
    return reported.recipe(observations=[drifters, wide])


@pytest.fixture(scope="module")
def inputs():
    made = recipe()
    step = ETKF(PlacedPoints.nowhere(GRID.shape))
    return RecordInputs(made, default_settings(made, "etkf"), GRID, program(step), WIDTH)


def test_whatever_the_counts_there_are_at_most_four_shapes(inputs):
    counts = [0, 1, 3, 4, 5, 17, 64, 65, 100, 256, 0, 0, 2, 255, 7, 16, 33, 3, 3, 3, 3, 3, 3, 3]
    data, times = observations(counts)
    shapes = {inputs.of(data, times[[k]])["values"].shape for k in range(DAYS)}
    assert 2 <= len(shapes) <= 4
    # Few records do not cost what many do.
    quiet = inputs.of(data, times[[20]])["values"].shape
    assert quiet[-1] <= max(shape[-1] for shape in shapes) / 4


def test_every_record_of_a_window_is_in_one_column_and_in_the_row_of_its_time(inputs):
    counts = RNG.integers(0, 40, DAYS)
    data, times = observations(counts)
    given = inputs.of(data, times[[10]])
    values, minutes = given["values"][0], given["minutes"][0]
    # Two days before and two after; the analysis time is last.
    rows = [8, 9, 11, 12, 10]
    assert (np.diff(minutes[:-1]) > 0).all()
    for row, day in enumerate(rows):
        found = np.sort(values[row][np.isfinite(values[row])])
        expected = data["sst"].to_numpy()[day, : counts[day]]
        np.testing.assert_array_equal(found, expected)
    assert (np.isfinite(values).sum(axis=0) <= 1).all()
    own = given["quality"][0][: counts[10]]
    assert (own == QualityCode.KEPT).all()
    np.testing.assert_array_equal(values[-1][: counts[10]], data["sst"][10, : counts[10]])


def test_values_are_brought_to_the_height_of_the_grid(inputs):
    data, times = observations(np.full(DAYS, 3))
    shift = np.full(data["sst"].shape, np.nan, np.float32)
    shift[:, :2] = (-1.5, 0.25)
    lifted = data.assign(height_shift=(("time", "station"), shift))
    plain, moved = (inputs.of(d, times[[10]])["values"][0] for d in (data, lifted))
    np.testing.assert_array_equal(moved[-1][:3], plain[-1][:3] - np.array([-1.5, 0.25, 0.0]))


def test_errors_that_were_estimated_are_those_of_their_stream(inputs):
    data, times = observations(np.full(DAYS, 2))
    stream = np.zeros(data["sst"].shape, np.int8)
    stream[:, 1] = 1
    data = data.assign(stream=(("time", "station"), stream))
    errors = ReportedErrors(0.5, 0.3, 0.0, (2.0, 1.0))
    one = dataclasses.replace(program(ETKF(PlacedPoints.nowhere(GRID.shape))), errors=errors)
    made = RecordInputs(inputs.recipe, inputs.settings, GRID, one, WIDTH)
    found = made.of(data, times[[10]])["error_sd"][0][-1][:2]
    np.testing.assert_allclose(found, np.hypot(0.5 * 0.2, 0.3) * np.array([2.0, 1.0]), rtol=1e-6)


def test_every_record_is_seen_as_its_stream_says(inputs):
    data, times = observations([40] * DAYS)
    given = inputs.of(data, times[[10]])["placement"]
    operator = PlacedPoints.nowhere(GRID.shape).placed(jax.tree.map(lambda x: x[0], given))
    field = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    seen = np.asarray(operator(jnp.asarray(field)))[:40]
    for number, stream in enumerate(recipe().streams):
        of = np.arange(40) % 2 == number
        columns = (data[dim].to_numpy()[10, :40][of] for dim in ("latitude", "longitude"))
        indices, weights = stream.seen_as.stencil(GRID, np.stack([*columns], axis=1))
        expected = np.sum(weights * field.reshape(-1)[indices], axis=1)
        np.testing.assert_allclose(seen[of], expected, atol=1e-5)
        # A wide disc reaches other points than those around a place.
        assert ((weights > 0).sum(axis=1).max() > 4) == (number == 1)
