"""The notebooks of the tutorials: made from their pages, and executed as a reader would."""

import json
import os
from unittest import mock

import nbformat
import pytest
import xarray as xr

from docs import notebooks
from tests.support import ROOT, execute, prefect_server

NAMES = list(notebooks.tutorials())
LARGEST = 500_000
"""Bytes of a notebook."""
SMALLEST = 5_000
"""Bytes of a picture that shows something."""
MACHINE = ("/tmp", "/home", "/root", "/work", str(ROOT), "localhost", "127.0.0.1")


def kept(name):
    """The notebook as it lies in the repository."""
    path = notebooks.NOTEBOOKS / f"{name}.ipynb"
    assert path.is_file(), f"There is no notebook of {name}: python docs/notebooks.py {name}"
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def texts(notebook):
    """All that is printed or shown, but for pictures."""
    for output in outputs(notebook):
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if "image" not in kind)


def said(notebook, command):
    """What is printed by the cells that have a command."""
    cells = [cell for cell in notebook.cells if command in cell.source and "outputs" in cell]
    assert cells, command
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_cells_of_its_page(name):
    found, made = kept(name), notebooks.notebook_of(name)
    same = [[(c.id, c.cell_type, c.source) for c in one.cells] for one in (found, made)]
    assert same[0] == same[1], f"{name} is another page by now: python docs/notebooks.py {name}"
    assert found.metadata == made.metadata


def test_there_is_no_notebook_without_a_page():
    assert {path.stem for path in notebooks.NOTEBOOKS.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_can_be_read_anywhere(name):
    notebook = kept(name)
    nbformat.validate(notebook)
    assert (notebooks.NOTEBOOKS / f"{name}.ipynb").stat().st_size < LARGEST
    assert all(output.output_type != "error" for output in outputs(notebook))
    assert [text for text in texts(notebook) for one in MACHINE if one in text] == []
    words = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    links = [link for text in words for link in notebooks.LINK.findall(text)]
    assert [link for link in links if not (notebooks.NOTEBOOKS / link).exists()] == []
    assert f"[As a page]({os.path.relpath(notebooks.tutorials()[name], notebooks.NOTEBOOKS)})" in (
        "\n".join(words)
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_of_a_page_are_those_of_its_notebook(name):
    if shown := notebooks.shown(notebooks.tutorials()[name]):
        drawn = notebooks.pictures(kept(name))
        assert [path.read_bytes() for path in shown] == drawn


def of_the_first_twin(notebook, place):
    assert "rmse.a" in said(notebook, "vardax run")
    rmse, crps = map(float, said(notebook, "scores.rmse").split())
    assert 0 < crps < rmse < 0.5


def of_a_twin(notebook, place):
    assert "rmse.a" in said(notebook, "vardax run")


def of_the_gallery(notebook, place):
    files = (ROOT / "docs" / "figures" / "gallery").glob("*.png")
    assert set(files) == set(notebooks.shown(notebooks.tutorials()["gallery"]))
    assert len(notebooks.pictures(notebook)) == 6


def of_a_day(notebook, place):
    assert "increment" in said(notebook, "vardax why")
    assert "letkf" in said(notebook, "vardax report")
    with xr.open_dataset(place / ".vardax" / "copy.nc", group="analysis") as copy:
        assert copy.sizes["time"] == 200


def of_stations(notebook, place):
    assert (place / "datasets" / "my-stations" / "recipe.yaml").is_file()
    assert "300" in said(notebook, "vardax check")
    environment = notebooks.environment(place.parent)
    environment["VARDAX_DATA_DIR"] = str(place / "files")
    assert "up to date" in execute("vardax run my-stations", place, environment)
    report = json.loads(execute("vardax report my-stations --json", place, environment))
    assert report["changed"] is False
    assert 0.5 < report["scores"]["interpolation"]["withheld_spread_over_rms"] < 2


def of_a_track(notebook, place):
    recipe = (place / "datasets" / "my-track" / "recipe.yaml").read_text()
    assert "gap:" in recipe
    assert "units: m\n" in recipe
    assert "2400" in said(notebook, "vardax check").replace(" ", "")


def of_parts(notebook, place):
    assert "(8, 16, 40)" in said(notebook, "AmortizedPosterior")


def of_a_package(kind, name, run):
    """A check that a package is installed, shown by its command, and run."""

    def check(notebook, place):
        assert any((place.parent / "packages").glob("*.dist-info"))
        assert name in said(notebook, f"vardax {kind} {name}")
        assert run in said(notebook, "vardax run")

    return check


CHECKS = {
    "first-twin": of_the_first_twin,
    "own-track": of_a_track,
    "parts": of_parts,
    "operational-day": of_a_day,
    "notebook": of_a_twin,
    "gallery": of_the_gallery,
    "model": of_a_package("models", "pendulum", "rmse.a"),
    "host-model": of_a_twin,
    "method": of_a_package("methods", "nudging", "free-run"),
    "operator": of_a_package("operators", "slope", "rmse.a"),
    "source": of_a_package("sources", "json-lines", "interpolation"),
    "own-stations": of_stations,
}


@pytest.fixture(scope="module")
def server():
    """One Prefect server for all commands of the notebooks."""
    with mock.patch.dict(os.environ), prefect_server():
        from prefect.settings import PREFECT_API_URL

        yield PREFECT_API_URL.value()


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_in_an_empty_folder(name, tmp_path, server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server)
    notebook = notebooks.notebook_of(name)
    notebooks.execute(notebook, tmp_path)
    drawn = notebooks.pictures(notebook)
    assert len(drawn) == len(notebooks.pictures(kept(name)))
    assert all(len(picture) > SMALLEST for picture in drawn)
    assert not [text for text in texts(notebook) for one in MACHINE if one in text]
    CHECKS[name](notebook, tmp_path / "work")
