"""The options that name an experiment, declared once for all commands that take them."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_common import OptionError, Root, exit_codes, prepare, stoppable

if TYPE_CHECKING:
    from flows.parameters import ExperimentParameters


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
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of every run.")]

NAMED = ("method", "draw")
"""Options of commands that need no more than which experiment is meant."""
CYCLED = (*NAMED, "options", "members", "seed", "steps", "cut_off", "lag", "precision")
"""Options of commands that make or read cycles: all that a store belongs to."""

_SHARED: dict[str, tuple[Any, Any]] = {
    "method": (MethodOption, None),
    "options": (Set, None),
    "draw": (Draw, None),
    "source": (Source, None),
    "members": (Members, None),
    "seed": (Seed, None),
    "steps": (Steps, None),
    "cut_off": (CutOff, None),
    "lag": (Lag, 0),
    "precision": (Precision, "float32"),
}
"""Type and default of the options, in the order of help."""


@dataclass(frozen=True)
class Asked:
    """The experiment that a command was asked about.

    Attributes:
        dataset: name or path of its recipe.
        root: folder of all runs.
        root_option: that was given; None for the usual one.
        given: the shared options that the command takes.
    """

    dataset: str
    root: Path
    root_option: str | None
    given: Mapping[str, Any]

    def parameters(self, **other: Any) -> "ExperimentParameters":
        """The checked parameters; what is wrong with them shows before Prefect starts.

        Arguments:
            other: options in place of those that were given.
        """
        return checked_parameters(self.dataset, self.root, **{**self.given, **other})

    def of_method(self, name: str) -> "ExperimentParameters":
        """The checked parameters of a method with its usual settings."""
        return checked_parameters(self.dataset, self.root, method=name, draw=self.given.get("draw"))


def about_experiment(
    *names: str, verbose: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the data set, the options of these names and the root, as its `asked`.

    Its errors become messages and exit codes, and Prefect is set up before it begins.

    Arguments:
        names: of options; see `CYCLED`.
        verbose: whether it takes --verbose too.

    Raises:
        ValueError: no option has one of the names.
    """
    kinds = {name: _SHARED[name] for name in sorted(names, key=list(_SHARED).index)}
    kinds["root"] = (Root, None)
    if verbose:
        kinds["verbose"] = (Verbose, False)

    def given_to(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]

        @functools.wraps(command)
        def run(dataset: str, root: str | None, **options: Any) -> None:
            folder = prepare(root, options.pop("verbose", False))
            given = {name: options.pop(name) for name in names}
            with stoppable(), exit_codes():
                command(Asked(dataset, folder, root, given), **options)

        word = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter(name, word, default=default, annotation=kind)
            for name, (kind, default) in kinds.items()
        ]
        first = inspect.Parameter("dataset", word, annotation=Dataset)
        own = [one.replace(kind=word) for one in own]
        signature = inspect.Signature([first, *own, *added])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
        return run

    return given_to


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
    from vardax_core.data import load_recipe, named_by
    from vardax_core.paths import path_or_url

    dataset = named_by(dataset)
    load_recipe(dataset)
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
