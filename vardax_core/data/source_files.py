"""The files that the observations of a recipe come from, and whether they changed."""

import pathlib
from collections.abc import Collection, Sequence

import numpy as np

from vardax_core.data.errors import SourceError
from vardax_core.data.recipe import Recipe
from vardax_core.data.state_frame import data_folders
from vardax_core.data.streams.files import find_files, identity_of
from vardax_core.data.streams.read import read_stream
from vardax_core.data.streams.sections import Stream
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.data.truth_sources import FileSource
from vardax_core.paths import is_url

Identities = dict[str, tuple[int, ...]]
"""What changes when a file is replaced or written to, by the name of the file."""


def source_files(recipe: Recipe, path: str | pathlib.Path | None = None) -> Identities | None:
    """The files that observations come from; None where nothing says whether they changed.

    Arguments:
        path: what is read in place of the recipe's file.

    Raises:
        SourceError: a stream has no files.
    """
    folders = data_folders()
    if recipe.streams is not None:
        found = {
            f"{stream.name}/{file.name}": file.identity
            for stream in recipe.streams
            for file in find_files(stream.source.files, folders)
        }
        for section in (recipe.prior, recipe.forecast_files):
            if section is not None:
                found |= {f.name: f.identity for f in find_files(section.files, folders)}
        return found
    if path is not None:
        return None if is_url(str(path)) else {str(path): identity_of(pathlib.Path(path))}
    if not isinstance(recipe.source, FileSource):
        return {}
    there = [folder / file.name for folder in folders for file in recipe.source.files]
    return {str(p): identity_of(p) for p in there if p.is_file()} or None


def first_time_in(
    recipe: Recipe, names: Collection[str], *, known: Collection[str], start: int, end: int
) -> int:
    """The first time of an observation in some files of a recipe's streams, within a period.

    Arguments:
        names: of the files, as `source_files` gives them.
        known: all names there are.
        start, end: of the period, minutes since `MINUTES_EPOCH`.

    Returns:
        Minutes; `start` where the files themselves cannot tell, `end` where they have none.
    """
    first, others = end, set(names)
    for stream in recipe.streams or ():
        prefix = f"{stream.name}/"
        mine = sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))
        others -= {prefix + name for name in mine}
        if not mine:
            continue
        if len(mine) == sum(name.startswith(prefix) for name in known):
            return start
        try:
            times = _times_of(recipe, stream, mine, start, end)
        except SourceError:
            return start
        if times.size:
            first = min(first, int(to_minutes(times.min()[None])[0]))
    return start if others else max(start, first)


def _times_of(
    recipe: Recipe, stream: Stream, names: Sequence[str], start: int, end: int
) -> np.ndarray:
    files = tuple(StreamFile(name=name) for name in names)
    source = stream.source.model_copy(update={"files": files})
    variable = recipe.variable_of_stream(stream)
    first, last = from_minutes(np.array([start, end]))
    found = read_stream(
        stream.model_copy(update={"source": source}),
        dims=recipe.state_dims,
        units=variable.units,
        bounds=(variable.valid_min, variable.valid_max),
        start=first,
        end=last,
        folders=data_folders(),
    )
    return np.concatenate([found.records.time, found.superseded.time])
