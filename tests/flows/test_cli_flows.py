"""The command line with Prefect: what it does, and the exit codes that a scheduler acts on."""

import os
import re

import numpy as np
import pytest
import xarray as xr

from flows import runners
from flows.cli import ExitCode
from tests.experiments import small
from tests.flows.refusal import refused
from vardax_core.calibration.gates.base import GateResult
from vardax_core.calibration.gates.report import write_gate_report
from vardax_core.experiments import validation
from vardax_core.store import ExperimentStore
from vardax_core.store.location import LocalLocation
from vardax_core.training.promotion import gates_folder


@pytest.fixture
def field():
    times = np.datetime64("2019-03-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), np.full((6, 3, 4), 280.0), {"units": "K"})},
        {"time": times, "latitude": [58.0, 57.75, 57.5], "longitude": np.arange(4.0)},
    )


def without_units(field):
    del field["t2m"].attrs["units"]
    return field


@pytest.mark.flows
@pytest.mark.usefixtures("prefect_api")
class TestFlows:
    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            (without_units, ("UnitsError", "has no units attribute, expected 'K'")),
            (lambda f: f.isel(time=[0, 2, 1, 3]), ("TimeAxisError", "not in time order")),
            (lambda f: f.isel(time=[0, 1, 1, 2]), ("TimeAxisError", "holds a time twice")),
            (lambda f: f, ("PeriodError", "covers 2019-03-01T00:00 to 2019-03-01T05:00")),
        ],
    )
    @pytest.mark.slow
    def test_a_source_at_fault_leaves_no_store(self, vardax, tmp_path, field, fault, told):
        path = tmp_path / "given.nc"
        fault(field).to_netcdf(path)
        result = vardax("assimilate", "era5-t2m-uk", "-m", "oi", "--source", path)
        refused(result, ExitCode.WRONG_INPUT, str(path), *told)
        left = (tmp_path / "root" / "experiments").rglob("*")
        assert [path.name for path in left if path.is_file()] == ["observations.ingest.lock"]

    def test_data_that_are_nowhere_or_damaged_are_refused(self, vardax, tmp_path, monkeypatch):
        command = ("assimilate", "era5-t2m-uk", "-m", "oi")
        told = ("SourceNotFoundError", "era5_t2m_uk_2019-03.nc", "export VARDAX_DATA_DIR=")
        refused(vardax(*command), ExitCode.WRONG_INPUT, *told)
        (tmp_path / "era5_t2m_uk_2019-03.nc").write_bytes(b"CDF\x01")
        monkeypatch.setenv("VARDAX_DATA_DIR", str(tmp_path))
        refused(vardax(*command), ExitCode.WRONG_INPUT, "ChecksumError", "expected SHA-256 03a7")

    @pytest.mark.slow
    def test_a_backfill_in_streams_and_what_readers_had_before_it(self, vardax, tmp_path):
        path = tmp_path / "root" / "experiments" / "small" / "climatology"
        backfill = ("backfill", "small", "-m", "climatology", "--overlap", "4")
        refused(vardax(*backfill, "--streams", "40"), ExitCode.WRONG_INPUT, "StreamPlanError")
        (created,) = ExperimentStore.open(path).history()
        result = vardax(*backfill, "--streams", "3")
        assert result.exit_code == 0, result.stderr
        assert "30 cycles committed" in result.stdout
        assert "stream 2 meets the one before: difference" in result.stdout
        assert "up to date" in vardax(*backfill).stdout

        cycles = re.compile(r"cycles +(\d+)")
        assert cycles.search(vardax("open", path).stdout)[1] == "30"
        for when in (created.snapshot_id, created.written_at.isoformat()):
            result = vardax("open", path, "--as-of", when)
            assert cycles.search(result.stdout)[1] == "0"
        told = ("SnapshotNotFoundError", "store.history()")
        refused(vardax("open", path, "--as-of", "1999-01-01"), ExitCode.WRONG_INPUT, *told)
        refused(vardax("open", path, "--as-of", "yesterday"), ExitCode.WRONG_INPUT, *told)

    @pytest.mark.slow
    def test_runners_that_are_not_there_say_what_to_start(self, vardax, monkeypatch):
        backfill = ("backfill", "small", "-m", "climatology", "--streams", "2", "--overlap", "4")
        told = ("RunnerError", "no deployment 'fill/streams'", "vardax serve", "PREFECT_API_URL")
        refused(vardax(*backfill, "--runner", "pool"), ExitCode.WRONG_INPUT, *told)
        monkeypatch.setattr(runners, "CONNECT", 0.5)
        address = ("--runner", "dask", "--dask-address", "tcp://127.0.0.1:9")
        told = ("RunnerError", "No Dask scheduler answers at tcp://127.0.0.1:9", "dask scheduler")
        refused(vardax(*backfill, *address), ExitCode.WRONG_INPUT, *told)
        assert "30 cycles committed" in vardax(*backfill).stdout

    @pytest.mark.slow
    def test_an_experiment_through_busy_hours_and_a_full_disk(self, vardax, tmp_path, monkeypatch):
        assimilate = ("assimilate", "small", "-m", "climatology")
        path = tmp_path / "root" / "experiments" / "small" / "climatology"
        result = vardax(*assimilate, "--until", "2000-01-03T18")
        assert result.exit_code == 0, result.stderr
        assert "12 cycles committed" in result.stdout

        refused(vardax(*assimilate, "--until", "2000-02-01"), ExitCode.WRONG_INPUT, "PeriodError")
        told = ("ForeignExperimentError", "members was 24 and is 8", "--root DIR")
        refused(vardax(*assimilate, "--members", "8"), ExitCode.WRONG_INPUT, *told)

        store, writer = ExperimentStore.open(path), ExperimentStore.writer
        with store.writer(), monkeypatch.context() as patch:
            patch.setattr(ExperimentStore, "writer", lambda self, **_: writer(self))
            refused(vardax(*assimilate), ExitCode.BUSY, f"process {os.getpid()}", "Wait")

        def full(location):
            raise OSError(28, os.strerror(28), str(location))

        with monkeypatch.context() as patch:
            patch.setattr(LocalLocation, "make_durable", full)
            refused(vardax(*assimilate), ExitCode.STORAGE, "No space left on device")
        assert ExperimentStore.open(path).tip().cycles == 12

        result = vardax(*assimilate)
        assert "18 cycles committed" in result.stdout
        snapshot = ExperimentStore.open(path).tip().snapshot_id
        assert "up to date" in vardax(*assimilate).stdout
        assert ExperimentStore.open(path).tip().snapshot_id == snapshot

        result = vardax("report", "small", "-m", "climatology")
        assert result.exit_code == 0, result.stderr
        assert "25 cycles scored" in result.stdout
        assert (path.parent / "report" / "report.md").is_file()
        assert "up to date" in vardax("report", "small", "-m", "climatology").stdout

        result = vardax("open", path)
        assert result.exit_code == 0
        for words in ("2000-01-08T06:00", "background", "diagnostics", "30"):
            assert words in result.stdout

    @pytest.mark.slow
    def test_a_run_does_what_is_asked_and_no_more(self, vardax, tmp_path):
        """And the empty store of another method is no obstacle to its report."""
        folder = tmp_path / "root" / "experiments" / "small"
        small.ingested_store(small.experiment_of(tmp_path / "root", "etkf"))
        options = ("small", "--members", str(small.MEMBERS), "--steps", "20")
        result = vardax("run", *options, "-m", "climatology")
        assert result.exit_code == 0, result.stderr
        expected = {"climatology", "etkf", "observations", "report"}
        assert {p.name for p in folder.iterdir() if p.is_dir()} == expected
        assert not (tmp_path / "root" / "models").exists()
        report = vardax("report", *options, "-m", "climatology")
        assert report.exit_code == 0, report.stderr
        told = "without etkf: it has no cycle, climatology 30 cycles to 2000-01-08T06:00"
        assert told in report.stdout
        told = "small/etkf: there is no cycle in its store yet: assimilate it first"
        refused(vardax("report", *options, "-m", "etkf"), ExitCode.WRONG_INPUT, told)

    @pytest.mark.slow
    def test_weights_must_pass_their_gates_before_they_cycle(self, vardax, monkeypatch):
        options = ("small", "--members", "6", "--steps", "2")
        assert vardax("train", *options).exit_code == 0
        until = ("--until", "2000-01-03T18")
        told = ("UnprovenModelError", "has no gate report", "run `vardax validate`")
        refused(vardax("assimilate", *options, *until), ExitCode.WRONG_INPUT, *told)

        def failing(experiment, **_):
            version = validation.trained(experiment)
            result = GateResult("coordinates", False, 0.0, 0.01, 0.0, 500, (), "too narrow")
            return write_gate_report(
                gates_folder(version),
                [result],
                title="Gates",
                provenance={"weights sha256": version.sha256},
            )

        monkeypatch.setattr("flows.validate.run_gates", failing)
        told = ("did not pass: coordinates", "report.md", "--override REASON")
        refused(vardax("validate", *options), ExitCode.WRONG_INPUT, *told)
        refused(vardax("assimilate", *options, *until), ExitCode.WRONG_INPUT, *told)
        refused(vardax("rollback", "small"), ExitCode.WRONG_INPUT, "none to go back to")

        result = vardax("validate", *options, "--override", "a test of the override")
        assert "champion: 0001-" in result.stdout
        assert "up to date" in vardax("validate", *options).stdout
        result = vardax("assimilate", *options, *until)
        assert "12 cycles committed" in result.stdout, result.stderr
