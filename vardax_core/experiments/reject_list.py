"""Entries of a reject list that are added and taken off, one decision at a time."""

import pathlib

import yaml

from vardax_core.data.catalogue import recipe_file
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Recipe
from vardax_core.data.rejected import FILE, Rejection, read_rejected
from vardax_core.data.yamlfile import read_yaml, write_yaml
from vardax_core.experiments.store_layout import STATION
from vardax_core.store import ExperimentStore
from vardax_core.store.experiment import OBSERVATIONS
from vardax_core.store.files import replace_file, writer_lock
from vardax_core.words import did_you_mean

WAIT = 10.0
"""Seconds to wait for another process that changes the same list."""


def decide(
    recipe: Recipe, store: ExperimentStore, entry: Rejection, *, lift: bool = False
) -> tuple[Rejection, ...]:
    """Add an entry to the reject list beside a recipe, or take it off.

    An entry with the same platform, stream and first time is replaced, so that its end or its
    reason can be changed. Where nothing is replaced or taken off, comments in the file stay.

    Arguments:
        recipe: of the observations; the list lies beside its file.
        store: of any experiment on them.
        entry: the decision; `lift` looks at its platform, stream and first time alone.
        lift: whether the entry is taken off.

    Returns:
        The list as it is now.

    Raises:
        RecipeError: the list has a fault, no observation has this name, there is no such entry
            to take off, or the file cannot be written.
        StoreBusyError: another process is changing the list.
    """
    _refuse_unknown(recipe, store, entry)
    path = recipe_file(recipe.name).with_name(FILE)
    with writer_lock(path, WAIT):
        before = read_rejected(path)
        others = tuple(one for one in before if _place(one) != _place(entry))
        if lift and others == before:
            listed = "\n".join(f"  {one.words}" for one in before) or "  nothing"
            raise RecipeError(
                f"{path}: expected an entry of {_named(entry)} from {entry.since.isoformat()} to "
                f"take off, but it lists\n{listed}\nName one of these as it is written."
            )
        after = others if lift else (*others, entry)
        if after != before:
            replace_file(path, _text(path, before, after).encode())
    return after


def _refuse_unknown(recipe: Recipe, store: ExperimentStore, entry: Rejection) -> None:
    if recipe.reported:
        known = tuple(str(name) for name in store.arrays("platforms").get("name", ()))
    else:
        known = tuple(map(str, range(store.observations.dataset(OBSERVATIONS).sizes[STATION])))
    if any(entry.names(name) for name in known):
        return
    streams = sorted({name.rpartition("/")[0] for name in known} - {""})
    wanted, words = entry.platform, known
    if entry.platform is None or (entry.stream is not None and entry.stream not in streams):
        wanted, words = str(entry.stream), tuple(streams)
    offered = ", ".join(words[:10]) + (", …" if len(words) > 10 else "")
    raise RecipeError(
        f"reject list of {recipe.name}: no observation is of {_named(entry)}; there are "
        f"{offered or 'none'}{did_you_mean(str(wanted), words)} Choose a name that ingest has seen."
    )


def _named(entry: Rejection) -> str:
    parts = {"platform": entry.platform, "stream": entry.stream}
    return " of ".join(f"{kind} {name!r}" for kind, name in parts.items() if name is not None)


def _place(entry: Rejection) -> tuple[object, ...]:
    return entry.platform, entry.stream, entry.since


def _text(path: pathlib.Path, before: tuple[Rejection, ...], after: tuple[Rejection, ...]) -> str:
    """The file as it is with what is new at its end, or written anew where that is not the list."""
    if before and after[: len(before)] == before:
        longer = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
        longer += _written(after[len(before) :])
        try:
            values = read_yaml(longer)
            if tuple(map(Rejection.model_validate, values)) == after:
                return longer
        except (yaml.YAMLError, ValueError, TypeError):
            pass
    return _written(after)


def _written(entries: tuple[Rejection, ...]) -> str:
    values = [
        {("from" if key == "since" else key): value for key, value in said.items()}
        for said in (entry.model_dump(mode="json", exclude_none=True) for entry in entries)
    ]
    return write_yaml(values)
