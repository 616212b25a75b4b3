"""Real observations from files to a report, without a truth."""

import datetime

import numpy as np
import pytest
import xarray as xr

from tests.experiments import reported
from vardax_core.data import RecipeError, SourceFormatError, ingest, validate_recipe
from vardax_core.data.timeaxis import instant_to_minutes
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.comparison import compare
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import default_settings, lack_of, usual_methods
from vardax_core.experiments.why import explain, place_of_observation
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import groups_digest

METHODS = ("climatology", "interpolation")
AXIS = {"first": 0, "last": 10, "step": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in reported.write_all(folder).items():
            patch.setenv(name, value)
        yield folder


def experiment(root, method, made=None):
    recipe = made or reported.recipe()
    return Experiment(recipe, default_settings(recipe, method), root)


def run(made, *, until=None):
    learnable = made.training_run()
    if made.trained_version(learnable) is None:
        made.train(learnable, lambda *_: None)
    start = made.recipe.period.start - 2 * made.recipe.window.spacing
    ingested = ingest(made.recipe, start=start, end=until, partly=True)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    assimilation = Assimilation(made, store, made.prepare(store))
    for _ in assimilation.run(pending_cycles(made, store)):
        pass
    return store


@pytest.fixture(scope="module")
def stores(place):
    root = place / "root"
    return {name: (experiment(root, name), run(experiment(root, name))) for name in METHODS}


@pytest.mark.slow
def test_what_is_withheld_is_predicted_with_an_honest_spread(stores):
    experiments = [made for made, _ in stores.values()]
    found = compare(experiments, experiments[-1])
    climate, local = (found.scores[name] for name in METHODS)
    assert local["withheld_rms"] < 0.6 * climate["withheld_rms"]
    assert local["withheld_crps"] < 0.6 * climate["withheld_crps"]
    # Some 250 values of about ten buoys, whose errors go together: a third either way.
    assert 0.67 < local["withheld_spread_over_rms"] < 1.5
    assert 0.7 < local["withheld_coverage_90"] <= 1.0
    # No better than the error of the observations themselves allows.
    assert local["withheld_rms"] > 0.8 * reported.ERROR_SD
    text = found.markdown.read_text()
    assert "withheld" in text.splitlines()[2]
    assert (found.markdown.parent / "map.png").stat().st_size > 10_000
    assert np.isnan(local["rmse"])
    streams = text[text.index("## Streams") :].splitlines()[4]
    assert streams.startswith("| drifters |")
    worst = text[text.index("## Withheld platforms") :].splitlines()[4]
    assert worst.startswith("| drifters/b")


@pytest.mark.slow
def test_a_store_says_where_every_observation_was_and_what_became_of_it(stores):
    _made, store = stores["interpolation"]
    location = store.location
    with xr.open_zarr(
        _exported(store, location), group="observations", consolidated=False
    ) as observed:
        assert observed["latitude"].dims == ("time", "station")
        kept = observed[QUALITY_CONTROL] == QualityCode.KEPT
        assert bool(np.isfinite(observed["latitude"].where(kept, 0)).all())
        apart = np.abs((observed["observation_time"] - observed["time"]).values[kept.values])
        assert apart.max() <= np.timedelta64(12, "h")
    innovations = store.dataset("innovations")
    codes = innovations[QUALITY_CONTROL].to_numpy()
    stored = store.dataset("observations")[QUALITY_CONTROL].sel(time=innovations["time"])
    there = stored.to_numpy() != QualityCode.MISSING
    changed = there & (codes != stored.to_numpy())
    assert np.isin(codes[changed], [QualityCode.FIRST_GUESS]).all()
    used = np.isin(codes, [QualityCode.KEPT, QualityCode.WITHHELD])
    assert np.isfinite(innovations["background_departure"].to_numpy()[used]).all()
    names = store.arrays("platforms")["name"]
    assert [str(name) for name in names[:2]] == ["drifters/b00", "drifters/b01"]


def _exported(store, location):
    from vardax_core.store.export import export

    target = location.directory().parent / "exported.zarr"
    export(store, target)
    return target


@pytest.mark.slow
def test_a_platform_is_withheld_as_a_whole_and_by_its_name(stores):
    _, store = stores["climatology"]
    observed = store.dataset("observations")
    codes, platforms = observed[QUALITY_CONTROL].to_numpy(), observed["platform"].to_numpy()
    held = set(platforms[codes == QualityCode.WITHHELD])
    assert 3 <= len(held) < 20
    assert not held & set(platforms[codes == QualityCode.KEPT])


@pytest.mark.slow
def test_land_has_no_analysis(stores):
    for _, store in stores.values():
        mean = store.dataset("analysis")["sst_mean"].to_numpy()
        assert np.isnan(mean[:, 0, 0]).all()
        assert np.isfinite(mean[:, 3:, 3:]).all()


def test_methods_that_cannot_say_so():
    recipe = reported.recipe()
    assert usual_methods(recipe) == METHODS
    assert "take a local method" in lack_of(recipe, "oi")
    assert lack_of(recipe, "letkf") is None


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_digest(stores, place):
    made = experiment(place / "again", "interpolation")
    learnable = made.training_run()
    made.train(learnable, lambda *_: None)
    start = made.recipe.period.start - 2 * made.recipe.window.spacing
    # Half of the period first: windows at its end see what has been taken by then alone.
    ingested = ingest(made.recipe, start=start, partly=True)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    halfway = np.datetime64("2019-03-09T12:00")
    for until in (halfway, None):
        assimilation = Assimilation(made, store, made.prepare(store))
        for _ in assimilation.run(pending_cycles(made, store, until)):
            pass
    groups = ("observations", "analysis", "innovations")
    _, whole = stores["interpolation"]
    assert groups_digest(store, groups) == groups_digest(whole, groups)


def test_columns_grow_with_the_observations_and_platforms_keep_their_numbers(place):
    made = experiment(place / "grown", "climatology")
    early = reported.recipe().period.start + datetime.timedelta(days=2)
    start = made.recipe.period.start - 2 * made.recipe.window.spacing
    ingested = ingest(made.recipe, start=start, end=early, partly=True)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    before = store.dataset("observations").load()
    reported.write_buoys(place / "data" / "buoys-2.csv", days=range(8, 12), buoys=90, per_day=3)
    try:
        known = tuple(str(name) for name in store.arrays("platforms")["name"])
        more = ingest(made.recipe, start=early, partly=True, known=known)
        made.append_observations(store, more)
    finally:
        (place / "data" / "buoys-2.csv").unlink()
    after = store.dataset("observations").load()
    width = before.sizes["station"]
    assert after.sizes["station"] > width
    for name in before.data_vars:
        old = after[name].isel(time=slice(0, before.sizes["time"]))
        np.testing.assert_array_equal(old.isel(station=slice(0, width)), before[name])
    rest = after[QUALITY_CONTROL].isel(
        time=slice(0, before.sizes["time"]), station=slice(width, None)
    )
    assert (rest == QualityCode.MISSING).all()
    assert tuple(str(name) for name in store.arrays("platforms")["name"])[: len(known)] == known
    assert made.platforms(store)[: len(known)] == known
    last = store.tip("observations").last_time
    assert last == instant_to_minutes(made.recipe.period.end)


def test_a_source_is_not_ignored(place):
    with pytest.raises(RecipeError, match="Leave it out"):
        ingest(reported.recipe(), path=place / "data" / "maps.nc")


def test_axes_of_which_nothing_says_what_they_are_are_refused(place):
    values = reported.values(grid={"dims": ["y", "x"]} | dict.fromkeys("yx", AXIS))
    columns = {"time": "time", "y": "lat", "x": "lon", "value": "sst", "platform": "buoy"}
    values["observations"][0]["source"]["columns"] = columns
    del values["prior"]
    with pytest.raises(SourceFormatError, match="not understood where the points"):
        ingest(validate_recipe(values, "plane"))


@pytest.mark.slow
def test_why_names_the_observations_of_all_times_of_a_window(stores):
    """Value, platform and place are those that the store has under the id, which can be asked for
    again; and what was left out of the other times is told as well."""
    made, store = stores["interpolation"]
    times = store.dataset("analysis")["time"].values
    kept, names = store.dataset("observations"), made.platforms(store)
    seen = set()
    for time in times[len(times) // 2 :]:
        at = tuple(float(x) for x in made.space(store).grid.points()[0])
        found = explain(made, store, time, at)
        assert len({one.id for one in found.entered}) == len(found.entered)
        for one in (*found.entered, *found.others):
            instant, column = one.id.split("/")
            stored = kept.sel(time=np.datetime64(instant, "ns")).isel(station=int(column))
            np.testing.assert_allclose(one.value, stored[made.recipe.observed.name], rtol=1e-6)
            assert one.platform == names[int(stored["platform"])]
            assert one.place == tuple(float(stored[dim]) for dim in made.recipe.state_dims)
            assert one.stream
            if one.code == "kept":
                seen.add((np.datetime64(instant) - time) // np.timedelta64(1, "D"))
        withheld = {one.id.split("/")[0] for one in found.others if one.code == "withheld"}
    assert seen == {-2, -1, 0, 1, 2}
    assert len(withheld) > 1
    cycle, _, _ = place_of_observation(made, store, found.entered[0].id)
    assert abs(cycle - np.datetime64(found.entered[0].id.split("/")[0])) <= np.timedelta64(2, "D")
