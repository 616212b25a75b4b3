"""What the commands answer that make cycles again, and set runs side by side."""

from pydantic import Field

from flows.answers_base import Answer, Number, Text


class LossRow(Answer):
    """One loss of two runs: mean squared differences of the same cycles."""

    judged: str = Field(description="analysis or background.")
    by: str = Field(description="What is taken for right.")
    over: str = Field(description="Region, stream or variable; empty for everything.")
    units: str
    first: Number
    second: Number
    difference: Number = Field(description="Mean of second - first.")
    low: Number = Field(description="Of its interval of 95 %.")
    high: Number
    p: Number
    cycles: int
    independent: Number = Field(description="As many independent cycles would tell as much.")
    told: str | None = Field(description="From which cycle on a sequential test tells them apart.")


class BesideAnswer(Answer):
    """`vardax beside`."""

    first: str
    second: str
    said: str
    since: Text
    until: Text
    cycles: int
    parted: str | None = Field(description="First cycle whose analyses differ in any bit.")
    losses: tuple[LossRow, ...]


class ReplayAnswer(Answer):
    """`vardax replay`."""

    experiment: str
    digests: tuple[str, str] = Field(description="Of the early and of the late analyses.")
    runs: BesideAnswer


class RelistAnswer(Answer):
    """`vardax relist`."""

    experiment: str
    cycles: int = Field(description="How many the changes concern; 0: up to date.")
    entries: tuple[str, ...]
    branch: str
    published: bool
    runs: BesideAnswer | None


class ImpactEntry(Answer):
    """What the ensemble says that observations did."""

    name: str
    observations: int
    impact: Number = Field(description="Of a cycle, on the mean squared error of its forecast.")
    low: Number = Field(description="Of its interval of 95 %.")
    high: Number


class WorthAnswer(Answer):
    """`vardax worth`."""

    experiment: str
    withheld: str
    observations: int = Field(description="That were withheld.")
    verdict: str
    said: str
    impacts: tuple[ImpactEntry, ...]
    lack: str = Field(description="Why there are no impacts, empty where there are.")
    runs: BesideAnswer
