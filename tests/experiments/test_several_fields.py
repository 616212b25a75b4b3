"""A truth of several variables in a file, and what is learned from their training period."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments import fields, small
from vardax_core.data import SourceFormatError, ingest
from vardax_core.data.channel_fields import require_same_axes
from vardax_core.data.channels import stacked
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.models.standardised import Standardised

SIZE = 2e-4
"""Of the second variable, where the first is of `fields.SD` degrees."""


def both(size=SIZE):
    """Temperature, and a humidity of which a part follows it."""
    one, own = fields.field(cadence=360), fields.field(cadence=360, seed=1)["t2m"]
    part = (0.8 * (one["t2m"] - 10) + 0.6 * (own - 10)) / fields.SD
    humidity = (40 * size + size * part).astype(np.float32).assign_attrs(units="kg kg-1")
    return one.assign(q=humidity)


def recipe(size=SIZE, **sections):
    humidity = {
        "name": "q",
        "long_name": "specific humidity",
        "units": "kg kg-1",
        "valid_min": 0.0,
        "valid_max": 100 * size,
    }
    source = {
        "kind": "file",
        "files": [{"name": "none.nc", "sha256": "0" * 64}],
    }
    observation = {
        "error_sd": 0.5,
        "interval": "6h",
        "arrival_delay": "0h",
        "seed": 1,
        "channels": ["t2m"],
    }
    made = {"further": [humidity], "source": source, "observation": observation} | sections
    return fields.recipe(**made)


@pytest.fixture(scope="module")
def learned():
    """What is learned of the fields, and of the same in units in which the second is unlike."""
    found = []
    for size in (SIZE, 1e3 * SIZE):
        made = recipe(size)
        prior = FieldsPrior(made, both(size).assign_attrs(source_sha256="0" * 64))
        found.append(prior.learn(lambda *_: None))
    return found


def test_units_change_nothing_but_the_numbers(learned):
    """Multiplied by 1000, a variable has 1000 times the mean, the anomalies and the forecast."""
    one, other = (each.module for each in learned)
    factor = jnp.array([1.0, 1e3], jnp.float32)[:, None, None]
    state = one.climatology.mean[0] + one.climatology.square_root[..., 0]
    time, key = jnp.zeros((), jnp.int32), jax.random.key(0)
    np.testing.assert_allclose(
        other.climatology.mean, factor[None] * one.climatology.mean, rtol=1e-4
    )
    variance = [jnp.sum(each.climatology.square_root**2, axis=-1) for each in (one, other)]
    np.testing.assert_allclose(variance[1], factor**2 * variance[0], rtol=1e-3)
    assert isinstance(one.model, Standardised)
    forecast = one.model.step(state, time, key=key) - one.climatology.mean[0]
    again = other.model.step(factor * state, time, key=key) - other.climatology.mean[0]
    sd = np.sqrt(np.asarray(variance[0]))
    np.testing.assert_allclose(again / factor / sd, forecast / sd, atol=0.02)


def test_the_covariance_holds_what_the_variables_share(learned):
    """At one point the second has 0.8 of the first, and 0.6 of its own."""
    known = learned[0].module
    points = fields.LATITUDE.size * fields.LONGITUDE.size
    b = np.asarray(known.covariance, np.float64)
    sd = np.sqrt(np.diag(b))
    shared = np.diag(b[:points, points:]) / (sd[:points] * sd[points:])
    assert np.mean(shared) == pytest.approx(0.8, abs=0.08)


@pytest.mark.slow
def test_a_filter_improves_the_variable_that_nobody_observes(tmp_path):
    path = tmp_path / "both.nc"
    both().to_netcdf(path)
    made = recipe(
        network={"kind": "random_points", "count": 28, "seed": 1},
        period={"end": "2019-03-24T00:00:00Z"},
    )
    error = {}
    # Eighty states tell of what the variables share at a point, and not of what they do far apart.
    chosen = {"climatology": {}, "letkf": {"radius": 120.0, "inflation": 1.0}}
    for method, options in chosen.items():
        settings = ExperimentSettings(method=method, options=options, members=40)
        one = Experiment(made, settings, tmp_path)
        learnable = one.training_run(path)
        if one.trained_version(learnable) is None:
            one.train(learnable, lambda *_: None)
        store = small.ingested_store(one, ingest(made, path=path))
        small.catch_up(one, store)
        found = store.dataset("diagnostics").load()
        assert found["rmse"].dims == ("time", "channel")
        error[method] = found["rmse"].mean("time").to_numpy()
        truth = store.dataset("nature_run").load()
        assert stacked(truth, made).dims == ("time", "channel", "latitude", "longitude")
        assert truth["q"].attrs["units"] == "kg kg-1"
    # Of the second 0.36 of the variance is its own, so that 0.6 of the error stays at least.
    assert (error["letkf"] < np.array([0.5, 0.9]) * error["climatology"]).all(), error


def test_variables_on_different_axes_are_refused():
    shifted = both()["q"].assign_coords(longitude=fields.LONGITUDE + 1)
    with pytest.raises(SourceFormatError, match="'t2m' and 'q' of a state differ in their longit"):
        require_same_axes({"t2m": both()["t2m"], "q": shifted}, "f.nc")
