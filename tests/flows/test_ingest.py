"""What an ingest takes of a source that is late or was corrected, and what it says."""

import pytest
import yaml

from flows.ingest import ingest_observations
from flows.parameters import ExperimentParameters
from tests.data.test_fields import field, recipe, written
from tests.experiments.test_continuity import LATER
from vardax_core.experiments.assimilate import pending_cycles, waiting_cycles
from vardax_core.experiments.continuity import SourceChangedError

TRAINING = {"start": "2019-03-19T00:00:00Z", "end": "2019-03-20T01:00:00Z"}


@pytest.fixture
def parameters(tmp_path, monkeypatch):
    path = tmp_path / "datasets" / "small" / "recipe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(recipe(training=TRAINING).model_dump(mode="json")))
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))

    def made(source):
        return ExperimentParameters(
            dataset="small", method="climatology", source_path=source, root=tmp_path / "root"
        )

    return made


def test_a_late_source_gives_the_cycles_that_it_covers(parameters, tmp_path, caplog):
    source = written(field().isel(time=slice(0, 33)), tmp_path)  # to 08:00, the period to 09:00
    asked = parameters(source)
    made = asked.experiment()
    assert ingest_observations.fn(made, asked, LATER) == 32
    assert "waited for: 1 (2019-03-21T09:00)" in caplog.text
    store = made.open_store()
    assert len(pending_cycles(made, store)) == 10
    assert [str(t)[:16] for t in waiting_cycles(made, store)] == ["2019-03-21T09:00"]
    written(field(), tmp_path)
    assert ingest_observations.fn(made, asked, LATER) == 1
    assert (len(pending_cycles(made, store)), len(waiting_cycles(made, store))) == (11, 0)
    assert ingest_observations.fn(made, asked, LATER) == 0


def test_a_correction_is_seen_where_nothing_new_is_due(parameters, tmp_path):
    source = written(field(), tmp_path)
    asked = parameters(source)
    made = asked.experiment()
    assert ingest_observations.fn(made, asked, LATER) == 33
    corrected = field()
    corrected["t2m"][7] += 1
    written(corrected, tmp_path)
    with pytest.raises(SourceChangedError, match="differs at 1 of 33 times"):
        ingest_observations.fn(made, asked, LATER)
