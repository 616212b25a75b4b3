"""A state with two channels from recipe to store and report."""

import datetime

import numpy as np
import pytest
import xarray as xr

from tests.experiments import layers, small
from vardax_core.data import ingest
from vardax_core.data.channels import stacked
from vardax_core.experiments.assimilate import pending_cycles
from vardax_core.experiments.backfill import backfill
from vardax_core.experiments.checkup import check_up
from vardax_core.experiments.comparison import compare
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, lack_of
from vardax_core.monitoring.dashboard import latest_picture
from vardax_core.monitoring.situation import survey
from vardax_core.store.export import export

METHODS = ("climatology", "letkf")
LAG = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What was ingested, the experiments and their stores, and the report on them."""
    root, recipe = tmp_path_factory.mktemp("layers"), layers.recipe()
    ingested = ingest(recipe)
    made = [Experiment(recipe, ExperimentSettings(method=m, members=20), root) for m in METHODS]
    stores = [small.ingested_store(one, ingested) for one in made]
    for one, store in zip(made, stores, strict=True):
        small.catch_up(one, store)
    return ingested, dict(zip(METHODS, stores, strict=True)), compare(made, made[1])


@pytest.mark.slow
def test_a_store_has_one_variable_for_each_channel(run):
    _, stores, _ = run
    store, grid = stores["letkf"], ("y", "x")
    expected = {
        "nature_run": dict.fromkeys(layers.LAYERS, ("time", *grid)),
        "background": dict.fromkeys(layers.LAYERS, ("time", "member", *grid)),
        "analysis": dict.fromkeys(layers.LAYERS, ("time", "member", *grid))
        | {f"{n}_{what}": ("time", *grid) for n in layers.LAYERS for what in ("mean", "spread")},
    }
    for group, variables in expected.items():
        found = store.dataset(group)
        assert {str(n): v.dims for n, v in found.data_vars.items()} == variables
        assert found["q2"].attrs["long_name"] == "potential vorticity of the lower layer"
        assert found["q2"].attrs["units"] == "s-1"


@pytest.mark.slow
def test_the_truth_is_read_back_as_it_was_ingested(run):
    ingested, stores, _ = run
    recipe, stored = layers.recipe(), stores["letkf"].dataset("nature_run").load()
    given = stacked(ingested.nature_run, recipe)
    assert given.dims == ("time", "channel", "y", "x")
    np.testing.assert_array_equal(stacked(stored, recipe), given.sel(time=stored["time"]))


@pytest.mark.slow
def test_observations_say_their_channel_and_are_of_it(run):
    ingested, stores, _ = run
    found = stores["letkf"].dataset("observations").load()
    meanings = found["channel"].attrs["flag_meanings"].split()
    assert [meanings[n] for n in found["channel"].to_numpy()] == ["q1"] * (layers.SIZE // 2) ** 2
    truth = ingested.nature_run["q1"].sel(time=found["time"])
    errors = (found["observed"] - truth.sel(y=found["y"], x=found["x"])) / 5e-7
    # Of 1920 draws the standard deviation has an error of 1 / sqrt(2 x 1920) = 1.6 %.
    assert float(errors.std()) == pytest.approx(1.0, abs=0.08)


@pytest.mark.slow
def test_the_diagnostics_are_those_of_the_stored_fields(run):
    _, stores, _ = run
    store = stores["letkf"]
    recipe, found = layers.recipe(), store.dataset("diagnostics").load()
    mean = stacked(store.dataset("analysis").load(), recipe, "_mean")
    error = mean - stacked(store.dataset("nature_run").load(), recipe).sel(time=mean["time"])
    expected = np.sqrt((error.astype(float) ** 2).mean(("y", "x")))
    assert found["rmse"].dims == ("time", "channel")
    np.testing.assert_allclose(found["rmse"], expected.to_numpy(), rtol=1e-4)
    assert found["chi2"].dims == ("time",)


@pytest.mark.slow
def test_what_is_seen_of_one_layer_improves_both(run):
    _, stores, _ = run
    error = {
        m: s.dataset("diagnostics")["rmse"][layers.BURN_IN :].mean("time").to_numpy()
        for m, s in stores.items()
    }
    assert (error["letkf"] < 0.7 * error["climatology"]).all(), error


@pytest.mark.slow
def test_the_report_scores_each_layer(run):
    _, stores, written = run
    text = written.markdown.read_text()
    section = text.split("## By channel")[1].split("##")[0]
    assert set(written.channels) == set(layers.LAYERS)
    for name in layers.LAYERS:
        for method in METHODS:
            assert f"| {name} | {method} | s-1 |" in section
            stored = stores[method].dataset("diagnostics")["rmse"][layers.BURN_IN :]
            own = stored[:, layers.LAYERS.index(name)].mean()
            assert written.channels[name][method]["rmse"] == pytest.approx(float(own), rel=1e-6)
    assert written.scores["letkf"]["rmse"] == written.channels["q1"]["letkf"]["rmse"]
    pictures = {path.name for path in written.markdown.parent.glob("*.png")}
    assert {"map.png", "map-q2.png"} <= pictures


@pytest.fixture(scope="module")
def backfilled(run, tmp_path_factory):
    """The same observations in two streams side by side, smoothed by two later analyses."""
    ingested, _, _ = run
    root = tmp_path_factory.mktemp("backfilled")
    settings = ExperimentSettings(method="letkf", members=20, lag=LAG)
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr, 5)
        made = Experiment(layers.recipe(), settings, root)
        store = small.ingested_store(made, ingested)
        times = pending_cycles(made, store)
        tip, seams = backfill(made, store, made.prepare(store), times, streams=2, overlap=8)
    assert tip.cycles == layers.CYCLES
    assert len(seams) == 1
    return made, store


@pytest.mark.slow
def test_later_analyses_improve_the_layer_that_is_observed(backfilled):
    _, store = backfilled
    recipe, smoothed = layers.recipe(), store.dataset("smoothed").load()
    assert {f"{n}_{what}" for n in layers.LAYERS for what in ("mean", "spread")} == set(smoothed)
    truth = stacked(store.dataset("nature_run").load(), recipe).sel(time=smoothed["time"])
    rows = slice(layers.BURN_IN, layers.CYCLES - LAG)
    later = stacked(smoothed, recipe, "_mean").to_numpy()[layers.BURN_IN + LAG :]
    soon = stacked(store.dataset("analysis").load(), recipe, "_mean").to_numpy()[rows]
    error = [
        np.sqrt(np.mean((field - truth.to_numpy()[rows]) ** 2, axis=(0, 2, 3)))
        for field in (soon, later)
    ]
    # The other layer is seen through members alone, too few to be sure of it in so few cycles.
    assert error[1][0] < error[0][0]


@pytest.mark.slow
def test_a_backfilled_store_is_watched_and_shown(backfilled):
    made, store = backfilled
    now = datetime.datetime(2000, 2, 1, tzinfo=datetime.UTC)
    situation = survey(made, store, now=now, due=None)
    assert np.isfinite(situation.statistics["squared_error"]).all()
    figure = latest_picture(made, store, situation)
    assert figure is not None


@pytest.mark.slow
def test_an_export_holds_every_layer(backfilled, tmp_path):
    _, store = backfilled
    assert "analysis" in export(store, tmp_path / "out.zarr")
    with xr.open_zarr(tmp_path / "out.zarr", group="analysis") as copy:
        for name in layers.LAYERS:
            np.testing.assert_array_equal(copy[name], store.dataset("analysis")[name])


def test_a_check_of_the_recipe_shows_what_is_observed(tmp_path):
    made = check_up(layers.recipe(), tmp_path)
    assert not made.faults
    assert [path.name for path in made.pictures] == ["map.png"]


def test_a_method_of_one_variable_says_so():
    lack = lack_of(layers.recipe(), "3dvar")
    assert lack is not None
    assert "one variable" in lack
    assert "q1, q2" in lack
