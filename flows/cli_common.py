"""What the commands of `vardax` share: options, checked parameters, errors and exit codes."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.environment import configure, default_root, require_server

console = Console()
errors = Console(stderr=True)

Dataset = Annotated[str, typer.Argument(help="Name of a recipe, see `vardax datasets`.")]
MethodOption = Annotated[
    str, typer.Option("--method", "-m", help="climatology, oi, etkf or amortized.")
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
    Path | None,
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
    from vardax_core.store import StorageError, StoreBusyError

    try:
        yield
    except StoreBusyError as error:
        fail(error, ExitCode.BUSY)
    except StorageError as error:
        fail(error, ExitCode.STORAGE)
    except (ValueError, FileNotFoundError) as error:
        fail(error, ExitCode.WRONG_INPUT)
    except OSError as error:
        if error.errno not in DISK_REFUSES:
            raise
        fail(error, ExitCode.STORAGE)


def fail(error: Exception, code: ExitCode) -> None:
    errors.print(f"[bold red]{type(error).__name__}[/]: ", end="")
    errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def called(flow: Callable[..., Any], *arguments: Any) -> Any:
    """What a flow ended with; Prefect is imported with it, after `prepare`.

    Raises:
        ServerError: `PREFECT_API_URL` names a server that does not take calls.
    """
    from flows import naming

    require_server()

    return naming.called(flow, *arguments)


def prepare(root: Path | None, verbose: bool) -> Path:
    """Set up Prefect before it is imported; returns the root."""
    chosen = (root or default_root()).resolve()
    configure(chosen)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")
    return chosen


def checked_parameters(
    dataset: str,
    root: Path,
    *,
    method: str = "amortized",
    draw: int | None = None,
    source: str | None = None,
    members: int | None = None,
    seed: int | None = None,
    steps: int | None = None,
    cut_off: str | None = None,
    lag: int = 0,
    precision: str = "float32",
):
    """The checked parameters; what is wrong with them shows before Prefect starts."""
    from flows.parameters import ExperimentParameters

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
    )
    parameters.experiment()
    return parameters


def say_if_held(parameters) -> bool:
    """Whether an experiment is held; says so, and what lets it go on."""
    from vardax_core.store.hold import held

    found = held(parameters.experiment().store_location)
    if found is not None:
        console.print(f"{found}; `vardax release` lets it go on", markup=False, soft_wrap=True)
    return found is not None
