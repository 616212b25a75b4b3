"""What several test folders need."""

import os
import pathlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def real_data_dir() -> pathlib.Path:
    """The folder with the real ERA5 files: `VARDAX_DATA_DIR`, or `../shared/data`."""
    named = os.environ.get("VARDAX_DATA_DIR")
    folder = pathlib.Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "era5_t2m_uk_2019-03.nc").is_file():
        pytest.fail(
            f"The ERA5 test files are not in {folder}; export VARDAX_DATA_DIR=/path/to/them."
        )
    return folder


def execute(command: list[str] | str, place: pathlib.Path, environment: dict[str, str]) -> str:
    """What a command prints that must succeed, run in a folder."""
    done = subprocess.run(
        command,
        cwd=place,
        env=environment,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def prefect_server() -> Iterator[None]:
    """A Prefect server for the flows of these tests, which wait for no heartbeat at their end."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.prefect_settings import setting

    with (
        prefect_test_harness(server_startup_timeout=300),
        setting("flows", "heartbeat_frequency", None),
    ):
        yield
