"""Recipes whose states have several channels."""

import hashlib

import numpy as np
import pytest

from tests.experiments import layers
from vardax_core.data import RecipeError, load_recipe
from vardax_core.data.channels import split, stacked
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.space import simulated_grid
from vardax_core.data.twin import draw_network, simulate_nature_run
from vardax_core.state.grids import Plane

DIGESTS = {
    "alboran-sst": "0e97a857693ffc19c81c5f220d5a96c68af1e669b1ceac5a95ba4bc67d9ddb2e",
    "demonstration": "166306357e8deabc5156f6f0ae314e842800486f9a31fd1468b1d664f7f8119b",
    "era5-t2m-uk": "0135c6a0844e1b3124a63666df0b7e7abe8de920df3fcd0de3ae6459264c8cc3",
    "ireland-t2m-extremes": "ccd7c50afe9c59d0ae3e6bbb049c6f32e1878737cc65a65fe71ecd77cacbac11",
    "ireland-t2m-minima": "29c47221ca54153ca6515b56c4c36b3d010e7d4705b04546814d2c93763d92e7",
    "kuramoto-sivashinsky": "0765f07fec665c5de6546109a18f341f466838b057d1656cc74980d120d58788",
    "lorenz63": "8204dfc59f715a8cc8a645e87300517d7d1fa93d6eb3ea34ac0b6ff78b713e51",
    "lorenz96": "481276d33299032747b6c44a6c07cf5ba7bd50125b054132a9a19996ba043a76",
    "lorenz96-sparse": "c4d8a85bf0a10e30a09cc75cfdc9e43730bccb35301576020f77e493ba944aae",
    "lorenz96-two-scale": "8c63bad8cc93fa6defe210561be8e7b39d144ffbaa9c8829edc1d66b968938c8",
    "med-adt": "2d95e5425f8f39e5b03198465971791b6b553877b0d98088fa33bdc7bb0fedfd",
}
"""Of recipes of one variable, before there were several: stores are found by them."""


@pytest.mark.parametrize("name", DIGESTS)
def test_recipes_of_one_variable_keep_their_digests(name):
    recipe = load_recipe(name)
    assert recipe.digest == DIGESTS[name]
    assert recipe.channels == ()
    assert recipe.observed == recipe.variable
    assert recipe.state_shape((3, 4)) == (3, 4)


def test_a_recipe_of_several_variables_is_read_again_as_it_was():
    recipe = layers.recipe()
    assert recipe.channels == layers.LAYERS
    assert recipe.variable.name == "q1"
    assert validate_recipe(recipe.model_dump(mode="json"), "again") == recipe
    assert hashlib.sha256(recipe.model_dump_json().encode()).hexdigest() == recipe.digest


def test_the_grid_of_a_model_with_layers_is_that_of_one_layer_and_closes():
    grid = simulated_grid(layers.recipe())
    assert isinstance(grid, Plane)
    assert grid.shape == (16, 16)
    assert grid.wraps == (True, True)
    between = grid.pairwise()
    assert between[0, 15] == pytest.approx(5e5 / 16)  # over the edge


@pytest.mark.parametrize(("chosen", "numbers"), [(None, (0, 1)), (["q2"], (1,))])
def test_every_station_observes_the_channels_that_are_chosen(chosen, numbers):
    values = layers.values()
    source = values["observations"][0]["source"]
    del source["channels"]
    source |= {"channels": chosen} if chosen else {}
    recipe = validate_recipe(values, "layers")
    found = draw_network(recipe, (16, 16))
    assert recipe.observed_channels == numbers
    assert found.size == 64 * len(numbers)
    assert set(found // 256) == set(numbers)
    assert set(found % 256) == {16 * y + x for y in range(0, 16, 2) for x in range(0, 16, 2)}


def test_states_go_through_variables_and_back():
    recipe = layers.recipe()
    run = simulate_nature_run(recipe)
    states = stacked(run, recipe)
    assert list(states["channel"].to_numpy()) == list(layers.LAYERS)
    for name, field in split(states.to_numpy(), recipe).items():
        np.testing.assert_array_equal(field, run[name])


def _other_units(values):
    values["variables"][1]["units"] = "m"
    del values["observations"][0]["source"]["channels"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["variables"].pop(), "holds 2 variables; got .'q1'."),
        (lambda v: v["variables"][1].update(name="q1"), "a name of its own"),
        (lambda v: v["variables"][1].update(name="observed"), "a name of its own"),
        (lambda v: v["variables"][1].update(valid_max=-1.0), "variables.1"),
        (lambda v: v["observations"][0]["source"].update(channels=["q3"]), "no variables .'q3'."),
        (lambda v: v["observations"][0].update(binning={"points": 2}), "binning is for"),
        (lambda v: v["grid"].update(dims=["layer", "y", "x"]), "has 2 dimensions"),
        (_other_units, "observe variables of one unit"),
    ],
)
def test_channels_at_fault_are_named(change, said):
    values = layers.values()
    change(values)
    with pytest.raises(RecipeError, match=said):
        validate_recipe(values, "layers")
