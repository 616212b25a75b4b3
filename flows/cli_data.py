"""The commands of `vardax` for files of observations: a first recipe, and what is in them."""

from typing import Annotated

import typer
from rich.table import Table

from flows.cli_common import Dataset, Root, console, exit_codes, place_of_root, show

app = typer.Typer()


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the new data set, such as my-sst.")],
    files: Annotated[
        list[str],
        typer.Option("--from", help="File of observations; repeat it for further streams."),
    ],
    prior: Annotated[
        str | None, typer.Option("--prior", help="File of gridded fields to learn from [none].")
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", help="Column that is observed [the first that may be]."),
    ] = None,
) -> None:
    """Look at files of observations, and write a recipe and a card for them.

    What the files do not say is guessed, and marked as a guess in the recipe.
    """
    with exit_codes():
        from vardax_core.data.drafts.write import name_below, write_draft
        from vardax_core.data.state_frame import data_folders

        folders = data_folders()
        made = write_draft(
            name,
            [name_below(file, folders) for file in files],
            prior=None if prior is None else name_below(prior, folders),
            values=value or (),
        )
    for text in made.sentences():
        _say(text)
    _say(f"recipe: {made.folder / 'recipe.yaml'}")
    _say(f"next: fill in {made.folder / 'CARD.md'}, then vardax check {name}")


@app.command()
def check(dataset: Dataset, root: Root = None) -> None:
    """Say what the files of a data set hold, in words and pictures, and whether it can be run."""
    folder = place_of_root(root)
    with exit_codes():
        from vardax_core.data import load_recipe
        from vardax_core.experiments.checkup import check_up

        found = check_up(load_recipe(dataset), folder)
        for section in found.sections:
            console.print(f"\n{section.title}", style="bold", highlight=False)
            for line in section.lines:
                _say(f"  {line}")
            if section.rows:
                table = Table(*section.header)
                for row in section.rows:
                    table.add_row(*row)
                show(table)
        for picture in found.pictures:
            _say(f"picture: {picture}")
        _say(f"page: {found.page}")
        found.require_ready()
        console.print(found.verdict, style="green", highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
