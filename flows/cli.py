"""The command line `vardax`."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from flows import cli_cycles, cli_data, cli_learning, cli_operations, cli_stores, cli_study
from flows.cli_common import ExitCode, Root, exit_codes, fail, place_of_root, show

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Operational data assimilation with amortized analyses.\n\n"
        "Start with `vardax run lorenz96-sparse`: it makes a twin experiment, trains, assimilates "
        "and writes a report.\n\n"
        "Exit codes: 0 done or up to date; 1 unexpected failure; 2 wrong input or settings; "
        "3 the store is in use, try again later; 4 the disk refuses; 5 a check is at error."
    ),
)


@app.command()
def datasets() -> None:
    """List the recipes: what can be assimilated, and how."""
    from vardax_core.data import RecipeError, list_recipes, load_recipe
    from vardax_core.experiments.settings import available_methods, require_training

    with exit_codes():
        place_of_root(None)
        table = Table("name", "what it is", "period", "methods", title="data sets")
        wrong = []
        for name in list_recipes():
            try:
                recipe = load_recipe(name)
                require_training(recipe)
                methods_of = ", ".join(available_methods(recipe))
            except ValueError as error:
                wrong.append(str(error) if isinstance(error, RecipeError) else f"{name}: {error}")
                continue
            period = f"{recipe.period.start:%Y-%m-%d} to {recipe.period.end:%Y-%m-%d}"
            what = f"{recipe.title}; observations simulated from {recipe.source.origin}"
            table.add_row(name, what, period, methods_of)
        if table.rows:
            show(table)
        if wrong:
            raise RecipeError("\n".join(wrong))


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(help="A method, to see its settings [all methods].")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Say of each method whether it fits this one.")
    ] = None,
) -> None:
    """List the methods that `-m` chooses, or the settings of one of them, which `--set` changes."""
    from flows.cli_tables import method_settings_table, method_table

    with exit_codes():
        place_of_root(None)
        show(method_table(dataset) if name is None else method_settings_table(name, dataset))


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, to see its settings [all models].")
    ] = None,
) -> None:
    """List the models that a recipe can name, or the settings of one of them."""
    from flows.cli_tables import model_table, settings_table

    with exit_codes():
        show(model_table() if name is None else settings_table(name))


@app.command()
def operators(
    name: Annotated[
        str | None, typer.Argument(help="An operator, to see its settings [all operators].")
    ] = None,
) -> None:
    """List what a recipe can say of how the state is observed, or the settings of one of them."""
    from flows.cli_tables import operator_settings_table, operator_table

    with exit_codes():
        show(operator_table() if name is None else operator_settings_table(name))


@app.command()
def sources(
    name: Annotated[
        str | None, typer.Argument(help="A source, to see its settings [all sources].")
    ] = None,
) -> None:
    """List where the observations of a stream can come from, or the settings of one source."""
    from flows.cli_tables import source_settings_table, source_table

    with exit_codes():
        show(source_table() if name is None else source_settings_table(name))


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
        typer.Option("--database", help="Address of a Postgres database [SQLite in the root]."),
    ] = "",
    workers: Annotated[
        int, typer.Option("--workers", help="Flow runs on CPUs at a time.", min=1)
    ] = 2,
) -> None:
    """Start the server, the work pools, the deployments and the workers; stop them with Ctrl-C.

    `VARDAX_AUTH=user:password` asks everyone for that password.
    """
    from flows.processes import ServiceError, ServiceFailedError
    from flows.root_lock import RootBusyError
    from flows.serve import Service, watch

    service = Service(place_of_root(root), host, port, database, workers)
    try:
        with service.running() as keeper:
            watch(service, keeper)
    except ServiceError as error:
        fail(error, ExitCode.WRONG_INPUT)
    except RootBusyError as error:
        fail(error, ExitCode.BUSY)
    except ServiceFailedError as error:
        fail(error, ExitCode.FAILED)


for group in (cli_cycles, cli_data, cli_learning, cli_study, cli_operations, cli_stores):
    app.add_typer(group.app)


def main() -> None:
    """Entry point of the console command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
