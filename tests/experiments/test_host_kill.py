"""A run that is killed in the middle of a member goes on with what it had."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.experiments import hosted, small
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

    def started(root, folder, method):
        words = [sys.executable, str(Path(hosted.__file__)), str(root), str(folder), method]
        return subprocess.Popen(
            words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return started


def content(made):
    """Digest of what the store holds of every cycle."""
    store = made.open_store()
    return groups_digest(store, (*CYCLE_GROUPS, "state"))


def prepared(root, folder, method):
    """The experiment, with weights if its method has any."""
    made = hosted.experiment_of(root, hosted.recipe(folder), method)
    if method == "amortized":
        made.train(made.training_run(), lambda *_: None)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param("letkf", marks=pytest.mark.ladder), "amortized"])
def test_kill_9_in_the_middle_of_a_member_and_a_rerun(tmp_path, start, method, monkeypatch):
    small.shorten_training(monkeypatch.setattr)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = hosted.write_model(tmp_path / "model-whole")
    complete = prepared(whole, undisturbed, method)
    ended = start(whole, undisturbed, method)
    _, errors = ended.communicate(timeout=2 * PATIENCE)
    assert ended.returncode == 0, errors
    assert len(hosted.runs(undisturbed)) == 3 * hosted.MEMBERS

    # The tenth member of the second cycle, whose analysis is committed before.
    folder = hosted.write_model(tmp_path / "model", {"9": "pause"})
    made = prepared(killed, folder, method)
    run = start(killed, folder, method)
    deadline = time.monotonic() + PATIENCE
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

    again = start(killed, folder, method)
    _, errors = again.communicate(timeout=2 * PATIENCE)
    assert again.returncode == 0, errors
    later = hosted.runs(folder)[len(before) :]
    second = [run for run in later if run.startswith("2000-01-01T00:00Z")]
    assert second == ["2000-01-01T00:00Z 9"], "the others are kept"
    assert len(later) == 1 + hosted.MEMBERS
    assert content(made) == content(complete)
