"""Reject lists: what they name, what is refused, and what of the codes they change."""

import numpy as np
import pytest

from vardax_core.data.errors import RecipeError
from vardax_core.data.rejected import Rejection, read_rejected, with_rejected
from vardax_core.observations.quality import QualityCode

LIST = """
- platform: A1
  stream: buoys
  from: "2024-01-02T00:00Z"
  until: "2024-01-03T00:00Z"
  reason: sensor fouled
  decided_by: the desk
- stream: ships
  from: "2024-01-03T00:00Z"
  reason: wrong units
  decided_by: the desk
"""


def test_what_a_list_names_has_its_code_while_it_holds(tmp_path):
    (tmp_path / "rejected.yaml").write_text(LIST)
    entries = read_rejected(tmp_path / "rejected.yaml")
    names = ("buoys/A1", "buoys/B2", "ships/A1")
    day = 24 * 60
    start = int((np.datetime64("2024-01-01", "m") - np.datetime64("2000-01-01", "m")).astype(int))
    minutes = start + day * np.arange(4)
    codes = np.zeros((4, 4), np.int8)
    codes[:, 3] = QualityCode.GROSS_ERROR
    platforms = np.broadcast_to([0, 1, 2, 0], codes.shape)
    found = with_rejected(codes, minutes, platforms, names, entries)
    r, g = int(QualityCode.REJECTED), int(QualityCode.GROSS_ERROR)
    assert found.tolist() == [[0, 0, 0, g], [r, 0, 0, g], [r, 0, r, g], [0, 0, r, g]]
    assert not codes[:, :3].any()
    assert entries[0].words.startswith("A1 of buoys from 2024-01-02T00:00 until")


def test_no_file_is_no_list(tmp_path):
    assert read_rejected(tmp_path / "rejected.yaml") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("platform: A1", "expected a list"),
        ("- {from: '2024-01-01T00:00Z', reason: r, decided_by: d}", "name a platform"),
        ("- {platform: A, from: '2024-01-01T00:00Z', decided_by: d}", "reason: is needed"),
        (
            "- {platform: A, from: '2024-01-02T00:00Z', until: '2024-01-01T00:00Z', reason: r, "
            "decided_by: d}",
            "is before from",
        ),
        ("- {platform: A, from: '2024-01-01T00:00Z', reason: r, decided_by: d, x: 1}", "x"),
        ("- [", "cannot be read as YAML"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_its_place_and_repair(text, said, tmp_path):
    path = tmp_path / "rejected.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said) as error:
        read_rejected(path)
    assert str(path) in str(error.value)


def test_a_whole_name_and_a_short_one_mean_a_platform():
    one = Rejection.model_validate(
        {"platform": "A1", "from": "2024-01-01T00:00Z", "reason": "r", "decided_by": "d"}
    )
    assert one.names("buoys/A1")
    assert one.names("ships/A1")
    assert not one.names("buoys/A12")
    assert Rejection.model_validate(one.model_dump(mode="json")) == one
