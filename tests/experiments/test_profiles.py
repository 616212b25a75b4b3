"""Three variables at real places with forecasts from files, from recipe to store and report."""

import jax
import numpy as np
import pytest

from tests.experiments import profiles, small
from vardax_core.data.channels import names_of, stacked
from vardax_core.experiments.comparison import compare
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, lack_of
from vardax_core.observations.quality import QualityCode

NAMES = ("t850", "t500", "u")
DAYS = slice(1, 9)
"""Of the truths, those of the cycles."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Truths, forecasts, stores by method, what the segments said, and the report."""
    root = tmp_path_factory.mktemp("profiles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VARDAX_DATA_DIR", str(root / "data"))
        truth, made = profiles.write_all(root / "data", "t850")
        recipe = profiles.recipe("t850")
        etkf = {"method": "etkf", "options": {"inflation": 1.0}, "precision": "float64"}
        chosen = {"etkf": etkf, "interpolation": {"method": "interpolation"}}
        experiments = {
            name: Experiment(recipe, ExperimentSettings(members=profiles.MEMBERS, **one), root)
            for name, one in chosen.items()
        }
        stores, said = {}, {}
        for name, one in experiments.items():
            stores[name] = small.ingested_store(one)
            learnable = one.training_run()
            if one.trained_version(learnable) is None:
                one.train(learnable, lambda *_: None)
            said[name] = small.catch_up(one, stores[name])
        errors = experiments["etkf"].prepare(stores["etkf"]).program.errors
        written = compare([experiments["etkf"]], experiments["etkf"])
    return truth, made, stores, said, errors, written


@pytest.mark.slow
def test_each_background_is_the_latest_forecast_that_had_arrived(run):
    _, made, stores, said, _, _ = run
    found = stacked(stores["etkf"].dataset("background").load(), profiles.recipe())
    expected = made[0:8, 0].astype(np.float32)
    np.testing.assert_array_equal(found.transpose("time", "member", ...), expected)
    records = [r.metadata for r in stores["etkf"].history() if r.metadata.get("kind") == "segment"]
    starts = ", ".join(one["forecast_starts"] for one in reversed(records)).split(", ")
    assert starts == [f"2019-03-0{day}T00:00" for day in range(1, 9)]
    assert {one for r in records for one in r["forecast_lead_hours"].split(", ")} == {"24"}
    assert not any(one.warnings for one in said["etkf"])


@pytest.mark.slow
def test_all_three_are_the_exact_answer_of_the_members_covariance(run):
    """The Kalman filter's, with B of all points of all variables as the members have it."""
    _, _, stores, _, errors, _ = run
    store, recipe = stores["etkf"], profiles.recipe()
    background = stacked(store.dataset("background").load(), recipe).to_numpy()
    mean = stacked(store.dataset("analysis").load(), recipe, "_mean").to_numpy()
    spread = stacked(store.dataset("analysis").load(), recipe, "_spread").to_numpy()
    observations = store.dataset("observations").load()
    codes = store.dataset("innovations")["quality_control"].to_numpy()
    own = errors.channels[0]
    grid_shape = background.shape[-2:]
    for day in (0, 3, 7):
        members = background[day].reshape(profiles.MEMBERS, -1).astype(np.float64)
        row = observations.isel(time=day)
        used = np.flatnonzero(codes[day] == QualityCode.KEPT)
        assert used.size > 20
        # The variable that is observed is the first; its points come first in a state.
        north = (45.0 - row["latitude"].to_numpy()[used]) / 0.5
        east = (row["longitude"].to_numpy()[used] + 360 - 350.0) % 360 / 0.5
        h = np.zeros((used.size, members.shape[1]))
        for n, (y, x) in enumerate(zip(north, east, strict=True)):
            i, j = int(y), int(x)
            for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(y - i - di)) * (1 - abs(x - j - dj))
                h[n, (i + di) * grid_shape[1] + j + dj] += weight
        sd = np.hypot(own.factor * row["observed_error"].to_numpy()[used], own.nugget_sd)
        anomalies = members - members.mean(axis=0)
        b_ht = anomalies.T @ (anomalies @ h.T) / (profiles.MEMBERS - 1)
        gain = np.linalg.solve(h @ b_ht + np.diag(sd**2), b_ht.T).T
        innovation = row["observed"].to_numpy()[used] - h @ members.mean(axis=0)
        expected = members.mean(axis=0) + gain @ innovation
        variance = anomalies.var(axis=0, ddof=1) - np.sum(gain * b_ht, axis=1)
        np.testing.assert_allclose(mean[day].ravel(), expected, atol=1e-5)
        np.testing.assert_allclose(spread[day].ravel(), np.sqrt(variance), atol=1e-5)


@pytest.mark.slow
def test_what_is_seen_of_one_variable_improves_the_others(run):
    """In units of their errors all three have the same waves, so that all are improved alike."""
    truth, _, stores, _, _, _ = run
    recipe, store = profiles.recipe(), stores["etkf"]
    background = stacked(store.dataset("background").load(), recipe).mean("member").to_numpy()
    analysis = stacked(store.dataset("analysis").load(), recipe, "_mean").to_numpy()
    before, after = (
        np.sqrt(((field - truth[DAYS]) ** 2).mean(axis=(0, 2, 3)))
        for field in (background, analysis)
    )
    assert (after < 0.5 * before).all(), after / before


@pytest.mark.slow
def test_the_interpolation_leaves_what_is_not_observed(run):
    _, _, stores, _, _, _ = run
    store = stores["interpolation"]
    background, analysis = store.dataset("background").load(), store.dataset("analysis").load()
    for name in NAMES[1:]:
        np.testing.assert_array_equal(background[name], analysis[name])
    change = (analysis["t850_mean"] - background["t850"].mean("member")).std()
    assert float(change) > 0.1


@pytest.mark.slow
def test_observations_and_scores_are_of_their_channel(run):
    _, _, stores, _, _, written = run
    observations = stores["etkf"].dataset("observations").load()
    codes = observations["quality_control"].to_numpy()
    channel = observations["channel"].to_numpy()
    assert set(channel[codes != QualityCode.MISSING]) == {0}
    assert observations["channel"].attrs["flag_meanings"] == " ".join(NAMES)
    assert observations["observed"].attrs["units"] == "K"
    assert names_of(profiles.recipe()) == list(NAMES)
    pictures = {path.name for path in written.markdown.parent.glob("*.png")}
    assert {"map.png", "map-t500.png", "map-u.png"} <= pictures


def test_what_files_cannot_serve_is_refused_in_a_sentence():
    recipe = profiles.recipe("t850", "u")
    assert lack_of(recipe, "letkf") is None
    assert lack_of(recipe, "interpolation") is None
    assert "forecasts again" in str(lack_of(recipe, "ietkf"))
    assert "several variables only where a model simulates" in str(lack_of(recipe, "amortized"))
    assert recipe.observed.units == "1"
    assert jax.config.jax_enable_x64
