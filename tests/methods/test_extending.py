"""The page on a method of one's own, run as it is written: from its package to its scores."""

import numpy as np
import pytest

from tests.experiments import small
from tests.extending import Page, installed
from vardax_core.data import ingest
from vardax_core.experiments.stored_statistics import stored_statistics

PAGE = Page("method")


@pytest.mark.slow
def test_the_method_of_the_page_is_run_with_its_settings(tmp_path):
    with installed(tmp_path, PAGE.block("python"), PAGE.block("toml")):
        found = {}
        ingested = ingest(small.recipe())
        for name, options in (("nudging", {"share": 0.2}), ("free-run", {})):
            made = small.experiment_of(tmp_path / "root", name, options=options)
            store = small.ingested_store(made, ingested)
            assert sum(report.cycles for report in small.catch_up(made, store)) == small.CYCLES
            diagnostics = stored_statistics(made.recipe, store.dataset("diagnostics").load())
            found[name] = float(np.mean(diagnostics["rmse"]))
            assert made.name.startswith(f"small/{name}")
        # Members that nothing corrects are draws from the climate; the others near the truth.
        assert found["nudging"] < found["free-run"]
