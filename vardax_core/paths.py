"""What people mean by the paths that they write in variables, options and forms."""

import os
import re
from pathlib import Path

ROOT_VARIABLE = "VARDAX_ROOT"
STORES_VARIABLE = "VARDAX_STORES"
CACHE_VARIABLE = "VARDAX_CACHE_DIR"
DEFAULT_ROOT = ".vardax"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Also what `Path` makes of a URL: it drops the second slash."""


class PathError(ValueError):
    """A text that names no file or folder, or one of a kind that cannot be used there."""


def setting(variable: str) -> str | None:
    """The value of an environment variable; None where it is unset or empty."""
    return os.environ.get(variable, "").strip() or None


def folder_setting(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is unset or empty.

    Raises:
        PathError: it names none on this machine.
    """
    text = setting(variable)
    return None if text is None else local_path(text, variable)


def folder_settings(variable: str) -> list[Path]:
    """The folders that an environment variable names, parted as in PATH; none where it is unset.

    Raises:
        PathError: one is none on this machine.
    """
    text = setting(variable)
    parts = [] if text is None else [text] if "://" in text else text.split(os.pathsep)
    return [local_path(part, variable) for part in parts if part.strip()]


def home() -> Path:
    """The folder with `flows`, `datasets` and `deployments`: the checkout, or where an installed
    vardax keeps them."""
    package = Path(__file__).resolve().parent
    installed = package / "home"
    return installed if installed.is_dir() else package.parent


def is_url(text: str | Path) -> bool:
    """Whether a text is a URL and not a path."""
    return _URL.match(str(text)) is not None


def local_path(text: str | Path, what: str) -> Path:
    """The file or folder of this machine that a text names; `~` and `~user` are home folders.

    Arguments:
        text: as it was written.
        what: the option, variable or field that it stands in, for the message.

    Raises:
        PathError: it is empty, a URL, or the home of nobody.
    """
    written = str(text).strip()
    if not written or "\0" in written:
        raise PathError(f"{what}: expected a path on this machine, got {written!r}; name one.")
    if is_url(written):
        raise PathError(
            f"{what}: expected a path on this machine, got the URL {written!r}; name a folder. "
            "Stores alone may lie elsewhere: VARDAX_STORES=s3://bucket/prefix."
        )
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise PathError(
            f"{what}: there is no home folder for {written!r} ({error}); write the whole path."
        ) from error


def path_or_url(text: str | Path, what: str) -> str:
    """A URL as it stands, or the path that a text names; see `local_path`.

    Raises:
        PathError: it is neither.
    """
    written = str(text).strip()
    if "://" in written:
        return written
    return str(local_path(written, what))


def default_root() -> Path:
    """The folder of all runs: the variable VARDAX_ROOT, or `.vardax` where one stands.

    Raises:
        PathError: the variable names no folder of this machine.
    """
    return folder_setting(ROOT_VARIABLE) or Path(DEFAULT_ROOT)


def default_stores() -> str | None:
    """Where stores are kept: the variable VARDAX_STORES, or None for below the root.

    Raises:
        PathError: the variable names no place.
    """
    named = setting(STORES_VARIABLE)
    return None if named is None else path_or_url(named, STORES_VARIABLE)


def default_cache_dir() -> Path:
    """The folder of what can be made or fetched again: VARDAX_CACHE_DIR, or `~/.cache/vardax`.

    Raises:
        PathError: the variable names no folder of this machine.
    """
    return folder_setting(CACHE_VARIABLE) or Path.home() / ".cache/vardax"
