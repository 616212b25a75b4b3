"""From files to a folder with a recipe and a card."""

import dataclasses
import pathlib
import re
import shutil
import tempfile
from collections.abc import Sequence

import yaml

from vardax_core.data.catalogue import own_folders
from vardax_core.data.drafts.card import card_text
from vardax_core.data.drafts.draft import Draft, draft_of
from vardax_core.data.drafts.written import recipe_text
from vardax_core.data.errors import RecipeError, SourceNotFoundError
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.data.state_frame import data_folders, state_frame
from vardax_core.data.yamlfile import read_yaml
from vardax_core.paths import is_url

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclasses.dataclass(frozen=True)
class Drafted:
    """A data set that was written.

    Attributes:
        folder: of the recipe and the card.
        recipe: as it is read again.
        draft: what it was made of.
    """

    folder: pathlib.Path
    recipe: Recipe
    draft: Draft

    def sentences(self) -> list[str]:
        """What was found, what was guessed, and what is left open."""
        found = []
        for stream in self.draft.streams:
            name = stream.found.stream.name
            found += stream.found.account.sentences()[:1]
            found += [f"{name}: {text}" for text in stream.found.sentences]
            found += [f"{name}: open: {text}" for text in stream.found.questions]
        if self.draft.fields is not None:
            kind = "background" if self.draft.is_forecast else "prior"
            found.append(f"{kind}: {self.draft.fields.sentence}")
        found.append(f"cycles: {self.draft.rhythm.why}")
        return found


def own_datasets_dir() -> pathlib.Path:
    """The folder that new recipes are written to: the first of a user's own."""
    return own_folders()[0]


def name_below(written: str, folders: Sequence[pathlib.Path]) -> str:
    """The name below a folder of data of a file that somebody named in any way.

    Arguments:
        written: a name or pattern below a folder, or a path from the working directory.
        folders: of data.

    Raises:
        SourceNotFoundError: it is below none of them.
    """
    if is_url(written):
        raise SourceNotFoundError(
            f"{written}: expected a file, got a URL; fetch it into a folder of data first."
        )
    path = pathlib.Path(written).expanduser()
    if not path.is_absolute() and ".." not in path.parts:
        for folder in folders:
            if (folder / path).exists() or any(folder.glob(path.as_posix())):
                return path.as_posix()
    whole = path.absolute().resolve()
    for folder in folders:
        if whole.is_relative_to(folder.resolve()):
            return whole.relative_to(folder.resolve()).as_posix()
    if whole.exists():
        raise SourceNotFoundError(
            f"{written}: recipes name files below the folders of data "
            f"({', '.join(map(str, folders))}), and this one is elsewhere; export "
            f"VARDAX_DATA_DIR={whole.parent}, or move it there."
        )
    if path.is_absolute() or ".." in path.parts:
        raise SourceNotFoundError(f"{written}: there is no such file; correct the path.")
    return written


def write_draft(
    name: str,
    files: Sequence[str],
    *,
    prior: str | None = None,
    values: Sequence[str] = (),
    data_dir: pathlib.Path | None = None,
    datasets: pathlib.Path | None = None,
) -> Drafted:
    """Look at files, and write a recipe and a card that can be run.

    Arguments:
        name: of the data set, which must be new.
        files: of observations below the folders of data.
        prior: file of fields below the folders of data, or a pattern of several.
        values: columns that are wanted; see `draft_of`.
        data_dir: folder of data; by default as in the environment.
        datasets: folder of the recipes; by default `own_datasets_dir()`.

    Raises:
        RecipeError: the name is taken or no name, or what the files say makes no recipe.
        SourceError: a file cannot be used.
    """
    target = (datasets or own_datasets_dir()) / name
    folders = data_folders(data_dir)
    _check_name(name, target)
    draft = draft_of(name, files, folders, prior=prior, values=values)
    text = recipe_text(draft)
    try:
        recipe = validate_recipe(read_yaml(text), f"the recipe drafted for '{name}'")
    except yaml.YAMLError as error:
        raise RecipeError(
            f"the recipe drafted for '{name}' cannot be read ({error}); rename the columns of its "
            "files in plain letters."
        ) from error
    state_frame(recipe, folders)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
    try:
        (made / "recipe.yaml").write_text(text, encoding="utf-8")
        (made / "CARD.md").write_text(card_text(draft), encoding="utf-8")
        made.chmod(0o755)
        _check_name(name, target)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Drafted(target, recipe, draft)


def _check_name(name: str, target: pathlib.Path) -> None:
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise RecipeError(
            f"name: expected small letters, digits and '-', got {name!r}; such as 'my-sst'."
        )
    if target.exists():
        raise RecipeError(
            f"name: the data set '{name}' exists already ({target}); choose another name, or "
            "remove that folder."
        )
