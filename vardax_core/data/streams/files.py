"""The files of a stream: found below the folders of data, verified, and unchanged while read."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vardax_core.data.errors import (
    ChecksumError,
    SourceFormatError,
    SourceNotFoundError,
    SourceReplacedError,
)
from vardax_core.data.places import sha256_of
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.words import did_you_mean

_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
"""Any of which is in a zarr store."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of a stream.

    Attributes:
        name: below its folder.
        path: where it is.
        suffix: without that of a compression.
        modified: last modification (UTC), datetime64[ns].
        identity: changes when the file is replaced or written to.
    """

    name: str
    path: pathlib.Path
    suffix: str
    modified: np.datetime64
    identity: tuple[int, ...]

    def check_unchanged(self) -> None:
        """Refuse what was read of a file that changed meanwhile.

        Raises:
            SourceReplacedError: it was replaced or written to since it was found.
        """
        if identity_of(self.path) != self.identity:
            raise SourceReplacedError(
                f"{self.name}: the file was replaced or written to while it was read; nothing was "
                "taken from it. Run again when it is complete."
            )


def find_files(files: Sequence[StreamFile], folders: Sequence[pathlib.Path]) -> list[Found]:
    """Find the files of a stream.

    A name that is in several folders is taken from the first of them.

    Arguments:
        files: names and patterns.
        folders: are searched in their order.

    Returns:
        In alphabetical order of their names, each once. Hidden files and those of which the name
        ends in `.part`, `.tmp` or `~` are taken for unfinished ones and left out of patterns, and
        so are folders but for `.zarr`.

    Raises:
        SourceNotFoundError: there is none at all, or not one that is given by name.
        SourceFormatError: one that is given by name is a folder, and no zarr store.
        ChecksumError: a file has another content than the recipe says.
    """
    found: dict[str, pathlib.Path] = {}
    for file in files:
        matches: dict[str, pathlib.Path] = {}
        for folder in folders:
            exact = folder / file.name
            fitting = [exact] if exact.exists() else sorted(folder.glob(file.name))
            for path in fitting:
                if not file.is_pattern:
                    _refuse_folder(path, file.name)
                if not (file.is_pattern and _is_passed_over(path)):
                    matches.setdefault(path.relative_to(folder).as_posix(), path)
        if not matches and not file.is_pattern:
            raise SourceNotFoundError(_nowhere(file.name, folders))
        if file.sha256 is not None:
            for name, path in matches.items():
                _verify(name, path, file.sha256)
        found |= {name: path for name, path in matches.items() if name not in found}
    if not found:
        raise SourceNotFoundError(
            f"No file fits {[file.name for file in files]} below "
            f"{[str(folder) for folder in folders]}; correct source.files, or put the files there."
        )
    return [_found(name, path) for name, path in sorted(found.items())]


def _found(name: str, path: pathlib.Path) -> Found:
    pure = pathlib.PurePosixPath(name)
    suffix = (pure.with_suffix("") if pure.suffix == ".gz" else pure).suffix.lower()
    identity = identity_of(path)
    return Found(name, path, suffix, np.datetime64(identity[-1], "ns"), identity)


def identity_of(path: pathlib.Path) -> tuple[int, ...]:
    """Inode, size and time of modification; of a directory those of its newest entry."""
    files = [path]
    if path.is_dir():
        files += [pathlib.Path(at, name) for at, _, names in os.walk(path) for name in names]
    try:
        stats = [file.stat() for file in files]
    except OSError:
        return (-1, 0, 0)
    size = sum(stat.st_size for stat in stats)
    return stats[0].st_ino, size, max(stat.st_mtime_ns for stat in stats)


def _is_passed_over(path: pathlib.Path) -> bool:
    """Whether a pattern does not mean it: unfinished files, and folders but for zarr."""
    unfinished = path.name.startswith(".") or path.name.endswith((".part", ".tmp", "~"))
    return unfinished or (path.is_dir() and path.suffix.lower() != ".zarr")


def _refuse_folder(path: pathlib.Path, name: str) -> None:
    if not path.is_dir() or path.suffix.lower() == ".zarr":
        return
    inside = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    if any((path / mark).exists() for mark in _ZARR):
        return
    suffixes = [one.suffix for one in inside if one.is_file() and one.suffix]
    usual = max(suffixes, key=suffixes.count, default=".nc")
    raise SourceFormatError(
        f"{name} is a folder, expected a file, a zarr store or a pattern of files; write "
        f"{name}/*{usual}."
    )


def _verify(name: str, path: pathlib.Path, expected: str) -> None:
    if path.is_dir():
        raise ChecksumError(f"{name}: a directory has no SHA-256; leave sha256 out.")
    got = sha256_of(path)
    if got != expected:
        raise ChecksumError(
            f"{name}: expected SHA-256 {expected}, got {got}. The file is damaged or another one; "
            "fetch it again, or correct sha256 if it is meant."
        )


def _nowhere(name: str, folders: Sequence[pathlib.Path]) -> str:
    beside = [
        path.name
        for folder in folders
        if (folder / name).parent.is_dir()
        for path in (folder / name).parent.iterdir()
    ]
    places = "\n".join(f"  {folder / name}" for folder in folders)
    near = did_you_mean(pathlib.PurePosixPath(name).name, beside)
    return (
        f"The file '{name}' is in none of the folders of data{near} Searched:\n{places}\n"
        "Put it there, or export VARDAX_DATA_DIR=/path/to/the/folder."
    )
