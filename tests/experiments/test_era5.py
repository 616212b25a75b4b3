"""Real weather, from its files to scored cycles."""

import numpy as np
import pytest

from tests.experiments import small
from tests.support import real_data_dir
from vardax_core.data import ingest, load_recipe
from vardax_core.data.space import state_grid
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, TrainingSettings
from vardax_core.observations.quality import QualityCode
from vardax_core.types import ResultCode

RECIPE = load_recipe("era5-t2m-uk")
UNTIL = "2019-03-21T12"
CYCLES = 5


@pytest.fixture(scope="module")
def sources():
    """What the GRIB and the NetCDF file give, over training and test days."""
    folder = real_data_dir()
    return {file.name: ingest(RECIPE, path=folder / file.name) for file in RECIPE.source.files}


@pytest.fixture(scope="module")
def netcdf(sources):
    return sources["era5_t2m_uk_2019-03.nc"]


def test_grib_and_netcdf_give_the_same_observations_to_the_packing(sources):
    grib, netcdf = (each.observations for each in sources.values())
    for name in ("time", "grid_index", "quality_control", "arrival_time", "t2m_error"):
        np.testing.assert_array_equal(grib[name], netcdf[name])
    assert grib.attrs["source_sha256"] != netcdf.attrs["source_sha256"]
    # Packing rounds by at most half of 0.001 K, and float32 near 280 K by 1.6e-5 K.
    assert np.abs(grib["t2m"] - netcdf["t2m"]).max() < 0.0005 + 4 * 1.6e-5
    assert (netcdf["quality_control"][:, :81] == QualityCode.KEPT).all()
    assert (netcdf["quality_control"][:, 81:] == QualityCode.WITHHELD).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["oi", "amortized"])
def test_a_few_training_steps_and_half_a_day_of_cycles(tmp_path, netcdf, method):
    settings = ExperimentSettings(method=method, members=10, training=TrainingSettings(steps=10))
    made = Experiment(RECIPE, settings, tmp_path)
    period = slice(
        RECIPE.training.start.replace(tzinfo=None), RECIPE.training.end.replace(tzinfo=None)
    )
    learned = netcdf.nature_run.sel(time=period)
    assert made.trained_version(learned) is None
    version = made.train(learned, lambda *_: None)
    assert made.trained_version(learned).path == version.path

    store = small.ingested_store(made, netcdf)
    (report,) = small.catch_up(made, store, UNTIL)
    assert (report.cycles, report.flagged) == (CYCLES, 0)
    assert store.tip().cycles == CYCLES
    assert small.catch_up(made, store, UNTIL) == []

    diagnostics = store.dataset("diagnostics").load()
    assert (diagnostics["result"] == int(ResultCode.OK)).all()
    # Every point is scored by its area but for the stations, 9 of which no analysis sees.
    scored = np.ones(33 * 49, bool)
    scored[netcdf.observations["grid_index"].values] = False
    assert scored.sum() == 33 * 49 - 90
    weights = state_grid(netcdf.nature_run, RECIPE).weights().ravel()[scored]
    np.testing.assert_allclose(diagnostics["weight"], weights.sum(), rtol=1e-5)
    assert (diagnostics["withheld_observations"] == 9).all()
    rmse = np.sqrt(diagnostics["squared_error"] / diagnostics["weight"]).values
    # No analysis may be worse than the daily range of the temperature.
    assert ((rmse > 0) & (rmse < 4)).all()
    mean = store.dataset("analysis")["t2m_mean"].values
    truth = store.dataset("nature_run")["t2m"].sel(time=store.dataset("analysis")["time"]).values
    error = (mean - truth).reshape(CYCLES, -1)[:, scored]
    np.testing.assert_allclose(
        rmse, np.sqrt(np.average(error**2, axis=1, weights=weights)), rtol=1e-4
    )
