"""What a check says of a recipe: everything that is in the files, and what is wrong with them."""

import re

import numpy as np
import pytest

from tests.data.station_files import START, write_fields, write_stations
from tests.experiments import reported
from vardax_core.calibration.plots.found import DayCounts, FoundMap, counts_by_day, found_map
from vardax_core.calibration.report import markdown_with_embedded_pictures
from vardax_core.data import RecipeError, load_recipe, read_recipe
from vardax_core.data.drafts.write import write_draft
from vardax_core.experiments.checkup import NotReadyError, check_up
from vardax_core.state.grids import LatLon


@pytest.fixture(scope="module")
def buoys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buoys")
    reported.write_all(folder)
    return folder


def said(checkup):
    return "\n".join(line for section in checkup.sections for line in section.lines)


def outcomes(checkup, stream):
    (section,) = (one for one in checkup.sections if one.title == f"stream '{stream}'")
    return {what: (int(count), done) for what, count, done in section.rows}


def test_everything_in_the_files_is_counted(buoys, tmp_path):
    found = check_up(reported.recipe(), tmp_path, buoys / "data")
    found.require_ready()
    counts = outcomes(found, "drifters")
    rows = 48 * 2 * reported.DAYS
    assert sum(count for count, _ in counts.values()) == rows
    assert 0.1 < counts["withheld"][0] / rows < 0.35
    assert "no analysis sees them" in counts["withheld"][1]
    assert counts["without a value"][1] == "left out"
    text = said(found)
    assert "14 cycles from 2019-03-03T12:00 to 2019-03-16T12:00, every 24 h" in text
    assert "7 x 9 points" in text
    assert "prior: 30 fields every 24 h, 2018-03-01T12:00 to 2018-03-30T12:00" in text
    assert "values are converted from degC to K" in text
    (days,) = (one for one in found.sections if one.title.startswith("used and withheld by"))
    total = sum(int(row[1]) for row in days.rows)
    assert total == counts["used"][0] + counts["withheld"][0]
    assert [picture.name for picture in found.pictures] == ["map.png", "days.png", "values.png"]
    for picture in found.pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 8_000
    page = markdown_with_embedded_pictures(found.page)
    assert page.count("data:image/png;base64") == 3
    assert "can be run" in page


def stations(folder, edit=lambda rows: rows, **options):
    """A recipe drafted from good files, whose observations are then spoilt."""
    path = folder / "data" / "stations.csv"
    write_stations(path, days=4)
    write_fields(folder / "data" / "maps.nc")
    made = write_draft(
        "spoilt",
        ["stations.csv"],
        prior="maps.nc",
        data_dir=folder / "data",
        datasets=folder / "datasets",
    )
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *edit(rows)]) + "\n")
    recipe = made.folder / "recipe.yaml"
    for old, new in options.items():
        text = recipe.read_text()
        assert re.search(rf"{old}: .*", text)
        recipe.write_text(re.sub(rf"\b{old}: [^,\n}}]*", f"{old}: {new}", text, count=1))
    return check_up(read_recipe(recipe), folder / "root", folder / "data")


def cells(row, **changes):
    named = dict(zip(("station", "time", "lat", "lon", "temp"), row.split(","), strict=True))
    return ",".join((named | changes).values())


def swapped(row):
    station, time, lat, lon, temp = row.split(",")
    return ",".join((station, time, lon, lat, temp))


def fahrenheit(row):
    value = float(row.split(",")[-1])
    return cells(row, temp=f"{1.8 * value + 32:.2f}")


FAULTS = {
    "out of bounds": (
        lambda rows: [cells(rows[40], temp="999"), *rows],
        "out of bounds", "kept with a mark, not used", None,
    ),
    "outside": (
        lambda rows: [cells(rows[40], station="X", lat="20.0"), *rows],
        "outside of the grid", "kept with a mark, not used", None,
    ),
    "land": (
        lambda rows: [cells(rows[40], station="X", lat="50.1", lon="-9.9"), *rows],
        "on land or among masked points", "kept with a mark, not used", None,
    ),
    "twice": (lambda rows: [rows[40], *rows], "that repeat others", "taken once", None),
    "text": (
        lambda rows: [cells(rows[40], temp="warm"), *rows[:40], *rows[41:]],
        "with text where a number is expected", "left out", None,
    ),
    "odd hour": (
        lambda rows: [cells(rows[40], station="X", time="2020-06-02T03:17:00Z"), *rows],
        None, None, "times at odd hours: 1 of",
    ),
    "gap": (
        lambda rows: [r for r in rows if not "2020-06-02T04" < r.split(",")[1] < "2020-06-02T20"],
        None, None, "no observation from 2020-06-02T03:00 to 2020-06-02T20:00",
    ),
    "day": (
        lambda rows: [row for row in rows if "2020-06-02" not in row],
        None, None, r"days without an observation: 1 of 4 (2020-06-02)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_of_some_rows_is_named_and_the_rest_can_be_run(fault, tmp_path):
    edit, reason, done, sentence = FAULTS[fault]
    found = stations(tmp_path, edit)
    found.require_ready()
    if reason is not None:
        assert outcomes(found, "stations")[reason] == (1, done)
        assert "stations.csv row 1" in said(found)
    else:
        assert sentence in said(found)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda rows: [swapped(row) for row in rows], "latitude and longitude look swapped"),
        (lambda rows: [row.replace("2020-", "2010-") for row in rows], "of another period"),
        (lambda rows: [], "none can be used|empty|no row"),
        (lambda rows: [cells(row, temp="") for row in rows], "none can be used"),
    ],
    ids=["swapped", "period", "empty", "blank"],
)
def test_a_fault_of_all_rows_keeps_a_recipe_from_being_run(edit, expected, tmp_path):
    found = stations(tmp_path, edit)
    with pytest.raises(NotReadyError, match="spoilt cannot be run yet") as refused:
        found.require_ready()
    assert re.search(expected, f"{refused.value}\n{said(found)}")
    assert "cannot be run yet" in found.page.read_text()


def test_wrong_units_are_seen_by_the_bounds(tmp_path):
    found = stations(tmp_path, lambda rows: [fahrenheit(row) for row in rows], units="K")
    assert "correct" in said(found) + "".join(found.faults)


def test_a_file_that_is_gone_is_named(tmp_path):
    stations(tmp_path)
    recipe = read_recipe(tmp_path / "datasets" / "spoilt" / "recipe.yaml")
    (tmp_path / "data" / "stations.csv").unlink()
    found = check_up(recipe, tmp_path / "root", tmp_path / "data")
    assert any("stations.csv" in fault for fault in found.faults)
    assert not list((tmp_path / "root" / "checks" / "spoilt").glob("*.png"))
    (tmp_path / "data" / "maps.nc").unlink()
    found = check_up(recipe, tmp_path / "root", tmp_path / "data")
    assert any("maps.nc" in fault for fault in found.faults)
    with pytest.raises(RecipeError, match=r"maps\.nc"):
        found.require_ready()


def test_a_reject_list_that_cannot_be_read_is_a_fault(tmp_path, monkeypatch):
    """Which the first cycle would be told of otherwise."""
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))
    assert stations(tmp_path).faults == ()
    entry = "- platform: a\n  from: 2019-03-01T00:00Z\n  decided_by: me\n"
    (tmp_path / "datasets" / "spoilt" / "rejected.yaml").write_text(entry)
    recipe = read_recipe(tmp_path / "datasets" / "spoilt" / "recipe.yaml")
    (fault,) = check_up(recipe, tmp_path / "root", tmp_path / "data").faults
    assert "rejected.yaml" in fault
    assert "reason" in fault


def test_a_simulation_is_said_in_a_sentence_with_a_map_of_its_stations(tmp_path):
    found = check_up(load_recipe("lorenz96"), tmp_path)
    found.require_ready()
    assert "observations are simulated: a run of the model lorenz96" in said(found)
    assert "40 stations on 40 points" in said(found)
    assert [picture.name for picture in found.pictures] == ["map.png"]


def test_a_map_marks_used_withheld_and_unused_places_each_once():
    grid = LatLon.from_degrees(np.arange(0.0, 5.0), np.arange(178.0, 184.0))
    places = np.array([[1.0, 179.5], [1.0, 179.5], [2.0, -178.0], [3.0, 180.0]])
    panel = FoundMap(
        grid=grid,
        mask=None,
        places=places,
        values=np.array([1.0, 3.0, 5.0, 70.0]),
        withheld=np.array([False, False, True, False]),
        unused=np.array([False, False, False, True]),
        title="made",
    )
    (axes, *_) = found_map(panel).axes
    drawn = {scatter.get_label().split(" (")[0]: scatter for scatter in axes.collections}
    offsets = {name: drawn[name].get_offsets() for name in ("used", "withheld", "not used")}
    np.testing.assert_allclose(offsets["used"], [[179.5, 1.0]])
    np.testing.assert_allclose(drawn["used"].get_array(), [2.0])
    np.testing.assert_allclose(offsets["withheld"], [[182.0, 2.0]])
    np.testing.assert_allclose(offsets["not used"], [[180.0, 3.0]])


def test_bars_of_a_day_stand_on_each_other():
    days = START.astype("datetime64[D]") + np.arange(3)
    counts = DayCounts("made", days, np.array([3, 0, 2]), np.array([1, 0, 1]), np.array([0, 0, 4]))
    (axes,) = counts_by_day([counts]).axes
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert tops == [3, 0, 2, 4, 0, 3, 4, 0, 7]
