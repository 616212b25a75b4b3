"""Carried biases, errors and regions of real observations, from a recipe to its report."""

import numpy as np
import pytest
import yaml

from tests.experiments import reported
from tests.experiments.test_reported import experiment
from vardax_core.data import ingest, validate_recipe
from vardax_core.data.bias_units import bias_units
from vardax_core.experiments import settings
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.bias_tables import bias_table
from vardax_core.experiments.comparison import compare
from vardax_core.experiments.observed_columns import read_columns
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import groups_digest

pytestmark = pytest.mark.slow

OFF, BIASED = 1.0, "b07"
BIAS = {"by": "platform", "memory": "30d", "sd": 0.5}
HALFWAY = np.datetime64("2019-03-09T12:00")


def recipe(**verification):
    """Windows of one time, of buoys whose biases are carried and errors estimated."""
    values = reported.values()
    values["observations"][0] |= {"bias": BIAS, "errors": "estimated", "error_sd": 0.08}
    values["cycle"]["window"] = {"times": 1, "spacing": "1d"}
    values["verification"] = {"withheld": {"share": 0.2, "seed": 1}} | verification
    return validate_recipe(values, "buoys")


REGIONS = {"west": {"longitude": [354, 356]}, "east": {"longitude": [-4, -2]}}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in reported.write_all(folder).items():
            patch.setenv(name, value)
        patch.setattr(settings, "LONGEST_SEGMENT", 8)
        path = folder / "data" / "buoys-1.csv"
        rows = [row.split(",") for row in path.read_text().splitlines()]
        for row in rows:
            if row[0] == BIASED and row[4]:
                row[4] = f"{float(row[4]) + OFF:.3f}"
        path.write_text("\n".join(map(",".join, rows)) + "\n")
        made = experiment(folder / "root", "interpolation", recipe(regions=REGIONS, leads=2))
        made.train(made.training_run(), lambda *_: None)
        ingested = ingest(made.recipe, partly=True)
        stores = {}
        for name, stops in (("whole", (None,)), ("interrupted", (HALFWAY, None))):
            one = experiment(folder / "root", "interpolation", made.recipe)
            one = type(one)(one.recipe, one.settings, one.root, str(folder / name))
            store = one.create_store(ingested)
            one.append_observations(store, ingested)
            for until in stops:
                run = Assimilation(one, store, one.prepare(store))
                for _ in run.run(pending_cycles(one, store, until)):
                    pass
            stores[name] = (one, store)
        yield stores, compare([one for one, _ in [stores["whole"]]], stores["whole"][0])


def test_the_bias_of_a_buoy_is_carried_and_taken_off(found):
    made, store = found[0]["whole"]
    names = made.platforms(store)
    header, rows = bias_table(store, made.recipe, names)
    assert header[1] == "bias [K]"
    rows = {row[0]: row[1:] for row in rows}
    bias, sd = map(float, rows[f"drifters/{BIASED}"][:2])
    assert abs(bias - OFF) < 2.5 * sd
    others = [(float(b), float(s)) for k, (b, s, *_) in rows.items() if BIASED not in k]
    assert bias > 1.5 * sd
    assert all(abs(b) < 2.5 * s for b, s in others)
    taken = store.dataset("innovations")["bias_correction"].to_numpy()
    platform = store.dataset("observations")["platform"]
    platform = platform.sel(time=store.dataset("innovations")["time"]).to_numpy()
    mine = (platform == names.index(f"drifters/{BIASED}")) & np.isfinite(taken)
    assert taken[mine][0] == 0.0
    assert taken[mine][-1] > 0.4
    state = store.arrays("state", only="bias_")
    units = bias_units(made.recipe, names)
    known = state["bias_cycles"][: len(units.names)] > 0
    assert np.mean(state["bias_bias"][: len(known)][known]) == pytest.approx(0.0, abs=1e-5)
    # Nothing is learned of those that are withheld.
    observed = store.dataset("observations")
    codes = observed[QUALITY_CONTROL].to_numpy()
    held = np.unique(observed["platform"].to_numpy()[codes == QualityCode.WITHHELD])
    assert held.size
    assert not known[held].any()


def test_biases_survive_an_interruption_bit_for_bit(found):
    (_, whole), (_, interrupted) = found[0].values()
    groups = ("observations", "analysis", "innovations", "state")
    assert groups_digest(whole, groups) == groups_digest(interrupted, groups)


def section(found, heading):
    """The rows of a table of the report, by their first cells."""
    text = found[1].markdown.read_text()
    lines = text[text.index(f"## {heading}\n") :].splitlines()[2:]
    end = lines.index("") if "" in lines else len(lines)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]
    header, _, *rows = cells
    return header, {row[0]: row[1:] for row in rows}


def test_the_report_says_what_the_errors_are_and_what_they_were_stated_to_be(found):
    header, rows = section(found, "Observation errors")
    assert header[3] == "Desroziers [K]"
    stated, used, cycles, training, *_ = rows["drifters"]
    assert float(stated) == pytest.approx(0.08)
    # This method's analysis is not made of its background.
    assert cycles == "-"
    for cell in (used, training.split()[0]):
        assert float(cell) == pytest.approx(reported.ERROR_SD, abs=0.08)
    assert " to " in training


def test_the_report_scores_regions_and_hours_apart(found):
    _, regions = section(found, "Regions")
    assert list(regions) == ["west", "east"]
    _, streams = section(found, "Streams")
    used, held = ([int(row[k]) for row in regions.values()] for k in (0, 5))
    assert sum(used) == int(streams["drifters"][0])
    assert sum(held) == int(streams["drifters"][5])
    _, hours = section(found, "Hours from the analysis")
    assert sum(int(row[0]) for row in hours.values()) == sum(used)
    assert next(iter(hours)).startswith("-5.9")
    for row in (*regions.values(), streams["drifters"]):
        assert 0.5 < float(row[8]) < 2.0
        assert row[10].endswith("%")


def test_forecasts_from_the_analyses_are_scored_by_lead(found):
    _, leads = section(found, "Forecasts from the analyses")
    assert list(leads) == ["analysis", "1 cycle", "2 cycles"]
    _, streams = section(found, "Streams")
    assert leads["analysis"][:3:2] == [streams["drifters"][0], streams["drifters"][4]]
    held = [float(row[6]) for row in leads.values()]
    assert held[0] < held[1]
    assert int(leads["1 cycle"][0]) < int(leads["analysis"][0])
    made, store = found[0]["whole"]
    columns = read_columns(store, made.recipe, 0)
    later = columns.used & (columns.cycle > 0)
    background = np.sqrt(np.mean(columns.innovation[later] ** 2))
    assert float(leads["1 cycle"][2]) == pytest.approx(background, rel=1e-3)


def test_what_only_a_report_says_changes_no_digest_but_is_written_anew(found):
    made, _ = found[0]["whole"]
    other = type(made)(recipe(), made.settings, made.root, made.stores)
    assert other.digest == made.digest
    assert other.recipe.digest == made.recipe.digest
    again = compare([made], made)
    assert not again.new
    quarters = compare([other], other)
    assert quarters.new
    assert "latitude 40 to 41.5, longitude -6 to -4" in quarters.markdown.read_text()


def test_a_recipe_is_written_as_it_was_read():
    values = reported.values()
    plain = validate_recipe(values, "buoys")
    values["observations"][0]["bias"] = "platform"
    word = validate_recipe(values, "buoys")
    assert word.model_dump(mode="json")["streams"][0]["bias"] == "platform"
    assert "bias" not in plain.model_dump(mode="json")["streams"][0]
    carried = recipe().model_dump(mode="json")["streams"][0]["bias"]
    assert carried == {"by": "platform", "memory": "P30D", "sd": 0.5}
    assert yaml.safe_dump(carried)
