"""Why an analysis is what it is: parts sum to the increment, refusals have their numbers."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments import small
from tests.methods import runs
from vardax_core.calibration.plots import png_bytes
from vardax_core.data.errors import PeriodError
from vardax_core.experiments.pictures import support_figure
from vardax_core.experiments.support import supported
from vardax_core.experiments.why import contributions, explain, place_of_observation
from vardax_core.state.grids.base import OutsideDomainError


@pytest.fixture(scope="module", params=["letkf", pytest.param("oi", marks=pytest.mark.slow)])
def cycled(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("why")
    made = small.experiment_of(root, request.param)
    store = small.ingested_store(made)
    if made.needs_training:
        made.train(None, lambda *_: None)
    small.catch_up(made, store, "2000-01-02T00:00")
    return made, store


def test_the_parts_sum_to_the_increment_and_it_is_the_stored_one(cycled):
    made, store = cycled
    time = store.dataset("analysis")["time"].values[-1]
    for place in ((0.0,), (5.0,)):
        found = explain(made, store, time, place)
        total = sum(one.contribution for one in found.entered)
        assert abs(total + found.rest - found.increment) <= 1e-5 * abs(found.increment)
        assert found.entered
        assert found.result == "ok"
        np.testing.assert_allclose(found.made, found.analysis, atol=2e-4)
        largest = [abs(one.contribution) for one in found.entered]
        assert largest == sorted(largest, reverse=True)
    again = place_of_observation(made, store, found.entered[0].id)
    assert again[0] == time


def test_maps_say_what_an_analysis_rests_on(cycled):
    made, store = cycled
    time = store.dataset("analysis")["time"].values[-1]
    found = supported(made, store, time)
    name = made.recipe.variable.name
    last = store.dataset("analysis").isel(time=-1)
    before = store.dataset("background")[name].isel(time=-1).std("member", ddof=1)
    np.testing.assert_allclose(
        found[f"{name}_variance_removed"],
        1 - (last[f"{name}_spread"] / before) ** 2,
        rtol=1e-4,
        atol=1e-6,
    )
    assert all(field.attrs["units"] == "1" for field in found.values())
    if made.settings.method == "letkf":
        assert found.attrs["comment"] == ""
        assert (found["observations_in_reach"] > 0).all()
    else:
        assert "does not say" in found.attrs["comment"]
        assert "observations_in_reach" not in found
    assert len(png_bytes(support_figure(made, store, time))) > 10_000
    with pytest.raises(PeriodError, match="expected the time of a cycle, got"):
        supported(made, store, np.datetime64("1990-01-01"))


def test_what_is_not_there_is_refused_in_a_sentence(cycled):
    made, store = cycled
    time = store.dataset("analysis")["time"].values[-1]
    with pytest.raises(PeriodError, match="expected the time of a cycle, got"):
        explain(made, store, np.datetime64("1990-01-01"), (0.0,))
    with pytest.raises(OutsideDomainError, match="expected 1 numbers"):
        explain(made, store, time, (0.0, 1.0))
    with pytest.raises(PeriodError, match="expected TIME/COLUMN"):
        place_of_observation(made, store, "17")


def test_parts_of_a_value_that_is_not_linear_sum_to_it():
    """tanh(y1) + y1 y2 + y2^2 from (0, 1)."""

    def value(y):
        return jnp.tanh(y[0, 0]) + y[0, 0] * y[0, 1] + y[0, 1] ** 2

    innovation = jnp.asarray([[1.5, -2.0]])
    parts, none, whole = contributions(value, jnp.asarray([[0.0, 1.0]]), innovation)
    assert none == 1.0
    np.testing.assert_allclose(parts.sum(), whole - none, rtol=1e-5)


def test_parts_sum_where_a_bound_makes_kinks():
    """The least of 5 |y1| and 1, less a small square: what an analysis that is held within the
    largest departure is like. By the symmetry of the second term all of it is y2's."""

    def value(y):
        return jnp.minimum(5 * jnp.abs(y[0, 0]), 1.0) + 0.1 * y[0, 1] ** 2

    innovation = jnp.asarray([[3.7, -1.0]])
    parts, none, whole = contributions(value, jnp.zeros((1, 2)), innovation)
    assert none == 0.0
    np.testing.assert_allclose(parts, [[1.0, 0.1]], rtol=2e-5)
    np.testing.assert_allclose(parts.sum(), whole, rtol=1e-5)


def test_rounding_does_not_halve_panels_for_ever():
    """A value in half precision, of which the sum of the parts cannot be nearer than that."""

    def value(y):
        return jnp.sum(y.astype(jnp.float16) ** 2).astype(y.dtype) + 1000.0

    parts, none, whole = contributions(value, jnp.zeros((1, 2)), jnp.asarray([[0.3, 0.1]]))
    np.testing.assert_allclose(parts.sum(), whole - none, rtol=5e-2)


def test_a_refused_observation_says_what_was_compared(cycled):
    """A gross one is put among the observations that are read."""
    made, store = cycled
    found = explain(made, store, store.dataset("analysis")["time"].values[3], (2.0,))
    for one in found.others:
        assert one.rule
    assert dataclasses.asdict(found)["time"]


def test_an_observation_of_another_time_of_the_window_has_its_own_id(tmp_path):
    """With two times to a window, all columns stand twice, each with the values of its time."""
    made = runs.experiment(tmp_path, runs.recipe(cycles=6, size=6, times=2), "etkf")
    runs.run(made)
    store = made.open_store()
    time = store.dataset("analysis")["time"].values[-1]
    found = explain(made, store, time, (2.0,))
    assert len({one.id for one in found.entered}) == len(found.entered)
    kept = store.dataset("observations")
    for one in found.entered:
        instant, column = one.id.split("/")
        stored = kept["x"].sel(time=np.datetime64(instant, "ns"), station=int(column))
        np.testing.assert_allclose(one.value, stored, rtol=1e-6)
    instants = sorted({one.id.split("/")[0] for one in found.entered})
    assert len(instants) == 2
    early = next(one for one in found.entered if one.id.startswith(instants[0]))
    assert place_of_observation(made, store, early.id)[0] == time
