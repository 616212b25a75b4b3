"""What a stream of real observations is worth, without a truth: by what no analysis sees."""

import copy

import pytest

from tests.experiments import reported
from tests.experiments.test_reported import experiment, run
from vardax_core.experiments.beside_page import sentence, write_worth
from vardax_core.experiments.worth import (
    NothingWithheldError,
    Verdict,
    entries_of,
    rerun_without,
    worth,
)


def two_streams():
    """The buoys as two streams, the few of the second in files of their own."""
    streams = copy.deepcopy(reported.values()["observations"])
    second = copy.deepcopy(streams[0])
    second["name"], second["source"]["files"] = "moorings", ["moorings.csv"]
    return reported.recipe(observations=[*streams, second])


@pytest.mark.ladder
def test_a_stream_is_judged_by_withheld_platforms_and_by_the_other(tmp_path, monkeypatch):
    for name, value in reported.write_all(tmp_path).items():
        monkeypatch.setenv(name, value)
    reported.write_buoys(tmp_path / "data" / "moorings.csv", buoys=6, seed=11)
    made = experiment(tmp_path / "root", "interpolation", two_streams())
    store = run(made)
    prepared, times = made.prepare(store), store.dataset("analysis")["time"].values
    entries = entries_of(made.recipe, ("drifters",), (), times[4])
    rerun = rerun_without(made, store, prepared, entries, times[4], times[-1])
    rerun.finish()
    found = worth(made, store, prepared, entries, rerun, times[4], times[-1])
    assert found.withheld > 200
    assert found.runs.parted == times[4]
    rows = {(row.by, row.of, row.part): row.found for row in found.runs.rows}
    assert {part for by, _, part in rows if by == "observations"} == {"drifters", "moorings"}
    assert rows["withheld observations", "analysis", ""].mean > 0
    assert found.verdict is Verdict.TOO_FEW
    assert found.telling.by == "withheld observations"
    assert "not carried" in found.lack
    page = write_worth(made, store, found)
    assert sentence(found) in page.read_text()
    assert (page.parent / "difference.png").stat().st_size > 10_000
    with pytest.raises(NothingWithheldError, match="name one of drifters, moorings"):
        rerun_without(
            *(made, store, prepared),
            entries_of(made.recipe, ("ships",), (), times[4]),
            times[4],
            times[-1],
        )
