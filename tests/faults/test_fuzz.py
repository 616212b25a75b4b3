"""Recipes and observations that nobody thought of: a named error, or a run that goes on.

A few seconds of examples in `make test`; `VARDAX_FUZZ_SECONDS` sets how long the ladder searches.
"""

import copy
import dataclasses
import math
import os
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.experiments import small
from vardax_core.data import ingest
from vardax_core.data.contracts import observations_schema, validate
from vardax_core.data.errors import ContractError, RecipeError, SourceError
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.timeaxis import to_minutes
from vardax_core.data.window import cycle_times, windows
from vardax_core.observations.quality import QualityCode
from vardax_core.store import OverwriteError, StructureError, content_digest

SHORT = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FUZZ_SECONDS = float(os.environ.get("VARDAX_FUZZ_SECONDS", "300"))
ENTRIES = 40
"""More times or stations than this would only be slow."""

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=12),
    st.sampled_from(["0h", "6h", "-1h", "1e3h", "PT0S", "2000-01-01", "nan", "../x", "\0", "[]"]),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(-3, 3), max_size=2),
)


def paths(values, prefix=()):
    for key, value in values.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, key))


GOOD = small.recipe().model_dump(mode="json")
PATHS = sorted(paths(GOOD))


@st.composite
def recipes(draw):
    """The small twin's recipe with some keys changed, dropped or added."""
    values = copy.deepcopy(GOOD)
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=4, unique=True)):
        section = values
        for key in path[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            continue
        what = draw(st.sampled_from(["drop", "odd", "number", "add"]))
        if what == "drop":
            section.pop(path[-1], None)
        elif what == "add":
            section[draw(st.text(max_size=6))] = draw(ODD_VALUES)
        elif what == "number":
            section[path[-1]] = draw(st.integers(-5, 50))
        else:
            section[path[-1]] = draw(ODD_VALUES)
    return values


def small_enough(recipe):
    days = (recipe.period.end - recipe.period.start).days
    source = recipe.source
    return (
        source.kind == "twin"
        and days < 40
        and math.prod(source.settings.state_shape) <= ENTRIES
        and source.spin_up_steps < 1000
        and recipe.observation.interval.total_seconds() >= 3600
        and recipe.window.times <= ENTRIES
    )


def attempt(call, *errors):
    """What a call gives, and the error it ends in instead."""
    try:
        return call(), None
    except errors as error:
        return None, error


def a_recipe_is_refused_by_name_or_can_be_ingested(values):
    recipe, refusal = attempt(lambda: validate_recipe(values, "fuzzed"), RecipeError)
    if refusal is not None:
        assert "fuzzed" in str(refusal)
        return
    assert validate_recipe(recipe.model_dump(mode="json"), "again") == recipe
    if not small_enough(recipe):
        return
    made, refusal = attempt(lambda: ingest(recipe), RecipeError, SourceError, ContractError)
    if refusal is not None:
        assert recipe.name in str(refusal) or "contract" in str(refusal)
        return
    times = cycle_times(recipe)
    found = windows(made.observations, times, recipe)
    kept = found["quality_control"] == QualityCode.KEPT
    assert np.isfinite(found["values"][kept]).all()
    assert np.isnan(found["values"][~kept]).all()
    assert (found["error_sd"] > 0).all()
    np.testing.assert_array_equal(found["minutes"][:, -1], to_minutes(times))


@st.composite
def faulty_observations(draw, observed):
    """The twin's observations with faults in values, codes, errors, times or structure."""
    data = observed.observations.copy(deep=True)
    name = observed.recipe.variable.name
    shape = data[name].shape
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.integers(0, shape[0] - 1))
        where = (slice(row, row + draw(st.integers(1, 4))), draw(st.integers(0, shape[1] - 1)))
        fault = draw(st.sampled_from(["value", "code", "error", "arrival", "time", "drop", "cut"]))
        match fault:
            case "value":
                data[name].values[where] = draw(st.floats(width=32))
            case "code":
                data["quality_control"].values[where] = draw(st.integers(-128, 127))
            case "error":
                data[f"{name}_error"].values[where] = draw(st.floats(width=32))
            case "arrival":
                data["arrival_time"].values[where] = draw(st.integers(-(2**63), 2**63 - 1))
            case "time":
                times = data["time"].values.copy()
                moved = draw(st.integers(-(2**40), 2**40))
                times[row] += np.timedelta64(moved, "m")
                data = data.assign_coords(time=("time", times, data["time"].attrs))
            case "drop":
                variable = draw(st.sampled_from(sorted(map(str, data.data_vars))))
                if variable != name:
                    return data.drop_vars(variable)
            case "cut":
                return data.isel(time=slice(0, max(1, row)))
    return data


def observations_are_refused_or_the_cycle_goes_on(data, observed, root):
    """Through the contract into a store, and what then is read for the cycles."""
    recipe = observed.recipe
    schema = observations_schema(recipe)
    checked, refusal = attempt(lambda: validate(data, schema), ContractError)
    if refusal is not None:
        assert "contract" in str(refusal)
        return
    found = windows(checked, cycle_times(recipe), recipe)
    kept = found["quality_control"] == QualityCode.KEPT
    assert np.isfinite(found["values"][kept]).all()
    lowest, highest = recipe.variable.valid_min, recipe.variable.valid_max
    assert ((found["values"][kept] >= lowest) & (found["values"][kept] <= highest)).all()
    assert (found["error_sd"] > 0).all()
    assert np.isfinite(found["error_sd"]).all()
    made = small.experiment_of(root, "etkf")
    store = made.create_store(observed)
    before = content_digest(store)
    truth = observed.nature_run.reindex(time=checked["time"])
    ingested = dataclasses.replace(observed, observations=checked, nature_run=truth)
    _, refusal = attempt(
        lambda: made.append_observations(store, ingested), StructureError, OverwriteError
    )
    assert (content_digest(store) == before) is (refusal is not None)


@SHORT
@given(recipes())
def test_fuzzed_recipes(values):
    a_recipe_is_refused_by_name_or_can_be_ingested(values)


@pytest.mark.slow
def test_fuzzed_observations(tmp_path, observed):
    numbers = iter(range(10**9))

    @SHORT
    @given(faulty_observations(observed))
    def search(data):
        observations_are_refused_or_the_cycle_goes_on(data, observed, tmp_path / str(next(numbers)))

    search()


@pytest.mark.ladder
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["recipes", "observations"])
def test_fuzzing_for_minutes_finds_nothing(what, tmp_path, observed):
    numbers = iter(range(10**9))
    until = time.monotonic() + FUZZ_SECONDS / 2
    long = settings(SHORT, max_examples=50, derandomize=False, database=None)

    def recipe(values):
        a_recipe_is_refused_by_name_or_can_be_ingested(values)

    def dataset(data):
        observations_are_refused_or_the_cycle_goes_on(data, observed, tmp_path / str(next(numbers)))

    check, strategy = {
        "recipes": (recipe, recipes()),
        "observations": (dataset, faulty_observations(observed)),
    }[what]
    rounds = 0
    while time.monotonic() < until:
        long(given(strategy)(check))()
        rounds += 1
    assert rounds
