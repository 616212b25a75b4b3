"""The command line `vardax`."""

from typing import Annotated

import typer
from rich.table import Table

from flows import (
    answers,
    cli_browse,
    cli_cycles,
    cli_data,
    cli_deploy,
    cli_learning,
    cli_operations,
    cli_stores,
    cli_study,
    cli_watch,
    cli_why,
)
from flows.cli_common import ExitCode, Root, exit_codes, fail, place_of_root, writable_root
from flows.terminal import answer, reporting, show

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Operational data assimilation with amortized analyses.\n\n"
        "Start with `vardax run lorenz96-sparse`: it makes a twin experiment, trains, assimilates "
        "and writes a report.\n\n"
        "Exit codes: 0 done or up to date; 1 unexpected failure; 2 wrong input or settings; "
        "3 the store is in use, try again later; 4 the disk refuses; 5 a check is at error; "
        "130 or 143 it was stopped."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from vardax_core import __version__

        typer.echo(f"vardax {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The command line; its help is that of `app`."""


@app.command()
@reporting
def datasets() -> None:
    """List the recipes: what can be assimilated, and how."""
    from vardax_core.data import RecipeError, list_recipes, load_recipe, recipe_file
    from vardax_core.data.account import origin_of
    from vardax_core.experiments.settings import available_methods, require_training

    with exit_codes():
        place_of_root(None)
        found, wrong = [], []
        for name in list_recipes():
            try:
                recipe = load_recipe(name)
                require_training(recipe)
                usable = tuple(available_methods(recipe))
            except ValueError as error:
                wrong.append(str(error) if isinstance(error, RecipeError) else f"{name}: {error}")
                continue
            entry = answers.DatasetEntry(
                name=name,
                title=recipe.title,
                start=recipe.period.start,
                end=recipe.period.end,
                methods=usable,
                observations=origin_of(recipe),
                recipe=recipe_file(name),
            )
            found.append(entry)
        table = Table("name", "what it is", "period", "methods", title="data sets")
        for one in found:
            period = f"{one.start:%Y-%m-%d} to {one.end:%Y-%m-%d}"
            what = f"{one.title}; {one.observations.split(':')[0]}"
            table.add_row(one.name, what, period, ", ".join(one.methods))
        if table.rows:
            show(table)
        answer(answers.Datasets(datasets=tuple(found), faults=tuple(wrong)))
        if wrong:
            raise RecipeError("\n".join(wrong))


@app.command()
@reporting
def methods(
    name: Annotated[
        str | None, typer.Argument(help="A method, to see its settings [all methods].")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Say of each method whether it fits this one.")
    ] = None,
) -> None:
    """List the methods that `-m` chooses, or the settings of one of them, which `--set` changes."""
    from flows.cli_tables import method_entries, method_table, settings_table
    from vardax_core.data import named_by

    with exit_codes():
        place_of_root(None)
        about = None if dataset is None else named_by(dataset)
        entries = method_entries(name, about)
        beside = "" if about is None else f" with {about}"
        if name is None:
            show(method_table(entries, about))
        else:
            show(settings_table(entries[0].settings, f"settings of the method {name}{beside}"))
        answer(answers.Methods(dataset=about, methods=entries))


@app.command()
@reporting
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, to see its settings [all models].")
    ] = None,
) -> None:
    """List the models that a recipe can name, or the settings of one of them."""
    from flows.cli_tables import model_entries, model_table, settings_table

    with exit_codes():
        entries = model_entries(name)
        if name is None:
            show(model_table(entries))
        else:
            show(settings_table(entries[0].settings, f"settings of the model {name}"))
        answer(answers.Models(models=entries))


@app.command()
@reporting
def operators(
    name: Annotated[
        str | None, typer.Argument(help="An operator, to see its settings [all operators].")
    ] = None,
) -> None:
    """List what a recipe can say of how the state is observed, or the settings of one of them."""
    from flows.cli_tables import operator_entries, operator_table, settings_table

    with exit_codes():
        entries = operator_entries(name)
        if name is None:
            show(operator_table(entries))
        else:
            show(settings_table(entries[0].settings, f"settings of the operator {name}"))
        answer(answers.Operators(operators=entries))


@app.command()
@reporting
def sources(
    name: Annotated[
        str | None, typer.Argument(help="A source, to see its settings [all sources].")
    ] = None,
) -> None:
    """List where the observations of a stream can come from, or the settings of one source."""
    from flows.cli_tables import settings_table, source_entries, source_table

    with exit_codes():
        entries = source_entries(name)
        if name is None:
            show(source_table(entries))
        else:
            show(settings_table(entries[0].settings, f"settings of the source {name}"))
        answer(answers.Sources(sources=entries))


@app.command()
def serve(
    root: Root = None,
    port: Annotated[int, typer.Option("--port", help="Where the server listens.")] = 4200,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; others than this machine's own warn."),
    ] = "127.0.0.1",
    database: Annotated[
        str,
        typer.Option(
            "--postgres",
            "--database",
            help="Address of a Postgres database, postgresql://user:password@host/name, or local: "
            "one that is started with the service [SQLite in the root].",
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option("--workers", help="Flow runs on CPUs at a time.", min=1)
    ] = 2,
    browse_port: Annotated[
        int | None,
        typer.Option("--browse-port", help="Where the browser of analyses listens [--port + 1]."),
    ] = None,
) -> None:
    """Start the server, the work pools, the deployments and the workers; stop them with Ctrl-C.

    `VARDAX_AUTH=user:password` asks everyone for that password.
    """
    from flows.processes import ServiceError, ServiceFailedError
    from flows.root_lock import RootBusyError
    from flows.serve import Service, watch

    service = Service(writable_root(root), host, port, database, workers, browse_port)
    try:
        with service.running() as keeper:
            watch(service, keeper)
    except ServiceError as error:
        fail(error, ExitCode.WRONG_INPUT)
    except RootBusyError as error:
        fail(error, ExitCode.BUSY)
    except ServiceFailedError as error:
        fail(error, ExitCode.FAILED)


for group in (
    cli_browse,
    cli_cycles,
    cli_data,
    cli_learning,
    cli_study,
    cli_operations,
    cli_deploy,
    cli_stores,
    cli_why,
    cli_watch,
):
    app.add_typer(group.app)


def main() -> None:
    """Entry point of the console command."""
    app(prog_name="vardax")


if __name__ == "__main__":
    main()
