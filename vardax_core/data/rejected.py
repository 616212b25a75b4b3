"""Reject lists: platforms and streams that are not used for a while, and who decided it."""

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import yaml
from jaxtyping import Int
from pydantic import Field, ValidationError

from vardax_core.data.catalogue import recipe_files
from vardax_core.data.errors import RecipeError
from vardax_core.data.scalars import Instant
from vardax_core.data.section import Section
from vardax_core.data.timeaxis import instant_to_minutes
from vardax_core.data.yamlfile import read_yaml
from vardax_core.observations.quality import QualityCode
from vardax_core.words import faults_of

FILE = "rejected.yaml"
"""Beside the recipe."""
REJECT_LIST = "reject_list"
"""Commit metadata key: the entries of the list that cycles were made with."""
NEVER = np.iinfo(np.int64).max


Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^\P{Cc}+$")]
"""A text on one line."""


class Rejection(Section):
    """Observations that are not used.

    A platform is named as the report names it, with or without its stream; where observations are
    simulated, by the number of the station.
    """

    platform: Line | None = Field(default=None, description="name of the platform")
    stream: Line | None = Field(default=None, description="name of the stream")
    since: Instant = Field(description="first valid time (UTC) that is rejected; written `from`")
    until: Instant | None = Field(default=None, description="last one; by default for good")
    reason: Line = Field(description="why")
    decided_by: Line = Field(description="who decided it")

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        """`from` is a word of Python."""
        if isinstance(values, dict) and "from" in values and "since" not in values:
            return {("since" if k == "from" else k): v for k, v in values.items()}
        return values

    def _faults(self) -> Iterator[str]:
        if self.platform is None and self.stream is None:
            yield "name a platform, a stream, or both"
        if self.until is not None and self.until < self.since:
            yield f"until {self.until.isoformat()} is before from {self.since.isoformat()}"

    @property
    def span(self) -> tuple[int, int]:
        """First and last minute that is rejected."""
        last = NEVER if self.until is None else instant_to_minutes(self.until)
        return instant_to_minutes(self.since), last

    @property
    def words(self) -> str:
        """For people."""
        what = " of ".join(name for name in (self.platform, self.stream) if name)
        until = "" if self.until is None else f" until {self.until:%Y-%m-%dT%H:%M}"
        return f"{what} from {self.since:%Y-%m-%dT%H:%M}{until}: {self.reason} ({self.decided_by})"

    def names(self, platform: str) -> bool:
        """Whether a platform is meant, by its name with its stream."""
        stream, _, own = platform.rpartition("/")
        return self.platform in (None, platform, own) and self.stream in (None, stream)


def list_record(entries: Iterable[Rejection]) -> dict[str, Any]:
    """What a commit says of the list that it was made with; nothing of an empty one."""
    found = [entry.model_dump(mode="json") for entry in entries]
    return {REJECT_LIST: found} if found else {}


class _File(Section):
    rejected: tuple[Rejection, ...] = ()


def read_rejected(path: pathlib.Path) -> tuple[Rejection, ...]:
    """The entries of a reject list; none where there is no file.

    Raises:
        RecipeError: if it is no list, or an entry is wrong; naming each fault and the repair.
    """
    if not path.is_file():
        return ()
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, list):
        raise RecipeError(
            f"{path}: expected a list of entries with platform or stream, from, until, reason and "
            f"decided_by, got {type(values).__name__}; begin each entry with a dash."
        )
    try:
        return _File.model_validate({"rejected": values}).rejected
    except ValidationError as error:
        faults = "\n".join(f"  {fault}" for fault in faults_of(error))
        raise RecipeError(f"{path}: not a valid reject list.\n{faults}\nCorrect these.") from error


def rejected_of(dataset: str) -> tuple[Rejection, ...]:
    """The reject list beside the recipe of a data set; none where there is none."""
    file = recipe_files().get(dataset)
    return () if file is None else read_rejected(file.with_name(FILE))


def with_rejected(
    codes: Int[np.ndarray, "time column"],
    minutes: Int[np.ndarray, " time"],
    platforms: Int[np.ndarray, "time column"],
    names: Sequence[str],
    entries: Iterable[Rejection],
    *,
    withheld: bool = False,
) -> Int[np.ndarray, "time column"]:
    """Quality codes in which what a list rejects has the code REJECTED.

    Codes of what is not used for another reason stay.

    Arguments:
        codes: of every record.
        minutes: valid times.
        platforms: their numbers.
        names: of the platforms by number, with their streams.
        entries: of the list.
        withheld: whether it lists what is withheld, for verification, which has the code WITHHELD.
    """
    found = codes.copy()
    code = QualityCode.WITHHELD if withheld else QualityCode.REJECTED
    good = np.isin(codes, (QualityCode.KEPT, QualityCode.WITHHELD))
    for entry in entries:
        first, last = entry.span
        within = (minutes >= first) & (minutes <= last)
        meant = [number for number, name in enumerate(names) if entry.names(name)]
        rejected = good & within[:, None] & np.isin(platforms, meant)
        found[rejected] = int(code)
    return found
