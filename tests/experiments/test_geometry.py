"""What a data set's coordinates mean is read, from its file to its scores."""

import jax
import numpy as np
import pytest
import xarray as xr

from vardax_core.calibration.scores import compute_scores
from vardax_core.data import ingest
from vardax_core.data.errors import SourceFormatError
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.comparison import compare
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.experiments.weighting import weighting_record
from vardax_core.state.grids import LatLon, Plane, Ring
from vardax_core.training.statistics import fit_window_statistics

DAYS = 12
TIMES = np.datetime64("2019-03-01T00", "ns") + np.arange(24 * DAYS) * np.timedelta64(1, "h")
REGION = LatLon.from_degrees(np.linspace(58, 50, 9), np.linspace(-10, 1, 12))


def smooth_field(grid, sd=3.0, **dims):
    """An hourly field about 280 K with a correlation of 500 km and 18 hours and a daily cycle."""
    rng = np.random.default_rng(0)
    covariance = np.exp(-0.5 * (grid.pairwise() / 500) ** 2) + 1e-6 * np.eye(grid.size)
    root, memory = np.linalg.cholesky(covariance), np.exp(-1 / 18)
    states = [root @ rng.standard_normal(grid.size)]
    for _ in TIMES[1:]:
        draw = root @ rng.standard_normal(grid.size)
        states.append(memory * states[-1] + (1 - memory**2) ** 0.5 * draw)
    daily = 2 * np.cos(2 * np.pi * (np.arange(len(TIMES)) - 15) / 24)
    anomalies = sd * np.stack(states).reshape(-1, *grid.shape)
    values = (280 + anomalies + daily[:, None, None]).astype("f4")
    return xr.Dataset(
        {"t2m": (("time", *dims), values, {"units": "K"})},
        {"time": TIMES, **{dim: (dim, *given) for dim, given in dims.items()}},
    )


def recipe(**changes):
    values = {
        "name": "small",
        "title": "a small field",
        "attribution": "made here",
        "variable": {"name": "t2m", "long_name": "temperature", "units": "K",
                     "valid_min": 200.0, "valid_max": 340.0},
        "state_dims": ["latitude", "longitude"],
        "training": {"start": "2019-03-01T00:00:00Z", "end": "2019-03-10T23:00:00Z"},
        "period": {"start": "2019-03-11T03:00:00Z", "end": "2019-03-12T12:00:00Z"},
        "burn_in": 0,
        "cycle_interval": "3h",
        "window": {"times": 1, "spacing": "1h"},
        "latency": "0h",
        "source": {"kind": "file", "variable": "t2m",
                   "files": [{"name": "none.nc", "sha256": "0" * 64}]},
        "network": {"kind": "random_points", "count": 20, "seed": 1},
        "observation": {"error_sd": 0.5, "interval": "1h", "arrival_delay": "0h", "seed": 1},
    }  # fmt: skip
    return validate_recipe(values | changes, "small")


def cycled(data, made_of, folder, method="oi"):
    """The experiment, its store and its scores, after all cycles."""
    folder.mkdir()
    data.to_netcdf(folder / "data.nc")
    settings = ExperimentSettings(method=method, members=8)
    made = Experiment(made_of, settings, folder)
    given = ingest(made_of, path=folder / "data.nc")
    store = made.create_store(given)
    made.append_observations(store, given)
    made.train(made.training_run(folder / "data.nc"), lambda *_: None)
    for _ in Assimilation(made, store, made.prepare(store)).run(pending_cycles(made, store)):
        pass
    statistics = stored_statistics(made_of, store.dataset("diagnostics").load())
    return made, store, compute_scores(statistics, key=jax.random.key(0), resamples=0)


DEGREES = {
    "latitude": (REGION.latitude.points, {}),
    "longitude": (REGION.longitude.points, {}),
}


def plane_axes(unit, size):
    """The axes of `REGION` on a map whose meridians do not converge; `size` units are a km."""
    return {
        "y": (-size * 111.2 * np.arange(9), {"units": unit}),
        "x": (size * 65.4 * np.arange(12), {"units": unit}),
    }


def test_covariances_on_a_grid_in_metres_are_those_in_degrees(tmp_path):
    found = {}
    for unit, axes in (
        ("degrees", DEGREES),
        ("m", plane_axes("m", 1000.0)),
        ("km", plane_axes("km", 1.0)),
    ):
        smooth_field(REGION, **axes).to_netcdf(tmp_path / f"{unit}.nc")
        made = recipe(state_dims=list(axes))
        nature = ingest(made, path=tmp_path / f"{unit}.nc").nature_run
        statistics = fit_window_statistics(
            nature["t2m"].to_numpy(), to_minutes(nature["time"].values), state_grid(nature, made)
        )
        found[unit] = statistics.covariances[0]
    np.testing.assert_allclose(found["m"], found["km"], rtol=1e-4, atol=1e-4)
    # Meridians that do not converge are up to 12 % off at the edges, in the taper's tail a few
    # per cent of the variance of 9. A metre taken for a degree leaves noise: half of all pairs
    # of points are then as far apart as they can be.
    assert np.abs(found["m"] - found["degrees"]).max() < 0.1 * found["degrees"].max()


@pytest.mark.ladder
def test_a_grid_in_metres_is_analysed_as_well_as_one_in_degrees(tmp_path):
    _, _, degrees = cycled(smooth_field(REGION, **DEGREES), recipe(), tmp_path / "degrees")
    data = smooth_field(REGION, **plane_axes("m", 1000.0))
    _, _, metres = cycled(data, recipe(state_dims=["y", "x"]), tmp_path / "metres")
    # The covariances differ by a few per cent; a metre taken for a degree is a factor of 7.
    assert metres["rmse"] == pytest.approx(degrees["rmse"], rel=0.05)


def test_axes_that_are_not_understood_are_refused_before_anything_is_read(tmp_path):
    axes = {"y": (1e5 * np.arange(9), {}), "x": (7e4 * np.arange(12), {})}
    smooth_field(REGION, **axes).to_netcdf(tmp_path / "data.nc")
    with pytest.raises(SourceFormatError, match=r"data\.nc: .*'y' \(without units\).*degrees_nor"):
        ingest(recipe(state_dims=["y", "x"]), path=tmp_path / "data.nc")
    swapped = smooth_field(REGION, **DEGREES)
    swapped.to_netcdf(tmp_path / "data.nc")
    with pytest.raises(SourceFormatError, match=r"\[latitude, longitude\]"):
        ingest(recipe(state_dims=["longitude", "latitude"]), path=tmp_path / "data.nc")


def test_a_store_records_that_points_count_by_area_where_areas_differ():
    assert weighting_record(Ring(5)) == {}
    assert weighting_record(Plane.from_axes(np.arange(3.0), 0.1 * np.arange(4.0))) == {}
    assert weighting_record(REGION) == {"score_weights": "area"}


@pytest.mark.slow
def test_scores_of_a_globe_count_points_by_their_area_and_say_so(tmp_path):
    globe = LatLon.from_degrees(np.linspace(90, -90, 13), np.arange(0, 360, 30.0))
    rougher = 1 + 4 * np.sin(np.deg2rad(globe.latitude.points))[:, None] ** 4
    axes = {"latitude": (globe.latitude.points, {}), "longitude": (globe.longitude.points, {})}
    data = smooth_field(globe, sd=rougher, **axes)
    made, store, scores = cycled(data, recipe(), tmp_path / "globe")
    analysis = store.dataset("analysis")
    truth = store.dataset("nature_run")["t2m"].sel(time=analysis["time"].to_numpy()).to_numpy()
    squared = (analysis["t2m_mean"].to_numpy().astype(float) - truth) ** 2
    weights = np.cos(np.deg2rad(globe.latitude.points))[:, None] * np.ones(globe.shape)
    weights.reshape(-1)[store.dataset("observations")["grid_index"].to_numpy()] = 0
    by_area = np.sqrt((squared * weights).sum((1, 2)) / weights.sum()).mean()
    alike = np.sqrt((squared * (weights > 0)).sum((1, 2)) / (weights > 0).sum()).mean()
    # The cosine is the area of a cell but for sin(a) / a at a half of 15 degrees, and the caps.
    assert scores["rmse"] == pytest.approx(by_area, rel=0.005)
    assert abs(alike / by_area - 1) > 0.1
    page = compare([made], made).markdown.read_text()
    assert "counts by the area of its cell" in page
