"""Stations that no analysis sees, and what they say of it."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.experiments import small
from vardax_core.calibration.scores import compute_scores
from vardax_core.data import ingest
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.observations.quality import QualityCode

WITHHELD = 4


def recipe_with(count):
    values = small.recipe().model_dump(mode="json")
    values["screening"] = {"withheld": {"count": count, "seed": 3}}
    return validate_recipe(values, "withheld")


def cycled(root, ingested):
    made = Experiment(ingested.recipe, ExperimentSettings(method="etkf", members=12), root)
    store = small.ingested_store(made, ingested)
    small.catch_up(made, store)
    return store


@pytest.fixture(scope="module")
def ingested():
    return ingest(recipe_with(WITHHELD))


@pytest.fixture(scope="module")
def store(tmp_path_factory, ingested):
    return cycled(tmp_path_factory.mktemp("withheld"), ingested)


@pytest.mark.slow
def test_they_are_compared_and_not_used(tmp_path, ingested, store):
    codes = ingested.observations["quality_control"].values
    hidden = (codes == QualityCode.WITHHELD).all(axis=0)
    assert hidden.sum() == WITHHELD
    assert ((codes == QualityCode.WITHHELD) == hidden).all()
    innovations = store.dataset("innovations").load()
    assert (innovations["quality_control"].values[:, hidden] == QualityCode.WITHHELD).all()
    assert np.isfinite(innovations["analysis_departure"].values).all()

    values = ingested.observations["x"].copy(data=ingested.observations["x"].values + 100 * hidden)
    lies = dataclasses.replace(ingested, observations=ingested.observations.assign(x=values))
    other = cycled(tmp_path, lies)
    name = "x"
    np.testing.assert_array_equal(
        store.dataset("analysis")[name].values, other.dataset("analysis")[name].values
    )
    departures = other.dataset("innovations")["analysis_departure"].values
    moved = departures - innovations["analysis_departure"].values
    np.testing.assert_allclose(moved, np.broadcast_to(100.0 * hidden, moved.shape), atol=1e-3)


@pytest.mark.slow
def test_their_scores_are_those_of_the_departures(store, ingested):
    hidden = (ingested.observations["quality_control"].values == QualityCode.WITHHELD).all(axis=0)
    innovations = store.dataset("innovations").load()
    diagnostics = store.dataset("diagnostics").load()
    names = [n for n in diagnostics.data_vars if str(n).startswith("withheld")]
    assert len(names) == 5
    statistics = stored_statistics(ingested.recipe, diagnostics)
    scores = compute_scores(statistics, key=jax.random.key(0), resamples=0)
    residual = innovations["analysis_departure"].values[:, hidden]
    innovation = innovations["background_departure"].values[:, hidden]
    np.testing.assert_allclose(scores["withheld_rms"], np.sqrt((residual**2).mean()), rtol=1e-5)
    np.testing.assert_allclose(
        scores["withheld_background_rms"], np.sqrt((innovation**2).mean()), rtol=1e-5
    )
    np.testing.assert_allclose(scores["withheld_mean"], residual.mean(), rtol=1e-3, atol=1e-5)


def test_some_station_must_be_left():
    with pytest.raises(RecipeError, match="takes 12 of 12 usable stations"):
        ingest(recipe_with(12))
