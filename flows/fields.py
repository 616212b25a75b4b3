"""What the fields of all forms have in common."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from flows.form_guard import ADVANCED
from vardax_core.methods.registry import method_of, registered_methods
from vardax_core.paths import local_path, path_or_url
from vardax_core.store.location import location_of


class Form(BaseModel):
    """Parameters of a flow; a field that is left empty takes its default. Those that few fill in
    may stand by themselves under `advanced`, as in the forms of the service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        apart = values.get(ADVANCED)
        if isinstance(apart, dict):
            values = {**{k: v for k, v in values.items() if k != ADVANCED}, **apart}
        return {name: value for name, value in values.items() if not is_empty(value)}


def is_empty(value: object) -> bool:
    """Whether a form's field was left empty: null, or a text without a letter."""
    return value is None or (isinstance(value, str) and not value.strip())


def _place_of_stores(value: object) -> str:
    place = path_or_url(str(value), "stores")
    location_of(place)
    return place


def _known_method(name: str) -> str:
    method_of(name)
    return name


MethodName = Annotated[
    str,
    AfterValidator(_known_method),
    WithJsonSchema({"type": "string", "enum": [*registered_methods()]}),
]
Root = Annotated[Path, BeforeValidator(lambda value: local_path(value, "root"))]
Stores = Annotated[str, BeforeValidator(_place_of_stores)]
Source = Annotated[str, BeforeValidator(lambda value: path_or_url(value, "source_path"))]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""Larger ones would repeat the random numbers of smaller ones in single precision."""
