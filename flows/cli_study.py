"""The command of `vardax` for several experiments at once."""

from typing import Annotated

import typer

from flows import answers
from flows.cli_asked import NAMED, Asked, about_experiment
from flows.cli_common import OPTIONS, Override, Until, called, checked_reason, parts_of
from flows.terminal import answer, reporting, say

app = typer.Typer()


@app.command()
@reporting
@about_experiment(*NAMED, "source", "members", "steps")
def study(
    asked: Asked,
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="Methods to run, by commas [all of the data set]."),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds of the cycle, by commas.")] = "1,2",
    draws: Annotated[
        str | None,
        typer.Option("--draws", help="Random draws of the stations, by commas [--draw]."),
    ] = None,
    streams: Annotated[int, typer.Option("--streams", help="Streams side by side.", min=1)] = 8,
    overlap: Annotated[
        int, typer.Option("--overlap", help="Cycles of spin-up of a stream.", min=0)
    ] = 200,
    runner: Annotated[
        str, typer.Option("--runner", help="Who runs the streams: local, dask or pool.")
    ] = "local",
    until: Until = None,
    override: Override = None,
) -> None:
    """Run every method with every seed and network, and set them beside each other.

    The others are held against --method.
    """
    parameters = asked.parameters()
    from flows.parameters import BackfillParameters, StudyParameters
    from flows.study import study as study_flow
    from vardax_core.words import counted

    lists = {"methods": methods, "seeds": seeds, "station_draws": draws}
    matrix = StudyParameters.model_validate(
        {
            name: parts_of(text, OPTIONS.get(name, f"--{name}"))
            for name, text in lists.items()
            if text is not None
        }
    )
    plan = BackfillParameters.model_validate(
        {"until": until, "streams": streams, "overlap": overlap, "runner": runner}
    )
    plan.check(parameters.recipe())
    matrix.cases(parameters)
    found = called(study_flow, parameters, matrix, plan, checked_reason(override))
    say(counted(len(found.rows), "experiment"))
    say(f"report: {found.markdown}")
    rows = tuple(answers.StudyRow(**row._asdict()) for row in found.rows)
    answer(answers.Studied(report=found.markdown, rows=rows))
