"""What a store was made with, kept beside it, and in what another configuration differs."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml

from vardax_core.data.catalogue import recipe_file
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Recipe
from vardax_core.data.schema import Path, names_of
from vardax_core.data.yamlfile import read_yaml
from vardax_core.experiments.settings import (
    ExperimentSettings,
    deciding_values,
    observing_values,
)
from vardax_core.store import ExperimentStore, ForeignExperimentError, Location

NOTE = "recipe"
"""Name of the note. It is no part of the store, whose content it does not change."""
MOST = 5
"""Differences that are told."""
UNKNOWN = "the recipe is another than it was"
"""What is told where an earlier version made the store, which did not keep its recipe."""
LONGEST = 40
"""Letters of a value that are told."""


class Difference(NamedTuple):
    """A value that is another than it was.

    Attributes:
        name: as the writer of the configuration knows it.
        was: when the store was made; None where it was not set.
        now: that of the caller.
    """

    name: str
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.was)} and is {_short(self.now)}"


def keep_recipe(place: Location, digest: str, values: dict[str, Any]) -> None:
    """Write beside a store what it was made with.

    Arguments:
        place: of the store.
        digest: in the record of the store, by which the note is known to be its own.
        values: of the recipe that the digest covers, in JSON types.

    Raises:
        StorageError: the place refuses.
    """
    content = json.dumps({"digest": digest, "recipe": values}, indent=1) + "\n"
    place.write_note(NOTE, content.encode(), expected=place.read_note(NOTE))


def refuse_foreign(
    store: ExperimentStore, digest: str, recipe: Recipe, settings: ExperimentSettings
) -> None:
    """Refuse a store of another configuration, with what differs and what can be done.

    Arguments:
        store: of an experiment.
        digest: of the caller's configuration, which is made of the others.
        recipe, settings: those of the caller.

    Raises:
        ForeignExperimentError: its digest is another.
    """
    place, record = store.location, store.experiment
    got = str(record["digest"])
    if got == digest:
        return
    of_settings = differences(record.get("settings", {}), settings.model_dump(mode="json"))
    of_recipe = changes_of_recipe(place, got, recipe, deciding_values(recipe))
    repair = _repair(place)
    if of_settings and not of_recipe:
        repair = (
            f"Ask for it with the settings that it has; or keep both by another --root DIR; or "
            f"remove the folder {place} and run again"
        )
    raise ForeignExperimentError(
        place,
        str(record["name"]),
        expected=digest,
        got=got,
        changed=told([*of_settings, *of_recipe]) or UNKNOWN,
        repair=repair,
    )


def of_other_recipe(place: Location, digest: str, recipe: Recipe) -> str:
    """Sentences that say how observations are those of another recipe, and what can be done.

    Arguments:
        place: of their store.
        digest: in its record.
        recipe: that of the caller.
    """
    found = changes_of_recipe(place, digest, recipe, observing_values(recipe))
    return f"{told(found) or UNKNOWN}. {_repair(place)}."


def _repair(place: Location) -> str:
    folder = str(place).rpartition("/")[0]
    return (
        "Restore the recipe; or give it another name (`name:` and its folder) or another "
        "--root DIR, and keep what is there; or remove the folder of all that was made with it, "
        f"{folder}, and run again"
    )


def changes_of_recipe(
    place: Location, digest: str, recipe: Recipe, values: dict[str, Any]
) -> list[Difference]:
    """Say in which keys a recipe is another than the one that a store was made with.

    Arguments:
        place: of the store.
        digest: in the record of the store.
        recipe: that of the caller.
        values: of it, as `keep_recipe` takes them.

    Returns:
        Nothing where an earlier version made the store, which kept no recipe.
    """
    try:
        kept = json.loads(place.read_note(NOTE) or b"{}")
    except ValueError:
        kept = {}
    if kept.get("digest") != digest:
        return []
    return differences(kept["recipe"], values, _names(recipe))


def differences(
    was: dict[str, Any], now: dict[str, Any], named: Callable[[Path], str] | None = None
) -> list[Difference]:
    """Say in which values two trees in JSON types differ.

    Arguments:
        was, now: the trees.
        named: the name of a value by its path; by default the path with dots.
    """
    name = named or (lambda path: ".".join(map(str, path)))
    one, other = dict(_leaves(was)), dict(_leaves(now))
    paths = [*one, *(path for path in other if path not in one)]
    return [
        Difference(name(path), one.get(path), other.get(path))
        for path in paths
        if one.get(path) != other.get(path)
    ]


def told(found: list[Difference]) -> str:
    """The first of some differences in a clause, and how many more there are."""
    more = f", and {len(found) - MOST} more" if len(found) > MOST else ""
    return ", ".join(map(str, found[:MOST])) + more


def _names(recipe: Recipe) -> Callable[[Path], str]:
    """How the writer of a recipe names its values; as schema 1 does where its file is not there."""
    try:
        return names_of(read_yaml(recipe_file(recipe.name).read_text(encoding="utf-8")))
    except (RecipeError, OSError, UnicodeDecodeError, yaml.YAMLError):
        return names_of(None)


def _leaves(tree: Any, before: Path = ()) -> Iterator[tuple[Path, Any]]:
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in parts:
        nested = isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(one, dict) for one in value)
        )
        if nested and value:
            yield from _leaves(value, (*before, key))
        else:
            yield (*before, key), value


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
