"""The commands of `vardax` for what a method learns: train, validate, rollback."""

import typer

from flows import answers
from flows.cli_asked import Asked, about_experiment
from flows.cli_common import Override, called, checked_reason
from flows.terminal import answer, console, reporting, say

app = typer.Typer()


@app.command()
@reporting
@about_experiment("method", "options", "source", "members", "steps")
def train(asked: Asked) -> None:
    """Train a method's analysis and store its weights, with their sha256, in the registry."""
    parameters = asked.parameters()
    made = parameters.experiment()
    if not made.needs_training:
        say(f"{made.name}: this method learns nothing, there is nothing to train")
        answer(answers.Learned(experiment=made.name, needed=False, version=None))
        return
    from flows.train import train as train_flow

    version = called(train_flow, parameters)
    console.print(f"trained {version}" if version else "up to date")
    answer(answers.Learned(experiment=made.name, needed=True, version=version))


@app.command()
@reporting
@about_experiment("method", "options", "source", "members", "steps")
def validate(
    asked: Asked,
    override: Override = None,
) -> None:
    """Run the gates on trained weights; those that pass become the champion."""
    parameters = asked.parameters()
    from flows.validate import validate as validate_flow
    from vardax_core.experiments.validation import is_gated

    made, reason = parameters.experiment(), checked_reason(override)
    if not is_gated(made):
        say(f"{made.name}: this method has no gates, there is nothing to validate")
        answer(answers.Learned(experiment=made.name, needed=False, version=None))
        return
    version = called(validate_flow, parameters, reason)
    made_with = f"champion: {version}, which makes the analyses of this experiment from now on"
    console.print(made_with if version else "up to date: these weights may make analyses")
    answer(answers.Learned(experiment=made.name, needed=True, version=version))


@app.command()
@reporting
@about_experiment("method", "source", "members")
def tune(asked: Asked) -> None:
    """Find the settings with which a method errs least in trial cycles, and keep them for its runs
    under this root."""
    parameters = asked.parameters()
    from flows.tune import tune as tune_flow
    from vardax_core.words import counted

    others = len(parameters.experiment(tuned=False).settings.analysis.candidates(None))
    if others:
        say(f"{counted(others + 1, 'candidate')} to try, the best of them again on more cycles")
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
@about_experiment(verbose=False)
def rollback(asked: Asked) -> None:
    """Take the champion of a data set back and give its place to the one before it."""
    parameters = asked.parameters()
    from vardax_core.experiments.validation import trained_name
    from vardax_core.training.promotion import rollback as take_back

    made = parameters.experiment()
    entry = take_back(made.registry, trained_name(made))
    console.print(f"champion: {entry.version}")
    answer(answers.Learned(experiment=made.name, needed=True, version=entry.version))
