"""Sections of a recipe that say by `kind` which registered class their other keys belong to."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator

from vardax_core.data.faults import check_whole
from vardax_core.data.section import Section
from vardax_core.words import did_you_mean, key_needed

Kind = TypeVar("Kind", bound=BaseModel)


def by_kind(known: Callable[[], Mapping[str, type[Kind]]], command: str) -> BeforeValidator:
    """Check a section as the class that its key `kind` names.

    Arguments:
        known: gives the classes by name.
        command: that lists them, for the message.
    """

    def check(values: Any) -> Any:
        if isinstance(values, BaseModel) or values is None:
            return values
        names = f"Choose one of {', '.join(known())} (`{command}`)."
        if not isinstance(values, Mapping) or "kind" not in values:
            raise ValueError(f"{key_needed('kind', values)} {names}")
        name = values["kind"]
        if name not in list(known()):
            raise ValueError(
                f"kind: unknown {name!r}{did_you_mean(str(name), list(known()))} {names}"
            )
        kind = known()[name]
        if issubclass(kind, Section):
            return kind.model_validate(values)
        return check_whole(kind, values, kind.model_validate, lambda _: ())

    return BeforeValidator(check)
