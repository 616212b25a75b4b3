"""Experiments on a small twin: equal content however they are cut, faults that lose nothing."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.experiments import small
from vardax_core.data import PeriodError
from vardax_core.data.masks import mask_truth
from vardax_core.data.twin import observe
from vardax_core.experiments.assimilate import pending_cycles
from vardax_core.experiments.comparison import IncomparableStoresError, compare
from vardax_core.experiments.continuity import SourceChangedError
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.observations.quality import QualityCode
from vardax_core.store import ForeignExperimentError, StoreNotFoundError, content_digest
from vardax_core.store.errors import StructureError
from vardax_core.training.convergence import verdicts_of
from vardax_core.training.registry import ModelNotFoundError, WeightsChecksumError
from vardax_core.types import ResultCode

METHODS = ("climatology", "oi", "etkf", "amortized")


def files_below(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def done(tmp_path_factory, trained_root, observed):
    """A root where every method has run to the end of the period in one call."""
    root = tmp_path_factory.mktemp("done")
    shutil.copytree(trained_root / "models", root / "models")
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        for method in METHODS:
            made = small.experiment_of(root, method)
            small.catch_up(made, small.ingested_store(made, observed))
    return root


@pytest.fixture
def root(tmp_path, trained_root):
    shutil.copytree(trained_root / "models", tmp_path / "models")
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_to_the_end_and_scores_are_finite(done, method):
    made = small.experiment_of(done, method)
    store = made.open_store()
    assert store.tip().cycles == small.CYCLES
    assert not len(pending_cycles(made, store))
    analysis, diagnostics = store.dataset("analysis"), store.dataset("diagnostics").load()
    assert analysis["x"].shape == (small.CYCLES, small.MEMBERS, 12)
    assert np.isfinite(analysis["x"]).all()
    assert np.isfinite(diagnostics["squared_error"]).all()
    segments = [r.metadata for r in store.history() if r.metadata.get("kind") == "segment"]
    assert [m["cycles"] for m in segments] == [6, 12, 12]
    learned = method == "amortized"
    assert (segments[0]["model_version"] != "none") == learned
    expected = ResultCode.NO_OBSERVATIONS if method == "climatology" else ResultCode.OK
    results, methods = diagnostics["result"].values, diagnostics["analysis_method"].values
    # A cold start is unlike the cycles that the monitor was calibrated on.
    distrusted = results == int(ResultCode.OUT_OF_DISTRIBUTION)
    assert set(results[~distrusted].tolist()) <= {int(expected), int(ResultCode.OK)}
    np.testing.assert_array_equal(methods, np.where(distrusted, 1, 0))
    assert learned or not distrusted.any()
    assert np.isfinite(diagnostics["trust_score"]).all() == learned
    assert diagnostics["analysis_method"].attrs["flag_meanings"].split()[0] == method


@pytest.mark.parametrize("method", ["etkf", pytest.param("amortized", marks=pytest.mark.slow)])
def test_three_calls_leave_the_content_of_one(root, done, observed, method):
    made = small.experiment_of(root, method)
    store = small.ingested_store(made, observed)
    counts = [
        sum(report.cycles for report in small.catch_up(made, store, until))
        for until in ("2000-01-01T00", "2000-01-05T00", None)
    ]
    assert counts == [1, 16, 13]
    whole = small.experiment_of(done, method).open_store()
    assert content_digest(store) == content_digest(whole)


def test_another_run_changes_no_file(done, observed):
    made = small.experiment_of(done, "etkf")
    before = files_below(done)
    store = small.ingested_store(made, observed)
    assert small.catch_up(made, store) == []
    assert small.experiment_of(done, "amortized").trained_version(None) is not None
    assert files_below(done) == before


@pytest.mark.slow
def test_the_report_is_written_once(done):
    made = [small.experiment_of(done, method) for method in METHODS]
    first = compare(made, made[-1])
    assert first.new
    pictures = {path.name for path in made[0].report_path.glob("*.png")}
    assert {"example.png"} < pictures
    page = first.markdown.read_text()
    assert all(name in page for name in pictures)
    assert set(first.scores) == set(METHODS)
    assert first.scores["etkf"].cycles == small.CYCLES - 5
    assert first.scores["oi"]["rmse"] < first.scores["climatology"]["rmse"]
    assert "crps_gaussian" in made[-1].open_store().dataset("calibration")

    before = files_below(done)
    again = compare(made, made[-1])
    assert not again.new
    assert {n: s["rmse"] for n, s in again.scores.items()} == {
        n: s["rmse"] for n, s in first.scores.items()
    }
    assert files_below(done) == before


def test_stores_of_different_length_are_not_compared(root, done, observed):
    made = small.experiment_of(root, "oi")
    small.catch_up(made, small.ingested_store(made, observed), "2000-01-03T00")
    with pytest.raises(IncomparableStoresError, match="numbers of cycles"):
        compare([small.experiment_of(done, "etkf"), made], made)


@pytest.mark.parametrize("until", ["1999-12-31T18", "2000-01-08T12"])
def test_a_time_outside_the_period_is_refused(done, until):
    made = small.experiment_of(done, "etkf")
    with pytest.raises(PeriodError, match=r"runs from 2000-01-01T00.* to 2000-01-08T06.*choose"):
        pending_cycles(made, made.open_store(), np.datetime64(until))


def test_a_store_of_other_settings_is_refused(done):
    with pytest.raises(ForeignExperimentError, match=r"small/etkf.*members was .* and is 8"):
        small.experiment_of(done, "etkf", members=8).open_store()
    with pytest.raises(StoreNotFoundError, match=r"etkf-inflation-1\.2"):
        small.experiment_of(done, "etkf", options={"inflation": 1.2}).open_store()
    with pytest.raises(StoreNotFoundError, match="etkf-seed-9"):
        small.experiment_of(done, "etkf", seed=9).open_store()


def test_a_store_of_an_earlier_version_is_refused_in_a_sentence(done):
    made = small.experiment_of(done, "etkf")
    diagnostics = made.open_store().dataset("diagnostics")
    earlier = diagnostics.rename(crps_fair_sum="crps_fair").drop_vars("innovation_sum_variance")
    with pytest.raises(StructureError, match=r"crps_fair_sum.*earlier version.*another --root"):
        stored_statistics(made.recipe, earlier)


def test_observations_of_another_file_are_refused(done, observed):
    made = small.experiment_of(done, "etkf")
    store = made.open_store()
    changed = observed.nature_run.assign_attrs(source_sha256="f" * 64)
    changed["x"] = changed["x"].copy(data=changed["x"].values + 1)
    other = dataclasses.replace(observed, nature_run=changed)
    before = files_below(done)
    with pytest.raises(SourceChangedError, match=r"sha256 simulated, .* with ffff"):
        made.append_observations(store, other)
    assert files_below(done) == before


def test_an_untrained_method_says_what_to_train(tmp_path, observed):
    made = small.experiment_of(tmp_path, "amortized")
    store = small.ingested_store(made, observed)
    with pytest.raises(ModelNotFoundError, match="vardax train"):
        small.catch_up(made, store)
    assert store.tip().cycles == 0


def test_a_training_leaves_its_verdicts_beside_its_weights(root):
    version = small.experiment_of(root, "amortized").trained_version(None)
    metadata = version.manifest["metadata"]
    (_, guess), (finished, words), (_, share), (_, spread) = verdicts_of(metadata)
    assert guess.startswith("What the network corrects is the filter that erred least")
    assert not finished
    assert (
        words == "Training of 20 steps is too short to tell whether it is done; give it more steps."
    )
    assert share.startswith("In cycles of its own")
    assert f"{small.MEMBERS} members" in spread
    before, after = (metadata["spread"][when][0]["ratio"] for when in ("before", "after"))
    assert abs(np.log(after)) <= abs(np.log(before))
    assert verdicts_of({"loss_curve": []}) == []


def test_one_flipped_bit_of_the_weights_stops_before_the_first_cycle(root, observed):
    made = small.experiment_of(root, "amortized")
    store = small.ingested_store(made, observed)
    weights = made.trained_version(None).path / "weights.eqx"
    content = bytearray(weights.read_bytes())
    content[-10] ^= 1
    weights.write_bytes(content)
    before = files_below(made.store_path)
    with pytest.raises(WeightsChecksumError, match="expected sha256"):
        small.catch_up(made, store)
    assert files_below(made.store_path) == before


def test_a_missing_time_and_a_wild_value_are_flagged_and_the_chain_goes_on(tmp_path, observed):
    faulty = observed.nature_run.copy(deep=True)
    faulty["x"][10] = np.nan
    faulty["x"][11, 3] = 1e20
    recipe = observed.recipe
    ingested = dataclasses.replace(
        observed, observations=observe(faulty, recipe), nature_run=mask_truth(faulty, recipe)
    )
    made = small.experiment_of(tmp_path, "etkf")
    store = small.ingested_store(made, ingested)
    reports = small.catch_up(made, store)
    assert [report.flagged for report in reports] == [1, 0, 0]
    diagnostics = store.dataset("diagnostics").load()
    codes = diagnostics["result"].values
    assert codes[10] == int(ResultCode.NO_OBSERVATIONS)
    assert np.delete(codes, 10).tolist() == [int(ResultCode.OK)] * (small.CYCLES - 1)
    quality = store.dataset("innovations")["quality_control"].values
    assert (quality[10] == int(QualityCode.MISSING)).all()
    assert quality[11, 3] == int(QualityCode.GROSS_ERROR)
    assert (quality[11:] == int(QualityCode.KEPT)).sum() == 12 * 19 - 1
    analysis = store.dataset("analysis")["x"].values
    np.testing.assert_array_equal(analysis[10], store.dataset("background")["x"].values[10])
    assert np.isfinite(analysis).all()
    assert np.isfinite(diagnostics["squared_error"].values[11:]).all()
