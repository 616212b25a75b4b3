"""What all answers of `vardax` are made of."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _written(value: Any) -> str | None:
    return None if value is None else str(value)


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A finite number, or null where it cannot be said."""
Text = Annotated[str, BeforeValidator(_written)]
"""Also what a path or a time is written as."""


class Answer(BaseModel):
    """One JSON object; it has all of its keys, always."""

    model_config = ConfigDict(extra="forbid", frozen=True)
