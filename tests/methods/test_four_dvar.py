"""4D-Var in the cycle: the observations within the window count, each at its own time."""

import functools

import numpy as np
import pytest

from tests.methods import runs
from vardax_core.data import load_recipe
from vardax_core.experiments.problem import prior_of
from vardax_core.methods.registry import method_of
from vardax_core.types import ResultCode

WINDOWED = runs.recipe(cycles=60, times=4)


@pytest.fixture(scope="module")
def cycled(tmp_path_factory):
    """Run a method on windows of four rows, once."""

    @functools.cache
    def run(method):
        return runs.cycle(tmp_path_factory.mktemp("windowed"), WINDOWED, method)

    return run


@pytest.mark.ladder
@pytest.mark.parametrize("method", ["4dvar", "weak-4dvar"])
def test_the_window_is_worth_more_than_its_last_row(method, cycled):
    """Four rows for one: with the same background covariance the error falls by a fifth (.48 to
    .38 and .39), of which half is asked for."""
    threedvar, found = cycled("3dvar"), cycled(method)
    assert runs.share_of(found, ResultCode.OK) > 0.9
    assert runs.rmse(found) < 0.9 * runs.rmse(threedvar)


@pytest.mark.slow
def test_with_a_window_of_one_row_it_is_3dvar(tmp_path):
    """The same minimum found by two minimisers, in single precision and over ten cycles of a
    chaotic model, which multiply a difference by less than ten."""
    made = runs.recipe(cycles=10)
    plain, windowed = (
        runs.cycle(tmp_path / name, made, name)["rmse"].values for name in ("3dvar", "4dvar")
    )
    np.testing.assert_allclose(windowed, plain, rtol=0.02)


@pytest.mark.slow
def test_both_minimisers_find_the_same_analysis(tmp_path, cycled):
    """The usual one is Gauss-Newton's."""
    made = runs.recipe(cycles=10, times=4)
    found = runs.cycle(tmp_path, made, "4dvar", minimiser="quasi-newton")["rmse"].values
    np.testing.assert_allclose(found, cycled("4dvar")["rmse"].values[:10], rtol=0.02)


@pytest.mark.parametrize("method", ["4dvar", "weak-4dvar"])
def test_a_model_that_steps_a_whole_cycle_is_refused_within_a_window(method):
    recipe = load_recipe("era5-t2m-uk")
    lack = method_of(method).lacks(prior_of(recipe))
    assert lack is not None
    assert "set window.times to 1" in lack
    one = recipe.model_copy(update={"window": recipe.window.model_copy(update={"times": 1})})
    assert method_of(method).lacks(prior_of(one)) is None
