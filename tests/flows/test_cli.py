"""The command line: what it says, and the exit codes that a scheduler acts on."""

import base64
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest import mock

import numpy as np
import pooch
import pytest
import xarray as xr
from prefect.testing.utilities import prefect_test_harness
from typer.testing import CliRunner

import flows.run  # noqa: F401 (Prefect must not meet the streams that CliRunner puts up)
from flows import runners
from flows.cli import ExitCode, app
from tests.experiments import small
from vardax_core.calibration.gates.base import GateResult
from vardax_core.calibration.gates.report import write_gate_report
from vardax_core.experiments import validation
from vardax_core.store import ExperimentStore
from vardax_core.store.location import LocalLocation
from vardax_core.training.promotion import gates_folder


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    """The small twin beside the recipes of the checkout, no data, no network."""

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    with mock.patch.dict(os.environ):
        folder = tmp_path / "datasets"
        small.write_recipe(folder)
        for name in ("lorenz63", "lorenz96", "era5-t2m-uk"):
            (folder / name).symlink_to(Path(__file__).parents[2] / "datasets" / name)
        os.environ["VARDAX_DATASETS_DIR"] = str(folder)
        os.environ["VARDAX_CACHE_DIR"] = str(tmp_path / "cache")
        monkeypatch.delenv("VARDAX_DATA_DIR", raising=False)
        monkeypatch.setattr(pooch, "retrieve", refuse)
        small.shorten_segments(monkeypatch.setattr)
        small.shorten_training(monkeypatch.setattr)
        yield


@pytest.fixture(scope="module")
def prefect_api():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def vardax(tmp_path):
    def run(*arguments, root=tmp_path / "root"):
        words = [str(a) for a in arguments]
        if (
            words[0] not in ("datasets", "methods", "models", "operators", "sources", "open")
            and "--root" not in words
        ):
            words += ["--root", str(root)]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    return run


def refused(result, code, *told):
    assert result.exit_code == code, result.output
    for words in told:
        assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_the_data_sets_are_listed(vardax):
    result = vardax("datasets")
    assert result.exit_code == 0
    words = ("lorenz96", "era5-t2m-uk", "small", "climatology", "etkf", "amortized", "simulated")
    for word in words:
        assert word in result.stdout


def test_the_models_are_listed_with_their_settings(vardax):
    result = vardax("models")
    assert result.exit_code == 0
    for word in ("lorenz63", "lorenz96-two-scale", "kuramoto-sivashinsky", "2 x 64 x 64"):
        assert word in result.stdout
    result = vardax("models", "lorenz96")
    for word in ("forcing", "the model's F", "8", "step_size"):
        assert word in result.stdout
    told = ("no model 'lorenz69'", "did you mean 'lorenz96'")
    refused(vardax("models", "lorenz69"), ExitCode.WRONG_INPUT, *told)


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("operators", "footprint", ("footprint", "real, simulated", "minimum", "radius", "disc")),
        ("sources", "table", ("gridded", "images", "table", "CSV", "separator", "decimals")),
    ],
)
def test_operators_and_sources_are_listed_with_their_settings(vardax, command, name, words):
    shown = vardax(command).stdout + vardax(command, name).stdout
    for word in words:
        assert word in shown
    told = (f"no {command[:-1]} '{name[:-1]}'", f"did you mean '{name}'", f"vardax {command}")
    refused(vardax(command, name[:-1]), ExitCode.WRONG_INPUT, *told)


@pytest.mark.parametrize(
    "command", ["run", "train", "validate", "rollback", "assimilate", "report"]
)
def test_an_unknown_name_offers_the_nearest(vardax, command):
    told = ("RecipeError", "Unknown data set 'lorenz69'", "did you mean 'lorenz96'?")
    refused(vardax(command, "lorenz69"), ExitCode.WRONG_INPUT, *told)


def test_a_misspelt_key_of_a_recipe_offers_the_right_one(vardax):
    path = Path(os.environ["VARDAX_DATASETS_DIR"]) / "small" / "recipe.yaml"
    path.write_text(path.read_text().replace("burn_in:", "burnin:"))
    told = ("RecipeError", str(path), "unknown key 'burnin'; did you mean 'burn_in'?")
    for command in (("datasets",), ("run", "small")):
        refused(vardax(*command), ExitCode.WRONG_INPUT, *told)


def test_one_broken_recipe_hides_no_other(vardax):
    folder = Path(os.environ["VARDAX_DATASETS_DIR"])
    text = (folder / "small" / "recipe.yaml").read_text()
    era5 = (folder / "era5-t2m-uk" / "recipe.yaml").read_text()
    for name, wrong in {
        "broken": text.replace("burn_in:", "burnin:"),
        "unlearned": re.sub(r"\ntraining:\n(  .*\n)+", "\n", era5),
        "x" * 251: text,
    }.items():
        (folder / name).mkdir()
        named = re.sub(r"\bname: (small|era5-t2m-uk)\b", f"name: {name}", wrong, count=1)
        (folder / name / "recipe.yaml").write_text(named)
    result = vardax("datasets")
    told = ("'burnin'", "'unlearned' has no period 'training'", "at most 100 characters, got 'xxx")
    refused(result, ExitCode.WRONG_INPUT, *told)
    for name in ("lorenz96", "era5-t2m-uk", "small"):
        assert name in result.stdout
    told = "'unlearned' has no period 'training', from which every method learns"
    for command in ("run", "train", "assimilate"):
        refused(vardax(command, "unlearned", "-m", "oi"), ExitCode.WRONG_INPUT, told)
    refused(vardax("hold", "x" * 251, "--reason", "long"), ExitCode.WRONG_INPUT, "100 characters")


def test_a_source_that_is_not_there_is_refused_by_name(vardax):
    told = ("SourceNotFoundError", "/nonexistent: there is no such file")
    result = vardax("assimilate", "era5-t2m-uk", "-m", "oi", "--source", "/nonexistent")
    refused(result, ExitCode.WRONG_INPUT, *told)


def test_a_root_that_can_be_none_is_told(vardax, tmp_path):
    (tmp_path / "file").write_text("")
    for root, told in (
        (tmp_path / "file", "Not a directory"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        result = vardax("assimilate", "small", "-m", "climatology", root=root)
        refused(result, ExitCode.WRONG_INPUT, told)


def test_what_learns_nothing_is_said_to(vardax):
    for command, told in (("train", "learns nothing"), ("validate", "has no gates")):
        result = vardax(command, "small", "-m", "etkf")
        assert result.exit_code == 0, result.output
        assert told in result.stdout


def test_a_method_that_is_not_there_is_refused(vardax):
    told = "OptionError: --method: there is no method 'letfk'; did you mean 'letkf'?"
    result = vardax("run", "small", "-m", "letfk")
    refused(result, ExitCode.WRONG_INPUT, told)
    assert "http" not in result.stderr
    told = ("cannot be run with the method letkf", "localizes by distance", "oi, ")
    refused(vardax("run", "lorenz63", "-m", "letkf"), ExitCode.WRONG_INPUT, *told)


def test_a_setting_of_a_method_is_given_by_name(vardax, tmp_path):
    command = ("assimilate", "small", "-m", "letkf", "--set", "radius=3", "--set", "inflation=1.1")
    result = vardax(*command)
    assert result.exit_code == 0, result.output
    store = tmp_path / "root" / "experiments" / "small" / "letkf-inflation-1.1-radius-3.0"
    assert ExperimentStore.open(store).experiment["settings"]["options"] == {
        "inflation": 1.1,
        "radius": 3.0,
    }
    for given, told in (
        ("radus=3", "did you mean 'radius'"),
        ("radius", "expected name=value"),
        ("radius=far", "radius"),
    ):
        refused(vardax(*command[:4], "--set", given), ExitCode.WRONG_INPUT, told)


def test_the_methods_are_listed_with_what_a_data_set_lacks(vardax):
    result = vardax("methods", "--dataset", "lorenz63")
    assert result.exit_code == 0
    for word in ("letkf", "does not fit", "localizes", "usual", "4dvar"):
        assert word in result.stdout
    result = vardax("methods", "letkf")
    for word in ("radius", "inflation", "1.05"):
        assert word in result.stdout


def test_a_draw_where_nothing_is_drawn_is_refused(vardax):
    refused(vardax("run", "small", "--draw", "2"), ExitCode.WRONG_INPUT, "leave the draw out")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--runner", "slurm", "--runner: unknown 'slurm'. Choose one of local, dask, pool."),
        ("--dask-address", "somewhere", "--dask-address: string should match pattern"),
        ("--dask-address", "tcp://a:1", "with runner local; leave it out, or choose runner dask"),
        ("--workers", "5", "with runner local; leave it out, or choose runner dask"),
        ("--deployment", "streams", "--deployment: string should match pattern"),
        ("--deployment", "fill/elsewhere", "leave it out, or choose runner pool"),
        ("--group", "5000", "less than or equal to 4096, got 5000"),
        ("--until", "1999-12-31", "its period runs from 2000-01-01T00:00 to 2000-01-08T06:00"),
        ("--until", "2000-02-01", "its period runs from 2000-01-01T00:00 to 2000-01-08T06:00"),
        ("--source", "/nonexistent", "makes its own nature run with a model"),
        ("--source", "", "--source: expected a path on this machine, got ''"),
        ("--seed", str(2**32), "--seed: input should be less than 4294967296"),
        ("--root", "s3://bucket/x", "--root: expected a path on this machine, got the URL"),
        ("--root", "~nobody-has-this-name", "no home folder"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_runs(
    vardax, tmp_path, option, value, told
):
    result = vardax("backfill", "small", "-m", "climatology", option, value)
    refused(result, ExitCode.WRONG_INPUT, told)
    assert not (tmp_path / "root" / "experiments").exists()


def test_a_server_that_does_not_answer_is_named_at_once(vardax, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        told = ("ServerError", f"No Prefect server answers at {url}", "vardax serve", "unset it")
        result = vardax("assimilate", "small", "-m", "climatology")
    refused(result, ExitCode.WRONG_INPUT, *told)


class Gate(BaseHTTPRequestHandler):
    """A server that asks for a password, and is no Prefect beyond that."""

    def do_GET(self):
        given = self.headers.get("Authorization", "")
        right = given == "Basic " + base64.b64encode(b"user:right").decode()
        self.send_response(404 if right else 401)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(
    ("password", "told"),
    [
        (None, ("asks for a password", "export VARDAX_AUTH=user:password")),
        ("user:wrong", ("asks for a password", "export VARDAX_AUTH=user:password")),
        ("user:right", ("is no Prefect API (status 404", "ends in /api")),
    ],
)
def test_a_wrong_password_or_address_is_told(vardax, monkeypatch, password, told):
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    if password is not None:
        monkeypatch.setenv("VARDAX_AUTH", password)
    with HTTPServer(("127.0.0.1", 0), Gate) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{gate.server_port}/api")
        result = vardax("report", "small", "-m", "climatology")
        gate.shutdown()
    refused(result, ExitCode.WRONG_INPUT, "ServerError", *told)
    assert "wrong" not in result.stderr


def test_a_folder_without_a_store_is_refused(vardax, tmp_path):
    refused(vardax("open", tmp_path), ExitCode.WRONG_INPUT, "No experiment store at")


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

    def test_an_experiment_through_busy_hours_and_a_full_disk(self, vardax, tmp_path, monkeypatch):
        assimilate = ("assimilate", "small", "-m", "climatology")
        path = tmp_path / "root" / "experiments" / "small" / "climatology"
        result = vardax(*assimilate, "--until", "2000-01-03T18")
        assert result.exit_code == 0, result.stderr
        assert "12 cycles committed" in result.stdout

        refused(vardax(*assimilate, "--until", "2000-02-01"), ExitCode.WRONG_INPUT, "PeriodError")
        told = ("ForeignExperimentError", "store of its own")
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


def test_an_experiment_is_held_looked_at_and_released(vardax):
    ran = ("small", "-m", "climatology")
    refused(vardax("monitor", *ran), ExitCode.WRONG_INPUT, "No experiment store")
    refused(vardax("hold", *ran, "--reason", " "), ExitCode.WRONG_INPUT, "say why")
    assert "held since" in vardax("hold", *ran, "--reason", "a test").stdout
    result = vardax("assimilate", *ran)
    assert result.exit_code == 0
    assert "a test; `vardax release` lets it go on" in result.stdout
    assert "released; it was held since" in vardax("release", *ran).stdout
    assert "was not held" in vardax("release", *ran).stdout


def test_the_exit_code_of_a_look_says_how_bad_it_is(vardax, tmp_path):
    made = small.experiment_of(tmp_path / "root", "climatology")
    store = small.ingested_store(made)
    small.catch_up(made, store, "2000-01-03T00:00")
    look = (
        "monitor",
        "small",
        "-m",
        "climatology",
        "--members",
        "6",
        "--steps",
        "20",
        "--follow",
        "schedule",
    )
    result = vardax(*look, "--as-of", "2000-01-03T00:00")
    assert result.exit_code == ExitCode.DONE, result.output
    assert "All is well." in result.stdout
    result = vardax(*look, "--as-of", "2000-01-06T00:00")
    assert result.exit_code == ExitCode.ALERT
    assert "cycles behind 12 at 2000-01-03T00:00, limit 8" in result.stdout
    assert store.location.read_note("alerts") is None
    refused(vardax(*look[:-1], "moon"), ExitCode.WRONG_INPUT, "schedule")
