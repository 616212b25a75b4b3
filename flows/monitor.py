"""Flow: how an experiment stands, and what is the matter with it."""

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.events import ALERT, tell_surely
from flows.failures import tell_failure
from flows.links import with_link
from flows.naming import ended, run_name, tag_run
from flows.parameters import ExperimentParameters, MonitorParameters
from vardax_core.experiments.experiment import Experiment
from vardax_core.monitoring.alerts import (
    NOTE,
    AlertBook,
    AlertChange,
    advance,
    assess,
    parse_book,
)
from vardax_core.monitoring.base import Finding, Severity
from vardax_core.monitoring.checks import CHECKS
from vardax_core.monitoring.dashboard import dashboard, findings_table, verdict
from vardax_core.monitoring.situation import Situation, survey
from vardax_core.store import ExperimentStore, NoteChangedError


def look(
    experiment: Experiment, store: ExperimentStore, target: MonitorParameters, book: AlertBook
) -> tuple[Situation, tuple[Finding, ...]]:
    """What the checks find now; nothing is written."""
    created = store.history()[-1].written_at
    now = target.moment(runtime.flow_run.scheduled_start_time)
    due = None
    if target.follow != "period" or target.until is not None:
        due = target.instant(experiment.recipe, now, created)
    situation = survey(experiment, store, now=now, due=due, seen=book.seen)
    return situation, assess(CHECKS, situation, book)


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="tell-{change.turn}")
def announce(experiment: Experiment, change: AlertChange) -> None:
    """Emit the event of an alert that begins, grows or ends."""
    finding = change.alert.finding
    facts = {
        "experiment": experiment.name,
        "check": finding.check,
        "severity": finding.severity.name.lower(),
        "message": str(change),
        "statistic": finding.statistic,
        "value": change.now.value,
        "limit": finding.limit,
        "cycle": finding.cycle,
        "since": change.alert.since.isoformat(),
    }
    tell_surely(f"{ALERT}.{change.turn}", experiment, change.identifier(experiment.name), facts)


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="pages-{experiment.name}")
def write_pages(
    experiment: Experiment,
    store: ExperimentStore,
    situation: Situation,
    findings: tuple[Finding, ...],
    book: AlertBook,
) -> None:
    """The findings and the dashboard as artifacts."""
    create_markdown_artifact(
        f"# Checks of {experiment.name}\n\n{verdict(findings, situation)}\n\n"
        f"{findings_table(findings)}\n",
        key=f"monitor-{experiment.key}",
        description=f"Checks of {experiment.name}",
    )
    create_markdown_artifact(
        with_link(dashboard(experiment, store, situation, findings, book), experiment),
        key=f"dashboard-{experiment.key}",
        description=f"Dashboard of {experiment.name}",
    )


@flow(
    name="monitor",
    flow_run_name=run_name("monitor"),
    persist_result=False,
    on_failure=[tell_failure],
)
def monitor(
    experiment: ExperimentParameters,
    target: MonitorParameters = MonitorParameters(),  # noqa: B008 (frozen)
) -> int:
    """Check an experiment, draw its dashboard, and tell of every alert that begins or ends.

    An alert is told before it is noted: if the run dies between the two, it is told again under the
    same identifier.
    """
    tag_run(experiment)
    logger = get_run_logger()
    made = experiment.experiment()
    store = made.open_store()
    note = store.location.read_note(NOTE)
    book = parse_book(store.location, note)
    situation, findings = look(made, store, target, book)
    after, changes = advance(book, findings, situation)
    for change in changes:
        logger.warning("%s: %s", made.name, change)
        announce(made, change)
    try:
        store.location.write_note(NOTE, after.model_dump_json().encode(), expected=note)
    except NoteChangedError:
        return ended("superseded: another run noted these alerts", len(after.active))
    write_pages(made, store, situation, findings, after)
    bad = [f for f in findings if f.severity is not Severity.INFO]
    for finding in bad:
        logger.warning("%s: %s: %s", made.name, finding.severity.name.lower(), finding)
    return ended(verdict(findings, situation), len(bad))
