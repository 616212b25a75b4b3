"""Decisions written into a reject list: what is refused, what of a file stays, two at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.experiments import small
from vardax_core.data.errors import RecipeError
from vardax_core.data.rejected import Rejection, read_rejected
from vardax_core.experiments.reject_list import decide


@pytest.fixture
def there(tmp_path, observed, monkeypatch):
    """A recipe with a folder of its own, a store with observations, and the place of the list."""
    small.write_recipe(tmp_path / "datasets")
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(tmp_path / "datasets"))
    made = small.experiment_of(tmp_path / "root", "etkf")
    store = small.ingested_store(made, observed)
    return made.recipe, store, tmp_path / "datasets" / "small" / "rejected.yaml"


def entry(platform="3", since="2000-01-04T00:00Z", **more):
    said = {"platform": platform, "from": since, "reason": "fouled", "decided_by": "the desk"}
    return Rejection.model_validate(said | more)


def test_an_entry_is_added_replaced_and_taken_off(there):
    recipe, store, path = there
    first, second = entry(), entry("5", reason="colon: 'quoted' # not a comment")
    assert decide(recipe, store, first) == (first,)
    path.write_text("# asked by the harbour\n" + path.read_text())
    assert decide(recipe, store, second) == (first, second) == read_rejected(path)
    assert path.read_text().startswith("# asked by the harbour")
    ended = entry(until="2000-01-05T00:00Z")
    assert decide(recipe, store, ended) == (second, ended) == read_rejected(path)
    assert decide(recipe, store, ended, lift=True) == (second,) == read_rejected(path)
    with pytest.raises(RecipeError, match=r"expected an entry of platform '3' from [^.]* 5 from"):
        decide(recipe, store, ended, lift=True)
    assert decide(recipe, store, second, lift=True) == () == read_rejected(path)


def test_words_that_look_like_numbers_stay_words(there):
    recipe, store, path = there
    one = entry(reason="08", decided_by="0E0")
    assert decide(recipe, store, one) == (one,) == read_rejected(path)


def test_a_list_in_one_line_is_written_anew(there):
    recipe, store, path = there
    path.write_text('[{platform: "1", from: "2000-01-02T00:00Z", reason: r, decided_by: d}]\n')
    (old,) = read_rejected(path)
    assert decide(recipe, store, entry()) == (old, entry()) == read_rejected(path)


@pytest.mark.parametrize("name", ["999", "../../passwd", "$(touch x)", "3/../4"])
def test_a_name_that_no_observation_has_is_refused_and_writes_nothing(there, name):
    recipe, store, path = there
    with pytest.raises(RecipeError, match="no observation is of platform"):
        decide(recipe, store, entry(name))
    assert not path.exists()
    assert {p.name for p in path.parent.iterdir()} == {"recipe.yaml"}


@pytest.mark.parametrize("field", ["platform", "reason", "decided_by"])
def test_texts_are_single_lines(field):
    with pytest.raises(ValueError, match=field):
        entry(**{field: "one\n- platform: another"})


def test_two_at_once_lose_nothing(there):
    recipe, store, path = there
    entries = [entry(str(number)) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: decide(recipe, store, one), entries))
    assert {*read_rejected(path)} == {*entries}
