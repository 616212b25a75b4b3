"""The commands of `vardax` for files of observations: a first recipe, and what is in them."""

from typing import Annotated

import typer
from rich.table import Table

from flows import answers
from flows.cli_asked import Dataset
from flows.cli_common import Root, exit_codes, writable_root
from flows.terminal import answer, reporting, say, show

app = typer.Typer()


@app.command()
@reporting
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
        said, recipe, card = made.sentences(), made.folder / "recipe.yaml", made.folder / "CARD.md"
        for text in said:
            say(text)
        say(f"recipe: {recipe}")
        say(f"next: fill in {card}, then vardax check {name}")
        answer(answers.Drafted(recipe=recipe, card=card, said=tuple(said)))


@app.command()
@reporting
def check(dataset: Dataset, root: Root = None) -> None:
    """Say what the files of a data set hold, in words and pictures, and whether it can be run."""
    folder = writable_root(root)
    with exit_codes():
        from vardax_core.data import load_recipe, named_by
        from vardax_core.experiments.checkup import check_up

        found = check_up(load_recipe(named_by(dataset)), folder)
        for section in found.sections:
            say(f"\n{section.title}", style="bold")
            for line in section.lines:
                say(f"  {line}")
            if section.rows:
                table = Table(*section.header)
                for row in section.rows:
                    table.add_row(*row)
                show(table)
        for picture in found.pictures:
            say(f"picture: {picture}")
        say(f"page: {found.page}")
        answer(
            answers.Checked(
                dataset=found.name,
                verdict=found.verdict,
                faults=tuple(found.faults),
                sections=tuple(
                    answers.CheckSection(
                        title=one.title, lines=one.lines, header=one.header, rows=one.rows
                    )
                    for one in found.sections
                ),
                pictures=tuple(found.pictures),
                page=found.page,
            )
        )
        found.require_ready()
        say(found.verdict, style="green")
