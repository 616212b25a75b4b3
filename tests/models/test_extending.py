"""The page on a model of one's own, run as it is written: cycled by a filter, from its recipe."""

import numpy as np
import pytest
import yaml

from tests.experiments import small
from tests.extending import Page, installed
from vardax_core.data import ingest
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, available_methods
from vardax_core.models.registry import registered_models

PAGE = Page("model")


@pytest.mark.slow
def test_the_model_of_the_page_is_cycled_from_a_recipe(tmp_path):
    with installed(tmp_path, PAGE.block("python"), PAGE.block("toml")):
        assert "pendulum" in registered_models()
        values = small.recipe().model_dump(mode="json")
        values |= {"name": "pendulum", "cycle_interval": "1h", "state_dims": ["component"]}
        values["window"] = {"times": 1, "spacing": "1h"}
        values["period"] = {"start": "2000-01-01T00:00:00Z", "end": "2000-01-02T05:00:00Z"}
        values["observation"] |= {"interval": "1h", "error_sd": 0.05}
        values["source"] = yaml.safe_load(PAGE.block("yaml"))["source"]
        recipe = validate_recipe(values, "pendulum")
        assert "amortized" not in available_methods(recipe)
        settings = ExperimentSettings(method="etkf", members=12)
        made = Experiment(recipe, settings, tmp_path / "root")
        store = small.ingested_store(made, ingest(recipe))
        assert sum(report.cycles for report in small.catch_up(made, store)) == 30
        analysis = store.dataset("analysis")["x_mean"].to_numpy()
        truth = store.dataset("nature_run")["x"].to_numpy()
        # Observed to .05 in both components; an analysis is no worse than its observations.
        assert np.sqrt(np.mean((analysis - truth)[5:] ** 2)) < 0.05
