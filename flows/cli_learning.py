"""The commands of `vardax` for what a method learns: train, validate, rollback."""

import typer

from flows import answers
from flows.cli_common import (
    Dataset,
    Members,
    MethodOption,
    Override,
    Root,
    Set,
    Source,
    Steps,
    Verbose,
    called,
    checked_parameters,
    checked_reason,
    exit_codes,
    place_of_root,
    prepare,
)
from flows.embedded import server_starting
from flows.terminal import answer, console, reporting, say

app = typer.Typer()


@app.command()
@reporting
def train(
    dataset: Dataset,
    method: MethodOption = None,
    options: Set = None,
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
            dataset,
            folder,
            method=method,
            options=options,
            source=source,
            members=members,
            steps=steps,
        )
        made = parameters.experiment()
        if not made.needs_training:
            say(f"{made.name}: this method learns nothing, there is nothing to train")
            answer(answers.Learned(experiment=made.name, needed=False, version=None))
            return
        with server_starting():
            from flows.train import train as train_flow
        version = called(train_flow, parameters)
        console.print(f"trained {version}" if version else "up to date")
        answer(answers.Learned(experiment=made.name, needed=True, version=version))


@app.command()
@reporting
def validate(
    dataset: Dataset,
    method: MethodOption = None,
    options: Set = None,
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
            dataset,
            folder,
            method=method,
            options=options,
            source=source,
            members=members,
            steps=steps,
        )
        from flows.validate import validate as validate_flow
        from vardax_core.experiments.validation import is_gated

        made, reason = parameters.experiment(), checked_reason(override)
        if not is_gated(made):
            say(f"{made.name}: this method has no gates, there is nothing to validate")
            answer(answers.Learned(experiment=made.name, needed=False, version=None))
            return
        version = called(validate_flow, parameters, reason)
        console.print(f"champion: {version}" if version else "up to date")
        answer(answers.Learned(experiment=made.name, needed=True, version=version))


@app.command()
@reporting
def tune(
    dataset: Dataset,
    method: MethodOption = None,
    source: Source = None,
    root: Root = None,
    members: Members = None,
    verbose: Verbose = False,
) -> None:
    """Find the settings with which a method errs least in trial cycles, and keep them for its runs
    under this root."""
    folder = prepare(root, verbose)
    with exit_codes():
        parameters = checked_parameters(
            dataset, folder, method=method, source=source, members=members
        )
        from flows.tune import tune as tune_flow

        found = called(tune_flow, parameters)
        scores = dict(sorted(found.record["scores"].items(), key=lambda row: row[1]))
        for name, score in scores.items():
            console.print(f"rmse.a {score:.4g}  {name}")
        said = " ".join(f"--set {key}={value}" for key, value in found.options.items())
        console.print(f"kept: {said or 'the usual settings'}")
        name = parameters.experiment().name
        answer(answers.Tuned(experiment=name, scores=scores, options=found.options))


@app.command()
@reporting
def rollback(dataset: Dataset, root: Root = None) -> None:
    """Take the champion of a data set back and give its place to the one before it."""
    folder = place_of_root(root)
    with exit_codes():
        parameters = checked_parameters(dataset, folder)
        from vardax_core.experiments.validation import trained_name
        from vardax_core.training.promotion import rollback as take_back

        made = parameters.experiment()
        entry = take_back(made.registry, trained_name(made))
        console.print(f"champion: {entry.version}")
        answer(answers.Learned(experiment=made.name, needed=True, version=entry.version))
