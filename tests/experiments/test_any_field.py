"""Fields of any unit, cadence, completeness and size, from their file to scored cycles."""

from pathlib import Path

import numpy as np
import pytest

from tests.experiments import fields
from vardax_core.data import ingest
from vardax_core.data.space import state_grid
from vardax_core.experiments.capacity import GridTooLargeError, available_memory, require_memory
from vardax_core.experiments.settings import training_digest
from vardax_core.methods.field_inputs import observing_network
from vardax_core.store import StoreNotFoundError
from vardax_core.training.slots import UnfitPeriodError
from vardax_core.types import ResultCode

SHOWN = ("rmse", "spread", "bias", "crps_gaussian", "background_rmse")


def in_unit(units, factor, shift):
    """The field and its recipe in another unit, where x is (x + shift) * factor."""
    data = fields.field()
    data["t2m"] = ((data["t2m"].astype(float) + shift) * factor).astype(np.float32)
    data["t2m"].attrs["units"] = units
    bounds = {"valid_min": (-100 + shift) * factor, "valid_max": (100 + shift) * factor}
    made = fields.recipe(
        variable={"units": units, **bounds}, observation={"error_sd": 0.5 * factor}
    )
    return made, data


def scored(method, folder, unit, steps=20):
    folder.mkdir()
    made, data = in_unit(*unit)
    store, scores = fields.cycled(fields.experiment(made, folder, method, steps), data, folder)
    return store.dataset("analysis").load(), {name: scores[name] for name in SHOWN}


@pytest.mark.ladder
@pytest.mark.parametrize("method", ["amortized", "oi"])
def test_another_unit_changes_the_result_by_that_unit_alone(tmp_path, method):
    """Training, cycles and scores commute with a change of unit."""
    factor, shift = 0.05, -10.0
    analysis, scores = scored(method, tmp_path / "one", ("degC", 1.0, 0.0))
    other, theirs = scored(method, tmp_path / "two", ("m", factor, shift))
    # Values of up to 25 degrees are rounded to 1e-6 in single precision, twice before they are
    # compared; a mean over stations passes an error on less than threefold.
    allowed = 1e-5 * fields.SD
    for name, offset in (("t2m_mean", shift), ("t2m_spread", 0.0), ("t2m", shift)):
        difference = other[name].to_numpy().astype(float) / factor - offset - analysis[name]
        assert float(np.abs(difference).max()) < allowed, name
    for name in SHOWN:
        assert theirs[name] / factor == pytest.approx(scores[name], abs=allowed), name
    assert scores["rmse"] < fields.SD


@pytest.mark.slow
def test_six_hourly_data_with_a_constant_and_a_missing_value(tmp_path):
    data = fields.field(cadence=360)
    data["t2m"][:, 2, 3] = 4.0
    data["t2m"][10, 1, 1] = np.nan
    made = fields.experiment(fields.recipe(), tmp_path)
    store, scores = fields.cycled(made, data, tmp_path)
    diagnostics = store.dataset("diagnostics").load()
    assert (diagnostics["result"] == int(ResultCode.OK)).all()
    stations = set(store.dataset("observations")["grid_index"].values.tolist())
    weights = state_grid(data, made.recipe).weights().ravel()
    scored_points = np.setdiff1d(np.arange(30), [*stations, 15])
    np.testing.assert_allclose(diagnostics["weight"], weights[scored_points].sum(), rtol=1e-5)
    assert 0 < scores["rmse"] < scores["background_rmse"]
    # The constant point stays what it always was.
    analysis = store.dataset("analysis")
    np.testing.assert_allclose(analysis["t2m_mean"][:, 2, 3], 4.0, rtol=1e-6)
    np.testing.assert_array_equal(analysis["t2m_spread"][:, 2, 3], 0.0)
    missing, constant = made.trained_from(store.experiment["source_sha256"]).manifest["metadata"][
        "notes"
    ]
    assert missing.startswith("1 of 2400 values of the training period are missing")
    assert "2019-03-03T12:00, latitude 56, longitude -7.8" in missing
    assert constant.startswith("1 of 30 points are constant or seldom known")
    assert "latitude 54, longitude -3.4" in constant


@pytest.mark.slow
def test_the_amortized_method_on_a_few_points_with_holes(tmp_path):
    """Fewer points than stations of usual networks, hours without data, land that is no number."""
    data = fields.field()
    data = data.isel(time=np.delete(np.arange(data.sizes["time"]), np.arange(100, 130)))
    data["t2m"][:, 0, :2] = np.nan
    data["t2m"][200:220, 3] = np.nan
    made = fields.experiment(fields.recipe(), tmp_path, "amortized")
    store, scores = fields.cycled(made, data, tmp_path)
    diagnostics = store.dataset("diagnostics").load()
    assert (diagnostics["result"] == int(ResultCode.OK)).all()
    assert 0 < scores["rmse"] < scores["background_rmse"]
    manifest = made.trained_from(store.experiment["source_sha256"]).manifest
    assert np.isfinite([loss for _, loss in manifest["metadata"]["loss_curve"]]).all()
    values, times, points = manifest["metadata"]["notes"]
    assert "values of the training period are missing" in values
    assert times.startswith("30 times of the training period are missing, the first 2019-03-05T04")
    assert points.startswith("2 of 30 points")


@pytest.mark.parametrize(("cadence", "slots"), [(20, 72), (1440, 1)])
def test_any_cadence_is_learned(tmp_path, cadence, slots):
    every = f"{max(cadence, 360)}min"
    made = fields.recipe(
        training={"end": "2019-03-20T00:00:00Z"},
        cycle_interval=every,
        window={"spacing": every},
        observation={"interval": every},
    )
    assert (
        fields.notes(fields.experiment(made, tmp_path), fields.field(cadence=cadence), tmp_path)
        == []
    )
    (weights,) = (tmp_path / "models").rglob("manifest.json")
    assert f'"slots": {slots}' in weights.read_text()


def test_data_that_are_rarer_than_the_cycles_are_refused_with_words(tmp_path):
    made = fields.recipe(
        cycle_interval="3h", window={"spacing": "3h"}, observation={"interval": "3h"}
    )
    with pytest.raises(UnfitPeriodError, match="no two that are one interval of 180 minutes apart"):
        fields.notes(
            fields.experiment(made, tmp_path, "amortized"), fields.field(cadence=360), tmp_path
        )


@pytest.mark.parametrize(
    ("sections", "stations", "errors"),
    [
        ({"observation": {"error_sd": 0.025}}, 8, (0.025, 0.025)),
        ({"screening": {"withheld": {"count": 3, "seed": 2}}}, 5, (0.5, 0.5)),
        ({"network": {"kind": "every_point"}}, 30, (0.5, 0.5)),
    ],
)
def test_training_is_told_what_the_observing_network_is_like(sections, stations, errors):
    found = observing_network(fields.recipe(**sections), fields.field(cadence=360))
    assert found.stations == stations
    assert found.error_sd == pytest.approx(errors)


def test_averages_of_stations_have_errors_of_their_own():
    made = fields.recipe(network={"kind": "every_point"}, binning={"points": 2})
    found = observing_network(made, fields.field(cadence=360))
    # Five by six points have two by three whole cells of four.
    assert found.stations == 6
    # A mean of four has half of the error, to which the variation inside of a cell comes.
    assert 0.25 <= found.error_sd[0] < found.error_sd[1] < fields.SD


def test_weights_of_another_density_are_other_weights():
    def digest(**network):
        made = fields.recipe(network=network)
        return training_digest(made, fields.experiment(made, Path()).settings, "")

    assert digest(count=8) == digest(count=8, seed=5)
    assert digest(count=8) != digest(count=9)


def test_a_grid_that_the_memory_does_not_hold_is_refused_before_there_is_a_store(tmp_path):
    data = fields.field(cadence=360).sel(time=slice("2019-03-21", "2019-03-22T00:00"))
    axes = {"latitude": np.linspace(50, 58, 600), "longitude": np.linspace(-10, 1, 600)}
    data = data.reindex(axes, method="nearest")
    data.to_netcdf(tmp_path / "large.nc")
    made = fields.experiment(fields.recipe(), tmp_path)
    period = {"start": made.recipe.period.start, "end": made.recipe.period.end}
    ingested = ingest(made.recipe, path=tmp_path / "large.nc", **period)
    with pytest.raises(GridTooLargeError, match=r"600 x 600 take about 8294\.4 GB"):
        made.create_store(ingested)
    with pytest.raises(StoreNotFoundError):
        made.open_store()


def test_the_refusal_says_what_would_fit():
    made = fields.experiment(fields.recipe(), Path())
    with pytest.raises(GridTooLargeError, match=r"90 x 90 take about 4\.2 GB .* 1\.0 GB are free"):
        require_memory(made.recipe, made.settings, (90, 90), available=1e9)
    require_memory(made.recipe, made.settings, (62, 63), available=1e9)
    assert 1e8 < available_memory() < 1e14
