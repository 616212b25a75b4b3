"""Sentences for people: numbers with their nouns, the nearest known word, faults of input."""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import SupportsFloat

from pydantic import ValidationError
from pydantic_core import ErrorDetails

LONGEST_INPUT = 60
"""Letters of a wrong value that are repeated."""
LONGEST_CAUSE = 300
"""Letters of a library's error that are repeated."""


def counted(number: SupportsFloat, noun: str, plural: str | None = None) -> str:
    """A number and its noun: 1 cycle, 2 cycles.

    Arguments:
        number: how many.
        noun: for one of them.
        plural: for any other number; by default the noun and an s.
    """
    shown = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"


def in_a_line(error: Exception) -> str:
    """What a library says of an error, without its line breaks and the place in its own source."""
    return " ".join(str(error).partition("Debug source")[0].split())[:LONGEST_CAUSE]


def artifact_key(name: str) -> str:
    """A name as a key: small letters and digits, parted by '-'."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A clause that offers the nearest known word, empty when none is near."""
    near = nearest(word, known)
    return f"; did you mean '{near}'?" if near else "."


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like a word; None when none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.5)), None)


def faults_of(
    error: ValidationError, named: Callable[[tuple[int | str, ...]], str] | None = None
) -> Iterable[str]:
    """Every fault that pydantic found, a line each, with what was given and what to choose.

    Arguments:
        error: what it raised.
        named: the name of a field, as the reader knows it; by default its path with dots.
    """
    for fault in error.errors(include_url=False):
        where = (named or _dotted)(fault["loc"])
        said = _said(fault)
        yield f"{where}: {said}" if where else said


def _dotted(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path))


def _said(fault: ErrorDetails) -> str:
    kind, said, given = fault["type"], fault["msg"], fault["input"]
    context = fault.get("ctx", {})
    if kind in ("enum", "literal_error"):
        return _choose(given, context["expected"])
    if kind == "union_tag_invalid":
        return f"{context['discriminator'].strip(chr(39))}: " + _choose(
            context["tag"], context["expected_tags"]
        )
    if kind == "union_tag_not_found":
        return key_needed(context["discriminator"].strip(chr(39)), given)
    if kind in ("model_type", "dict_type"):
        return f"expected keys and values, got {_cut(given)}"
    if kind == "value_error":
        return said.removeprefix("Value error, ")
    if kind == "missing":
        return "is needed"
    return f"{said[:1].lower()}{said[1:]}, got {_cut(given)}"


def key_needed(key: str, given: object) -> str:
    """A sentence for a section without a key that it needs, which may be there misspelt."""
    if not isinstance(given, Mapping):
        return f"expected keys and values with '{key}' among them, got {_cut(given)}."
    near = nearest(key, list(map(str, given)))
    return f"unknown key '{near}'; did you mean '{key}'?" if near else f"{key} is needed."


def _choose(given: object, expected: str) -> str:
    known = re.findall(r"'([^']*)'", expected)
    near = did_you_mean(str(given), known)
    return f"unknown {_cut(given)}{near} Choose one of {', '.join(known)}."


def _cut(given: object) -> str:
    text = repr(given)
    return text if len(text) <= LONGEST_INPUT else f"{text[:LONGEST_INPUT]}..."


def short(value: float) -> str:
    """A number in a picture or table: three decimals, or three digits if very large or small."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if 0.1 <= abs(value) < 1000 else f"{value:.3g}"


def unit_label(name: str, units: str) -> str:
    """Axis label: the name, and the unit in brackets unless it is 1."""
    return name if units in ("1", "") else f"{name} [{units}]"
