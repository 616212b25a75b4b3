"""Early and late runs: what had not arrived by the cut-off is not used, and the store says so."""

import datetime
import itertools

import numpy as np
import pytest

from tests.experiments import small
from vardax_core.data import ingest
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.continuity import SourceChangedError
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, experiment_digest
from vardax_core.observations.quality import QualityCode
from vardax_core.store import content_digest, groups_digest

LATE, DELAY = 4, datetime.timedelta(hours=5)


def late_recipe(count=LATE):
    values = small.recipe().model_dump(mode="json")
    values["observation"]["arrival_delay"] = "1h"
    values["observation"]["late"] = {"count": count, "delay": "5h", "seed": 3}
    return validate_recipe(values, "late")


def made_with(root, hours, **settings):
    cut_off = None if hours is None else datetime.timedelta(hours=hours)
    chosen = ExperimentSettings(method="etkf", members=small.MEMBERS, cut_off=cut_off, **settings)
    return Experiment(late_recipe(), chosen, root)


def cycled(made, ingested):
    store = small.ingested_store(made, ingested)
    small.catch_up(made, store)
    return store


@pytest.fixture(scope="module")
def ingested():
    return ingest(late_recipe())


@pytest.fixture(scope="module")
def stores(tmp_path_factory, ingested):
    """An early run, one that waits for the late stations, and one that takes all."""
    root = tmp_path_factory.mktemp("cut-off")
    return {hours: cycled(made_with(root, hours), ingested) for hours in (2, 6, None)}


@pytest.mark.slow
def test_an_early_run_uses_what_had_arrived(stores):
    codes = stores[2].dataset("innovations")["quality_control"].values
    late = codes == QualityCode.NOT_ARRIVED
    assert late.sum(axis=1).tolist() == [LATE] * small.CYCLES
    assert (late == late[0]).all()
    used = stores[2].dataset("diagnostics")["observations"].values
    assert (used <= 12 - LATE).all()
    # What is observed is in the store all the same.
    assert (stores[2].dataset("observations")["quality_control"] == QualityCode.KEPT).all()


@pytest.mark.slow
def test_a_late_run_uses_what_came_since(stores):
    names = ("analysis", "background", "innovations", "diagnostics", "state")
    late, whole, early = (groups_digest(stores[hours], names) for hours in (6, None, 2))
    assert late == whole
    assert early != whole


@pytest.mark.slow
def test_each_is_an_experiment_of_its_own(stores):
    paths = {store.path.name for store in stores.values()}
    assert paths == {"etkf-cut-off-120min", "etkf-cut-off-360min", "etkf"}
    assert len({store.experiment["digest"] for store in stores.values()}) == 3


def test_a_run_waits_for_its_cut_off(tmp_path):
    recipe = late_recipe()
    assert made_with(tmp_path, 6).settings.latency(recipe) == datetime.timedelta(hours=6)
    assert made_with(tmp_path, None).settings.latency(recipe) == recipe.latency


def test_more_late_stations_than_stations_are_refused():
    with pytest.raises(RecipeError, match="13 late stations, but the network has 12"):
        ingest(late_recipe(13))


@pytest.mark.slow
def test_what_is_ingested_in_pieces_is_what_is_ingested_at_once(tmp_path, stores):
    made = made_with(tmp_path, 2)
    start = made.recipe.period.start
    bounds = [start + datetime.timedelta(days=days) for days in (0, 2, 3, 7.25)]
    for last, until in itertools.pairwise(bounds):
        store = small.ingested_store(made, ingest(made.recipe, start=last, end=until))
        small.catch_up(made, store)
    assert content_digest(store) == content_digest(stores[2])


def test_a_source_that_has_grown_goes_on_and_another_one_is_refused(tmp_path, ingested):
    made = made_with(tmp_path, None)
    first, rest = (
        ingest(made.recipe, start=start, end=end)
        for start, end in (
            (None, made.recipe.period.start + datetime.timedelta(days=2)),
            (made.recipe.period.start + datetime.timedelta(days=2), None),
        )
    )
    store = small.ingested_store(made, first)
    before = content_digest(store)
    rest.nature_run.attrs["source_sha256"] = "another digest"
    rest.nature_run["x"][0, 0] += 1
    with pytest.raises(SourceChangedError, match="does not continue it"):
        made.append_observations(store, rest)
    assert content_digest(store) == before
    rest.nature_run["x"][0, 0] -= 1
    np.testing.assert_array_equal(rest.nature_run["x"][0], first.nature_run["x"][-1])
    assert made.append_observations(store, rest) == small.CYCLES - 9


def test_later_settings_leave_older_digests_as_they_were():
    recipe, settings = small.recipe(), ExperimentSettings(method="amortized")
    plain = recipe.model_dump(mode="json") | settings.model_dump(mode="json")
    assert not {"screening", "cut_off", "precision", "options", "methods"} & set(plain)
    assert "late" not in plain["observation"]
    digests = {
        experiment_digest(recipe, settings.model_copy(update=change))
        for change in ({}, {"precision": "float64"}, {"cut_off": DELAY})
    }
    assert len(digests) == 3
