"""What a click says of a value: what observations gave to it, or why that cannot be told."""

import base64

import numpy as np
import pytest

from tests.browser import made
from tests.experiments import small
from vardax_core.browser.behind import behind, rests_on
from vardax_core.browser.opened import NothingToShowError, Opened
from vardax_core.experiments.reopened import ChangedExperimentError, reopened
from vardax_core.store import ExperimentStore, location_of


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """An experiment of a few cycles, with its recipe where readers find it."""
    small.write_recipe(tmp_path / "datasets")
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))
    experiment = small.experiment_of(tmp_path, "letkf")
    small.catch_up(experiment, small.ingested_store(experiment), "2000-01-01T18:00")
    return Opened(experiment.store_location)


@pytest.mark.slow
def test_what_lies_behind_a_value_sums_to_its_increment(opened, tmp_path):
    number, point = len(opened.times) - 1, (5,)
    found = behind(opened, number, point, "", tmp_path)
    mean = float(opened.analysis[f"{opened.variables[0]}_mean"][number, 5])
    increment = mean - opened.mean("background", opened.variables[0], number)[5]
    np.testing.assert_allclose(found.entered["gave"].sum(), increment, atol=1e-3)
    assert f"analysis {mean:.4g} by" in found.said[0]
    page = found.html()
    assert "Observations that entered" in page
    assert page.count("<tr") == 1 + min(len(found.entered), 12) + (1 + len(found.others)) * bool(
        len(found.others)
    )


@pytest.mark.slow
def test_a_page_shows_what_an_analysis_rests_on(opened, tmp_path):
    picture = rests_on(opened, len(opened.times) - 1, tmp_path)
    assert picture.startswith("<img alt=")
    assert base64.b64decode(picture.split("base64,")[1].rstrip('">')).startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_recipe_that_was_changed_since_cannot_explain_a_store(opened, tmp_path):
    path = tmp_path / "datasets" / "small" / "recipe.yaml"
    path.write_text(path.read_text().replace("burn_in: 5", "burn_in: 6"))
    store = ExperimentStore.open(opened.location)
    with pytest.raises(ChangedExperimentError, match="bring back the recipe"):
        reopened(store, tmp_path)
    with pytest.raises(NothingToShowError, match="cannot be told"):
        behind(opened, 0, (5,), "", tmp_path)


def test_a_store_without_a_recipe_says_so(tmp_path):
    made.make(tmp_path)
    other = Opened(location_of(tmp_path / "experiments" / "made" / "one"))
    with pytest.raises(NothingToShowError, match="What lies behind it cannot be told"):
        behind(other, 0, (1, 1), "", tmp_path)
