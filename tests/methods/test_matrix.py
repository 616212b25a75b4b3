"""Every data set with every method: each cell runs, or is refused in its sentence."""

import os
from pathlib import Path
from unittest import mock

import pytest
import yaml
from typer.testing import CliRunner

import flows.run  # noqa: F401 (Prefect must not meet the streams that CliRunner puts up)
from flows.cli import ExitCode, app
from tests.support import ROOT, prefect_server, real_data_dir
from vardax_core.data import load_recipe
from vardax_core.experiments.settings import available_methods, lack_of
from vardax_core.methods.registry import registered_methods
from vardax_core.store import ExperimentStore

DATASETS = (
    "lorenz63",
    "lorenz96",
    "lorenz96-sparse",
    "lorenz96-two-scale",
    "kuramoto-sivashinsky",
    "qg",
    "era5-t2m-uk",
)
CYCLES, STEPS = 12, 20
PAGE = ROOT / "docs" / "methods.md"
FITS = "runs"


def table():
    """The matrix as the page shows it: a row for each method, and the sentences below."""
    recipes = {name: load_recipe(name) for name in DATASETS}
    lines = [
        f"| method | {' | '.join(DATASETS)} |",
        f"|---|{'---|' * len(DATASETS)}",
    ]
    sentences: list[str] = []
    for method in registered_methods():
        cells = []
        for recipe in recipes.values():
            lack = lack_of(recipe, method)
            if lack is not None and lack not in sentences:
                sentences.append(lack)
            cells.append(FITS if lack is None else f"({sentences.index(lack) + 1})")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{k}. {text}." for k, text in enumerate(sentences, 1))])


def test_the_page_shows_the_matrix():
    """`python -m tests.methods.test_matrix` writes it anew."""
    assert table() in PAGE.read_text()


def shortened(name):
    """The recipe with a dozen cycles."""
    values = load_recipe(name).model_dump(mode="json")
    recipe = load_recipe(name)
    end = recipe.period.start + (CYCLES - 1) * recipe.cycle_interval
    values["period"]["end"] = end.isoformat()
    values["burn_in"] = 2
    return values


@pytest.fixture(scope="module")
def prefect_api():
    with prefect_server():
        yield


@pytest.fixture
def vardax(tmp_path):
    folder = tmp_path / "datasets"
    for name in DATASETS:
        path = folder / name / "recipe.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(shortened(name)))

    def run(*arguments):
        words = [*map(str, arguments), "--root", str(tmp_path / "root")]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    with mock.patch.dict(os.environ):
        os.environ["VARDAX_DATASETS_DIR"] = str(folder)
        os.environ["VARDAX_DATA_DIR"] = str(real_data_dir())
        yield run


def unlearned(recipe):
    return [n for n in available_methods(recipe) if not registered_methods()[n].learns]


@pytest.mark.ladder
@pytest.mark.flows
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("dataset", DATASETS)
def test_what_fits_runs_to_its_report(vardax, dataset, tmp_path):
    methods = unlearned(load_recipe(dataset))
    result = vardax("run", dataset, "--methods", ",".join(methods), "--members", 8)
    assert result.exit_code == 0, result.output
    for method in methods:
        assert method in result.stdout
        found = Path(tmp_path / "root" / "experiments").glob(f"{dataset}*/*")
        (path,) = (place for place in found if place.name == method)
        assert ExperimentStore.open(path).tip().cycles == CYCLES


@pytest.mark.ladder
@pytest.mark.flows
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("dataset", DATASETS)
def test_what_learns_is_trained_gated_and_run(vardax, dataset):
    recipe = load_recipe(dataset)
    for method in set(available_methods(recipe)) - set(unlearned(recipe)):
        command = ("run", dataset, "-m", method, "--methods", method, "--steps", STEPS)
        result = vardax(*command, "--members", 8, "--override", "a matrix of short runs")
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_does_not_fit_is_refused_in_its_sentence(vardax, dataset, tmp_path):
    recipe = load_recipe(dataset)
    for method in set(registered_methods()) - set(available_methods(recipe)):
        result = vardax("run", dataset, "-m", method)
        assert result.exit_code == ExitCode.WRONG_INPUT, result.output
        assert lack_of(recipe, method) in " ".join(result.stderr.split())
        assert not (tmp_path / "root" / "experiments").exists()


if __name__ == "__main__":
    head, _, _ = PAGE.read_text().partition("| method |")
    PAGE.write_text(f"{head}{table()}\n")
