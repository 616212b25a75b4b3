"""Flow: everything from a recipe to its report."""

import dataclasses

from prefect import flow

from flows.assimilate import assimilate
from flows.failures import tell_failure
from flows.fields import MethodName
from flows.ingest import ingest
from flows.naming import called, ended, run_name, tag_run
from flows.parameters import ExperimentParameters, TargetParameters
from flows.report import report
from flows.train import train
from flows.validate import validate
from vardax_core.experiments.comparison import Comparison
from vardax_core.experiments.settings import usual_methods
from vardax_core.experiments.validation import is_gated


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        comparison: the report.
        changed: False if everything was up to date.
    """

    comparison: Comparison
    changed: bool


@flow(name="run", flow_run_name=run_name("run"), persist_result=False, on_failure=[tell_failure])
def run(
    experiment: ExperimentParameters,
    methods: tuple[MethodName, ...] | None = None,
    target: TargetParameters = TargetParameters(),  # noqa: B008 (frozen)
    override: str | None = None,
) -> RunSummary:
    """Ingest, train, validate, assimilate and report, for a method and those beside it.

    Arguments:
        experiment: the method that the report is about, and what all have in common.
        methods: methods to run beside it; empty: those that are usual for the data set.
        target: how far to go.
        override: why weights may go to work although a gate fails; empty: they may not.
    """
    tag_run(experiment)
    target.check(experiment.recipe())
    recipe = experiment.recipe()
    chosen = experiment.beside(methods or usual_methods(recipe))
    for method in chosen:
        experiment.of_method(method).experiment()
    first = experiment.of_method(chosen[0])
    changed = bool(called(ingest, first))
    if not methods:
        # What is usual may depend on how many points there are, which the data say.
        chosen = experiment.beside(usual_methods(recipe, _points(first)))
    cases = [experiment.of_method(method) for method in chosen]
    for each in cases:
        if each.experiment().needs_training:
            changed |= bool(called(train, each))
        if is_gated(each.experiment()):
            changed |= bool(called(validate, each, override))
        changed |= bool(called(assimilate, each, target))
    comparison = called(report, experiment, chosen)
    summary = RunSummary(comparison, changed or comparison.new)
    return ended("done" if summary.changed else "up to date", summary)


def _points(parameters: ExperimentParameters) -> int:
    experiment = parameters.experiment()
    return experiment.space(experiment.open_store()).grid.size
