"""The search for a root: found whatever the response, and never worse than where it began."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.training.root_finding import find_root

LIMIT = 3.0


def exactly(function):
    return lambda x: (function(x), 0.0)


@settings(max_examples=200, deadline=None)
@given(
    response=st.floats(0.02, 20.0),
    root=st.floats(-2.0, 2.0),
    bend=st.floats(0.0, 1.0),
)
def test_a_rising_response_of_any_size_is_solved(response, root, bend):
    """From a fiftieth to twenty times one to one, straight or saturating about the root."""

    def value(x):
        return response * ((1 - bend) * (x - root) + bend * math.tanh(x - root))

    search = find_root(exactly(value), limit=LIMIT, trials=16)
    assert search.found
    assert abs(search.best.value) <= 0.02


@pytest.mark.parametrize("response", [0.36, 1.0, 3.1])
def test_a_few_measurements_suffice(response):
    """Where moving by the value itself crawls, is exact, or runs away."""
    search = find_root(exactly(lambda x: response * x + 0.11))
    assert search.found
    assert len(search.trials) <= 4


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), min_size=12, max_size=12),
    start=st.floats(-5, 5),
)
def test_whatever_is_measured_the_best_is_never_worse_than_the_start(values, start):
    """Values that follow no rule at all, some of which could not be measured."""
    given_values = iter([start, *values])
    search = find_root(lambda x: (next(given_values), 0.0), limit=LIMIT, trials=12)
    assert abs(search.best.value) <= abs(start)
    assert len(search.trials) <= 12
    assert all(abs(t.position) <= LIMIT for t in search.trials)
    assert search.found == (abs(search.best.value) <= 0.02)
    positions = [t.position for t in search.trials]
    assert len(set(positions)) == len(positions)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), response=st.floats(0.1, 10.0), root=st.floats(-1.0, 1.0))
def test_noise_does_not_lead_it_away(seed, response, root):
    """The true value at the root found is within the tolerance and four of its standard errors,
    of which the best of ten looks better than it is."""
    rng, noise = np.random.default_rng(seed), 0.01
    search = find_root(lambda x: (response * (x - root) + noise * rng.normal(), noise), trials=12)
    true = response * (search.best.position - root)
    start = response * root
    assert abs(true) <= max(0.02 + 5 * noise, abs(start) + 5 * noise)
    assert abs(search.best.value) <= abs(search.trials[0].value)
    if search.found:
        assert abs(true) <= 0.02 + 5 * noise


def test_a_root_that_is_out_of_reach_is_not_found():
    search = find_root(exactly(lambda x: 0.11 + 0.05 * math.tanh(x)), limit=LIMIT)
    assert not search.found
    assert search.best.position == pytest.approx(-LIMIT)


def test_it_comes_close_to_where_nothing_can_be_measured():
    def value(x):
        return math.nan if x < -0.15 else 0.2 + 2 * x + 3 * x**2

    assert find_root(exactly(value)).found


def test_a_start_at_which_nothing_can_be_measured_is_refused():
    with pytest.raises(ValueError, match="finite value at the start 0, got nan"):
        find_root(lambda x: (math.nan, 0.0))
