"""Laws of what a recipe can say of how the state is observed, over all that is registered."""

import jax
import numpy as np
import pytest
from pydantic import ValidationError

from tests.experiments import small
from vardax_core.data import RecipeError, ingest
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.observations.registry import (
    registered_means,
    registered_observed,
    registered_operators,
    registered_statistics,
)
from vardax_core.observations.settings import Sites
from vardax_core.observations.stencils import StreamStencils
from vardax_core.state.grids import LatLon, Ring

SETTINGS = {
    "footprint": {"radius": 120.0},
    "clipped": {"lower": -1.0, "upper": 0.5},
}
"""Of those that need some."""
MASK = np.ones((7, 9), bool)
MASK[2:4, 3:6] = False
GRID = LatLon.from_degrees(np.linspace(60, 54, 7), np.linspace(-4, 4, 9), mask=MASK)

every_operator = pytest.mark.parametrize("name", registered_operators())
every_mean = pytest.mark.parametrize("name", registered_means())


def made(name, **changes):
    kind = registered_observed()[name]
    return kind.model_validate({"kind": name, **SETTINGS.get(name, {}), **changes})


def places(number, seed=0):
    """Between the points of the grid, and not among masked ones."""
    rng = np.random.default_rng(seed)
    some = np.stack([rng.uniform(54, 60, 400), rng.uniform(-4, 4, 400)], axis=1)
    return some[GRID.contains(some)][:number]


@pytest.mark.parametrize("name", registered_observed())
def test_each_says_what_it_is_and_its_settings_come_back(name):
    chosen = made(name, **({"hours": 24} if name in registered_statistics() else {}))
    assert len(chosen.title) > 5
    assert chosen.source
    assert all(field.description for field in type(chosen).model_fields.values())
    assert next(iter(chosen.model_dump())) == "kind"
    assert type(chosen).model_validate(chosen.model_dump(mode="json")) == chosen
    with pytest.raises(ValidationError, match="expected"):
        type(chosen).model_validate(chosen.model_dump() | {"kind": "other"})


@every_operator
def test_an_operator_gives_each_station_a_value_within_its_range(name):
    settings, points = made(name), np.array([0, 5, 62, 63 + 12, 125])
    operator = settings.build(Sites(GRID, points, (2, 7, 9)))
    state = jax.random.uniform(jax.random.key(0), (2, 7, 9), minval=-2.0, maxval=3.0)
    values = np.asarray(operator(state))
    assert values.shape == (operator.obs_size,) == (5,)
    low, high = settings.range_of(-2.0, 3.0)
    assert np.all((values >= low) & (values <= high))
    # A value depends on its own channel alone.
    other = state.at[1].set(0.0)
    assert np.array_equal(values[:3], np.asarray(operator(other))[:3])


@every_mean
def test_a_mean_of_a_constant_is_the_constant_and_needs_no_more_points_than_it_says(name):
    settings, some = made(name), places(60)
    indices, weights = settings.stencil(GRID, some)
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert np.all(weights[~MASK.reshape(-1)[indices]] == 0)
    assert (weights > 0).sum(axis=1).max() <= indices.shape[1] <= settings.corners(GRID)


def test_a_footprint_is_the_mean_of_the_cells_within_its_radius():
    settings, some = made("footprint"), places(20)
    indices, weights = settings.stencil(GRID, some)
    field = np.random.default_rng(1).normal(size=GRID.size)
    areas = GRID.weights().reshape(-1)
    for place, index, weight in zip(some, indices, weights, strict=True):
        inside = GRID.distance(GRID.points(), place[None]) < 120.0
        expected = np.average(field, weights=areas * inside)
        assert np.isclose(np.sum(weight * field[index]), expected)


def test_a_footprint_smaller_than_a_cell_is_a_point():
    some = places(20)
    field = np.random.default_rng(1).normal(size=GRID.size)
    seen = [
        np.sum(weights * field[indices], axis=1)
        for indices, weights in (
            made("footprint", radius=1e-3).stencil(GRID, some),
            made("point").stencil(GRID, some),
        )
    ]
    assert np.allclose(*seen)


def test_records_of_several_streams_have_each_its_own_operator_in_one_shape():
    operators = [made("point"), made("footprint"), made("point")]
    stencils = StreamStencils(GRID, operators)
    some, streams = places(30), np.arange(30) % 3
    some[4] = np.nan
    indices, weights = stencils.of(some, streams)
    assert indices.shape == weights.shape == (30, stencils.corners)
    assert not weights[4].any()
    field = np.random.default_rng(2).normal(size=GRID.size)
    for number, operator in enumerate(operators):
        of = (streams == number) & np.isfinite(some[:, 0])
        own = operator.stencil(GRID, some[of])
        expected = np.sum(own.weights * field[own.indices], axis=1)
        assert np.allclose(np.sum(weights[of] * field[indices[of]], axis=1), expected)


def test_statistics_over_hours_are_what_they_are_called():
    fields = np.random.default_rng(0).normal(size=(24, 3, 4))
    for name, function in (("maximum", np.max), ("minimum", np.min), ("mean", np.mean)):
        assert np.array_equal(made(name, hours=24).reduced(fields), function(fields, axis=0))


def observed_by(**operator):
    values = small.recipe().model_dump(mode="json")
    values["observation"] |= {"operator": operator}
    return validate_recipe(values, "small")


def test_simulated_observations_are_what_the_operator_shows_of_the_truth():
    recipe = observed_by(kind="footprint", radius=1.5)
    assert recipe.digest != small.recipe().digest
    found = ingest(recipe)
    truth = found.nature_run["x"].sel(time=found.observations["time"]).to_numpy()
    three = (np.roll(truth, 1, axis=1) + truth + np.roll(truth, -1, axis=1)) / 3
    plain = ingest(small.recipe())
    errors = plain.observations["x"].to_numpy() - truth
    assert np.allclose(found.observations["x"].to_numpy(), three + errors, atol=1e-5)


def test_values_out_of_the_range_of_the_state_are_no_gross_errors_where_they_are_squares():
    recipe = observed_by(kind="square")
    assert (recipe.observed.valid_min, recipe.observed.valid_max) == (0.0, 2500.0)
    found = ingest(recipe).observations
    assert found["x"].max() > 60
    assert (found["quality_control"] == 0).mean() > 0.9


def test_members_see_the_state_as_the_operator_does():
    recipe = observed_by(kind="absolute")
    problem = problem_of(recipe, prior_of(recipe), Ring(12), small.MEMBERS)
    state = jax.random.normal(jax.random.key(0), (12,))
    assert np.array_equal(problem.operator(state), np.abs(state))
    assert not problem.operator.linear


@pytest.mark.parametrize(
    ("operator", "told"),
    [
        ({"kind": "footprnt", "radius": 1}, "did you mean 'footprint'.*vardax operators"),
        ({"radius": 1}, "kind is needed.*Choose one of absolute"),
        ({"kind": "footprint"}, "radius: is needed"),
        ({"kind": "footprint", "radios": 1}, "did you mean 'radius'"),
        ({"kind": "footprint", "radius": -1}, "greater than 0"),
        ({"kind": "footprint", "radius": True}, "truth value"),
        ({"kind": "clipped", "lower": 1, "upper": 0}, "lower must be below upper"),
        ({"kind": "mean", "hours": 3}, "unknown 'mean'"),
    ],
)
def test_what_is_wrong_with_an_operator_is_said_by_its_key(operator, told):
    with pytest.raises(RecipeError, match=rf"(?s)observation\.operator.*{told}") as caught:
        observed_by(**operator)
    assert "function-" not in str(caught.value)
