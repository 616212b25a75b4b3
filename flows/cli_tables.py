"""The tables that the commands of `vardax` print."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from flows.cli_common import console, show


def print_comparison(parameters, comparison) -> None:
    """The scores of the methods in a report, and which methods are not in it."""
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
    for heading in (
        "method",
        f"rmse.a{unit}",
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
        style = "bold" if name == parameters.method.value else ""
        table.add_row(
            name,
            f"{scores['rmse']:.3f}",
            f"{scores['spread']:.3f}",
            f"{scores['spread_over_rmse']:.2f}",
            f"{scores['crps_gaussian']:.4f}",
            f"{100 * scores['coverage_90']:.1f} %",
            f"{comparison.microseconds[name]:.0f}",
            style=style,
        )
    show(table)
    console.print(
        "rmse.a and spread: time means of the cycles' values; CRPS and coverage: of the Gaussian "
        "with the analysis mean and spread; µs: forecast, analysis and verification.",
        style="dim",
    )


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
        UnknownModelError: if there is no such model.
    """
    from vardax_core.models.registry import model_settings

    settings = model_settings(name)
    table = Table("setting", "what it is", "default", title=f"settings of the model {name}")
    for setting, field in settings.model_fields.items():
        table.add_row(setting, field.description, f"{field.default:g}")
    return table
