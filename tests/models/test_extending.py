"""The page on a model of one's own, run as it is written: cycled by a filter, from its recipe."""

import importlib.metadata
import re
import sys

import numpy as np
import pytest
import yaml

from tests.experiments import small
from tests.support import ROOT
from vardax_core.data import ingest
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, available_methods
from vardax_core.models.registry import registered_models

PAGE = (ROOT / "docs" / "extending" / "model.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package of the page on the path, with the entry point that it names."""
    (tmp_path / "my_pendulum.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    name, value = re.search(r'^(\w+) = "(.*)"$', block("toml"), flags=re.MULTILINE).groups()
    entry = importlib.metadata.EntryPoint(name, value, "vardax.models")
    points = importlib.metadata.EntryPoints([entry])
    none = importlib.metadata.EntryPoints([])
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: points if group == "vardax.models" else none,
    )
    registered_models.cache_clear()
    yield
    monkeypatch.undo()
    registered_models.cache_clear()
    sys.modules.pop("my_pendulum", None)


def test_the_model_of_the_page_is_cycled_from_a_recipe(installed, tmp_path):
    assert "pendulum" in registered_models()
    values = small.recipe().model_dump(mode="json")
    values |= {"name": "pendulum", "cycle_interval": "1h", "state_dims": ["component"]}
    values["window"] = {"times": 1, "spacing": "1h"}
    values["period"] = {"start": "2000-01-01T00:00:00Z", "end": "2000-01-02T05:00:00Z"}
    values["observation"] |= {"interval": "1h", "error_sd": 0.05}
    values["source"] = yaml.safe_load(block("yaml"))["source"]
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
