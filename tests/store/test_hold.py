"""A note beside the store holds an experiment, in a directory and in S3."""

from datetime import UTC, datetime

import pytest

from tests.object_store import empty_bucket
from vardax_core.store import NoteChangedError, location_of
from vardax_core.store.hold import HoldError, held, hold, release

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["directory", "s3"])
def location(request, tmp_path, monkeypatch):
    if request.param == "directory":
        yield location_of(tmp_path / "experiments" / "etkf")
        return
    for url in empty_bucket(monkeypatch):
        yield location_of(f"{url}/stores/etkf")


def test_a_hold_lasts_until_it_is_released(location):
    assert held(location) is None
    assert release(location) is None
    hold(location, " the radiances are wrong ", NOW)
    assert str(held(location)) == "held since 2026-01-01 00:00 UTC: the radiances are wrong"
    hold(location, "and the winds", datetime(2026, 1, 2, tzinfo=UTC))
    assert str(held(location)) == "held since 2026-01-01 00:00 UTC: and the winds"
    assert release(location) is not None
    assert held(location) is None
    hold(location, "again", NOW)
    assert held(location) is not None


def test_a_note_that_changed_meanwhile_is_not_overwritten(location):
    location.write_note("alerts", b"1", expected=None)
    with pytest.raises(NoteChangedError):
        location.write_note("alerts", b"2", expected=None)
    with pytest.raises(NoteChangedError):
        location.write_note("alerts", b"2", expected=b"0")
    location.write_note("alerts", b"2", expected=b"1")
    assert location.read_note("alerts") == b"2"


def test_a_hold_needs_a_reason(location):
    with pytest.raises(HoldError, match="say why"):
        hold(location, "  ")
    assert held(location) is None


def test_a_damaged_note_holds_until_it_is_released(location):
    location.write_note("hold", b"{", expected=None)
    with pytest.raises(HoldError, match="vardax release"):
        held(location)
    assert release(location) is None
    assert held(location) is None
