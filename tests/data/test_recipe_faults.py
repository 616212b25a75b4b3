"""A recipe with many faults is told all of them at once."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.data import RecipeError, load_recipe
from vardax_core.data.recipe import validate_recipe

VALUES = load_recipe("era5-t2m-uk").model_dump(mode="json")

FAULTS = {
    "unknown key 'burnin'; did you mean 'burn_in'?": (("burnin",), 3),
    "unknown key '7'": ((7,), 3),
    "name: string should have at most 100": (("name",), "x" * 251),
    "title: string should have at least 1": (("title",), ""),
    "burn_in: input should be greater than or equal to 0, got -1": (("burn_in",), -1),
    "latency: write a duration as '3h'": (("latency",), "soon"),
    "variable: unknown key 'unit'; did you mean 'units'?": (("variable", "unit"), "K"),
    "variable: valid_min 999.0 must be below": (("variable", "valid_min"), 999.0),
    "period: end 2019-01-01": (("period", "end"), "2019-01-01T00:00:00Z"),
    "window.times: input should be greater": (("window", "times"), 0),
    "source.file: unknown key 'fils'; did you mean 'files'?": (("source", "fils"), 1),
    "source.file: tutorial 'x.nc' must be one of": (("source", "tutorial"), "x.nc"),
    "network: kind: unknown 'satellite'. Choose one of": (("network", "kind"), "satellite"),
    "observation.error_sd: input should be greater than 0": (("observation", "error_sd"), 0.0),
}
BETWEEN = {
    "recipe: period must hold a whole number": (("period", "end"), "2019-03-31T20:00:00Z"),
    "recipe: training ends at": (("training", "end"), "2019-03-25T00:00:00Z"),
    "recipe: a window of 99 times": (("window", "times"), 99),
    "recipe: cycle_interval 1:30:00 must be a multiple": (("cycle_interval",), "90min"),
    "unknown key 'burnin'; did you mean 'burn_in'?": (("burnin",), 3),
}
"""Faults that show only where every value is right by itself."""


def refusal(faults):
    values = copy.deepcopy(VALUES)
    for path, value in faults:
        section = values
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
    with pytest.raises(RecipeError) as refused:
        validate_recipe(values, "here")
    return str(refused.value)


@pytest.mark.parametrize("kind", [FAULTS, BETWEEN], ids=["of values", "between values"])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_fault_is_told(kind, data):
    chosen = data.draw(st.lists(st.sampled_from(sorted(kind)), min_size=1, unique=True))
    told = refusal([kind[words] for words in chosen])
    assert [words for words in chosen if words not in told] == []
    assert [words for words in kind if words not in chosen and words in told] == []
    assert "http" not in told
