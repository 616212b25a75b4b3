"""A directory with two names is one place."""

import pytest

from tests.store import twin
from vardax_core.store import ExperimentStore, StoreBusyError, location_of
from vardax_core.store.hold import held, hold, release


@pytest.fixture(params=["the store is a link", "its parent is one", "a link to a link"])
def names(request, tmp_path):
    """Two names of one place, the real one first."""
    real = tmp_path / "big" / "etkf"
    real.mkdir(parents=True)
    link = tmp_path / "experiments"
    if request.param == "its parent is one":
        link.symlink_to(real.parent)
        return location_of(real), location_of(link / "etkf")
    link.mkdir()
    target = real
    if request.param == "a link to a link":
        target = tmp_path / "between"
        target.symlink_to(real)
    (link / "etkf").symlink_to(target)
    return location_of(real), location_of(link).below("etkf")


def test_one_writer_at_a_time_under_either_name(names):
    for first, second in (names, names[::-1]):
        with first.lock(0.0), pytest.raises(StoreBusyError), second.lock(0.0):
            pass
        with second.lock(0.0):
            pass


def test_a_hold_holds_under_either_name(names):
    for first, second in (names, names[::-1]):
        hold(first, "a test")
        assert held(second) is not None
        assert release(second) is not None
        assert held(first) is None


def test_a_store_is_made_where_a_link_leads(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "etkf").symlink_to(tmp_path / "big" / "etkf")
    made = twin.create(tmp_path / "etkf")
    assert (tmp_path / "etkf").is_symlink()
    assert ExperimentStore.open(tmp_path / "big" / "etkf").experiment == made.experiment
