"""What the flows on data sets are called with; the UI makes its forms of these models."""

from pydantic import Field

from flows.environment import default_root
from flows.fields import Form, Root
from vardax_core.data import Recipe, load_recipe
from vardax_core.data.streams.scalars import FilePattern


class DraftParameters(Form):
    """A data set to begin, and the files that say what it is."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=100,
        description="Name of the new data set: small letters, digits and '-'.",
    )
    files: tuple[FilePattern, ...] = Field(
        min_length=1,
        description="Files of observations below the folders of data, each a stream of its own; "
        "patterns such as stations/*.csv are allowed.",
    )
    prior: FilePattern | None = Field(
        None, description="File of gridded fields below the folders of data; empty: none."
    )
    values: tuple[str, ...] = Field(
        (),
        description="Columns that are observed, of the files that have them; empty: the first "
        "that may be.",
    )


class CheckParameters(Form):
    """A data set to look at."""

    dataset: str = Field("lorenz96", description="What is looked at; `vardax datasets` lists all.")
    root: Root = Field(
        default_factory=default_root,
        description="Folder of models, stores and reports; if empty, VARDAX_ROOT or .vardax.",
    )

    def recipe(self) -> Recipe:
        """The recipe that is looked at."""
        return load_recipe(self.dataset)
