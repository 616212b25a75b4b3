"""The page on an operator of one's own, run as it is written: from its recipe to an analysis."""

import numpy as np
import pytest
import yaml

from tests.experiments import small
from tests.extending import Page, installed
from vardax_core.data import ingest
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, lack_of
from vardax_core.observations.registry import observed_as
from vardax_core.state.axis import Axis
from vardax_core.state.grids import Plane

PAGE = Page("operator")


@pytest.mark.slow
def test_the_operator_of_the_page_is_what_members_are_compared_by(tmp_path):
    with installed(tmp_path, PAGE.block("python"), PAGE.block("toml")):
        (stream,) = yaml.safe_load(PAGE.block("yaml"))["observations"]
        values = small.recipe().model_dump(mode="json")
        values["observation"] |= {"operator": stream["operator"], "error_sd": stream["error_sd"]}
        recipe = validate_recipe(values, "small")
        assert "of the kind slope" in lack_of(recipe, "persistence")
        found = ingest(recipe)
        truth = found.nature_run["x"].sel(time=found.observations["time"]).to_numpy()
        slopes = np.roll(truth, -1, axis=1) - np.roll(truth, 1, axis=1)
        errors = found.observations["x"].to_numpy() - slopes
        assert 0.9 < errors.std() < 1.1
        settings = ExperimentSettings(method="etkf", members=16)
        made = Experiment(recipe, settings, tmp_path / "root")
        store = small.ingested_store(made, found)
        small.catch_up(made, store)
        diagnostics = store.dataset("diagnostics").load().isel(time=slice(10, None))
        rmse = np.sqrt(diagnostics["squared_error"].sum() / diagnostics["weight"].sum())
        # Differences alone, of a chaotic ring whose climate varies by 3.6.
        assert rmse < 1.5


def test_the_mean_of_the_page_takes_the_nearest_point(tmp_path):
    with installed(tmp_path, PAGE.block("python"), PAGE.block("toml")):
        nearest = observed_as("nearest")(kind="nearest")
        grid = Plane(
            axes=(Axis.line(np.arange(5.0), "y"), Axis.line(np.arange(4.0), "x")), unit="m"
        )
        indices, weights = nearest.stencil(grid, np.array([[0.2, 2.9], [3.6, 1.4]]))
        assert indices.tolist() == [[3], [17]]
        assert weights.tolist() == [[1.0], [1.0]]
