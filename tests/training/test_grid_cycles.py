"""What a training on a grid is given: truths of another model, and errors that go together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.amortized.grid_transform import REACH, GridTransformStep
from vardax_core.analysis.amortized.transform_network import TransformNetwork
from vardax_core.analysis.amortized.transform_view import TransformView
from vardax_core.models.linear import LinearModel
from vardax_core.observations.placement import PlacedPoints, place, search_of, with_placement
from vardax_core.state.grids import Ring
from vardax_core.training.grid_cycles import GridCycles
from vardax_core.training.observing import FixedNetwork

POINTS, HALF_WIDTH, RECORDS = 12, 2.0, 5
SHAPE = (1, POINTS)
TOLD, LEVEL = 0.7, 3.0


@pytest.fixture
def step():
    view = TransformView.nowhere(Ring(n=POINTS), REACH * HALF_WIDTH, 4, "float64")
    network = TransformNetwork.create(jnp.asarray([1.0]), key=jax.random.key(1))
    return GridTransformStep(PlacedPoints.nowhere(SHAPE), view, network, HALF_WIDTH)


def times(factor):
    return LinearModel(factor * jnp.eye(POINTS), SHAPE, 60)


def given(step, **asked):
    """The first cycle of two streams, and what they came from."""
    every, none = np.ones(RECORDS, bool), np.zeros(RECORDS)
    places = np.linspace(0.0, 8.5, RECORDS)[:, None]
    order = np.arange(RECORDS)
    placement = place(
        Ring(n=POINTS),
        places,
        none,
        order,
        every,
        every,
        search_of(step),
        "float64",
        channels=np.zeros(RECORDS, int),
    )
    climate = jax.random.normal(jax.random.key(2), (6, *SHAPE))
    cycles = GridCycles(
        step=step,
        model=times(1.0),
        observing=FixedNetwork(1.0),
        climate=climate,
        members=4,
        placing=lambda number: jax.tree.map(jnp.asarray, placement),
        key=jax.random.key(3),
        **{"nature": None, "errors": None} | asked,
    )
    start = cycles.start(2, key=jax.random.key(4))
    state, rows = cycles.deal(start, 0, 1)
    found = cycles.given(state, jax.tree.map(lambda x: x[0], rows))
    return start, found, with_placement(step, found.placement).operator


def test_a_truth_follows_its_own_model(step):
    start, found, _ = given(step, nature=times(0.5))
    np.testing.assert_array_equal(found.truth, 0.5 * start.truth)
    np.testing.assert_array_equal(found.background, start.ensemble)
    start, found, _ = given(step)
    np.testing.assert_array_equal(found.truth, start.truth)


def test_errors_are_those_that_are_drawn(step):
    def errors(placement, key):
        return jnp.full(RECORDS, TOLD), LEVEL * jnp.sign(placement.platforms.astype(float) - 1.5)

    _, found, operator = given(step, errors=errors)
    seen = found.observations
    departures = seen.values[:, 0] - jax.vmap(operator)(found.truth)
    mask = np.asarray(seen.mask[:, 0])
    assert mask.any()
    wanted = np.broadcast_to(LEVEL * np.sign(np.arange(RECORDS) - 1.5), mask.shape)
    # A sum and a difference of numbers of order one in double precision.
    np.testing.assert_allclose(np.asarray(departures)[mask], wanted[mask], atol=1e-12)
    np.testing.assert_array_equal(seen.error_sd, TOLD)
