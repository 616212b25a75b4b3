"""The tables that the commands of `vardax` print."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from rich.table import Table

from flows import answers
from flows.terminal import answer, console, say, show


def tell_comparison(parameters, comparison, changed: bool) -> None:
    """The scores of the methods in a report, which methods are not in it, and how to go on."""
    recipe, made = parameters.recipe(), parameters.experiment()
    for name, reason in comparison.left_out.items():
        say(f"without {name}: {reason}")
    first = next(iter(comparison.scores.values()))
    if first.cycles:
        _show_scores(parameters, comparison)
    else:
        console.print(f"no cycle is scored yet: the first {recipe.burn_in} are burn-in")
    if not changed:
        console.print("up to date")
    say(f"store:  {made.store_location}")
    say(f"report: {comparison.markdown}")
    say(f"next:   vardax open {made.store_location}")
    answer(
        answers.Compared(
            experiment=made.name,
            store=made.store_location,
            report=comparison.markdown,
            changed=changed,
            method=parameters.method,
            units=recipe.variable.units,
            cycles=first.cycles,
            scores=_numbers(comparison.scores),
            channels={name: _numbers(scores) for name, scores in comparison.channels.items()},
            microseconds=comparison.microseconds,
            left_out=comparison.left_out,
        )
    )


def _numbers(scores) -> dict[str, dict[str, float]]:
    return {
        method: {name: score.value for name, score in one.values.items()}
        for method, one in scores.items()
    }


def _show_scores(parameters, comparison) -> None:
    from vardax_core.calibration.gain import gain
    from vardax_core.calibration.scored_by import scored_by
    from vardax_core.words import counted

    recipe = parameters.recipe()
    units = recipe.variable.units
    unit = "" if units == "1" else f" [{units}]"
    by = scored_by(comparison.scores.values())
    first = next(iter(comparison.scores.values()))
    say(f"{recipe.title}: {counted(first.cycles, 'cycle')} scored")
    table = Table()
    for heading in (
        "method",
        f"{'withheld RMS' if by.withheld else 'rmse.a'}{unit}",
        f"spread{unit}",
        "spread / RMSE",
        f"CRPS{unit}",
        "90 % coverage",
        "µs per cycle",
    ):
        table.add_column(
            heading, justify="left" if heading == "method" else "right", no_wrap=heading == "method"
        )
    for name, scores in comparison.scores.items():
        style = "bold" if name == parameters.method else ""
        table.add_row(
            name,
            _figure(scores[by.rmse], 3),
            _figure(scores[by.spread], 3),
            f"{scores[by.ratio]:.2f}",
            _figure(scores[by.crps], 4),
            f"{100 * scores[by.coverage]:.1f} %",
            f"{comparison.microseconds[name]:.0f}",
            style=style,
        )
    show(table)
    if comparison.channels:
        show(_channel_table(comparison.channels))
    if said := gain(comparison.scores, parameters.method):
        say(said.replace("**", ""))
    console.print(
        f"{by.words} µs: forecast, analysis and verification, in the fastest segment.", style="dim"
    )


def _figure(value: float, decimals: int) -> str:
    """A score with so many decimals, or, where it is too small for them, with three digits."""
    return f"{value:.3g}" if 0 < abs(value) < 10.0**-decimals else f"{value:.{decimals}f}"


def _channel_table(channels) -> Table:
    """The scores of every variable of the state, by method."""
    from vardax_core.calibration.detail import by_channel

    header, rows = by_channel(channels)
    table = Table(title="by channel")
    for number, heading in enumerate(header):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def model_entries(name: str | None) -> tuple[answers.ModelEntry, ...]:
    """All models that a recipe can name, or one of them.

    Raises:
        UnknownNameError: if there is no such model.
    """
    from vardax_core.models.registry import model_settings, registered_models

    known = registered_models() if name is None else {name: model_settings(name)}
    return tuple(
        answers.ModelEntry(
            name=each,
            title=settings.title,
            source=settings.source,
            state_shape=tuple(settings().state_shape),
            settings=_settings(settings),
        )
        for each, settings in known.items()
    )


def model_table(entries: Sequence[answers.ModelEntry]) -> Table:
    """All models, a row each."""
    table = Table("name", "what it is", "points of a state", "source", title="models")
    for one in entries:
        table.add_row(one.name, one.title, " x ".join(map(str, one.state_shape)), one.source)
    return table


def operator_entries(name: str | None) -> tuple[answers.OperatorEntry, ...]:
    """All operators and statistics over hours that a recipe can name, or one of them.

    Raises:
        UnknownNameError: if there is no such operator.
    """
    from vardax_core.observations.registry import (
        observed_as,
        registered_means,
        registered_observed,
        registered_statistics,
    )

    known = registered_observed() if name is None else {name: observed_as(name)}
    statistics, means = registered_statistics(), registered_means()
    return tuple(
        answers.OperatorEntry(
            name=each,
            title=kind.title,
            source=kind.source,
            key="statistic" if each in statistics else "operator",
            observations=tuple(
                of
                for of, there in (
                    ("real", each in means or each in statistics),
                    ("simulated", each not in statistics),
                )
                if there
            ),
            settings=_settings(kind),
        )
        for each, kind in known.items()
    )


def operator_table(entries: Sequence[answers.OperatorEntry]) -> Table:
    """All operators, a row each."""
    table = Table("name", "what it is", "key", "of observations", "source", title="operators")
    for one in entries:
        table.add_row(one.name, one.title, one.key, ", ".join(one.observations), one.source)
    return table


def source_entries(name: str | None) -> tuple[answers.SourceEntry, ...]:
    """All sources that a stream of real observations can name, or one of them.

    Raises:
        UnknownNameError: if there is no such source.
    """
    from vardax_core.data.streams.registry import registered_sources, stream_source

    known = registered_sources() if name is None else {name: stream_source(name)}
    return tuple(
        answers.SourceEntry(name=each, title=kind.title, settings=_settings(kind))
        for each, kind in known.items()
    )


def source_table(entries: Sequence[answers.SourceEntry]) -> Table:
    """All sources, a row each."""
    table = Table("name", "what it is", title="sources")
    for one in entries:
        table.add_row(one.name, one.title)
    return table


def method_entries(name: str | None, dataset: str | None) -> tuple[answers.MethodEntry, ...]:
    """All methods or one of them, and whether they fit a data set.

    Raises:
        UnknownNameError: if there is no such method.
        RecipeError: if there is no such data set.
    """
    from vardax_core.data import load_recipe
    from vardax_core.experiments.settings import lack_of, usual_methods, usual_options
    from vardax_core.methods.registry import method_of, registered_methods

    recipe = None if dataset is None else load_recipe(dataset)
    usual = () if recipe is None else usual_methods(recipe)
    entries = []
    for each in registered_methods() if name is None else (name,):
        options = {} if recipe is None or name is None else usual_options(recipe, each)
        method = method_of(each, options)
        entries.append(
            answers.MethodEntry(
                name=each,
                title=method.title,
                source=method.source,
                usual=None if recipe is None else each in usual,
                lack=None if recipe is None else lack_of(recipe, each),
                settings=_settings(type(method), {k: getattr(method, k) for k in options}),
            )
        )
    return tuple(entries)


def method_table(entries: Sequence[answers.MethodEntry], dataset: str | None) -> Table:
    """All methods, a row each, and whether they fit a data set."""
    last = "source" if dataset is None else f"with {dataset}"
    table = Table("name", "what it is", last, title="methods")
    for one in entries:
        fits = "usual" if one.usual else "fits"
        if one.lack is not None:
            fits = f"does not fit: {one.lack}"
        table.add_row(one.name, one.title, one.source if dataset is None else fits)
    return table


def settings_table(settings: Sequence[answers.SettingEntry], title: str) -> Table:
    """The settings of a method or model, a row each."""
    table = Table("setting", "what it is", "default", title=title)
    for one in settings:
        value = one.default
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        table.add_row(one.name, one.description, "" if value is None else shown)
    return table


def _settings(
    kind: type[BaseModel], chosen: Mapping[str, object] = MappingProxyType({})
) -> tuple[answers.SettingEntry, ...]:
    return tuple(
        answers.SettingEntry(
            name=name,
            description=field.description or "",
            default=to_jsonable_python(
                chosen.get(
                    name,
                    None if field.is_required() else field.get_default(call_default_factory=True),
                )
            ),
        )
        for name, field in kind.model_fields.items()
    )
