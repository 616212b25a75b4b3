"""The command line `vardax`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows import cli_operations, cli_study
from flows.cli_common import (
    CutOff,
    Dataset,
    Draw,
    ExitCode,
    Lag,
    Members,
    MethodOption,
    Override,
    Precision,
    Root,
    Seed,
    Source,
    Steps,
    StoreName,
    Until,
    Verbose,
    called,
    checked_parameters,
    console,
    exit_codes,
    fail,
    prepare,
    say_if_held,
)
from flows.environment import default_root

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Operational data assimilation with amortized analyses.\n\n"
        "Start with `vardax run lorenz96`: it makes a twin experiment, trains, assimilates and "
        "writes a report.\n\n"
        "Exit codes: 0 done or up to date; 1 unexpected failure; 2 wrong input or settings; "
        "3 the store is in use, try again later; 4 the disk refuses; 5 a check is at error."
    ),
)
app.add_typer(cli_operations.app)
app.add_typer(cli_study.app)


@app.command()
def datasets() -> None:
    """List the recipes: what can be assimilated, and how."""
    from vardax_core.data import list_recipes, load_recipe
    from vardax_core.experiments.settings import available_methods

    with exit_codes():
        table = Table("name", "what it is", "period", "methods", title="data sets")
        origin = {"twin": "a run of its model", "file": "the fields of a file"}
        for name in list_recipes():
            recipe = load_recipe(name)
            period = f"{recipe.period.start:%Y-%m-%d} to {recipe.period.end:%Y-%m-%d}"
            what = f"{recipe.title}; observations simulated from {origin[recipe.source.kind]}"
            table.add_row(name, what, period, ", ".join(available_methods(recipe)))
        console.print(table)


@app.command()
def run(
    dataset: Dataset,
    method: MethodOption = "amortized",
    draw: Draw = None,
    source: Source = None,
    root: Root = None,
    members: Members = None,
    seed: Seed = None,
    steps: Steps = None,
    cut_off: CutOff = None,
    lag: Lag = 0,
    precision: Precision = "float32",
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="Methods to compare, by commas [all of the data set]."),
    ] = None,
    until: Until = None,
    override: Override = None,
    verbose: Verbose = False,
) -> None:
    """Do everything: ingest, train, validate, assimilate with all methods, and report."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset,
            folder,
            method=method,
            draw=draw,
            source=source,
            members=members,
            seed=seed,
            steps=steps,
            cut_off=cut_off,
            lag=lag,
            precision=precision,
        )
        from flows.parameters import TargetParameters
        from flows.run import run as run_flow

        names = methods.split(",") if methods else []
        chosen = tuple(
            checked_parameters(dataset, folder, method=name, draw=draw).method for name in names
        )
        target = TargetParameters(until=until)
        summary = called(run_flow, parameters, chosen or None, target, override)
        _print_comparison(parameters, summary.comparison)
        _print_next(parameters, summary.comparison.markdown, summary.changed)


@app.command()
def train(
    dataset: Dataset,
    method: MethodOption = "amortized",
    source: Source = None,
    root: Root = None,
    members: Members = None,
    steps: Steps = None,
    verbose: Verbose = False,
) -> None:
    """Train a method's analysis and store its weights, with their sha256, in the registry."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset, folder, method=method, source=source, members=members, steps=steps
        )
        from flows.train import train as train_flow

        version = called(train_flow, parameters)
        console.print(f"trained {version}" if version else "up to date")


@app.command()
def validate(
    dataset: Dataset,
    method: MethodOption = "amortized",
    source: Source = None,
    root: Root = None,
    members: Members = None,
    steps: Steps = None,
    override: Override = None,
    verbose: Verbose = False,
) -> None:
    """Run the gates on trained weights; those that pass become the champion."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset, folder, method=method, source=source, members=members, steps=steps
        )
        from flows.validate import validate as validate_flow

        version = called(validate_flow, parameters, override)
        console.print(f"champion: {version}" if version else "up to date")


@app.command()
def rollback(dataset: Dataset, root: Root = None) -> None:
    """Take the champion of a data set back and give its place to the one before it."""
    folder = (root or default_root()).resolve()
    with exit_codes():
        parameters = checked_parameters(dataset, folder)
        from vardax_core.experiments.validation import trained_name
        from vardax_core.training.promotion import rollback as take_back

        made = parameters.experiment()
        entry = take_back(made.registry, trained_name(made))
        console.print(f"champion: {entry.version}")


@app.command()
def assimilate(
    dataset: Dataset,
    method: MethodOption = "amortized",
    draw: Draw = None,
    source: Source = None,
    root: Root = None,
    members: Members = None,
    seed: Seed = None,
    steps: Steps = None,
    cut_off: CutOff = None,
    lag: Lag = 0,
    precision: Precision = "float32",
    until: Until = None,
    verbose: Verbose = False,
) -> None:
    """Ingest what is new and run every cycle that is not in the store yet."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset,
            folder,
            method=method,
            draw=draw,
            source=source,
            members=members,
            seed=seed,
            steps=steps,
            cut_off=cut_off,
            lag=lag,
            precision=precision,
        )
        from flows.assimilate import assimilate as assimilate_flow
        from flows.ingest import ingest as ingest_flow
        from flows.parameters import TargetParameters

        if say_if_held(parameters):
            return
        called(ingest_flow, parameters)
        done = called(assimilate_flow, parameters, TargetParameters(until=until))
        console.print(f"{done} cycles committed" if done else "up to date")


@app.command()
def backfill(
    dataset: Dataset,
    streams: Annotated[int, typer.Option("--streams", help="Streams side by side.", min=1)] = 8,
    overlap: Annotated[
        int, typer.Option("--overlap", help="Cycles of spin-up of a stream.", min=0)
    ] = 200,
    group: Annotated[
        int | None,
        typer.Option("--group", help="Streams that share a program and a worker [half].", min=1),
    ] = None,
    runner: Annotated[
        str, typer.Option("--runner", help="Who runs the groups: local, dask or pool.")
    ] = "local",
    dask_address: Annotated[
        str | None,
        typer.Option("--dask-address", help="Dask scheduler [processes of this machine]."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Dask processes to start.", min=1)] = 2,
    deployment: Annotated[
        str, typer.Option("--deployment", help="What the pool runner submits.")
    ] = "fill/streams",
    method: MethodOption = "amortized",
    draw: Draw = None,
    source: Source = None,
    root: Root = None,
    members: Members = None,
    seed: Seed = None,
    steps: Steps = None,
    cut_off: CutOff = None,
    lag: Lag = 0,
    precision: Precision = "float32",
    until: Until = None,
    verbose: Verbose = False,
) -> None:
    """Run every cycle that is not in the store yet, in streams that run side by side."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset,
            folder,
            method=method,
            draw=draw,
            source=source,
            members=members,
            seed=seed,
            steps=steps,
            cut_off=cut_off,
            lag=lag,
            precision=precision,
        )
        from flows.backfill import backfill as backfill_flow
        from flows.ingest import ingest as ingest_flow
        from flows.parameters import BackfillParameters
        from vardax_core.experiments.backfill import seams_of

        plan = BackfillParameters.model_validate(
            {
                "until": until,
                "streams": streams,
                "overlap": overlap,
                "group": group,
                "runner": runner,
                "dask_address": dask_address,
                "workers": workers,
                "deployment": deployment,
            }
        )
        if say_if_held(parameters):
            return
        called(ingest_flow, parameters)
        done = called(backfill_flow, parameters, plan)
        if not done:
            console.print("up to date")
            return
        console.print(f"{done} cycles committed")
        for seam in seams_of(parameters.experiment().open_store().arrays("streams")):
            console.print(
                f"stream {seam.stream} meets the one before: difference {seam.difference:.3g}, "
                f"{seam.ratio:.2f} of the spread"
            )


@app.command()
def report(
    dataset: Dataset,
    method: MethodOption = "amortized",
    draw: Draw = None,
    root: Root = None,
    members: Members = None,
    seed: Seed = None,
    steps: Steps = None,
    verbose: Verbose = False,
) -> None:
    """Score what is in the stores of a data set and write report.md with its pictures."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset, folder, method=method, draw=draw, members=members, seed=seed, steps=steps
        )
        from flows.report import report as report_flow
        from vardax_core.experiments.settings import available_methods

        present = tuple(
            m
            for m in available_methods(parameters.recipe())
            if m == parameters.method
            or parameters.of_method(m).experiment().store_location.exists()
        )
        comparison = called(report_flow, parameters, present)
        _print_comparison(parameters, comparison)
        _print_next(parameters, comparison.markdown, comparison.new)


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
    from flows.serve import Service, ServiceError, watch

    service = Service((root or default_root()).resolve(), host, port, database, workers, console)
    try:
        with service.running() as processes:
            watch(service, processes)
    except ServiceError as error:
        fail(error, ExitCode.WRONG_INPUT)


@app.command(name="open")
def open_store(
    store: StoreName,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="What readers had at this instant (UTC) or snapshot."),
    ] = None,
) -> None:
    """Print what a store holds: its tree, sizes, last cycle and model."""
    with exit_codes():
        from vardax_core.store import ExperimentStore, render, summarize

        opened = ExperimentStore.open(store)
        snapshot = None if as_of is None else opened.snapshot_of(as_of)
        console.print(render(summarize(opened, as_of=snapshot)), markup=False)


@app.command()
def export(
    store: StoreName,
    target: Annotated[Path, typer.Argument(help="Directory (zarr) or file (netcdf) to make.")],
    format: Annotated[str, typer.Option("--format", help="zarr or netcdf.")] = "zarr",
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="What readers had at this instant (UTC) or snapshot."),
    ] = None,
) -> None:
    """Write a store as plain zarr v3 or NetCDF."""
    with exit_codes():
        from vardax_core.store import ExperimentStore
        from vardax_core.store import export as export_store

        opened = ExperimentStore.open(store)
        snapshot = None if as_of is None else opened.snapshot_of(as_of)
        names = export_store(opened, target, format=format, as_of=snapshot)
        console.print(f"{target}: {', '.join(names)}", soft_wrap=True)


@app.command()
def thin(
    store: StoreName,
    before: Annotated[datetime, typer.Option("--before", help="Earlier cycles are thinned, UTC.")],
    members: Annotated[int, typer.Option("--members", help="Members that stay.", min=1)] = 1,
) -> None:
    """Keep of the ensembles of old cycles some members; means and spreads stay."""
    with exit_codes():
        import numpy as np

        from vardax_core.store import ExperimentStore
        from vardax_core.store import thin as thin_store

        opened = ExperimentStore.open(store)
        done = thin_store(opened, np.datetime64(before), members=members)
        console.print(f"{done} cycles thinned" if done else "up to date")


@app.command()
def collect(
    store: StoreName,
    keep_days: Annotated[
        int, typer.Option("--keep-days", help="Days that --as-of can go back.", min=1)
    ] = 30,
) -> None:
    """Forget snapshots that are older, and free the space that nothing needs."""
    with exit_codes():
        from datetime import timedelta

        from vardax_core.store import ExperimentStore
        from vardax_core.store import collect as collect_garbage

        found = collect_garbage(ExperimentStore.open(store), keep=timedelta(days=keep_days))
        console.print(
            f"{found.snapshots} snapshots forgotten, {found.objects} objects of "
            f"{found.bytes / 1e6:.1f} MB deleted"
        )


def _print_comparison(parameters, comparison) -> None:
    recipe = parameters.recipe()
    units = recipe.variable.units
    first = next(iter(comparison.scores.values()))
    table = Table(title=f"{recipe.title}: {first.cycles} cycles scored")
    unit = "" if units == "1" else f" [{units}]"
    for heading in (
        "method",
        f"rmse.a{unit}",
        f"spread{unit}",
        "spread / RMSE",
        f"CRPS{unit}",
        "90 % coverage",
        "µs per cycle",
    ):
        table.add_column(
            heading, justify="left" if heading == "method" else "right", no_wrap=heading == "method"
        )
    for name, scores in comparison.scores.items():
        style = "bold" if name == parameters.method.value else ""
        table.add_row(
            name,
            f"{scores['rmse']:.3f}",
            f"{scores['spread']:.3f}",
            f"{scores['spread_over_rmse']:.2f}",
            f"{scores['crps_gaussian']:.4f}",
            f"{100 * scores['coverage_90']:.1f} %",
            f"{comparison.microseconds[name]:.0f}",
            style=style,
        )
    console.print(table)
    console.print(
        "rmse.a and spread: time means of the cycles' values; CRPS and coverage: of the Gaussian "
        "with the analysis mean and spread; µs: forecast, analysis and verification.",
        style="dim",
    )


def _print_next(parameters, markdown: Path, changed: bool) -> None:
    path = parameters.experiment().store_location
    if not changed:
        console.print("up to date")
    console.print(f"store:  {path}", soft_wrap=True)
    console.print(f"report: {markdown}", soft_wrap=True)
    console.print(f"next:   vardax open {path}", soft_wrap=True)


def main() -> None:
    """Entry point of the console command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
