"""The commands of `vardax` for an experiment at work: monitor, hold, release."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from flows import answers
from flows.cli_asked import NAMED, Asked, about_experiment
from flows.cli_common import INSTANTS, ExitCode, called
from flows.terminal import answer, reporting, say, show

app = typer.Typer()

STYLES = ("", "yellow", "bold red")


@app.command()
@reporting
@about_experiment(*NAMED, "members", "seed", "steps")
def monitor(
    asked: Asked,
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
) -> None:
    """Check how an experiment stands; exit code 5 if a check is at error.

    It only looks: alerts are noted, and told, by the deployment or with `--announce`.
    """
    from flows.monitor import look
    from flows.monitor import monitor as monitor_flow
    from flows.parameters import MonitorParameters
    from vardax_core.monitoring.alerts import read_book
    from vardax_core.monitoring.base import Severity
    from vardax_core.monitoring.dashboard import verdict

    parameters = asked.parameters()
    target = MonitorParameters.model_validate({"follow": follow, "as_of": as_of})
    made = parameters.experiment()
    store = made.open_store()
    if announce:
        called(monitor_flow, parameters, target)
    book = read_book(store.location)
    situation, findings = look(made, store, target, book)
    table = Table("check", "found", "warning unless", "error unless", "cycle", title=made.name)
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
    said = verdict(findings, situation)
    say(said)
    for name, alert in book.active.items():
        say(f"alert since {alert.since:%Y-%m-%d %H:%M} UTC: {name}: {alert.finding}")
    worst = max(finding.severity for finding in findings)
    answer(
        answers.Monitored(
            experiment=made.name,
            verdict=said,
            severity=worst.name.lower(),
            findings=tuple(map(_entry, findings)),
            alerts=tuple(
                answers.AlertEntry(check=name, since=alert.since, said=str(alert.finding))
                for name, alert in book.active.items()
            ),
        )
    )
    if worst is Severity.ERROR:
        raise typer.Exit(ExitCode.ALERT)


def _entry(finding) -> answers.FindingEntry:
    limits = finding.limits
    return answers.FindingEntry(
        check=finding.check,
        severity=finding.severity.name.lower(),
        statistic=finding.statistic,
        value=finding.value,
        shown=finding.shown,
        limit=finding.limit,
        soft=(limits.soft_low, limits.soft_high),
        hard=(limits.hard_low, limits.hard_high),
        cycle=finding.cycle,
    )


@app.command()
@reporting
@about_experiment(*NAMED, verbose=False)
def hold(
    asked: Asked,
    reason: Annotated[str, typer.Option("--reason", help="Why; every run that ends says it.")],
) -> None:
    """Keep every run from adding cycles to an experiment; one at work stops after its segment."""
    from vardax_core.store.hold import hold as hold_store

    made = asked.parameters().experiment()
    found = hold_store(made.store_location, reason)
    say(f"{made.name}: {found}")
    say(f"store:  {made.store_location}")
    _answer(made, found, True)


def _answer(made, found, is_held: bool) -> None:
    answer(
        answers.Held(
            experiment=made.name,
            store=made.store_location,
            reason=None if found is None else found.reason,
            since=None if found is None else found.since,
            held=is_held,
        )
    )


@app.command()
@reporting
@about_experiment(*NAMED, verbose=False)
def release(asked: Asked) -> None:
    """Let a held experiment go on; the next run catches up."""
    from vardax_core.store.hold import release as release_store

    made = asked.parameters().experiment()
    found = release_store(made.store_location)
    said = "was not held" if found is None else f"released; it was {found}"
    say(f"{made.name}: {said}")
    _answer(made, found, False)
