"""What `vardax why` answers."""

from pydantic import Field

from flows.answers_base import Answer, Number


class ExplainedObservation(Answer):
    """An observation of the cycle's window."""

    id: str = Field(description="By which --observation names it.")
    stream: str
    platform: str
    place: tuple[float, ...]
    value: Number
    innovation: Number = Field(description="O-B.")
    error_sd: Number
    weight: Number = Field(description="Change of the value per unit of the innovation.")
    contribution: Number = Field(description="To the increment.")
    code: str
    rule: str = Field(description="What was compared with what, where it did not enter.")


class Explained(Answer):
    """`vardax why`."""

    experiment: str
    time: str
    variable: str
    units: str
    place: tuple[float, ...]
    background: Number
    analysis: Number = Field(description="As it is stored.")
    made: Number = Field(description="The method's own analysis, made again.")
    increment: Number = Field(description="Of the method's own analysis.")
    rest: Number = Field(description="Of the increment that no innovation gives.")
    method: str
    result: str
    replaced: str = Field(description="What the fallback replaced, and why; empty for nothing.")
    entered: tuple[ExplainedObservation, ...]
    others: tuple[ExplainedObservation, ...]
