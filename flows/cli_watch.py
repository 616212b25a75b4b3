"""The commands of `vardax` that make cycles again and set runs side by side: worth, beside, replay,
relist."""

from datetime import datetime
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from flows.answers_watch import (
    BesideAnswer,
    ImpactEntry,
    LossRow,
    RelistAnswer,
    ReplayAnswer,
    WorthAnswer,
)
from flows.cli_asked import CYCLED, NAMED, Asked, about_experiment
from flows.cli_common import INSTANTS, called, parts_of
from flows.terminal import answer, reporting, say, show

app = typer.Typer()

Since = Annotated[
    datetime | None,
    typer.Option("--from", help="First analysis time, UTC [after the burn-in].", formats=INSTANTS),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", help="Last analysis time, UTC [the last].", formats=INSTANTS),
]


@app.command()
@reporting
@about_experiment(*CYCLED)
def worth(
    asked: Asked,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="Name of a stream; repeat it for several.")
    ] = None,
    platforms: Annotated[
        str | None,
        typer.Option("--platforms", help="Names, or numbers of stations such as 0-9, by commas."),
    ] = None,
    since: Since = None,
    until: Until = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the cycles without them on their branch.")
    ] = False,
) -> None:
    """Say what observations are worth: the same cycles without them, and what the ensemble says."""
    from flows.watch_parameters import WithheldParameters
    from flows.worth import worth as worth_flow
    from vardax_core.experiments.beside_page import sentence

    parameters = asked.parameters()
    withheld = WithheldParameters.model_validate(
        {
            "streams": tuple(stream or ()),
            "platforms": tuple(parts_of(platforms, "--platforms")) if platforms else (),
            "since": since,
            "until": until,
            "keep": keep,
        }
    )
    found = called(worth_flow, parameters, withheld)
    _show(found.runs)
    if found.impacts:
        table = Table("observations", "entered", "impact of a cycle", "95 %")
        for one in found.impacts:
            interval = f"{one.found.low:.3g} to {one.found.high:.3g}"
            table.add_row(one.name, str(one.observations), f"{one.mean:.3g}", interval)
        show(table)
    said = sentence(found).replace("**", "")
    say(said)
    answer(
        WorthAnswer(
            experiment=parameters.experiment().name,
            withheld=found.name,
            observations=found.withheld,
            verdict=str(found.verdict),
            said=said,
            impacts=tuple(
                ImpactEntry(
                    name=one.name,
                    observations=one.observations,
                    impact=one.mean,
                    low=one.found.low,
                    high=one.found.high,
                )
                for one in found.impacts
            ),
            lack=found.lack,
            runs=_entry(found.runs),
        )
    )


@app.command()
@reporting
@about_experiment(*NAMED, "options", "members", "seed", "steps", "cut_off")
def beside(
    asked: Asked,
    other_method: Annotated[str, typer.Option("--with", help="Method of the second experiment.")],
    with_options: Annotated[
        list[str] | None,
        typer.Option("--with-set", help="Setting of the second's method; repeat it for several."),
    ] = None,
    with_seed: Annotated[
        int | None, typer.Option("--with-seed", help="Seed of the second [that of the first].")
    ] = None,
    with_cut_off: Annotated[
        str | None, typer.Option("--with-cut-off", help="Cut-off of the second [the first's].")
    ] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Set two experiments on a data set side by side: losses by region and stream, and where they
    part."""
    from flows.beside import beside as beside_flow
    from flows.watch_parameters import PeriodParameters

    other = {
        "method": other_method,
        "options": with_options,
        "seed": asked.given["seed"] if with_seed is None else with_seed,
        "cut_off": with_cut_off or asked.given["cut_off"],
    }
    first, second = asked.parameters(), asked.parameters(**other)
    period = PeriodParameters.model_validate({"since": since, "until": until})
    found = called(beside_flow, first, second, period)
    _show(found)
    made = _entry(found)
    say(made.said)
    answer(made)


@app.command()
@reporting
@about_experiment(*NAMED, "options", "members", "seed", "steps")
def replay(
    asked: Asked,
    moment: Annotated[
        datetime,
        typer.Option("--at", help="What arrived later is not known, UTC.", formats=INSTANTS),
    ],
    early: Annotated[
        str, typer.Option("--early", help="For how long the early analyses wait.")
    ] = "3h",
    since: Since = None,
    until: Until = None,
) -> None:
    """Make the early and the late analyses as they would have been at a moment, and show how they
    differ."""
    from flows.replay import replay as replay_flow
    from flows.watch_parameters import ReplayParameters

    parameters = asked.parameters()
    period = ReplayParameters.model_validate(
        {"moment": moment, "early": early, "since": since, "until": until}
    )
    found = called(replay_flow, parameters, period)
    _show(found.runs)
    made = _entry(found.runs)
    say(made.said)
    for name, digest in zip(found.runs.names, found.digests, strict=True):
        say(f"{name}: {digest}")
    name = parameters.experiment().name
    answer(ReplayAnswer(experiment=name, digests=found.digests, runs=made))


@app.command()
@reporting
@about_experiment(*CYCLED)
def relist(
    asked: Asked,
    publish: Annotated[
        bool, typer.Option("--publish", help="Make the new cycles what readers have.")
    ] = False,
) -> None:
    """Make the cycles again that a change of `rejected.yaml` concerns, show the difference, and
    publish them."""
    from flows.relist import relist as relist_flow
    from flows.watch_parameters import RelistParameters

    parameters = asked.parameters()
    found = called(relist_flow, parameters, RelistParameters(publish=publish))
    runs = None if found.runs is None else _entry(found.runs)
    for words in found.entries:
        say(f"changed: {words}")
    if found.runs is not None and runs is not None:
        _show(found.runs)
        say(runs.said)
    say(
        f"{found.cycles} cycles, "
        f"{'published' if found.published else f'on branch {found.branch}; --publish them'}"
        if found.cycles
        else "up to date"
    )
    answer(
        RelistAnswer(
            experiment=parameters.experiment().name,
            cycles=found.cycles,
            entries=found.entries,
            branch=found.branch,
            published=found.published,
            runs=runs,
        )
    )


def _show(runs) -> None:
    from vardax_core.experiments.beside_page import losses_table

    header, rows = losses_table(runs)
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    show(table)


def _entry(runs) -> BesideAnswer:
    from vardax_core.experiments.beside_page import beside_sentence

    first, last = (str(time.astype("datetime64[m]")) for time in runs.times[[0, -1]])
    parted = None if runs.parted is None else str(np.datetime64(runs.parted, "m"))
    return BesideAnswer(
        first=runs.names[0],
        second=runs.names[1],
        said=beside_sentence(runs),
        since=first,
        until=last,
        cycles=runs.times.size,
        parted=parted,
        losses=tuple(
            LossRow(
                judged=row.of,
                by=row.by,
                over=row.part,
                units=row.units,
                first=row.found.first,
                second=row.found.second,
                difference=row.found.mean,
                low=row.found.low,
                high=row.found.high,
                p=row.found.p,
                cycles=row.found.cycles,
                independent=row.found.independent,
                told=runs.time(row.found.told) or None,
            )
            for row in runs.rows
        ),
    )
