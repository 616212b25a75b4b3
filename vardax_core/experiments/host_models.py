"""Models that run outside of vardax: a command over NetCDF files, or a Python function."""

import abc
import contextlib
import importlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import xarray as xr

from vardax_core.data.catalogue import recipe_file
from vardax_core.data.errors import RecipeError
from vardax_core.data.host_sections import CallableForecast, CommandForecast
from vardax_core.data.places import sha256_of
from vardax_core.data.recipe import Recipe
from vardax_core.data.state_frame import data_folders
from vardax_core.experiments.host_files import MemberError, read_dataset, write_dataset

LAST_LINES, LAST_LETTERS = 12, 2000
"""Of what a model wrote to stderr."""
_PLACE = re.compile(r"\{(\w+)\}")


class AbstractHost(abc.ABC):
    """Makes the forecast of one member in a folder of its own.

    Attributes:
        parallel: members that run at a time.
        identity: what says which model it is; a forecast of another is not taken for its own.
    """

    parallel: int
    identity: tuple[str, ...]

    @abc.abstractmethod
    def forecast(self, state: xr.Dataset, folder: pathlib.Path) -> xr.Dataset:
        """Run the model.

        Arguments:
            state: with the times as attributes, see `StateForm.dataset`.
            folder: empty.

        Raises:
            MemberError: it failed.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """End what runs."""


class CommandHost(AbstractHost):
    """A command; see `CommandForecast`.

    A word that names a file of the recipe's folder, or of the folders of data, stands for it. The
    folder of this Python comes first in the search path of programs.
    """

    def __init__(self, recipe: Recipe, section: CommandForecast):
        """Find the files of the command.

        Raises:
            RecipeError: there is no such program.
        """
        self.parallel = section.parallel
        self.timeout = section.timeout
        own = str(pathlib.Path(sys.executable).parent)
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join([own, os.environ.get("PATH", os.defpath)]),
        }
        found = [_file_of(word, recipe) for word in section.command]
        self.words = [str(file or word) for word, file in zip(section.command, found, strict=True)]
        if shutil.which(self.words[0], path=self._environment["PATH"]) is None:
            raise RecipeError(
                f"Recipe '{recipe.name}', forecast.command: there is no program "
                f"'{section.command[0]}' that may be run in the recipe's folder, the folders of "
                "data or the search path; name one, or install it."
            )
        files = [sha256_of(file) for file in found if file is not None]
        self.identity = (*section.command, *files)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def forecast(self, state: xr.Dataset, folder: pathlib.Path) -> xr.Dataset:
        given, made = folder / "input.nc", folder / "output.nc"
        write_dataset(state, given)
        places = {
            "input": str(given),
            "output": str(made),
            "member": str(state.attrs["member"]),
            "start": state.attrs["start_time"],
            "target": state.attrs["target_time"],
        }
        words = [self.words[0]]
        words += [_PLACE.sub(lambda found: places[found[1]], word) for word in self.words[1:]]
        self._run(words, folder)
        return read_dataset(made)

    def _run(self, words: Sequence[str], folder: pathlib.Path) -> None:
        errors = folder / "stderr.txt"
        with errors.open("wb") as stderr, (folder / "stdout.txt").open("wb") as stdout:
            with self._lock:
                if self._stopped:
                    raise MemberError("the run was ended")
                try:
                    process = subprocess.Popen(
                        words,
                        cwd=folder,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=stdout,
                        stderr=stderr,
                        start_new_session=True,
                    )
                except OSError as error:
                    raise MemberError(f"'{words[0]}' does not start ({error.strerror})") from error
                self._running.add(process)
            try:
                code = process.wait(None if self.timeout is None else self.timeout.total_seconds())
            except subprocess.TimeoutExpired:
                _kill(process)
                raise MemberError(
                    f"it was stopped after {_words(self.timeout)}", _tail(errors)
                ) from None
            finally:
                with self._lock:
                    self._running.discard(process)
        if code:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
            raise MemberError(f"it {how}", _tail(errors))

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)


class CallableHost(AbstractHost):
    """A Python function, called in this process; see `CallableForecast`."""

    def __init__(self, recipe: Recipe, section: CallableForecast):
        """Import the function.

        Raises:
            RecipeError: there is none.
        """
        self.parallel = section.parallel
        self.identity = (section.entry,)
        module, name = section.entry.split(":")
        try:
            self.function: Any = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise RecipeError(
                f"Recipe '{recipe.name}', forecast.entry: '{section.entry}' cannot be imported "
                f"({type(error).__name__}: {error}); install the package that has it, or correct "
                "the name."
            ) from error
        if not callable(self.function):
            raise RecipeError(
                f"Recipe '{recipe.name}', forecast.entry: '{section.entry}' is no function; name "
                "one."
            )

    def forecast(self, state: xr.Dataset, folder: pathlib.Path) -> xr.Dataset:
        start, end = (
            datetime.fromisoformat(state.attrs[name]) for name in ("start_time", "target_time")
        )
        try:
            made = self.function(state, start, end)
        except Exception as error:
            lines = "".join(traceback.format_exception(error))
            raise MemberError(f"it raised {type(error).__name__}: {error}", _last(lines)) from error
        if not isinstance(made, xr.Dataset):
            raise MemberError(f"it gave {type(made).__name__}, expected an xarray.Dataset")
        return made.load()

    def stop(self) -> None:
        """A function cannot be ended from outside."""


def host_of(recipe: Recipe) -> AbstractHost:
    """Make the host model that a recipe names.

    Raises:
        RecipeError: it cannot be run here.
    """
    if isinstance(recipe.host, CommandForecast):
        return CommandHost(recipe, recipe.host)
    assert isinstance(recipe.host, CallableForecast), "asked for with a host model"
    return CallableHost(recipe, recipe.host)


def _file_of(word: str, recipe: Recipe) -> pathlib.Path | None:
    """Find the file of the recipe's folder or of the folders of data that a word names."""
    folders = list(data_folders())
    with contextlib.suppress(RecipeError):
        folders.insert(0, recipe_file(recipe.name).parent)
    if not word or "{" in word:
        return None
    files = [folder.absolute() / word for folder in folders]
    return next((file for file in files if file.is_file()), None)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 4 * LAST_LETTERS))
        return _last(stream.read().decode(errors="replace"))


def _last(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])[-LAST_LETTERS:]


def _words(duration: timedelta | None) -> str:
    return "no time" if duration is None else f"{duration.total_seconds():g} s"
