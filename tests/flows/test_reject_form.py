"""Decisions on observations as the form takes them."""

import pytest
from pydantic import ValidationError

from flows.watch_parameters import RelistParameters

ENTRY = {"platform": "A1", "since": "2024-01-02T00:00Z", "reason": "fouled", "decided_by": "me"}


def filled(**changes):
    return RelistParameters.model_validate({"reject": ENTRY | changes})


def test_an_entry_is_what_the_list_has():
    found = filled(stream="", until=None).reject.entry
    assert found.words == "A1 from 2024-01-02T00:00: fouled (me)"
    assert RelistParameters().reject is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"platform": None}, "name a platform, a stream, or both"),
        ({"until": "2024-01-01T00:00Z"}, "is before from"),
        ({"reason": "one\n- platform: another"}, "reason"),
        ({"decided_by": ""}, "decided_by"),
        ({"path": "/etc/passwd"}, "path"),
    ],
)
def test_what_the_list_would_refuse_is_refused_by_the_form(changes, said):
    with pytest.raises(ValidationError, match=said):
        filled(**changes)


def test_what_is_lifted_is_named():
    with pytest.raises(ValidationError, match="fill in under reject"):
        RelistParameters.model_validate({"lift": True})
