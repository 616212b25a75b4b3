"""Processes that die or find no room, and those that go on where they stood."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.experiments import small
from vardax_core.experiments.outdated import relisted_cycles
from vardax_core.store import content_digest, groups_digest

ROOT = Path(__file__).parents[2]
GROUPS = ("analysis", "background", "innovations", "diagnostics", "state")
MOMENTS = ("written", "committed", "renewed")
"""At which `rerun_faults.py` dies."""


def on_a_small_disk(disk):
    """Words before a command: a private file system, made in a user namespace so that no privilege
    is needed."""
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    return "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, disk


@pytest.fixture
def run_script(tmp_path):
    """Run a script of this folder in a process of its own; they share what they compile."""

    def run(*arguments, script="small.py", prefix=()):
        return subprocess.run(
            [*prefix, sys.executable, Path(__file__).with_name(script), *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "JAX_PLATFORMS": "cpu",
                "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
            },
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.mark.slow
def test_kill_9_while_training_computing_and_publishing_and_then_a_rerun(tmp_path, run_script):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended = run_script(whole, "never")
    assert ended.returncode == 0, ended.stderr
    made = small.experiment_of(killed, "amortized", steps=small.KILLED_STEPS)

    for moment, cycles_after in (
        ("training", 0),
        ("segment", small.SEGMENT),
        ("publish", small.SEGMENT),
    ):
        died = run_script(killed, moment)
        assert died.returncode == -signal.SIGKILL, died.stderr
        store = made.open_store()
        assert store.tip().cycles == cycles_after, moment
        assert store.dataset("analysis").load().sizes["time"] == cycles_after
        assert (made.trained_version(None) is None) == (moment == "training")

    ended = run_script(killed, "never")
    assert ended.returncode == 0, ended.stderr
    finished = made.open_store()
    assert finished.tip().cycles == small.CYCLES
    expected = small.experiment_of(whole, "amortized", steps=small.KILLED_STEPS).open_store()
    assert content_digest(finished) == content_digest(expected)
    assert len(made.registry.versions("small-amortized")) == 1


@pytest.mark.ladder
def test_kill_9_while_cycles_are_made_again_and_published(tmp_path, run_script, monkeypatch):
    """Readers have the old cycles until they have all new ones, whenever the process dies."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for root in (whole, killed):
        ended = run_script(root, "begin", script="rerun_faults.py")
        assert ended.returncode == 0, ended.stderr
    made = small.experiment_of(killed, "etkf")
    before = made.open_store().tip().snapshot_id
    for moment in MOMENTS:
        died = run_script(killed, moment, script="rerun_faults.py")
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert made.open_store().tip().snapshot_id == before, moment
        assert len(made.open_store().branches.names()) == 1
    for root in (whole, killed):
        ended = run_script(root, "never", script="rerun_faults.py")
        assert ended.returncode == 0, ended.stderr
    expected = small.experiment_of(whole, "etkf").open_store()
    assert groups_digest(made.open_store(), GROUPS) == groups_digest(expected, GROUPS)
    assert made.open_store().branches.names() == []
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(killed / "datasets"))
    assert relisted_cycles(made, made.open_store())[0] == 0


@pytest.mark.ladder
def test_two_who_make_cycles_again_at_once_lose_nothing(tmp_path, run_script):
    """The slower of the two stops, and readers have what one alone would have given them."""
    roots = whole, both = tmp_path / "whole", tmp_path / "both"
    for root in roots:
        assert run_script(root, "begin", script="rerun_faults.py").returncode == 0
    assert run_script(whole, "never", script="rerun_faults.py").returncode == 0
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(run_script, both, "never", script="rerun_faults.py") for _ in range(2)]
        ended = [one.result() for one in ended]
    told = [one.stderr for one in ended if one.returncode]
    assert len(told) <= 1, told
    # The one that comes when all is done finds nothing to make again.
    refusals = ("SupersededError", "StoreBusyError", "assert asked is not None")
    assert all(any(name in text for name in refusals) for text in told), told
    stores = [small.experiment_of(root, "etkf").open_store() for root in roots]
    assert len({groups_digest(store, GROUPS) for store in stores}) == 1


@pytest.mark.slow
def test_a_full_disk_while_cycles_are_made_again_loses_nothing(tmp_path, run_script):
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = run_script(disk, "full", script="rerun_faults.py", prefix=on_a_small_disk(disk))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("recovered\n")


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path, run_script):
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = run_script(disk, script="full_disk.py", prefix=on_a_small_disk(disk))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("recovered\n")
