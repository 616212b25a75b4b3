"""The superobservations that a recipe asks for, from its text to a cycle."""

import datetime

import numpy as np
import pytest

from tests.experiments import small
from vardax_core.data import ingest
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.observations.quality import QualityCode

POINTS = 3


def binned(points=POINTS, **sections):
    values = small.recipe().model_dump(mode="json") | {"binning": {"points": points}, **sections}
    return validate_recipe(values, "binned")


def test_cells_are_means_at_the_points_in_their_middle():
    each, cells = ingest(small.recipe()).observations, ingest(binned()).observations
    assert cells["grid_index"].values.tolist() == [1, 4, 7, 10]
    assert cells["location"].values.tolist() == [1, 4, 7, 10]
    assert cells["station_count"].values.tolist() == [3] * 4
    means = each["x"].values.reshape(-1, 4, 3).mean(axis=2)
    np.testing.assert_allclose(cells["x"].values, means, rtol=1e-5)
    # Of three equal errors of one the mean has 1 / 3 of the variance; the spread within the cells
    # of a field that varies from point to point comes on top.
    error = cells["x_error"].values
    assert (error > 3**-0.5).all()
    assert (error == error[:, :1]).all()
    assert (cells["quality_control"] == QualityCode.KEPT).all()


def test_what_was_screened_out_is_not_averaged():
    recipe = binned(screening={"blacklist": [0, 1, 2, 3]})
    each, cells = ingest(small.recipe()).observations, ingest(recipe).observations
    codes = cells["quality_control"].values
    assert (codes[:, 0] == QualityCode.MISSING).all()
    assert np.isnan(cells["x"].values[:, 0]).all()
    assert (codes[:, 1:] == QualityCode.KEPT).all()
    np.testing.assert_allclose(
        cells["x"].values[:, 1], each["x"].values[:, 4:6].mean(axis=1), rtol=1e-5
    )


def test_a_cell_arrives_with_its_last_station():
    values = small.recipe().model_dump(mode="json")["observation"]
    late = {"count": 1, "delay": "2h", "seed": 0}
    recipe = binned(observation=values | {"late": late})
    whole = ingest(validate_recipe(recipe.model_dump(mode="json") | {"binning": None}, "whole"))
    arrival = whole.observations["arrival_time"].values.reshape(-1, 4, 3).max(axis=2)
    np.testing.assert_array_equal(ingest(recipe).observations["arrival_time"].values, arrival)
    assert len(np.unique(arrival[0])) == 2


def test_any_part_of_a_period_has_the_same_cells():
    recipe = binned()
    start = recipe.period.end - datetime.timedelta(days=1)
    whole, part = ingest(recipe).observations, ingest(recipe, start=start).observations
    assert part.equals(whole.sel(time=part["time"]))


@pytest.mark.slow
def test_cells_are_cycled(tmp_path):
    made = Experiment(binned(), ExperimentSettings(method="etkf", members=small.MEMBERS), tmp_path)
    store = small.ingested_store(made)
    small.catch_up(made, store, "2000-01-02T00")
    observations = store.dataset("observations")
    assert observations["station_count"].values.tolist() == [3] * 4
    departures = store.dataset("innovations")["background_departure"]
    assert departures.shape == (5, 4)
    background = store.dataset("background")["x"].mean("member").values[:, [1, 4, 7, 10]]
    np.testing.assert_allclose(
        departures, observations["x"].values[:5] - background, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("points", [12, 8])
def test_a_mesh_of_one_cell_is_refused(points):
    with pytest.raises(RecipeError, match=r"less than two along \['location'\]"):
        ingest(binned(points))


def test_a_cell_of_one_point_is_refused():
    with pytest.raises(RecipeError, match=r"binning\.points"):
        binned(1)
