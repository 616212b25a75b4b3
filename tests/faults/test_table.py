"""Every row of the table of failure modes names tests that are there."""

import re

from tests.support import ROOT


def test_every_failure_mode_has_a_test():
    rows = [
        line
        for line in (ROOT / "docs" / "failure-modes.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| what goes", "| ---"))
    ]
    assert len(rows) >= 20
    for row in rows:
        named = re.findall(r"`([a-z_0-9/]+\.py)`", row.split("|")[5])
        assert named, row
        for path in named:
            assert (ROOT / "tests" / path).is_file(), path
