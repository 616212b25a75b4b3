"""The command line in a place of its own: the small twin, no data, no network."""

import os
from pathlib import Path
from unittest import mock

import pooch
import pytest
from typer.testing import CliRunner

import flows.run  # noqa: F401 (Prefect must not meet the streams that CliRunner puts up)
from flows.cli import app
from tests.experiments import small
from tests.support import prefect_server


@pytest.fixture
def small_twin(tmp_path, monkeypatch):
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
    with prefect_server():
        yield


NO_ROOT = (
    "datasets",
    "methods",
    "models",
    "operators",
    "sources",
    "open",
    "export",
    "thin",
    "collect",
    "init",
)


@pytest.fixture
def vardax(small_twin, tmp_path):
    """Run a command below a root of its own."""

    def run(*arguments, root=tmp_path / "root"):
        words = [str(a) for a in arguments]
        if words[0] not in NO_ROOT and "--root" not in words:
            words += ["--root", str(root)]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    return run
