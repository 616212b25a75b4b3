"""YAML as people mean it, and nothing that two versions of the language read differently."""

import datetime
import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import ROOT
from vardax_core.data import RecipeError, load_recipe, read_recipe
from vardax_core.data.yamlfile import read_yaml, write_yaml

TEXT = (ROOT / "datasets/era5-t2m-uk/recipe.yaml").read_text()
FILES = sorted([*ROOT.glob("datasets/*/recipe.yaml"), *ROOT.glob("deployments/*.yaml")])

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
    | st.datetimes().map(datetime.datetime.isoformat),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abyn", min_size=1), inner),
    max_leaves=8,
)


@given(values)
@example("08")
@example("0E0")
@example({"station": "017", "on": ["12:30", "1_000", "=", "<<", "", "null", ".nan"]})
def test_what_is_written_is_read_back(value):
    assert read_yaml(write_yaml(value)) == value


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["", "-", "+"]))
def test_no_number_is_read_in_another_base_than_ten(number, zeros, sign):
    written = f"{sign}{'0' * zeros}{number}"
    with pytest.raises(yaml.YAMLError, match=re.escape(written) + " is a number"):
        read_yaml(f"a: [1, {written}]")
    assert read_yaml(f"a: '{written}'") == {"a": written}
    assert read_yaml(f"!!int '{written}'") == int(written)


SURPRISES = "yes No ON off 12:30 1:30:00 00:30 1_000 0b101 0o17 017 08 0_1 0x_1 1_0.5 00.5 ="


@pytest.mark.parametrize("written", SURPRISES.split())
def test_what_two_versions_of_the_language_read_differently_is_refused_with_its_place(written):
    with pytest.raises(yaml.YAMLError, match=r"(?s)in quotes.*line 2, column 4") as caught:
        read_yaml(f"a: 1\nb: {written}")
    assert f"{written} is " in str(caught.value)
    assert read_yaml(f"b: '{written}'") == {"b": written}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0), ("-7", -7), ("20", 20), ("0x1F", 31), ("1e-3", 1e-3), (".5", 0.5), ("1.", 1.0),
        ("true", True), ("False", False), ("~", None), ("", None), ("3h", "3h"), ("y", "y"),
        ("n", "n"), ("2019-03-01", "2019-03-01"), ("2019-03-01T00:00:00Z", "2019-03-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_the_core_schema(written, meant):
    found = read_yaml(f"a: {written}")["a"]
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is given twice, first in line 1; keep one.*line 3"),
        ("s:\n  a: 1\n  'a': 1\n", "'a' is given twice, first in line 2.*line 3"),
        ("[{a: 1, a: 1}]", "'a' is given twice"),
        ("!!python/object/apply:os.getcwd []", "is not understood; leave it out.*line 1"),
        ("a: !mine 1", "'?!mine'?. is not understood"),
        ("[" * 10_000, "nested deeper than 50"),
        ("a: 1\n---\nb: 1\n", "single document"),
        ("1" * 5000, "not a whole number"),
    ],
)
def test_what_is_no_plain_document_is_refused_with_its_line(text, told):
    with pytest.raises(yaml.YAMLError, match=f"(?s){told}"):
        read_yaml(text)


def test_a_merged_key_may_be_overridden():
    assert read_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name + "-" + path.name)
def test_every_file_of_the_project_can_be_read(path):
    assert isinstance(read_yaml(path.read_text()), dict)


def test_no_other_loader_reads_yaml():
    sources = [*ROOT.glob("vardax_core/**/*.py"), *ROOT.glob("flows/**/*.py")]
    found = {p.name for p in sources if re.search(r"yaml\.\w*(load\w*\(|Loader)", p.read_text())}
    assert found == {"yamlfile.py"}
    assert "yaml.SafeLoader" in (ROOT / "vardax_core" / "data" / "yamlfile.py").read_text()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("  error_sd: 0.5", "  error_sd: 0.5\n  error_sd: 5.0", "'error_sd' is given twice"),
        ("count: 81", "count: 081", "081 is a number"),
        ("screening:\n", "screening:\n  blacklist: [003, 010, 011, 08]\n", "003 is a number"),
        ("cycle_interval: 3h", "cycle_interval: 3:00", "3:00 is a number in base sixty"),
        ("beside: true", "beside: yes", "yes is a truth value in one version"),
        ("burn_in: 0", "burn_in: true", "burn_in: expected a number, got the truth value True"),
        ("start: 2019-03-21T00:00:00Z", "start: 20190321", "got the number 20190321"),
        ("start: 2019-03-21T00:00:00Z", "start: '20190321'", "got the number 20190321"),
    ],
)
def test_a_recipe_that_could_be_misread_is_refused(before, after, told, tmp_path):
    assert before in TEXT
    path = tmp_path / "era5-t2m-uk" / "recipe.yaml"
    path.parent.mkdir()
    path.write_text(TEXT.replace(before, after))
    with pytest.raises(RecipeError, match=told):
        read_recipe(path)


def test_quoted_numbers_and_plain_days_are_understood(tmp_path):
    path = tmp_path / "era5-t2m-uk" / "recipe.yaml"
    path.parent.mkdir()
    path.write_text(TEXT.replace("count: 81", "count: '081'").replace("T00:00:00Z", ""))
    assert read_recipe(path) == load_recipe("era5-t2m-uk")
