"""Deaths, full disks and rivals: a cycle is in the store whole, or not at all."""

import signal

import icechunk
import pytest
import zarr

from tests.store import twin
from vardax_core.store import (
    ExperimentStore,
    StoreBusyError,
    StoreNotFoundError,
    SupersededError,
    content_digest,
)
from vardax_core.store.files import make_durable
from vardax_core.store.location import LocalLocation


@pytest.fixture
def uninterrupted(tmp_path):
    store = twin.create(tmp_path / "uninterrupted")
    with store.writer() as writer:
        twin.append(writer, 0, 4)
        twin.append(writer, 4, 8)
    return content_digest(store)


# A commit of the twin writes 21 arrays and two of state: one in the middle, the last.
@pytest.mark.parametrize(
    "moment", [pytest.param("write_12", marks=pytest.mark.slow), "write_23", "before_publish"]
)
def test_kill_9_leaves_the_last_commit_and_a_rerun_completes(
    store, run_twin, uninterrupted, moment
):
    with store.writer() as writer:
        tip = twin.append(writer, 0, 4)
    before = content_digest(store)

    process = run_twin(moment, store.path, 4, 8)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output

    reopened = ExperimentStore.open(store.path)
    assert reopened.tip() == tip
    assert content_digest(reopened) == before
    with reopened.writer() as writer:
        assert twin.append(writer, 4, 8).cycles == 8
    assert content_digest(reopened) == uninterrupted


def test_kill_9_while_creating_leaves_no_store_and_a_rerun_creates_it(tmp_path, run_twin):
    path = tmp_path / "store"
    process = run_twin("create_then_die", path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output
    with pytest.raises(StoreNotFoundError):
        ExperimentStore.open(path)
    assert twin.create(path).tip().cycles == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store", "store.lock"]


def test_second_writer_is_told_who_writes_and_may_wait(store, run_twin):
    holder = run_twin("hold", store.path, 0, 4)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreBusyError, match=f"process {holder.pid}"), store.writer(wait=0.2):
        pytest.fail("two writers at once")
    assert store.tip().cycles == 0
    holder.kill()
    with store.writer(wait=30.0) as writer:
        assert twin.append(writer, 0, 4).cycles == 4


def test_the_slower_of_two_commits_is_superseded(store):
    with store.writer() as writer:
        twin.append(writer, 0, 4)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(store.path)))

    def rival():
        session = repository.writable_session("main")
        zarr.open_group(session.store, mode="r+").attrs["rival"] = "was here"
        session.commit("rival")

    with (
        store.writer(before_publish=rival) as writer,
        pytest.raises(SupersededError, match="Nothing was published"),
    ):
        twin.append(writer, 4, 8)
    assert store.tip().cycles == 4
    assert store.history()[0].message == "rival"
    with store.writer() as writer:
        assert twin.append(writer, 4, 8).cycles == 8
    assert store.root().attrs["rival"] == "was here"


@pytest.mark.slow
def test_full_disk_loses_nothing(tmp_path, run_twin):
    """A private 6 MB file system, made in a user namespace so that no privilege is needed."""
    mount = 'mount -t tmpfs -o size=6m tmpfs "$0" && exec "$@"'
    process = run_twin(
        tmp_path,
        script="full_disk.py",
        prefix=("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, tmp_path),
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert output.endswith("recovered\n")


def test_a_commit_is_forced_to_the_disk_before_and_after_it_is_published(store, monkeypatch):
    order = []
    monkeypatch.setattr(LocalLocation, "make_durable", lambda _: order.append(cycles_seen()))

    def cycles_seen():
        return ExperimentStore.open(store.path).tip().cycles

    with store.writer(before_publish=lambda: order.append("publish")) as writer:
        twin.append(writer, 0, 4)
    assert order == [0, "publish", 4]


def test_forcing_to_the_disk_reports_what_the_system_says(tmp_path):
    make_durable(tmp_path)
    with pytest.raises(FileNotFoundError):
        make_durable(tmp_path / "nowhere")
