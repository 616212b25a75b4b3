"""The command of `vardax` that explains an analysis: why."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows import answers
from flows.answers_why import ExplainedObservation
from flows.cli_asked import CYCLED, Asked, about_experiment
from flows.cli_common import INSTANTS, OptionError, parts_of
from flows.terminal import answer, reporting, say, show

app = typer.Typer()

SHOWN = 12
"""Observations in the table."""


@app.command()
@reporting
@about_experiment(*CYCLED, verbose=False)
def why(
    asked: Asked,
    time: Annotated[
        datetime | None, typer.Option("--time", help="Analysis time, UTC.", formats=INSTANTS)
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Place: latitude,longitude, or coordinates of the grid."),
    ] = None,
    observation: Annotated[
        str | None,
        typer.Option("--observation", help="One observation by its id, TIME/COLUMN, at its place."),
    ] = None,
    variable: Annotated[
        str | None, typer.Option("--variable", help="Name of the variable [the first].")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option("--maps", help="Draw, as a PNG, what the whole analysis rests on."),
    ] = None,
) -> None:
    """Say what an analysis is made of at a place: what every observation gave to it, and why
    others were not used."""
    import jax
    import numpy as np

    from vardax_core.experiments.why import explain, place_of_observation

    parameters = asked.parameters()
    jax.config.update("jax_enable_x64", True)
    # A question needs a hundred small programs; kept, the next one waits for none of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    made = parameters.experiment()
    store = made.open_store()
    if observation is not None:
        instant, place, variable = place_of_observation(made, store, observation)
    elif time is None or at is None:
        raise OptionError("why: expected --time and --at, or --observation; give them.")
    else:
        instant = np.datetime64(time.replace(tzinfo=None), "ns")
        place = _numbers(at)
    found = explain(made, store, instant, place, variable)
    if maps is not None:
        from vardax_core.calibration.plots import save
        from vardax_core.experiments.pictures import support_figure

        say(f"maps: {save(support_figure(made, store, instant), maps)}")
    units = made.recipe.variable_of(found.variable).units
    entered, others = (
        tuple(one for one in part if observation in (None, one.id))
        for part in (found.entered, found.others)
    )
    _tell(found, units, entered, others)
    answer(
        answers.Explained(
            experiment=made.name,
            units=units,
            increment=found.increment,
            entered=_entries(entered),
            others=_entries(others),
            **{
                field.name: getattr(found, field.name)
                for field in dataclasses.fields(found)
                if field.name not in ("entered", "others")
            },
        )
    )


def _tell(found, units: str, entered, others) -> None:
    where = ", ".join(f"{x:g}" for x in found.place)
    say(
        f"{found.time} {found.variable} at {where} [{units}]: background "
        f"{found.background:.6g}, analysis {found.analysis:.6g} by {found.method} "
        f"({found.result})"
    )
    if found.replaced:
        say(f"replaced: {found.replaced}")
    say(
        f"the method's own increment {found.increment:.6g}: {found.increment - found.rest:.6g} "
        f"from {len(found.entered)} observations, {found.rest:.3g} from none"
    )
    table = Table("id", "stream", "platform", "value", "O-B", "weight", "contribution")
    for one in entered[:SHOWN]:
        numbers = (one.value, one.innovation, one.weight, one.contribution)
        table.add_row(one.id, one.stream, one.platform, *(f"{x:.5g}" for x in numbers))
    show(table)
    for one in others[:SHOWN]:
        say(f"{one.id} {one.stream} {one.platform} {one.code}: {one.rule}")


def _entries(found) -> tuple[ExplainedObservation, ...]:
    return tuple(ExplainedObservation(**dataclasses.asdict(one)) for one in found)


def _numbers(at: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in parts_of(at, "--at"))
    except ValueError as error:
        raise OptionError(f"--at: expected numbers by commas, got {at!r}.") from error
