"""The page on a method of one's own, run as it is written: from its package to its scores."""

import importlib.metadata
import re
import sys

import numpy as np
import pytest

from tests.experiments import small
from tests.support import ROOT
from vardax_core.data import ingest
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.methods.registry import registered_methods

PAGE = (ROOT / "docs" / "extending" / "method.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package of the page on the path, with the entry point that it names."""
    (tmp_path / "my_nudging.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    name, value = re.search(r'^(\w+) = "(.*)"$', block("toml"), flags=re.MULTILINE).groups()
    entry = importlib.metadata.EntryPoint(name, value, "vardax.methods")
    points = importlib.metadata.EntryPoints([entry])
    none = importlib.metadata.EntryPoints([])
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: points if group == "vardax.methods" else none,
    )
    registered_methods.cache_clear()
    yield
    monkeypatch.undo()
    registered_methods.cache_clear()
    sys.modules.pop("my_nudging", None)


def test_the_method_of_the_page_is_run_with_its_settings(installed, tmp_path):
    found = {}
    ingested = ingest(small.recipe())
    for name, options in (("nudging", {"share": 0.2}), ("free-run", {})):
        made = small.experiment_of(tmp_path / "root", name, options=options)
        store = small.ingested_store(made, ingested)
        assert sum(report.cycles for report in small.catch_up(made, store)) == small.CYCLES
        diagnostics = stored_statistics(made.recipe, store.dataset("diagnostics").load())
        found[name] = float(np.mean(diagnostics["rmse"]))
        assert made.name.startswith(f"small/{name}")
    # Members that nothing corrects are draws from the climate; nudged ones are drawn to the truth.
    assert found["nudging"] < found["free-run"]
