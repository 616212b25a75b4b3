"""What the commands of `vardax` answer with `--json`: one model for each, and its JSON schema.

A key that is there stays: programs read it. `flows/schemas` holds the schemas as files, which a
test holds against these models.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydantic import Field, JsonValue

from flows.answers_base import Answer, Number, Text
from flows.answers_watch import BesideAnswer, RelistAnswer, ReplayAnswer, WorthAnswer
from flows.answers_why import Explained

SCHEMAS = Path(__file__).parent / "schemas"


class Failed(Answer):
    """A command that did not do what it was asked for."""

    error: str = Field(description="Kind of the error.")
    message: str = Field(description="What was expected, what was got, and the repair.")
    exit_code: int


class DatasetEntry(Answer):
    """A recipe."""

    name: str
    title: str
    start: datetime
    end: datetime
    methods: tuple[str, ...] = Field(description="Those that can be run, of least skill first.")
    observations: str
    recipe: Text = Field(description="Path of the recipe.")


class Datasets(Answer):
    """`vardax datasets`."""

    datasets: tuple[DatasetEntry, ...]
    faults: tuple[str, ...] = Field(description="One for each recipe that is wrong.")


class SettingEntry(Answer):
    """A setting of what a recipe or a command names."""

    name: str
    description: str
    default: JsonValue


class MethodEntry(Answer):
    """A method."""

    name: str
    title: str
    source: str
    usual: bool | None = Field(description="For the data set that was asked about; else null.")
    lack: str | None = Field(description="Why it does not fit that data set; null if it does.")
    settings: tuple[SettingEntry, ...]


class Methods(Answer):
    """`vardax methods`."""

    dataset: str | None
    methods: tuple[MethodEntry, ...]


class ModelEntry(Answer):
    """A model."""

    name: str
    title: str
    source: str
    state_shape: tuple[int, ...]
    settings: tuple[SettingEntry, ...]


class Models(Answer):
    """`vardax models`."""

    models: tuple[ModelEntry, ...]


class OperatorEntry(Answer):
    """An operator, or a statistic over hours."""

    name: str
    title: str
    source: str
    key: str = Field(description="Of the recipe: operator or statistic.")
    observations: tuple[str, ...] = Field(description="Real or simulated ones, or both.")
    settings: tuple[SettingEntry, ...]


class Operators(Answer):
    """`vardax operators`."""

    operators: tuple[OperatorEntry, ...]


class SourceEntry(Answer):
    """A source of real observations."""

    name: str
    title: str
    settings: tuple[SettingEntry, ...]


class Sources(Answer):
    """`vardax sources`."""

    sources: tuple[SourceEntry, ...]


class Compared(Answer):
    """`vardax run` and `vardax report`."""

    experiment: str
    store: Text
    report: Text
    changed: bool = Field(description="False where everything was up to date.")
    method: str
    units: str
    cycles: int = Field(description="How many are scored.")
    scores: Mapping[str, Mapping[str, Number]] = Field(description="By method and score.")
    channels: Mapping[str, Mapping[str, Mapping[str, Number]]] = Field(
        description="By variable of the state, method and score; empty where there is one variable."
    )
    microseconds: Mapping[str, Number] = Field(description="Time of a cycle by method.")
    left_out: Mapping[str, str] = Field(description="Why a method is not in it.")


class Seam(Answer):
    """Where two streams of a backfill meet."""

    stream: int
    difference: Number
    ratio: Number = Field(description="Difference over spread.")


class Cycled(Answer):
    """`vardax assimilate` and `vardax backfill`."""

    experiment: str
    store: Text
    cycles: int = Field(description="How many were committed; 0 where everything was up to date.")
    held: str | None = Field(description="Why nothing was done, where the experiment is held.")
    seams: tuple[Seam, ...] = Field(description="Of a backfill.")


class Learned(Answer):
    """`vardax train`, `vardax validate` and `vardax rollback`."""

    experiment: str
    needed: bool = Field(description="False where the method learns nothing, or has no gates.")
    version: str | None = Field(description="That is new, or the new champion; null: up to date.")


class Tuned(Answer):
    """`vardax tune`."""

    experiment: str
    scores: Mapping[str, Number] = Field(description="RMSE of trial cycles by settings.")
    options: Mapping[str, JsonValue] = Field(description="Settings that are kept.")


class StudyRow(Answer):
    """One experiment of a study."""

    name: str
    method: str
    circumstances: str
    scores: Mapping[str, Number]


class Studied(Answer):
    """`vardax study`."""

    report: Text
    rows: tuple[StudyRow, ...]


class CheckSection(Answer):
    """A part of a check."""

    title: str
    lines: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Checked(Answer):
    """`vardax check`."""

    dataset: str
    verdict: str
    faults: tuple[str, ...] = Field(description="What keeps it from being run; empty: it is ready.")
    sections: tuple[CheckSection, ...]
    pictures: tuple[Text, ...]
    page: Text


class Drafted(Answer):
    """`vardax init`."""

    recipe: Text
    card: Text
    said: tuple[str, ...] = Field(description="What was found, guessed and left open.")


class FindingEntry(Answer):
    """What a check found."""

    check: str
    severity: str
    statistic: str
    value: Number
    shown: str
    limit: Number = Field(description="The one that the value is beyond.")
    soft: tuple[Number, Number] = Field(description="Limits of a warning, low and high.")
    hard: tuple[Number, Number] = Field(description="Limits of an error, low and high.")
    cycle: str | None


class AlertEntry(Answer):
    """An alert that has begun and not ended."""

    check: str
    since: datetime
    said: str


class Monitored(Answer):
    """`vardax monitor`."""

    experiment: str
    verdict: str
    severity: str = Field(description="The worst: info, warning or error.")
    findings: tuple[FindingEntry, ...]
    alerts: tuple[AlertEntry, ...]


class Held(Answer):
    """`vardax hold` and `vardax release`."""

    experiment: str
    store: Text
    reason: str | None = Field(description="Of the hold that is on it, or was until now.")
    since: datetime | None
    held: bool


class Deployed(Answer):
    """`vardax deploy`."""

    experiment: str
    deployments: tuple[str, ...] = Field(description="As flow/deployment.")
    seconds: float = Field(description="Between two runs.")


class VariableEntry(Answer):
    """An array of a store."""

    name: str
    sizes: Mapping[str, int]
    dtype: str
    units: str | None
    long_name: str | None
    bytes: int = Field(description="Uncompressed.")


class GroupEntry(Answer):
    """A group of a store."""

    name: str
    first: Text | None
    last: Text | None
    variables: tuple[VariableEntry, ...]


class Opened(Answer):
    """`vardax open`."""

    store: Text
    experiment: str
    digest: str
    snapshot: str
    commits: int
    cycles: int
    first: Text | None
    last: Text | None
    method: str | None
    model_version: str | None
    bytes: int = Field(description="Uncompressed.")
    bytes_on_disk: int
    groups: tuple[GroupEntry, ...]


class Exported(Answer):
    """`vardax export`."""

    target: Text
    format: str
    groups: tuple[str, ...]


class Thinned(Answer):
    """`vardax thin`."""

    store: Text
    cycles: int


class Collected(Answer):
    """`vardax collect`."""

    store: Text
    snapshots: int
    objects: int
    bytes: int


COMMANDS: Mapping[str, type[Answer]] = {
    "datasets": Datasets,
    "methods": Methods,
    "models": Models,
    "operators": Operators,
    "sources": Sources,
    "run": Compared,
    "report": Compared,
    "assimilate": Cycled,
    "backfill": Cycled,
    "train": Learned,
    "validate": Learned,
    "rollback": Learned,
    "tune": Tuned,
    "study": Studied,
    "check": Checked,
    "init": Drafted,
    "monitor": Monitored,
    "deploy": Deployed,
    "hold": Held,
    "release": Held,
    "why": Explained,
    "worth": WorthAnswer,
    "beside": BesideAnswer,
    "replay": ReplayAnswer,
    "relist": RelistAnswer,
    "open": Opened,
    "export": Exported,
    "thin": Thinned,
    "collect": Collected,
}
"""What each command answers; one that fails answers `Failed`."""


def schema(kind: type[Answer]) -> str:
    """Write the JSON schema of an answer."""
    made = kind.model_json_schema(mode="serialization")
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def write_schemas(folder: Path = SCHEMAS) -> None:
    """Write the schemas of all answers, a file for each, named after it."""
    folder.mkdir(exist_ok=True)
    kinds: set[type[Answer]] = {Failed, *COMMANDS.values()}
    for kind in kinds:
        (folder / f"{kind.__name__.lower()}.json").write_text(schema(kind))


if __name__ == "__main__":
    write_schemas()
