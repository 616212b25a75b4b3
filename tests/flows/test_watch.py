"""Cycles made again and runs side by side, by command: their answers and their pages."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from flows import answers
from flows.cli import ExitCode
from tests.flows.refusal import refused
from vardax_core.store import ExperimentStore

LOOK = ("small", "-m", "etkf", "--members", "6")


@pytest.fixture
def told(vardax):
    """The checked answer of a command."""

    def tell(*words):
        result = vardax(*words, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        kind = answers.COMMANDS[words[0]]
        schema = json.loads((answers.SCHEMAS / f"{kind.__name__.lower()}.json").read_text())
        jsonschema.validate(found, schema)
        return found

    return tell


@pytest.mark.slow
@pytest.mark.flows
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("prefect_api")
def test_what_is_made_again_is_shown_and_published_only_when_asked(told, vardax, tmp_path):
    told("assimilate", *LOOK)
    path = tmp_path / "root" / "experiments" / "small" / "etkf"
    store = ExperimentStore.open(path)
    before = store.tip().snapshot_id
    found = told("worth", *LOOK, "--platforms", "0-3", "--from", "2000-01-04")
    assert found["observations"] > 0
    assert {one["name"] for one in found["impacts"]} == {"0, 1, 2, 3", "all others"}
    assert found["runs"]["parted"] == "2000-01-04T00:00"
    refused(vardax("worth", *LOOK), ExitCode.WRONG_INPUT, "name a stream or a platform")
    told_wrong = vardax("worth", *LOOK, "--stream", "buoys")
    refused(told_wrong, ExitCode.WRONG_INPUT, "NothingWithheldError", "name one of the stations")

    found = told("replay", *LOOK, "--at", "2000-01-05", "--early", "3h", "--from", "2000-01-04")
    assert found["digests"][0] == found["digests"][1]
    assert found["runs"]["parted"] is None
    assert (store.branches.names(), store.tip().snapshot_id) == ([], before)

    assert told("relist", *LOOK)["cycles"] == 0
    entry = {"platform": "3", "from": "2000-01-06T00:00Z", "reason": "fouled", "decided_by": "me"}
    folder = Path(os.environ["VARDAX_DATASETS_DIR"]) / "small"
    (folder / "rejected.yaml").write_text(yaml.safe_dump([entry]))
    found = told("relist", *LOOK)
    assert (found["cycles"], found["published"]) == (10, False)
    assert store.branches.names() == [found["branch"]]
    assert store.tip().snapshot_id == before
    assert told("relist", *LOOK, "--publish")["published"] is True
    assert store.branches.names() == []
    assert told("relist", *LOOK)["cycles"] == 0

    told("assimilate", "small", "-m", "climatology", "--members", "6")
    found = told("beside", *LOOK, "--with", "climatology")
    assert found["parted"] is not None
    assert {"truth", "observations"} <= {row["by"] for row in found["losses"]}
    pages = sorted((tmp_path / "root" / "experiments" / "small" / "beside").rglob("page.md"))
    assert len(pages) == 4
    assert all((page.parent / "difference.png").stat().st_size > 10_000 for page in pages)
