"""An implausible increment in an experiment: committed as what it is, or held."""

import dataclasses

import numpy as np
import pytest

from flows.cycles_page import last_cycles
from tests.experiments import small
from vardax_core.cycling import increments
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.watched import ImplausibleIncrementError
from vardax_core.store.hold import held
from vardax_core.types import ResultCode


@pytest.fixture
def suspicious(monkeypatch):
    """A guard that stops what is a little unusual."""
    monkeypatch.setattr(increments, "FEWEST", 3)
    monkeypatch.setattr(increments, "IMMATERIAL", 1e-9)
    monkeypatch.setattr(increments, "FALSE_ALARMS", 0.99)


def experiment_of(root, **recipe):
    made = small.experiment_of(root, "etkf", members=7)
    values = made.recipe.model_dump(mode="json") | recipe
    return dataclasses.replace(made, recipe=validate_recipe(values, "small"))


@pytest.mark.slow
def test_it_is_committed_as_implausible_with_the_background_and_the_cause(suspicious, tmp_path):
    made = experiment_of(tmp_path)
    store = small.ingested_store(made)
    reports = small.catch_up(made, store)
    diagnostics = store.dataset("diagnostics").load()
    stopped = diagnostics["increment_cause"].to_numpy() > 0
    assert stopped.any()
    assert not stopped.all()
    assert np.all(diagnostics["result"].to_numpy()[stopped] == ResultCode.IMPLAUSIBLE)
    assert np.all(diagnostics["analysis_method"].to_numpy()[stopped] > 0)
    mean = store.dataset("analysis")["x_mean"].load()[stopped]
    background = store.dataset("background")["x"].load()[stopped].mean("member")
    np.testing.assert_allclose(mean, background, rtol=1e-5, atol=1e-5)
    assert any(report.warnings for report in reports)
    assert "the increment" in next(w for r in reports for w in r.warnings)
    assert {"stopped by"} <= last_cycles(store, "1")[0].keys()


@pytest.mark.slow
def test_it_holds_an_experiment_whose_recipe_wants_that(suspicious, tmp_path):
    made = experiment_of(tmp_path, implausible="hold")
    assert made.digest == experiment_of(tmp_path).digest
    store = small.ingested_store(made)
    with pytest.raises(ImplausibleIncrementError, match="and the experiment is held"):
        small.catch_up(made, store)
    found = held(made.store_location)
    assert found is not None
    assert "the increment" in found.reason
    assert store.tip().cycles < small.CYCLES
    assert not np.any(store.dataset("diagnostics")["result"].to_numpy() == ResultCode.IMPLAUSIBLE)


def test_a_balance_that_the_model_does_not_have_is_refused(tmp_path):
    made = experiment_of(tmp_path, balance="streamfunction")
    store = small.ingested_store(made)
    with pytest.raises(RecipeError, match="expected no balance"):
        made.prepare(store)
