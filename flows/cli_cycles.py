"""The commands of `vardax` that make cycles and score them: run, assimilate, backfill, report."""

from typing import Annotated

import typer

from flows import answers
from flows.cli_asked import CYCLED, NAMED, Asked, about_experiment
from flows.cli_common import (
    Override,
    Until,
    called,
    checked_reason,
    checked_target,
    held_since,
    parts_of,
)
from flows.cli_tables import tell_comparison
from flows.terminal import answer, console, reporting, say

app = typer.Typer()


@app.command()
@reporting
@about_experiment(*CYCLED, "source")
def run(
    asked: Asked,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", help="Methods to run, by commas [that of --method, or all without one]."
        ),
    ] = None,
    until: Until = None,
    override: Override = None,
) -> None:
    """Do everything: ingest, train, validate, assimilate and report, with all methods or those
    that are named."""
    names = [] if methods is None else parts_of(methods, "--methods")
    method = asked.given["method"]
    parameters = asked.parameters(method=method or _foremost(names))
    named = names if method is None else [*names, method]
    chosen = tuple(asked.of_method(name).method for name in named)
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
@about_experiment(*CYCLED, "source")
def assimilate(
    asked: Asked,
    until: Until = None,
) -> None:
    """Ingest what is new and run every cycle that is not in the store yet."""
    parameters = asked.parameters()
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
@about_experiment(*CYCLED, "source")
def backfill(
    asked: Asked,
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
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
) -> None:
    """Run every cycle that is not in the store yet, in streams that run side by side."""
    parameters = asked.parameters()
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

        say(str(estimate(parameters.experiment(), plan.until or parameters.recipe().period.end)))
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
@about_experiment(*NAMED, "options", "members", "seed", "steps")
def report(asked: Asked) -> None:
    """Score what is in the stores of a data set and write report.md with its pictures."""
    parameters = asked.parameters()
    from flows.report import report as report_flow
    from vardax_core.experiments.settings import available_methods

    present = tuple(
        m
        for m in available_methods(parameters.recipe())
        if m == parameters.method or parameters.of_method(m).experiment().store_location.exists()
    )
    comparison = called(report_flow, parameters, present)
    tell_comparison(parameters, comparison, comparison.new)
