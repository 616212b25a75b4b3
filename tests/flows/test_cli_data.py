"""A newcomer's path on the command line: a CSV of stations and a NetCDF prior, init, check."""

import os
from unittest import mock

import pytest
from typer.testing import CliRunner

import flows.check
import flows.init  # Prefect must not meet the streams that CliRunner puts up
from flows.cli import ExitCode, app
from flows.data_parameters import CheckParameters, DraftParameters
from flows.naming import called
from tests.data.station_files import write_fields, write_stations
from tests.support import prefect_server
from vardax_core.data import ingest, list_recipes, load_recipe


@pytest.fixture
def place(tmp_path):
    """Files of a newcomer, and nothing else."""
    write_stations(tmp_path / "data" / "stations.csv", days=3)
    write_fields(tmp_path / "data" / "maps.nc")
    with mock.patch.dict(os.environ):
        os.environ["VARDAX_DATA_DIR"] = str(tmp_path / "data")
        os.environ["VARDAX_DATASETS_DIR"] = str(tmp_path / "datasets")
        os.environ["VARDAX_CACHE_DIR"] = str(tmp_path / "cache")
        os.environ["VARDAX_ROOT"] = str(tmp_path / "root")
        yield tmp_path


def vardax(*words):
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return ExitCode(found.exit_code), found.output


def test_from_files_to_a_data_set_that_can_be_run(place):
    stations = place / "data" / "stations.csv"
    code, text = vardax("init", "my-stations", "--from", stations, "--prior", "maps.nc")
    assert code == ExitCode.DONE, text
    assert "value is 'temp'" in text
    assert str(place / "datasets" / "my-stations" / "CARD.md") in text
    assert "my-stations" in list_recipes()
    code, text = vardax("check", "my-stations")
    assert code == ExitCode.DONE, text
    assert "my-stations can be run: vardax run my-stations" in text
    assert "\x1b[" not in text  # plain where it is piped
    assert "prior: 65 fields every 3 h" in text
    for name in ("map", "days", "values"):
        picture = place / "root" / "checks" / "my-stations" / f"{name}.png"
        assert picture.stat().st_size > 8_000
        assert str(picture) in text
    observed = ingest(load_recipe("my-stations"), partly=True).observations
    assert observed.sizes["time"] == 3 * 24  # from two hours before the first cycle to the last


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--from", "stations.csv", "--value", "wind"], "'wind'"),
        (["--from", "nothing.csv"], "nothing.csv"),
        (["--from", "stations.csv", "--prior", "stations.csv"], "stations.csv: neither GRIB"),
        (["--from", "/nowhere/stations.csv"], "no such file"),
    ],
)
def test_wrong_input_has_its_code_and_a_sentence(place, words, expected):
    code, text = vardax("init", "mine", *words)
    assert code == ExitCode.WRONG_INPUT
    assert expected in text
    assert not (place / "datasets").exists()


def test_a_data_set_that_cannot_be_run_has_the_code_of_wrong_input(place):
    assert vardax("init", "mine", "--from", "stations.csv")[0] == ExitCode.DONE
    code, text = vardax("init", "mine", "--from", "stations.csv")
    assert code == ExitCode.WRONG_INPUT
    assert "exists already" in text
    (place / "data" / "stations.csv").write_text("station,time,lat,lon,temp\n")
    code, text = vardax("check", "mine")
    assert code == ExitCode.WRONG_INPUT
    assert "mine cannot be run yet" in text
    code, text = vardax("check", "nothing")
    assert code == ExitCode.WRONG_INPUT
    assert "Unknown data set 'nothing'" in text


@pytest.mark.parametrize("wrong", ["/etc/x.csv", "../x.csv", "~/x.csv", "s3://b/x.csv", ""])
def test_a_form_takes_no_path(wrong):
    with pytest.raises(ValueError, match="below a folder"):
        DraftParameters(name="mine", files=(wrong,))


@pytest.mark.slow
@pytest.mark.flows
def test_both_flows_leave_pages(place):
    with prefect_server():
        from prefect.client.orchestration import get_client

        draft = DraftParameters(name="mine", files=("stations.csv",), prior="maps.nc")
        assert called(flows.init.init, draft) == str(place / "datasets" / "mine")
        page = called(flows.check.check, CheckParameters(dataset="mine"))
        assert page == str(place / "root" / "checks" / "mine" / "check.md")
        (place / "data" / "stations.csv").write_text("station,time,lat,lon,temp\n")
        with pytest.raises(ValueError, match="mine cannot be run yet"):
            called(flows.check.check, CheckParameters(dataset="mine"))
        with get_client(sync_client=True) as client:
            pages = [(artifact.key, artifact.data) for artifact in client.read_artifacts()]
    (recipe,) = (data for key, data in pages if key == "init-mine")
    assert "schema: 2" in recipe
    checks = [data for key, data in pages if key == "check-mine"]
    assert sum("mine can be run" in data for data in checks) == 1
    assert sum("mine cannot be run yet" in data for data in checks) == 1
    assert all(data.count("data:image/png;base64") == 3 for data in checks)
