from pathlib import Path

import numpy as np
import pytest

from tests.experiments import fields, small
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.space import simulated_grid
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.experiments.settings import (
    ExperimentSettings,
    TrainingSettings,
    experiment_digest,
    training_digest,
)
from vardax_core.experiments.trial import TrialPlan, networks_of
from vardax_core.methods.field_inputs import observing_network
from vardax_core.methods.fields_prior import DENSE
from vardax_core.methods.registry import method_of
from vardax_core.observations.operators import Identity, PointSampling

SETTINGS = ExperimentSettings(
    method="amortized", members=small.MEMBERS, training=TrainingSettings(steps=20)
)


def observed_points(recipe):
    return problem_of(recipe, prior_of(recipe), simulated_grid(recipe), 2).operator


def needed_memory(recipe, points):
    return method_of("amortized").memory(prior_of(recipe), points)


def twin(**network):
    values = small.recipe().model_dump(mode="json")
    return validate_recipe(values | {"network": {"kind": "regular", **network}}, "sparse")


def field(**network):
    values = fields.recipe().model_dump(mode="json")
    return validate_recipe(values | {"network": {"kind": "regular", **network}}, "sparse")


@pytest.mark.slow
def test_a_sparse_twin_is_trained_and_cycled_with_the_network_of_its_recipe(tmp_path):
    made = Experiment(twin(every=3, start=1), SETTINGS, tmp_path)
    store = small.ingested_store(made)
    made.train(None, lambda *_: None)
    small.catch_up(made, store)
    operator = made.operator(store)
    assert isinstance(operator, PointSampling)
    assert (
        operator.indices.tolist() == observed_points(made.recipe).indices.tolist() == [1, 4, 7, 10]
    )
    assert store.dataset("observations")["grid_index"].values.tolist() == [1, 4, 7, 10]
    done = store.dataset("analysis")["x"]
    moved = np.abs(done.mean("member") - store.dataset("background")["x"].mean("member"))
    assert done.sizes["time"] == small.CYCLES
    # What is observed tells of what lies between.
    assert (moved.mean("time") > 1e-3).all()
    other = Experiment(twin(every=4), SETTINGS, tmp_path)
    assert made.trained_version(None) is not None
    assert other.trained_version(None) is None


def test_a_twin_that_is_observed_everywhere_is_the_same_by_either_name(tmp_path):
    regular = Experiment(twin(every=1), SETTINGS, tmp_path / "regular")
    usual = small.experiment_of(tmp_path / "usual", "etkf")
    for made in (regular, usual):
        assert isinstance(made.operator(small.ingested_store(made)), Identity)
    assert isinstance(observed_points(regular.recipe), Identity)


@pytest.mark.parametrize("recipe", [twin, field])
def test_networks_with_other_gaps_have_other_stores_and_weights_and_one_name(recipe):
    third, shifted, second = recipe(every=3), recipe(every=3, start=1), recipe(every=2)
    for digest in (experiment_digest, lambda r, s: training_digest(r, s, "data")):
        assert len({digest(made, SETTINGS) for made in (third, shifted, second)}) == 3
        assert digest(recipe(every=3, start=0), SETTINGS) == digest(third, SETTINGS)
    assert Experiment(third, SETTINGS, Path()).group_name == third.name


def test_a_trial_on_fields_is_made_on_the_regular_network_itself():
    made = field(every=2)
    networks = networks_of(made, TrialPlan(), 30)
    assert list(networks) == ["all stations"]
    assert networks["all stations"].network == made.network
    # Three of five rows and three of six columns.
    assert observing_network(made, fields.field(cadence=360)).stations == 9


def test_a_sparser_network_takes_less_memory():
    """Of a grid that is not so large that no covariance of all its points is held."""
    recipe = fields.recipe(network={"kind": "every_point"})
    everywhere = needed_memory(recipe, DENSE)
    dense, third, fourth = (needed_memory(field(every=every), DENSE) for every in (1, 3, 4))
    assert dense == everywhere
    assert dense > third > fourth
