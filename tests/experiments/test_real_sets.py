"""The data sets of real observations, each through `vardax run` for its first cycles."""

import os
import subprocess
import sys

import numpy as np
import pytest

import vardax_core as vardax
from tests.support import ROOT, real_data_dir

SETS = {
    "med-adt": ("interpolation", "2014-05-17T12:00"),
    "ireland-t2m-extremes": ("interpolation", "2019-03-10T06:00"),
    "alboran-sst": ("interpolation", "2017-05-16T00:00"),
    "era5-levels": ("letkf", "2017-01-02T12:00"),
}
"""Method and last analysis time."""

pytestmark = [pytest.mark.ladder, pytest.mark.flows, pytest.mark.timeout(900)]


@pytest.fixture(params=SETS)
def ran(request, tmp_path):
    """Root, method, and what two equal runs printed."""
    name, (method, until) = request.param, SETS[request.param]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    environment = inherited | {
        "PYTHONPATH": str(ROOT),
        "VARDAX_DATA_DIR": str(real_data_dir()),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    }
    words = [sys.executable, "-m", "tests.short_cli", "run", name, "-m", method]
    words += ["--methods", method, "--until", until, "--root", str(tmp_path / "root")]
    printed = []
    for _ in range(2):
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    (path,) = (tmp_path / "root" / "experiments").glob(f"{name}*/{method}")
    return path, printed


def test_a_run_improves_the_background_and_the_next_is_up_to_date(ran):
    path, (first, second) = ran
    assert "up to date" not in first
    assert "up to date" in second
    tree = vardax.open(path)
    rows = tree.vardax.innovations()
    hidden = rows["quality_control"] == "withheld"
    if not hidden.any():
        hidden = rows["quality_control"] == "kept"
    before, after = (
        np.asarray(rows[f"{of}_departure"])[hidden] for of in ("background", "analysis")
    )
    seen = np.isfinite(before) & np.isfinite(after)
    assert seen.sum() > 20
    assert np.sqrt(np.mean(after[seen] ** 2)) < 0.95 * np.sqrt(np.mean(before[seen] ** 2))
    spread = [v for name, v in tree["analysis"].data_vars.items() if name.endswith("_spread")]
    assert spread
    assert all(float(v.max()) > 0 for v in spread)
