"""The command line: what it says, and the exit codes that a scheduler acts on."""

import base64
import os
import re
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer

from flows.cli import ExitCode
from flows.cli_common import stoppable
from tests.experiments import small
from tests.flows.refusal import refused
from vardax_core.store import ExperimentStore


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
    listed, one = vardax(command), vardax(command, name)
    assert (listed.exit_code, one.exit_code) == (0, 0), listed.output + one.output
    shown = listed.stdout + one.stdout
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


def test_a_root_that_can_be_none_is_told(vardax, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for root, told in (
        (tmp_path / "file", "Not a directory"),
        (tmp_path / "file" / "below", "Not a directory"),
        (tmp_path / ("x" * 300), "too long"),
        ("/proc/x", "No such file"),
    ):
        wanted = "OptionError: --root: expected a folder that can be written, got"
        for command in (("assimilate", "small", "-m", "climatology"), ("check", "small")):
            refused(vardax(*command, root=root), ExitCode.WRONG_INPUT, wanted, told)
    monkeypatch.setattr(os, "access", lambda *_: False)
    told = ("expected a folder that can be written", "it cannot be written")
    refused(vardax("assimilate", "small"), ExitCode.STORAGE, *told)


@pytest.mark.parametrize(
    ("named", "told"),
    [("out.csv", "TARGET: expected a name that ends in .nc"), ("out.nc", "lorenz63")],
)
def test_an_export_that_cannot_be_made_is_refused_before_anything_is_written(
    vardax, tmp_path, named, told
):
    result = vardax("export", "lorenz63", tmp_path / named, "--root", tmp_path)
    refused(result, ExitCode.WRONG_INPUT, told)
    assert not (tmp_path / named).exists()


def test_a_store_is_named_as_in_a_notebook(vardax, tmp_path):
    made = small.experiment_of(tmp_path / "root", "climatology")
    small.ingested_store(made)
    for named in ("small", "small/climatology"):
        result = vardax("open", named, "--root", tmp_path / "root")
        assert result.exit_code == 0, result.output
        assert str(made.store_path) in result.stdout
    target = tmp_path / "all.zarr"
    assert vardax("export", "small", target, "--root", tmp_path / "root").exit_code == 0
    assert target.is_dir()


def test_what_was_never_run_is_said_with_the_command(vardax):
    for command in ("report", "why", "monitor"):
        result = vardax(command, "small", "-m", "climatology")
        refused(result, ExitCode.WRONG_INPUT, "Run it first", "vardax run small -m climatology")


def no_answer():
    raise ConnectionError("the embedded server was stopped first")


def stopped_while(cause):
    try:
        cause()
    finally:
        no_answer()


def interrupt():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)


@pytest.mark.parametrize(
    ("cause", "code"), [(terminate, ExitCode.TERMINATED), (interrupt, ExitCode.INTERRUPTED)]
)
def test_a_command_that_is_stopped_ends_in_a_sentence(cause, code, capsys):
    before = signal.getsignal(signal.SIGTERM)
    for stop in (cause, lambda: stopped_while(cause)):
        with pytest.raises(typer.Exit) as ended, stoppable():
            stop()
        assert ended.value.exit_code == code
        told = capsys.readouterr().err
        assert "StoppedError: stopped by" in told
        assert "Traceback" not in told
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ConnectionError), stoppable():
        no_answer()


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


@pytest.mark.slow
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
