"""The tables that the commands of `vardax` print."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from flows.cli_common import console, show


def print_comparison(parameters, comparison) -> None:
    """The scores of the methods in a report, and which methods are not in it."""
    from vardax_core.calibration.gain import gain
    from vardax_core.calibration.scored_by import scored_by
    from vardax_core.words import counted

    recipe = parameters.recipe()
    units = recipe.variable.units
    first = next(iter(comparison.scores.values()))
    for name, reason in comparison.left_out.items():
        console.print(f"without {name}: {reason}", markup=False, soft_wrap=True)
    if not first.cycles:
        console.print(f"no cycle is scored yet: the first {recipe.burn_in} are burn-in")
        return
    table = Table(title=f"{recipe.title}: {counted(first.cycles, 'cycle')} scored")
    unit = "" if units == "1" else f" [{units}]"
    by = scored_by(comparison.scores.values())
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
        console.print(said.replace("**", ""), soft_wrap=True)
    console.print(f"{by.words} µs: forecast, analysis and verification.", style="dim")


def _figure(value: float, decimals: int) -> str:
    """A score with so many decimals, or, where it is too small for them, with three digits."""
    return f"{value:.3g}" if 0 < abs(value) < 10.0**-decimals else f"{value:.{decimals}f}"


def _channel_table(channels) -> Table:
    """The scores of every variable of the state, by method."""
    from vardax_core.calibration.detail import by_channel

    header, rows = by_channel(channels)
    table = Table(title="by channel")
    for number, heading in enumerate(header):
        table.add_column(escape(heading), justify="left" if number < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def print_next(parameters, markdown: Path, changed: bool) -> None:
    """Where the store and the report are, and how to go on."""
    path = parameters.experiment().store_location
    if not changed:
        console.print("up to date")
    console.print(f"store:  {path}", soft_wrap=True)
    console.print(f"report: {markdown}", soft_wrap=True)
    console.print(f"next:   vardax open {path}", soft_wrap=True)


def model_table() -> Table:
    """All models that a recipe can name."""
    from vardax_core.models.registry import registered_models

    table = Table("name", "what it is", "points of a state", "source", title="models")
    for name, settings in registered_models().items():
        shape = " x ".join(map(str, settings().state_shape))
        table.add_row(name, settings.title, shape, escape(settings.source))
    return table


def settings_table(name: str) -> Table:
    """The settings of one model.

    Raises:
        UnknownNameError: if there is no such model.
    """
    from vardax_core.models.registry import model_settings

    return _fields_table(model_settings(name), f"settings of the model {name}")


def operator_table() -> Table:
    """All operators and statistics over hours that a recipe can name."""
    from vardax_core.observations.registry import registered_means, registered_observed
    from vardax_core.observations.registry import registered_statistics as statistics

    table = Table("name", "what it is", "key", "of observations", "source", title="operators")
    for name, kind in registered_observed().items():
        key = "statistic" if name in statistics() else "operator"
        of = "real" if name in statistics() else "simulated"
        both = "real, simulated" if name in registered_means() else of
        table.add_row(name, kind.title, key, both, escape(kind.source))
    return table


def operator_settings_table(name: str) -> Table:
    """The settings of one operator.

    Raises:
        UnknownNameError: if there is no such operator.
    """
    from vardax_core.observations.registry import observed_as

    return _fields_table(observed_as(name), f"settings of the operator {name}")


def source_table() -> Table:
    """All sources that a stream of real observations can name."""
    from vardax_core.data.streams.registry import registered_sources

    table = Table("name", "what it is", title="sources")
    for name, kind in registered_sources().items():
        table.add_row(name, escape(kind.title))
    return table


def source_settings_table(name: str) -> Table:
    """The settings of one source.

    Raises:
        UnknownNameError: if there is no such source.
    """
    from vardax_core.data.streams.registry import stream_source

    return _fields_table(stream_source(name), f"settings of the source {name}")


def method_table(dataset: str | None) -> Table:
    """All methods, and of each whether it fits a data set.

    Raises:
        RecipeError: if there is no such data set.
    """
    from vardax_core.data import load_recipe
    from vardax_core.experiments.settings import lack_of, usual_methods
    from vardax_core.methods.registry import registered_methods

    table = Table("name", "what it is", "source", title="methods")
    if dataset is None:
        for name, method in registered_methods().items():
            table.add_row(name, method.title, escape(method.source))
        return table
    recipe = load_recipe(dataset)
    usual = usual_methods(recipe)
    table = Table("name", "what it is", f"with {dataset}", title="methods")
    for name, method in registered_methods().items():
        lack = lack_of(recipe, name)
        fits = "usual" if name in usual else "fits"
        table.add_row(name, method.title, fits if lack is None else f"does not fit: {escape(lack)}")
    return table


def method_settings_table(name: str, dataset: str | None) -> Table:
    """The settings of one method, with the values of a data set.

    Raises:
        UnknownNameError: if there is no such method.
        RecipeError: if there is no such data set.
    """
    from vardax_core.data import load_recipe
    from vardax_core.experiments.settings import usual_options
    from vardax_core.methods.registry import method_of

    options = {} if dataset is None else usual_options(load_recipe(dataset), name)
    title = f"settings of the method {name}" + (f" with {dataset}" if dataset else "")
    method = method_of(name, options)
    return _fields_table(type(method), title, {k: getattr(method, k) for k in options})


def _fields_table(
    kind: type[BaseModel], title: str, chosen: Mapping[str, object] = MappingProxyType({})
) -> Table:
    table = Table("setting", "what it is", "default", title=title)
    for setting, field in kind.model_fields.items():
        value = chosen.get(setting, None if field.is_required() else field.default)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        table.add_row(setting, escape(field.description or ""), "" if value is None else shown)
    return table
