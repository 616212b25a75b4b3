import datetime

import jax
import numpy as np
import pytest
import xarray as xr

from vardax_core.data import (
    ContractError,
    PeriodError,
    RecipeError,
    SourceError,
    draw_network,
    ingest,
    instant_to_minutes,
    load_recipe,
    mask_truth,
    nature_run_schema,
    observations_schema,
    observe,
    open_nature_run,
    simulate_nature_run,
    twin_model,
    validate,
)
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.screening import screen
from vardax_core.data.space import state_grid
from vardax_core.data.twin import draw_noise
from vardax_core.observations.quality import QualityCode

LORENZ, ERA5 = load_recipe("lorenz96"), load_recipe("era5-t2m-uk")


@pytest.fixture(scope="module")
def twin():
    return ingest(LORENZ)


def era5_like(n_times=48):
    """A field on the recipe's grid and dates, exact in float32."""
    hours = np.datetime64("2019-03-21T00") + np.arange(n_times)
    values = 280 + np.arange(n_times * 33 * 49).reshape(n_times, 33, 49) % 64 / 8
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values.astype("float32"), {"units": "K"})},
        {
            "time": hours.astype("datetime64[ns]"),
            "latitude": np.linspace(58, 50, 33, dtype="float32"),
            "longitude": np.linspace(-10, 2, 49, dtype="float32"),
        },
    )


def test_the_twin_is_on_the_attractor(twin):
    truth = twin.nature_run["x"].values
    assert truth.shape == (5000, 40)
    # Published climate of Lorenz-96, F = 8: mean 2.34, standard deviation 3.64. One variable's
    # time mean over 5000 steps has a standard error near 0.1, the mean over 40 of them below 0.03.
    assert truth.mean() == pytest.approx(2.34, abs=0.1)
    assert truth.std() == pytest.approx(3.64, abs=0.1)


def test_each_state_of_the_nature_run_is_one_model_step_after_the_other(twin, key):
    truth = twin.nature_run["x"].values[:50]
    model = twin_model(LORENZ.source)
    ahead = model.forecast(jax.numpy.asarray(truth[:-1]), jax.numpy.zeros((), "int32"), key=key)
    # One float32 step of values below 20: rounding of 2e-6 in each of some 20 operations.
    np.testing.assert_allclose(ahead, truth[1:], atol=5e-5)


def test_any_part_of_the_period_is_the_same_bit_for_bit(twin):
    start, end = datetime.datetime(2001, 2, 3, 6), datetime.datetime(2001, 2, 20, 18)
    part = ingest(LORENZ, start=start, end=end)
    assert part.observations.sizes["time"] == 71
    for whole, cut in (
        (twin.observations, part.observations),
        (twin.nature_run, part.nature_run),
    ):
        xr.testing.assert_identical(whole.sel(time=slice(start, end)), cut)


def test_another_seed_is_another_experiment(twin):
    other = ingest(LORENZ, seed=2)
    assert other.recipe.source.seed == 2
    assert np.abs(other.nature_run["x"] - twin.nature_run["x"])[0].max() > 0.1
    noise, other_noise = (
        (i.observations["x"].values - i.nature_run["x"].values).ravel() for i in (twin, other)
    )
    # The correlation of 200 000 independent pairs has a standard deviation of 0.0022.
    assert abs(np.corrcoef(noise, other_noise)[0, 1]) < 5 * 0.0022


def test_the_noise_is_white_normal_and_has_the_stated_size(twin):
    noise = twin.observations["x"].values - twin.nature_run["x"].values
    n = noise.size
    assert abs(noise.mean()) < 5 / np.sqrt(n)
    assert abs(noise.std() - 1) < 5 / np.sqrt(2 * n)
    assert abs((noise**4).mean() - 3) < 5 * np.sqrt(96 / n)
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert abs(shifted.mean()) < 5 / np.sqrt(shifted.size)


def test_a_number_of_noise_depends_on_its_seed_minute_and_station_alone():
    minutes = np.arange(-3, 40, dtype=np.int64) * 60
    whole = draw_noise(5, minutes, 30)
    np.testing.assert_array_equal(whole[7:9, :11], draw_noise(5, minutes[7:9], 11))
    assert not (whole == draw_noise(6, minutes, 30)).any()
    assert np.unique(whole).size == whole.size


def test_the_period_of_a_twin_has_ends():
    inside = instant_to_minutes(datetime.datetime(2000, 1, 2))
    for start, end in ((-360, inside), (inside, LORENZ.span[1] + 1), (inside + 1, inside + 2)):
        with pytest.raises(PeriodError, match="covers 2000-01-01T00:00 to 2003-06-03T18:00"):
            simulate_nature_run(LORENZ, start=start, end=end)


def test_a_source_of_the_other_kind_is_refused():
    with pytest.raises(SourceError, match="use open_nature_run"):
        simulate_nature_run(ERA5)
    with pytest.raises(SourceError, match="made by a model"):
        open_nature_run(LORENZ)


def test_the_network_is_fixed_by_its_draw():
    drawn = draw_network(ERA5, (33, 49))
    assert drawn.shape == (81 + 9,)
    assert drawn.dtype == np.int32
    assert (np.diff(drawn[:81]) > 0).all()
    assert len(set(drawn)) == 90
    assert drawn.min() >= 0
    assert drawn.max() < 33 * 49
    np.testing.assert_array_equal(drawn, draw_network(ERA5, (33, 49)))
    assert set(drawn) != set(draw_network(ERA5.with_draw(2), (33, 49)))
    np.testing.assert_array_equal(draw_network(LORENZ, (40,)), np.arange(40))
    with pytest.raises(RecipeError, match="81 stations do not fit on the 80 points"):
        draw_network(ERA5, (8, 10))


def test_every_grid_point_is_drawn_equally_often():
    draws = 400
    counts = np.zeros(33 * 49)
    for draw in range(draws):
        counts[draw_network(ERA5.with_draw(draw), (33, 49))[:81]] += 1
    p = 81 / 1617
    variance = draws * p * (1 - p)
    chi2 = ((counts - draws * p) ** 2).sum() / variance
    # A sum over 1617 points, near to chi-square with 1616 degrees of freedom.
    assert abs(chi2 - 1616) < 5 * np.sqrt(2 * 1616)


def test_an_observation_is_the_truth_at_its_station_plus_its_noise():
    nature = era5_like()
    observed = observe(nature, ERA5)
    rows, columns = np.divmod(observed["grid_index"].values, 49)
    np.testing.assert_array_equal(observed["latitude"], nature["latitude"].values[rows])
    np.testing.assert_array_equal(observed["longitude"], nature["longitude"].values[columns])
    minutes = instant_to_minutes(datetime.datetime(2019, 3, 21)) + 60 * np.arange(48)
    expected = nature["t2m"].values[:, rows, columns] + 0.5 * draw_noise(1, minutes, 90)
    np.testing.assert_array_equal(observed["t2m"], expected.astype("float32"))
    np.testing.assert_array_equal(observed["arrival_time"][:, 0], minutes)
    assert observed["arrival_time"].dtype == np.int64
    assert (observed["t2m_error"] == 0.5).all()
    assert observed["t2m_error"].attrs["standard_name"] == "air_temperature standard_error"
    assert observed["quality_control"].attrs["flag_meanings"].startswith("kept gross_error")
    validate(observed, observations_schema(ERA5))
    xr.testing.assert_identical(observe(nature.chunk(time=7), ERA5), observed)


def test_times_between_two_observations_are_passed_over():
    nature = era5_like(4)
    second_past = nature.assign_coords(time=nature["time"] + np.timedelta64(1, "s"))
    half_past = nature.assign_coords(time=nature["time"] + np.timedelta64(30, "m"))
    both = xr.concat([nature, second_past, half_past], "time").sortby("time")
    xr.testing.assert_identical(observe(both, ERA5), observe(nature, ERA5))
    with pytest.raises(PeriodError, match="none on the observation times"):
        observe(half_past, ERA5)


def test_bad_values_end_as_codes_and_not_as_errors():
    nature = era5_like(6)
    index = draw_network(ERA5, (33, 49))
    field = nature["t2m"].values
    field[1] = np.nan
    flat = field.reshape(6, -1)
    flat[2, index[0]], flat[2, index[1]], flat[2, index[2]] = 1e20, np.inf, 100.0
    observed = observe(nature, ERA5)
    codes, values = observed["quality_control"].values, observed["t2m"].values
    assert (codes[1] == QualityCode.MISSING).all()
    assert np.isnan(values[1]).all()
    assert codes[2, :4].tolist() == [
        QualityCode.GROSS_ERROR,
        QualityCode.MISSING,
        QualityCode.GROSS_ERROR,
        QualityCode.KEPT,
    ]
    assert values[2, 0] == np.float32(1e20)
    assert (np.delete(codes, [1, 2], 0) == QualityCode.KEPT).all()
    validate(observed, observations_schema(ERA5))
    with pytest.raises(ContractError, match=r"t2m: .*must be NaN or from 200"):
        validate(nature, nature_run_schema(ERA5))
    truth = mask_truth(nature, ERA5)
    assert int(truth["t2m"].isnull().sum()) == 33 * 49 + 3
    assert truth["t2m"].attrs == nature["t2m"].attrs


def test_an_observed_value_out_of_bounds_of_a_good_truth_is_a_gross_error():
    nature = era5_like(6)
    nature["t2m"].values[:] = 200.0
    codes = observe(nature, ERA5)["quality_control"].values
    below = draw_noise(1, instant_to_minutes(ERA5.period.start) + 60 * np.arange(6), 90) < -1e-4
    assert (codes[below] == QualityCode.GROSS_ERROR).all()
    assert (codes == QualityCode.KEPT).any()


def test_stations_beside_the_network_change_nothing_of_it():
    alone = validate_recipe(ERA5.model_dump(mode="json") | {"screening": None}, "alone")
    nature = era5_like()
    with_them, without = (observe(nature, recipe) for recipe in (ERA5, alone))
    assert with_them.sizes["station"] == without.sizes["station"] + 9
    xr.testing.assert_identical(with_them.isel(station=slice(81)), without)
    codes = screen(with_them, ERA5, state_grid(nature, ERA5))["quality_control"]
    assert (codes[:, 81:] == QualityCode.WITHHELD).all()
    xr.testing.assert_identical(codes[:, :81], with_them["quality_control"][:, :81])


def test_a_full_network_leaves_no_place_beside_it():
    values = LORENZ.model_dump(mode="json")
    values["screening"] = {"withheld": {"count": 1, "seed": 1, "beside": True}}
    with pytest.raises(RecipeError, match="leaves 0 points of the grid"):
        draw_network(validate_recipe(values, "full"), (40,))
