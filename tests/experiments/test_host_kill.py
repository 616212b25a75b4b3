"""A run that is killed in the middle of a member goes on with what it had."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.experiments import hosted
from tests.support import ROOT
from vardax_core.experiments.assimilate import CYCLE_GROUPS
from vardax_core.store import groups_digest

PATIENCE = 120.0


@pytest.fixture
def start():
    """Start the experiment in a process group of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }

    def started(root, folder):
        words = [sys.executable, str(Path(hosted.__file__)), str(root), str(folder)]
        return subprocess.Popen(
            words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return started


def content(root, folder):
    """Digest of what the store holds of every cycle."""
    store = hosted.experiment_of(root, hosted.recipe(folder)).open_store()
    return groups_digest(store, (*CYCLE_GROUPS, "state"))


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_member_and_a_rerun(tmp_path, start):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = hosted.write_model(tmp_path / "model-whole")
    ended = start(whole, undisturbed)
    _, errors = ended.communicate(timeout=2 * PATIENCE)
    assert ended.returncode == 0, errors
    assert len(hosted.runs(undisturbed)) == 3 * hosted.MEMBERS

    # The tenth member of the second cycle, whose analysis is committed before.
    folder = hosted.write_model(tmp_path / "model", {"9": "pause"})
    run = start(killed, folder)
    deadline = time.monotonic() + PATIENCE
    made = hosted.experiment_of(killed, hosted.recipe(folder))
    done = "host/**/20000101T0600/*/made.json"
    while not (folder / "paused").exists() or len([*killed.glob(done)]) < hosted.MEMBERS - 1:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    run.stderr.close()
    assert made.open_store().tip().cycles == 1
    before = hosted.runs(folder)

    again = start(killed, folder)
    _, errors = again.communicate(timeout=2 * PATIENCE)
    assert again.returncode == 0, errors
    later = hosted.runs(folder)[len(before) :]
    second = [run for run in later if run.startswith("2000-01-01T00:00Z")]
    assert second == ["2000-01-01T00:00Z 9"], "the others are kept"
    assert len(later) == 1 + hosted.MEMBERS
    assert content(killed, folder) == content(whole, undisturbed)
