"""Fields of a grid on which no covariance of all points is held, from training to scores."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments import fields
from vardax_core.data import ingest
from vardax_core.experiments import settings
from vardax_core.experiments.capacity import GridTooLargeError, require_memory
from vardax_core.experiments.validation import validate
from vardax_core.methods import fields_prior
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.priors import UnknownPriorError
from vardax_core.observations import placement
from vardax_core.state.grids import LatLon
from vardax_core.types import Observations

LETKF = "letkf"


def recipe():
    """Hours between the cycles are observed, too."""
    return fields.recipe(
        window={"times": 2, "spacing": "3h"}, observation={"interval": "3h"}, network={"count": 10}
    )


def cycled(folder, method, monkeypatch, dense):
    monkeypatch.setattr(fields_prior, "DENSE", dense)
    folder.mkdir()
    made = fields.experiment(recipe(), folder, method)
    store, scores = fields.cycled(made, fields.field(cadence=180), folder)
    return made, store, scores


@pytest.mark.slow
def test_a_filter_on_a_large_grid_is_that_on_a_small_one(tmp_path, monkeypatch):
    """What is learned without the covariance of all points is the same for who takes none."""
    made, small_store, _ = cycled(tmp_path / "small", LETKF, monkeypatch, 10**6)
    other, large_store, _ = cycled(tmp_path / "large", LETKF, monkeypatch, 0)
    names = [e.registry.root for e in (made, other)]
    learned = [sorted(path.name for path in root.iterdir() if path.is_dir()) for root in names]
    assert learned == [["smooth-reference"], ["smooth-local-reference"]]
    for name in ("t2m", "t2m_mean", "t2m_spread"):
        one, two = (s.dataset("analysis")[name].to_numpy() for s in (small_store, large_store))
        np.testing.assert_allclose(two, one, atol=1e-5 * fields.SD)


@pytest.mark.slow
def test_interpolation_of_stations_knows_its_error(tmp_path, monkeypatch):
    """It learns by itself whatever the size, and beats the climatology by far."""
    made, store, scores = cycled(tmp_path / "run", "interpolation", monkeypatch, 10**6)
    assert scores["rmse"] < 0.75 * scores["background_rmse"]
    assert 0.6 < scores["spread_over_rmse"] < 1.6
    assert (store.dataset("diagnostics")["result"] == 0).all()
    assert made.trained_from(store.experiment["source_sha256"]).name == "smooth-local-reference"
    # A station that is missing is left out, and an earlier value counts less.
    step = made.prepare(store).program.step
    rows, count = 2, 10
    times = jnp.arange(rows, dtype=jnp.int32) * 180
    values = jnp.full((rows, count), jnp.nan, jnp.float32).at[:, 4].set(25.0)
    first = step.inner.climatology.mean_at(times[-1])
    background = jnp.broadcast_to(first, (4, *first.shape))

    def analysed(values):
        given = Observations.from_values(values, jnp.full_like(values, 0.5), times)
        return step(background, given, key=jax.random.key(0))

    one, none = analysed(values), analysed(values.at[:, 4].set(jnp.nan))
    near = made.operator(store)(jnp.abs(one.mean - first))
    assert int(jnp.argmax(near)) == 4
    np.testing.assert_array_equal(none.mean, first)
    early = analysed(values.at[1:].set(jnp.nan))
    assert 0 < made.operator(store)(early.mean - first)[4] < near[4]


@pytest.mark.slow
def test_a_network_corrects_the_interpolation_of_a_large_grid(tmp_path, monkeypatch):
    """Trained, judged by states that its siblings did not see, and cycled; no worse than what it
    corrects, of which nothing is left where it gives zero."""
    made, store, scores = cycled(tmp_path / "run", "amortized", monkeypatch, 0)
    data = fields.field(cadence=180)
    data.to_netcdf(tmp_path / "again.nc")
    version = made.trained_version(made.training_run(tmp_path / "again.nc"))
    held = version.manifest["metadata"]["held_out"]
    assert held["number"] > 1000
    assert held["low"] < 1.0
    report = validate(made, path=tmp_path / "again.nc")
    assert report.passed
    assert "the interpolation" in " ".join(version.manifest["metadata"]["notes"])
    assert (store.dataset("diagnostics")["result"] == 0).all()
    _, _, of_first = cycled(tmp_path / "first", "interpolation", monkeypatch, 0)
    assert scores["rmse"] < 1.05 * of_first["rmse"]
    assert 0.7 < scores["spread_over_rmse"] < 1.4


def test_what_needs_all_covariances_is_refused_by_memory_alone():
    made = fields.experiment(fields.recipe(), fields.Path(), "oi")
    with pytest.raises(GridTooLargeError, match="amortized, interpolation or letkf"):
        require_memory(made.recipe, made.settings, (241, 281), available=6e9)
    for method in ("amortized", "interpolation", "letkf", "climatology"):
        other = fields.experiment(fields.recipe(), fields.Path(), method)
        require_memory(other.recipe, other.settings, (241, 281), available=6e9)


@pytest.mark.slow
def test_a_local_reference_has_no_covariance_of_all_points(tmp_path, monkeypatch):
    path = tmp_path / "field.nc"
    fields.field(cadence=360).to_netcdf(path)
    made = fields.recipe()
    run = ingest(made, start=made.training.start, end=made.training.end, path=path).nature_run
    prior = FieldsPrior(made, run)
    known = prior.knowing(prior.learn_locally(lambda *_: None).module)
    with pytest.raises(UnknownPriorError, match="choose a local method"):
        _ = known.covariance
    assert known.varying.all()
    sd = np.linalg.norm(np.asarray(known.climatology.square_root), axis=-1)
    np.testing.assert_allclose(known.local_covariance.scale, sd, rtol=1e-5)
    # The field forgets itself in 18 hours and over 4 degrees, about 450 km.
    covariance = known.local_covariance.covariance
    assert float(covariance.variance()) == pytest.approx(1.0, rel=0.5)
    zero, day = jnp.zeros((), jnp.float32), jnp.asarray(1080.0, jnp.float32)
    kept = covariance(zero, day) / covariance.variance()
    assert float(kept) == pytest.approx(math.exp(-1), abs=0.2)


def test_records_are_found_a_part_of_the_grid_at_a_time(monkeypatch):
    grid = LatLon.from_degrees(fields.LATITUDE, fields.LONGITUDE)
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(50, 58, 40), rng.uniform(-10, 1, 40)], axis=1)
    minutes = rng.uniform(-500, 0, 40)
    always = np.ones(40, bool)
    for search in (
        placement.Search(700.0, 7, 0.5),
        placement.Search(700.0, 7),
        placement.Search(700.0, 7, spacing=2),
        placement.Search(700.0, 9, 0.5, (100.0, 300.0)),
    ):
        given = (grid, places, minutes, np.zeros(40, int), always, always, search)
        monkeypatch.setattr(placement, "SOUGHT", 10**6)
        whole = placement.place(*given)
        monkeypatch.setattr(placement, "SOUGHT", 4)
        parts = placement.place(*given)
        np.testing.assert_array_equal(parts.nearest, whole.nearest)
        np.testing.assert_array_equal(parts.distances, whole.distances)
        assert (whole.nearest >= 0).any()


def test_segments_of_large_states_are_short():
    assert settings.segment_cycles(40 * 721 * 1440 * 4) == 1
    assert settings.segment_cycles(40 * 241 * 281 * 4) == 4
    assert settings.segment_cycles(4 * 10**5) == 10
