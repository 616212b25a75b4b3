"""The commands of `vardax` that make cycles and score them: run, assimilate, backfill, report."""

from typing import Annotated

import typer

from flows import answers
from flows.cli_common import (
    CutOff,
    Dataset,
    Draw,
    Lag,
    Members,
    MethodOption,
    Override,
    Precision,
    Root,
    Seed,
    Set,
    Source,
    Steps,
    Until,
    Verbose,
    called,
    checked_parameters,
    checked_reason,
    checked_target,
    exit_codes,
    held_since,
    known,
    parts_of,
    prepare,
)
from flows.cli_tables import tell_comparison
from flows.embedded import server_starting
from flows.terminal import answer, console, reporting, say

app = typer.Typer()


@app.command()
@reporting
def run(
    dataset: Dataset,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", help="The method that the report is about [the one of highest skill]."
        ),
    ] = None,
    options: Set = None,
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
        typer.Option(
            "--methods", help="Methods to run, by commas [that of --method, or all without one]."
        ),
    ] = None,
    until: Until = None,
    override: Override = None,
    verbose: Verbose = False,
) -> None:
    """Do everything: ingest, train, validate, assimilate and report, with all methods or those
    that are named."""
    folder = prepare(root, verbose)
    with exit_codes():
        names = [] if methods is None else parts_of(methods, "--methods")
        known(dataset)
        with server_starting():
            parameters = checked_parameters(
                dataset,
                folder,
                method=method or _foremost(names),
                draw=draw,
                source=source,
                members=members,
                seed=seed,
                steps=steps,
                cut_off=cut_off,
                lag=lag,
                precision=precision,
                options=options,
            )
            if method is not None:
                names.append(method)
            chosen = tuple(
                checked_parameters(dataset, folder, method=name, draw=draw).method for name in names
            )
            target = checked_target(parameters, until)
            reason = checked_reason(override)
            from flows.run import run as run_flow
        summary = called(run_flow, parameters, chosen or None, target, reason)
        tell_comparison(parameters, summary.comparison, summary.changed)


def _foremost(names: list[str]) -> str | None:
    """The method of highest skill among some; None for that of the data set."""
    from vardax_core.methods.registry import method_of, registered_methods

    for name in names:
        method_of(name)
    return max(names, key=list(registered_methods()).index, default=None)


@app.command()
@reporting
def assimilate(
    dataset: Dataset,
    method: MethodOption = None,
    options: Set = None,
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
            options=options,
        )
        from flows.assimilate import assimilate as assimilate_flow
        from flows.ingest import ingest as ingest_flow
        from vardax_core.words import counted

        target = checked_target(parameters, until)
        reason = held_since(parameters)
        if reason is not None:
            _answer(parameters, 0, held=reason)
            return
        called(ingest_flow, parameters)
        done = called(assimilate_flow, parameters, target)
        console.print(f"{counted(done, 'cycle')} committed" if done else "up to date")
        _answer(parameters, done)


def _answer(
    parameters, cycles: int, *, held: str | None = None, seams: tuple[answers.Seam, ...] = ()
) -> None:
    made = parameters.experiment()
    answer(
        answers.Cycled(
            experiment=made.name, store=made.store_location, cycles=cycles, held=held, seams=seams
        )
    )


@app.command()
@reporting
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
    method: MethodOption = None,
    options: Set = None,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
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
            options=options,
        )
        from flows.backfill import backfill as backfill_flow
        from flows.ingest import ingest as ingest_flow
        from flows.parameters import BackfillParameters
        from vardax_core.experiments.stream_progress import seams_of
        from vardax_core.words import counted

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
        plan.check(parameters.recipe())
        if dry_run:
            from vardax_core.experiments.estimate import estimate

            say(
                str(estimate(parameters.experiment(), plan.until or parameters.recipe().period.end))
            )
            _answer(parameters, 0)
            return
        reason = held_since(parameters)
        if reason is not None:
            _answer(parameters, 0, held=reason)
            return
        called(ingest_flow, parameters)
        done = called(backfill_flow, parameters, plan)
        console.print(f"{counted(done, 'cycle')} committed" if done else "up to date")
        arrays = parameters.experiment().open_store().arrays("streams") if done else {}
        seams = tuple(
            answers.Seam(stream=seam.stream, difference=seam.difference, ratio=seam.ratio)
            for seam in seams_of(arrays)
        )
        _answer(parameters, done, seams=seams)
        for seam in seams:
            console.print(
                f"stream {seam.stream} meets the one before: difference {seam.difference:.3g}, "
                f"{seam.ratio:.2f} of the spread"
            )


@app.command()
@reporting
def report(
    dataset: Dataset,
    method: MethodOption = None,
    options: Set = None,
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
            dataset,
            folder,
            method=method,
            options=options,
            draw=draw,
            members=members,
            seed=seed,
            steps=steps,
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
        tell_comparison(parameters, comparison, comparison.new)
