"""A notebook: an experiment in one line, a picture in one more, its scores by month in one more."""

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

import vardax_core as vardax
from tests.experiments import small
from tests.support import ROOT
from vardax_core.calibration.plots.style import png_bytes
from vardax_core.calibration.scores import compute_scores
from vardax_core.experiments import stored_statistics as stored_statistics_module
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.notebook.picture import PictureError
from vardax_core.notebook.scores import PartError
from vardax_core.notebook.tree import NotebookError
from vardax_core.observations.quality import QualityCode

PATH = """
import vardax_core as vardax
tree = vardax.open("small")
tree.vardax.plot("2000-01-05", member=2)
tree.vardax.scores(by="month").crps_gaussian
"""
"""All that a notebook user writes."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An experiment of 30 cycles in the root of a user."""
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        experiment = small.experiment_of(tmp_path_factory.mktemp("home") / ".vardax", "etkf")
        small.catch_up(experiment, small.ingested_store(experiment))
    return experiment


@pytest.fixture
def home(made, monkeypatch):
    """The directory that the user works in, with the recipe."""
    folder = made.root.parent
    if not (folder / "datasets").exists():
        small.write_recipe(folder / "datasets")
    for name in ("VARDAX_ROOT", "VARDAX_STORES", "VARDAX_DATASETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tree(home):
    return vardax.open("small")


def test_the_path_of_a_notebook_user_is_four_lines_without_a_warning(home):
    assert len(PATH.strip().split("\n")) == 4
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        *lines, last = ast.parse(PATH).body
        exec(compile(ast.Module(lines, []), "path", "exec"), names)
        crps = eval(compile(ast.Expression(last.value), "path", "eval"), names)
    assert crps.dims == ("month",)
    assert list(crps["month"]) == ["2000-01"]
    assert 0 < float(crps[0]) < 5


def test_the_tree_holds_what_the_store_holds(tree, made):
    store = made.open_store()
    assert set(tree.children) == {
        "analysis",
        "background",
        "truth",
        "observations",
        "innovations",
        "diagnostics",
    }
    xr.testing.assert_identical(tree["truth"].to_dataset(), store.dataset("nature_run"))
    assert tree.attrs["experiment"] == made.name
    values = store.dataset("diagnostics")
    rmse = tree["diagnostics/rmse"]
    np.testing.assert_allclose(rmse, values["rmse"] / values["cycles"])
    error = tree["analysis/x_mean"] - tree["truth/x"].sel(time=tree["analysis/time"])
    np.testing.assert_allclose(rmse, np.sqrt((error**2).mean("location")), rtol=1e-5)
    assert rmse.attrs["units"] == made.recipe.variable.units


def test_every_way_to_name_it_opens_the_same(tree, made, home):
    for named in ("small/etkf", made.store_path, str(made.store_path), made.store_location):
        assert vardax.open(named).attrs == tree.attrs
    assert vardax.open("small", root=made.root).attrs == tree.attrs
    with pytest.raises(NotebookError, match="run it with `vardax run lorenz63`"):
        vardax.open("lorenz63")
    with pytest.raises(ValueError, match="No experiment store"):
        vardax.open("./elsewhere")


def test_the_scores_are_those_of_the_report(tree, made):
    statistics = stored_statistics(made.recipe, made.open_store().dataset("diagnostics").load())
    kept = statistics.isel(time=slice(made.recipe.burn_in, None))
    expected = compute_scores(kept, key=jax.random.key(0), resamples=0)
    whole = tree.vardax.scores()
    for name, score in expected.values.items():
        np.testing.assert_array_equal(whole[name], score.value, err_msg=name)
    by_day = tree.vardax.scores(by="day", burn_in=0)
    days = kept["time"].dt.strftime("%Y-%m-%d").to_numpy()
    assert set(days) <= set(by_day["day"].to_numpy())
    last = statistics.isel(time=statistics["time"].dt.strftime("%Y-%m-%d") == days[-1])
    alone = compute_scores(last, key=jax.random.key(0), resamples=0)
    assert float(by_day["rmse"][-1]) == alone["rmse"]
    with pytest.raises(PartError, match="day, month, year, hour"):
        tree.vardax.scores(by="week")


def test_every_innovation_is_the_value_less_the_mean(tree):
    table = tree.vardax.innovations("2000-01-03", "2000-01-04")
    assert {"time", "station", "background_departure", "quality_control"} <= set(table)
    words = {code.name.lower() for code in QualityCode}
    assert set(table["quality_control"]) <= words
    background = tree["background/x"].mean("member")
    station = tree["observations/grid_index"].to_numpy()[table["station"]]
    time = background.get_index("time").get_indexer(table["time"])
    expected = table["x"] - background.to_numpy()[time, station]
    np.testing.assert_allclose(table["background_departure"], expected, atol=1e-4)


def test_a_picture_says_what_is_not_there(tree):
    drawn = tree.vardax.plot()
    assert len(png_bytes(drawn)) > 10_000
    # What a notebook asks of the last expression of a cell.
    assert drawn._repr_png_() == png_bytes(drawn)
    assert png_bytes(tree.vardax.plot(member=1)) != png_bytes(tree.vardax.plot(member=2))
    for wrong, said in (
        ({"date": "1999-01-01"}, "expected a date from 2000-01-01"),
        ({"member": 99}, "a member from 0 to 5"),
        ({"variable": "y"}, "to be one of x"),
    ):
        with pytest.raises(PictureError, match=said):
            tree.vardax.plot(**wrong)


def test_a_store_of_an_earlier_version_is_opened_without_scores(home, monkeypatch):
    monkeypatch.setattr(stored_statistics_module, "declared_sums", lambda _: {"new_sum": None})
    tree = vardax.open("small")
    assert "earlier version" in tree["diagnostics"].attrs["comment"]
    assert "rmse" not in tree["diagnostics"]
    assert tree["analysis"].sizes["time"] == small.CYCLES
    with pytest.raises(ValueError, match="earlier version"):
        tree.vardax.scores()


def test_what_readers_had_is_still_there(tree, made):
    first = [r for r in made.open_store().history() if r.metadata.get("kind") == "segment"][-1]
    before = tree.vardax.as_of(first.snapshot_id)
    assert before["analysis"].sizes["time"] < tree["analysis"].sizes["time"]
    assert before.vardax.scores(burn_in=0)["rmse"] > 0
    with pytest.raises(NotebookError, match=r"open it with vardax\.open"):
        xr.DataTree().vardax.scores()


def test_the_names_of_the_package_are_those_that_checkers_see():
    text = (Path(ROOT) / "vardax_core" / "__init__.py").read_text()
    (block,) = (node for node in ast.parse(text).body if isinstance(node, ast.If))
    shown = {alias.asname: (node.module, alias.name) for node in block.body for alias in node.names}
    for name, (module, original) in shown.items():
        assert getattr(vardax, name) is getattr(sys.modules[module], original)
    assert set(shown) <= set(dir(vardax))
    with pytest.raises(AttributeError):
        vardax.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import vardax_core", {"jax", "xarray", "numpy"}),
        (
            "from vardax_core.analysis.amortized.heads.eof_flow import EOFFlowHead\n"
            "from vardax_core import ConditionalFlowHead, RegressionHead, ScoreDiffusionHead",
            {"prefect", "eccodes", "matplotlib", "zarr", "icechunk", "dask", "typer", "rich"},
        ),
    ],
    ids=["package", "heads"],
)
def test_a_part_loads_no_more_than_it_needs(statement, absent):
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not absent & set(done.stdout.split())


def test_every_block_of_the_page_runs(home):
    page = (ROOT / "docs" / "notebook.md").read_text().replace("lorenz96-sparse", "small")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "docs/notebook.md", "exec"), names)
    assert names["table"].quality_control.eq("kept").any()
