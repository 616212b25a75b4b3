"""What the commands of `vardax` share: options, checked parameters, errors and exit codes."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.answers import Failed
from flows.environment import chosen_root, configure, require_server
from flows.terminal import answer, errors, say
from vardax_core.paths import ROOT_VARIABLE

Root = Annotated[
    str | None,
    typer.Option("--root", help="Folder of models, stores and reports [VARDAX_ROOT or .vardax]."),
]
INSTANTS = ["%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
Until = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        help="Last analysis time, UTC [end of the period].",
        formats=INSTANTS,
    ),
]
StoreName = Annotated[
    str,
    typer.Argument(
        help="Data set, DATASET/METHOD, or the folder or s3:// URL of an experiment's store."
    ),
]
Override = Annotated[
    str | None,
    typer.Option("--override", help="Go on although a gate fails; say why, it is kept."),
]


DISK_REFUSES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
WRONG_PATHS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
OPTIONS = {
    "dataset": "DATASET",
    "station_draw": "--draw",
    "station_draws": "--draws",
    "source_path": "--source",
    "training_steps": "--steps",
}
"""Options whose names are not those of their fields."""


class OptionError(ValueError):
    """An option with a value that it cannot have."""


class ExitCode(IntEnum):
    """What a scheduler is told."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    BUSY = 3
    STORAGE = 4
    ALERT = 5
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the library's errors into one readable message and an exit code."""
    from pydantic import ValidationError

    from vardax_core.store import StorageError, StoreBusyError
    from vardax_core.words import faults_of

    try:
        yield
    except StoreBusyError as error:
        fail(error, ExitCode.BUSY)
    except StorageError as error:
        fail(error, ExitCode.WRONG_INPUT if error.errno in WRONG_PATHS else ExitCode.STORAGE)
    except ValidationError as error:
        fail(OptionError("\n".join(faults_of(error, _option))), ExitCode.WRONG_INPUT)
    except (ValueError, FileNotFoundError) as error:
        fail(error, ExitCode.WRONG_INPUT)
    except OSError as error:
        if error.errno not in DISK_REFUSES | WRONG_PATHS:
            raise
        wrong = error.errno in WRONG_PATHS
        fail(error, ExitCode.WRONG_INPUT if wrong else ExitCode.STORAGE)


def _option(field: tuple[int | str, ...]) -> str:
    if not field:
        return ""
    name = str(field[0])
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


def fail(error: Exception, code: ExitCode) -> NoReturn:
    errors.print(f"[bold red]{type(error).__name__}[/]: ", end="")
    errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
    answer(Failed(error=type(error).__name__, message=str(error), exit_code=code))
    raise typer.Exit(code)


def called(flow: Callable[..., Any], *arguments: Any) -> Any:
    """What a flow ended with; Prefect is imported with it, after `prepare`.

    Raises:
        ServerError: `PREFECT_API_URL` names a server that does not take calls.
    """
    from flows import naming

    require_server()

    return naming.called(flow, *arguments)


class StoppedError(RuntimeError):
    """A command that was told to stop."""


class _Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt it is no error of what runs."""


@contextmanager
def stoppable() -> Iterator[None]:
    """End a command that is stopped by Ctrl-C or SIGTERM in a sentence, with an exit code.

    Prefect, which takes SIGTERM during a flow, hands it on to the handler that is put up here.
    """

    def stop(number: int, frame: object) -> None:
        raise _Terminated

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    except BaseException as error:
        code = _stopped_by(error)
        if code is None:
            raise
        by = "SIGTERM" if code == ExitCode.TERMINATED else "Ctrl-C"
        said = f"stopped by {by}. What was committed is kept; run the same command again to go on."
        fail(StoppedError(said), code)
    finally:
        if in_main:
            # None is a handler that Python did not put up and cannot put back.
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _stopped_by(error: BaseException) -> ExitCode | None:
    """The exit code of a command that was told to stop, None for one that failed.

    The embedded server is often stopped first: then the error is that it does not answer, which
    came while the stop was handled.
    """
    terminated: tuple[type[BaseException], ...] = (_Terminated,)
    if "prefect" in sys.modules:
        from prefect.exceptions import TerminationSignal

        terminated = (_Terminated, TerminationSignal)
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, terminated):
            return ExitCode.TERMINATED
        if isinstance(seen, KeyboardInterrupt):
            return ExitCode.INTERRUPTED
        seen = seen.__cause__ or seen.__context__
    return None


def place_of_root(option: str | None) -> Path:
    """The folder of all runs; a command ends here if the option names none."""
    with exit_codes():
        return chosen_root(option)


def writable_root(option: str | None) -> Path:
    """The folder of all runs, made where it is not there; a command ends here if it cannot be
    written."""
    root = place_of_root(option)
    what = "--root" if option is not None else f"{ROOT_VARIABLE}, the folder of all runs"
    why, number = "it cannot be written", errno.EACCES
    try:
        root.mkdir(parents=True, exist_ok=True)
        if os.access(root, os.W_OK | os.X_OK):
            return root
    except FileExistsError:
        why, number = os.strerror(errno.ENOTDIR), errno.ENOTDIR
    except OSError as error:
        why, number = error.strerror or str(error), error.errno or 0
    said = f"{what}: expected a folder that can be written, got {root} ({why}); name another."
    fail(OptionError(said), ExitCode.STORAGE if number in DISK_REFUSES else ExitCode.WRONG_INPUT)


def prepare(root: str | None, verbose: bool) -> Path:
    """Set up Prefect before it is imported; returns the root."""
    with exit_codes():
        chosen = writable_root(root)
        configure(chosen)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")
    return chosen


def checked_target(parameters, until: datetime | None):
    """The checked target of a run, before anything is made for it."""
    from flows.parameters import TargetParameters

    target = TargetParameters(until=until)
    target.check(parameters.recipe())
    return target


def checked_reason(override: str | None) -> str | None:
    """The reason of an override, if there is one.

    Raises:
        OptionError: it says nothing.
    """
    if override is not None and not override.strip():
        raise OptionError("--override: expected a reason, got none; say why in words.")
    return override


def parts_of(text: str, option: str) -> list[str]:
    """The values of an option that takes several by commas.

    Raises:
        OptionError: there is none.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise OptionError(f"{option}: expected values by commas, got {text!r}.")
    return found


def held_since(parameters) -> str | None:
    """Why an experiment is held, or None; says so, and what lets it go on."""
    from vardax_core.store.hold import held

    found = held(parameters.experiment().store_location)
    if found is not None:
        say(f"{found}; `vardax release` lets it go on")
    return None if found is None else str(found)
