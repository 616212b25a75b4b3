"""A host model with a state of two variables, from the recipe to what is committed."""

import numpy as np
import pytest

from tests.experiments import layers, small
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.host_files import MemberError, StateForm
from vardax_core.experiments.settings import ExperimentSettings

DAMPING = {"q1": 0.9, "q2": 0.8}


def damped(state, start, end):
    """A model of recipes of the kind callable: every layer is damped, each by its own factor."""
    made = state.copy(data={name: factor * state[name].values for name, factor in DAMPING.items()})
    return made.assign_coords(time=np.datetime64(end.replace(tzinfo=None)))


def recipe():
    values = layers.values()
    values["forecast"] = {"kind": "callable", "entry": f"{__name__}:damped", "parallel": 2}
    values["cycle"]["end"] = "2000-01-03T00:00:00Z"
    values["verification"]["burn_in"] = 0
    return validate_recipe(values, "layers")


@pytest.mark.slow
def test_each_variable_is_given_to_the_model_and_taken_from_it(tmp_path):
    made = Experiment(recipe(), ExperimentSettings(method="letkf", members=6), tmp_path / "root")
    store = small.ingested_store(made)
    reports = small.catch_up(made, store)
    assert not any(report.warnings for report in reports)
    analysis, background = (store.dataset(group).load() for group in ("analysis", "background"))
    for name, factor in DAMPING.items():
        before, after = analysis[name].values[:-1], background[name].values[1:]
        np.testing.assert_allclose(after, factor * before, rtol=1e-5, atol=1e-12)
        assert np.abs(after).max() > 0
    assert background["q2"].attrs["units"] == "s-1"


def test_each_variable_is_held_against_its_own_bounds(tmp_path):
    made = Experiment(recipe(), ExperimentSettings(method="letkf", members=6), tmp_path / "root")
    frame = small.ingested_store(made).dataset("analysis")
    form = StateForm.of(made.recipe, frame, [(-1.0, 1.0), (-0.1, 0.1)], "float32")
    state = np.full((2, layers.SIZE, layers.SIZE), 0.05, np.float32)
    given = form.dataset(state, 0, 1440, 3, 1)
    later = given.assign_coords(time=np.datetime64("2000-01-02"))
    np.testing.assert_array_equal(form.field(later, 1440, state), state)
    with pytest.raises(MemberError, match=r"'q2' in its output lies between .* q2 can only"):
        form.field(later.assign(q2=10 * later["q2"]), 1440, state)
    with pytest.raises(MemberError, match="there is no variable 'q2'"):
        form.field(later.drop_vars("q2"), 1440, state)
