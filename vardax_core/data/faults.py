"""Finding every fault of a section in one go: a validator of pydantic stops at its first."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from vardax_core.words import did_you_mean, nearest

T = TypeVar("T", bound=BaseModel)


def check_whole(
    model: type[T],
    values: Any,
    check: Callable[[Any], T],
    between: Callable[[T], Iterable[str]],
    written: Any = None,
) -> T:
    """Check a section: its unknown keys, its values, and then how they go together.

    Arguments:
        model: the section.
        values: as they were read.
        check: pydantic's own checks of each value.
        between: what is wrong between values that are each right.
        written: the section as its writer has it, where that is arranged otherwise.

    Raises:
        ValidationError: with an entry for each fault.
    """
    known = list(model.model_fields)
    unknown = [key for key in values if key not in known] if isinstance(values, dict) else []
    found = [_unknown(unknown, known)] if unknown else []
    kept = {k: v for k, v in values.items() if k in known} if unknown else values
    try:
        made = check(kept)
        found += [_entry("value_error", message) for message in between(made)]
    except ValidationError as error:
        faults = error.errors(include_url=False)
        free = [] if unknown or not isinstance(written, dict) else written
        others = [key for key in free if key not in known]
        found += [
            _misspelt(fault, others)
            or _entry(fault["type"], fault["msg"], fault["loc"], fault["input"], fault.get("ctx"))
            for fault in faults
            if not _is_short_of_faulty(fault, faults)
        ]
    if found:
        raise ValidationError.from_exception_data(model.__name__, found)
    return made


def _is_short_of_faulty(fault: Any, faults: Iterable[Any]) -> bool:
    """Whether a list is said to be too short for the items of it that are at fault."""
    where = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(other["loc"]) > len(where) and other["loc"][: len(where)] == where for other in faults
    )


def _misspelt(fault: Any, others: Iterable[Any]) -> InitErrorDetails | None:
    """A key that is needed, said with one of free keys that looks like it; None without such."""
    if fault["type"] != "missing" or len(fault["loc"]) != 1:
        return None
    near = nearest(str(fault["loc"][0]), [str(key) for key in others])
    said = f"is needed; did you mean it by '{near}'?"
    return _entry("value_error", said, fault["loc"]) if near else None


def _unknown(keys: list[Any], known: list[str]) -> InitErrorDetails:
    said = " ".join(f"unknown key '{key}'{did_you_mean(str(key), known)}" for key in keys)
    return _entry("value_error", f"{said} Valid keys: {', '.join(known)}.")


def _entry(
    kind: str,
    message: str,
    where: tuple[int | str, ...] = (),
    given: Any = None,
    context: dict[str, Any] | None = None,
) -> InitErrorDetails:
    said = {**(context or {}), "said": message}
    return InitErrorDetails(
        type=PydanticCustomError(kind, "{said}", said),
        loc=where,
        input=given,
    )
