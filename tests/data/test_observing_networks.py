import numpy as np
import pytest
import yaml

from tests.support import ROOT
from vardax_core.data import RecipeError, draw_network, ingest, load_recipe, validate_recipe
from vardax_core.data.observing_networks import EveryPoint, RandomPoints, Regular

SPARSE = load_recipe("lorenz96-sparse")


def sparse(**network):
    values = yaml.safe_load((ROOT / "datasets/lorenz96-sparse/recipe.yaml").read_text())
    values["network"] = {"kind": "regular", **network}
    return validate_recipe(values, "recipe.yaml")


@pytest.mark.parametrize(
    ("every", "start", "shape", "expected"),
    [
        (4, 0, (12,), [0, 4, 8]),
        (4, 3, (12,), [3, 7, 11]),
        (5, 1, (12,), [1, 6, 11]),
        (12, 11, (12,), [11]),
        (1, 0, (4,), [0, 1, 2, 3]),
        (2, 0, (3, 5), [0, 2, 4, 10, 12, 14]),
        (3, 1, (3, 5), [6, 9]),
    ],
)
def test_a_regular_network_has_a_station_at_every_so_many_points(every, start, shape, expected):
    found = Regular(kind="regular", every=every, start=start).places(shape)
    assert found.tolist() == expected
    assert found.dtype == np.int32


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (EveryPoint(kind="every_point"), (40,)),
        (EveryPoint(kind="every_point"), (33, 49)),
        (RandomPoints(kind="random_points", count=81, seed=1), (33, 49)),
        (Regular(kind="regular", every=4), (40,)),
        (Regular(kind="regular", every=4), (32, 48)),
    ],
)
def test_the_usual_count_is_the_number_of_stations_where_they_fit_evenly(network, shape):
    places = network.places(shape)
    assert len(set(places.tolist())) == places.size
    assert network.usual_count(int(np.prod(shape)), len(shape)) == places.size
    # Elsewhere it is off by what the edges of a grid add: here 9 by 13 and not 8.25 by 12.25.
    assert Regular(kind="regular", every=4).usual_count(33 * 49, 2) == 101


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"every": 0}, r"network\.regular\.every"),
        ({"every": 4, "start": 4}, "start 4 must be below every 4"),
        ({"every": 4, "start": -1}, r"network\.regular\.start"),
        ({"every": 2.5}, r"network\.regular\.every"),
        ({"every": True}, "expected a number, got the truth value True"),
        ({"every": 41}, r"every 41 points does not fit on the grid \(40,\).*lower network\.every"),
        ({}, r"network\.regular\.every"),
        ({"every": 4, "count": 4}, "unknown key 'count'"),
        ({"evrey": 4}, "unknown key 'evrey'; did you mean 'every'"),
        ({"kind": "random_points", "count": 41, "seed": 1}, "41 stations do not fit on the 40"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_the_recipe(network, said):
    with pytest.raises(RecipeError, match=said):
        sparse(**network)


def test_a_network_that_does_not_fit_on_the_fields_of_a_file_is_refused():
    values = yaml.safe_load((ROOT / "datasets/era5-t2m-uk/recipe.yaml").read_text())
    values["network"] = {"kind": "regular", "every": 4}
    recipe = validate_recipe(values, "era5")
    stations = draw_network(recipe, (33, 49))
    # Nine by thirteen of the network, and nine beside it.
    assert stations.size == 9 * 13 + 9
    assert set(stations[: 9 * 13]).isdisjoint(stations[9 * 13 :])
    with pytest.raises(RecipeError, match=r"'era5-t2m-uk': .*grid \(3, 49\)"):
        draw_network(recipe, (3, 49))


def test_a_regular_network_is_not_drawn():
    with pytest.raises(RecipeError, match="this one is regular; leave the draw out"):
        SPARSE.with_draw(1)


def test_the_sparse_twin_observes_every_fourth_variable_of_its_truth():
    ingested = ingest(SPARSE)
    truth, observed = ingested.nature_run["x"], ingested.observations
    assert truth.shape == (2400, 40)
    np.testing.assert_array_equal(observed["grid_index"], np.arange(0, 40, 4))
    np.testing.assert_array_equal(observed["location"], np.arange(0, 40, 4))
    error = observed["x"].to_numpy() - truth.to_numpy()[:, ::4]
    # The standard error of the sd of 24000 independent errors is 1 / sqrt(48000).
    assert error.std() == pytest.approx(1.0, abs=5 / 48000**0.5)
    # Published climate of Lorenz-96, F = 8; one is 2400 states that are 0.15 time units apart.
    assert truth.to_numpy().mean() == pytest.approx(2.34, abs=0.1)
    assert truth.to_numpy().std() == pytest.approx(3.64, abs=0.1)
