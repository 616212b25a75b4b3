"""What the commands of `vardax` share: options, checked parameters, errors and exit codes."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.answers import Failed
from flows.environment import chosen_root, configure, require_server
from flows.terminal import answer, errors, say


def _datasets(incomplete: str) -> list[str]:
    from vardax_core.data.catalogue import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


def _methods(incomplete: str) -> list[str]:
    from vardax_core.methods.registry import registered_methods

    return [name for name in registered_methods() if name.startswith(incomplete)]


Dataset = Annotated[
    str,
    typer.Argument(
        help="Name of a recipe, see `vardax datasets`, or path of a recipe.yaml.",
        autocompletion=_datasets,
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        help="See `vardax methods` [that of highest skill for the data set].",
        autocompletion=_methods,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Setting of the method, such as inflation=1.05; repeat it for several."
    ),
]
Draw = Annotated[
    int | None, typer.Option("--draw", help="Another random draw of the stations.", min=0)
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source", help="Read this file, zarr directory or URL instead of the recipe's file."
    ),
]
Root = Annotated[
    str | None,
    typer.Option("--root", help="Folder of models, stores and reports [VARDAX_ROOT or .vardax]."),
]
Members = Annotated[int | None, typer.Option("--members", help="Ensemble members.", min=2)]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the cycle.", min=0)]
CutOff = Annotated[
    str | None,
    typer.Option("--cut-off", help="Use what arrived so long after an analysis, such as 3h [all]."),
]
Lag = Annotated[
    int, typer.Option("--lag", help="Later analyses a smoothed one waits for [none].", min=0)
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="float32 or float64, of cycle and store; or bfloat16, of the network."
    ),
]
Steps = Annotated[int | None, typer.Option("--steps", help="Gradient steps to train.", min=1)]
INSTANTS = ["%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
Until = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        help="Last analysis time, UTC [end of the period].",
        formats=INSTANTS,
    ),
]
StoreName = Annotated[str, typer.Argument(help="Folder or s3:// URL of an experiment's store.")]
Override = Annotated[
    str | None,
    typer.Option("--override", help="Go on although a gate fails; say why, it is kept."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of every run.")]


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


def fail(error: Exception, code: ExitCode) -> None:
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


def place_of_root(option: str | None) -> Path:
    """The folder of all runs; a command ends here if the option names none."""
    with exit_codes():
        return chosen_root(option)


def prepare(root: str | None, verbose: bool) -> Path:
    """Set up Prefect before it is imported; returns the root."""
    with exit_codes():
        chosen = place_of_root(root)
        configure(chosen)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")
    return chosen


def known(dataset: str) -> str:
    """The name of a data set that is there, whose recipe has no fault."""
    from vardax_core.data import load_recipe, named_by

    name = named_by(dataset)
    load_recipe(name)
    return name


def checked_parameters(
    dataset: str,
    root: Path,
    *,
    method: str | None = None,
    draw: int | None = None,
    source: str | None = None,
    members: int | None = None,
    seed: int | None = None,
    steps: int | None = None,
    cut_off: str | None = None,
    lag: int = 0,
    precision: str = "float32",
    options: Sequence[str] | None = None,
):
    """The checked parameters; what is wrong with them shows before Prefect starts."""
    from flows.parameters import ExperimentParameters
    from vardax_core.paths import path_or_url

    dataset = known(dataset)
    if source is not None:
        path_or_url(source, "--source")
    parameters = ExperimentParameters(
        dataset=dataset,
        root=root,
        method=method,
        station_draw=draw,
        source_path=source,
        members=members,
        seed=seed,
        training_steps=steps,
        cut_off=cut_off,
        lag=lag,
        precision=precision,
        options=options_of(options or ()),
    )
    parameters.experiment()
    return parameters


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """The settings of a method that `--set` names, as the YAML of a recipe would have them.

    Raises:
        OptionError: one is not written name=value, or is given twice.
    """
    from yaml import YAMLError

    from vardax_core.data.yamlfile import read_yaml

    found: dict[str, Any] = {}
    for text in given:
        name, separator, value = (part.strip() for part in text.partition("="))
        if not (name and separator and value):
            raise OptionError(f"--set: expected name=value, such as inflation=1.05, got {text!r}.")
        if name in found:
            raise OptionError(f"--set: {name} is given twice; give it once.")
        try:
            found[name] = read_yaml(value)
        except YAMLError as error:
            raise OptionError(f"--set: {value!r} is no value of {name}; quote it.") from error
    return found


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
