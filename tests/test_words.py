"""Sentences for people."""

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from vardax_core.words import LONGEST_CAUSE, counted, faults_of, in_a_line


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 cycles"), (1, "1 cycle"), (2, "2 cycles"), (1.0, "1 cycle"), (2.5, "2.5 cycles")],
)
def test_a_noun_agrees_with_its_number(number, said):
    assert counted(number, "cycle") == said


def test_a_plural_of_its_own():
    assert [counted(n, "series", "series") for n in (1, 2)] == ["1 series", "2 series"]


def test_a_cause_is_one_short_line_without_the_library_s_own_source():
    said = "no such\n  object\n\nDebug source:\nNotFound { path }"
    assert in_a_line(OSError(said)) == "no such object"
    assert len(in_a_line(OSError("x " * 1000))) <= LONGEST_CAUSE


class Small(BaseModel):
    method: Literal["oi", "etkf"] = "oi"
    members: int = Field(24, ge=2)
    name: str


def test_every_fault_of_input_is_a_line_without_an_address():
    with pytest.raises(ValidationError) as refused:
        Small.model_validate({"method": "letkf", "members": "x" * 500})
    lines = list(faults_of(refused.value, lambda path: f"--{path[0]}"))
    assert lines[0] == "--method: unknown 'letkf'; did you mean 'etkf'? Choose one of oi, etkf."
    assert lines[1].startswith("--members: input should be a valid integer")
    assert lines[2] == "--name: is needed"
    assert max(map(len, lines)) < 200
    assert "http" not in "".join(lines)
