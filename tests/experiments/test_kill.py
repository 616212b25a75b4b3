"""Processes that die or find no room, and those that go on where they stood."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import small
from vardax_core.store import content_digest

ROOT = Path(__file__).parents[2]


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


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path, run_script):
    """A private file system, made in a user namespace so that no privilege is needed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    ended = run_script(
        disk,
        script="full_disk.py",
        prefix=("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, disk),
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("recovered\n")
