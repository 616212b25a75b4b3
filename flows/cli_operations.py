"""The commands of `vardax` for an experiment at work: monitor, hold, release."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from flows.cli_common import (
    INSTANTS,
    Dataset,
    Draw,
    ExitCode,
    Members,
    MethodOption,
    Root,
    Seed,
    Steps,
    Verbose,
    called,
    checked_parameters,
    console,
    exit_codes,
    prepare,
    show,
)

app = typer.Typer()

STYLES = ("", "yellow", "bold red")


@app.command()
def monitor(
    dataset: Dataset,
    method: MethodOption = None,
    draw: Draw = None,
    root: Root = None,
    members: Members = None,
    seed: Seed = None,
    steps: Steps = None,
    follow: Annotated[
        str,
        typer.Option("--follow", help="What says which cycle is due: schedule or demonstration."),
    ] = "period",
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", help="Judge as of this instant, UTC [now].", formats=INSTANTS),
    ] = None,
    announce: Annotated[
        bool,
        typer.Option("--announce", help="Note alerts, emit their events and draw the dashboard."),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Check how an experiment stands; exit code 5 if a check is at error.

    It only looks: alerts are noted, and told, by the deployment or with `--announce`.
    """
    folder = prepare(root, verbose)
    with exit_codes():
        from flows.monitor import look
        from flows.monitor import monitor as monitor_flow
        from flows.parameters import MonitorParameters
        from vardax_core.monitoring.alerts import read_book
        from vardax_core.monitoring.base import Severity
        from vardax_core.monitoring.dashboard import verdict

        parameters = checked_parameters(
            dataset, folder, method=method, draw=draw, members=members, seed=seed, steps=steps
        )
        target = MonitorParameters.model_validate({"follow": follow, "as_of": as_of})
        made = parameters.experiment()
        store = made.open_store()
        if announce:
            called(monitor_flow, parameters, target)
        book = read_book(store.location)
        situation, findings = look(made, store, target, book)
        table = Table("check", "found", "soft limits", "hard limits", "cycle", title=made.name)
        for finding in findings:
            value = finding.shown
            table.add_row(
                finding.check,
                f"{finding.statistic}: {value}",
                *finding.limits.described(),
                finding.cycle or "",
                style=STYLES[finding.severity],
            )
        show(table)
        console.print(verdict(findings, situation), markup=False)
        for name, alert in book.active.items():
            console.print(
                f"alert since {alert.since:%Y-%m-%d %H:%M} UTC: {name}: {alert.finding}",
                markup=False,
            )
        if max(finding.severity for finding in findings) is Severity.ERROR:
            raise typer.Exit(ExitCode.ALERT)


@app.command()
def hold(
    dataset: Dataset,
    reason: Annotated[str, typer.Option("--reason", help="Why; every run that ends says it.")],
    method: MethodOption = None,
    draw: Draw = None,
    root: Root = None,
) -> None:
    """Keep every run from adding cycles to an experiment; one at work stops after its segment."""
    folder = prepare(root, verbose=False)
    with exit_codes():
        from vardax_core.store.hold import hold as hold_store

        made = checked_parameters(dataset, folder, method=method, draw=draw).experiment()
        found = hold_store(made.store_location, reason)
        console.print(f"{made.name}: {found}", markup=False, soft_wrap=True)
        console.print(f"store:  {made.store_location}", markup=False, soft_wrap=True)


@app.command()
def release(
    dataset: Dataset,
    method: MethodOption = None,
    draw: Draw = None,
    root: Root = None,
) -> None:
    """Let a held experiment go on; the next run catches up."""
    folder = prepare(root, verbose=False)
    with exit_codes():
        from vardax_core.store.hold import release as release_store

        made = checked_parameters(dataset, folder, method=method, draw=draw).experiment()
        found = release_store(made.store_location)
        said = "was not held" if found is None else f"released; it was {found}"
        console.print(f"{made.name}: {said}", markup=False)
