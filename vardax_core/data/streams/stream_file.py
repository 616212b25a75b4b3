"""The section of a recipe that names files of observations."""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from vardax_core.data.section import Section
from vardax_core.data.streams.scalars import FilePattern

_WILD = re.compile(r"[*?\[]")


class StreamFile(Section):
    """A file, or all files that fit a pattern, below the folders of data."""

    name: FilePattern = Field(description="a path or a pattern (*, ?, [..], **) below the folders")
    sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="of a file that never changes"
    )

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        return {"name": values} if isinstance(values, str) else values

    def _faults(self) -> Iterator[str]:
        if self.sha256 is not None and self.is_pattern:
            yield f"sha256 belongs to one file, and '{self.name}' is a pattern; leave it out"

    @property
    def is_pattern(self) -> bool:
        """Whether more than one file may fit."""
        return _WILD.search(self.name) is not None

    @property
    def suffix(self) -> str:
        """The suffix, without that of a compression."""
        path = pathlib.PurePosixPath(self.name)
        return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
