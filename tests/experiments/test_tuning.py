"""Settings found on trial cycles: the best is kept, with what it is for, and used by later runs."""

import json

import pytest
import yaml

from flows.parameters import ExperimentParameters
from tests.experiments import small
from vardax_core.experiments.tuning import (
    NothingToTuneError,
    TuningPlan,
    tune,
    tuned_options,
    tuned_path,
)

PLAN = TuningPlan(streams=(2, 3), cycles=(20, 30), spin_up=10)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    made = small.experiment_of(tmp_path_factory.mktemp("root"), "enkf")
    said = []
    return made, tune(made, PLAN, say=said.append), said


@pytest.mark.ladder
def test_the_best_is_kept_with_the_score_of_every_candidate(tuned):
    made, found, said = tuned
    kept = json.loads(tuned_path(made).read_text())
    assert kept["options"] == found.options == tuned_options(made)
    scores = found.record["scores"]
    candidates = made.settings.analysis.candidates(None)
    # As it is, and every candidate; the four best are tried again.
    assert len(scores) == len(candidates) + 1
    assert len(said) == len(scores) + 4
    assert found.record["rmse"] in scores.values()
    assert found.record["streams"] == 3


@pytest.mark.ladder
def test_tuned_settings_are_for_their_recipe_and_size_alone(tuned):
    made, found, _ = tuned
    other = small.experiment_of(made.root, "enkf", members=small.MEMBERS + 1)
    assert tuned_options(other) == {}
    assert tuned_options(small.experiment_of(made.root, "etkf")) == {}
    again = small.experiment_of(made.root, "enkf", seed=5)
    assert tuned_options(again) == found.options


@pytest.mark.ladder
def test_runs_under_the_root_use_them_unless_told_otherwise(tuned, tmp_path, monkeypatch):
    made, found, _ = tuned
    path = tmp_path / "datasets" / "small" / "recipe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(small.recipe().model_dump(mode="json")))
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))
    asked = {"dataset": "small", "method": "enkf", "members": small.MEMBERS, "root": made.root}
    usual = ExperimentParameters(**asked).experiment()
    assert usual.settings.options == found.options
    told = ExperimentParameters(**asked, options={"inflation": 1.33}).experiment()
    assert told.settings.options == {"inflation": 1.33}
    assert ExperimentParameters(**asked).experiment(tuned=False).settings.options == {}


@pytest.mark.parametrize(
    ("method", "told"), [("oi", "no settings to tune"), ("amortized", "learned, not tuned")]
)
def test_what_cannot_be_tuned_is_refused_in_words(tmp_path, method, told):
    with pytest.raises(NothingToTuneError, match=told):
        tune(small.experiment_of(tmp_path, method), PLAN)
