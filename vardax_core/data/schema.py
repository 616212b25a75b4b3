"""How a recipe is written: schema 2 in sections by what they are about, and schema 1 flat.

The keys of schema 1 are those of `Recipe`; schema 2 has the same values in other places.
"""

from collections.abc import Callable
from typing import Any

Path = tuple[int | str, ...]

SIMULATED = "simulated"

_MOVED: tuple[tuple[Path, Path], ...] = (
    (("variables", 0), ("variable",)),
    (("grid", "dims"), ("state_dims",)),
    (("grid",), ("grid",)),
    (("truth",), ("source",)),
    (("prior", "period"), ("training",)),
    (("prior", "observations"), ("training",)),
    (("prior", "fields"), ("prior",)),
    (("forecast",), ("forecast",)),
    (("cycle", "start"), ("period", "start")),
    (("cycle", "end"), ("period", "end")),
    (("cycle", "interval"), ("cycle_interval",)),
    (("cycle", "window"), ("window",)),
    (("cycle", "latency"), ("latency",)),
    (("cycle", "implausible"), ("implausible",)),
    (("cycle", "balance"), ("balance",)),
    (("verification", "burn_in"), ("burn_in",)),
    (("verification", "withheld"), ("withheld",)),
    (("verification", "regions"), ("regions",)),
    (("verification", "leads"), ("leads",)),
)
"""Where the values of schema 2 are in schema 1; of what is simulated, see `_SIMULATED`."""

_SIMULATED: tuple[tuple[Path, Path], ...] = (
    (("observations", 0, "source", "network"), ("network",)),
    (("observations", 0, "error_sd"), ("observation", "error_sd")),
    (("observations", 0, "operator"), ("observation", "operator")),
    (("observations", 0, "source"), ("observation",)),
    (("observations", 0, "screening"), ("screening",)),
    (("observations", 0, "binning"), ("binning",)),
)
_REPORTED: tuple[tuple[Path, Path], ...] = ((("observations",), ("streams",)),)
_SAME = ("name", "title", "attribution", "members", "methods")
_SECTIONS = (
    *("variables", "grid", "truth", "prior", "forecast", "observations", "cycle"),
    "verification",
)


def is_schema_2(values: Any) -> bool:
    """Whether a recipe says that it is written in schema 2."""
    return isinstance(values, dict) and values.get("schema") == 2


def arranged(values: Any) -> Any:
    """Give the values of a recipe of either schema as `Recipe` takes them.

    A key that schema 2 does not have stays where it is, so that it is named as unknown.
    """
    if not isinstance(values, dict) or "schema" not in values:
        return values
    if values["schema"] == 1:
        return {key: value for key, value in values.items() if key != "schema"}
    if not is_schema_2(values):
        return values
    flat: dict[str, Any] = {key: values[key] for key in _SAME if key in values}
    rest = {key: _copied(value) for key, value in values.items() if key not in (*_SAME, "schema")}
    flat |= _channels_of(rest)
    simulated = _is_simulated(rest)
    for old, new in (*_MOVED, *(_SIMULATED if simulated else _REPORTED)):
        found = _taken(rest, old)
        if found is not _NOTHING:
            _put(flat, new, found)
    flat.setdefault("burn_in", 0)
    flat.setdefault("latency", "0h")
    if not simulated:
        flat.setdefault("source", {"kind": "none"})
        flat.setdefault("network", {"kind": "reported"})
    for name in _SECTIONS:
        left = rest.pop(name, None)
        if left and not (name == "observations" and simulated and left == [{}]):
            _put(flat, (name,), left)
    return flat | rest


def names_of(values: Any) -> Callable[[Path], str]:
    """Give the function that names a value of `Recipe` as the writer of these values knows it."""
    if not is_schema_2(values):
        return _dotted
    pairs = (*_MOVED, *(_SIMULATED if _is_simulated(values) else _REPORTED))
    longest_first = sorted(pairs, key=lambda pair: -len(pair[1]))

    def named(path: Path) -> str:
        if path[:1] == ("further",) and len(path) > 1 and isinstance(path[1], int):
            return _dotted(("variables", path[1] + 1, *path[2:]))
        for old, new in longest_first:
            if path[: len(new)] == new:
                return _dotted((*old, *path[len(new) :]))
        return _dotted(path)

    return named


def _channels_of(rest: dict[str, Any]) -> dict[str, Any]:
    """Take the first of several variables, and those that follow, out of the sections."""
    variables = rest.get("variables")
    if not isinstance(variables, list) or len(variables) < 2:
        return {}
    del rest["variables"]
    return {"variable": variables[0], "further": variables[1:]}


def _is_simulated(values: dict[str, Any]) -> bool:
    streams = values.get("observations")
    first = streams[0] if isinstance(streams, list) and streams else None
    source = first.get("source") if isinstance(first, dict) else None
    return isinstance(source, dict) and source.get("kind") == SIMULATED


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_copied(part) for part in value]
    return value


class _Nothing:
    pass


_NOTHING = _Nothing()


def _taken(values: Any, path: Path) -> Any:
    """Take a value out of nested sections; an empty one counts as none."""
    *before, last = path
    for key in before:
        if not _has(values, key):
            return _NOTHING
        values = values[key]
    found = values.pop(last) if _has(values, last) else _NOTHING
    if path == ("observations", 0, "source") and isinstance(found, dict):
        found = {key: value for key, value in found.items() if key != "kind"}
    return _NOTHING if found == {} else found


def _has(values: Any, key: int | str) -> bool:
    if isinstance(values, dict):
        return key in values
    return isinstance(values, list) and isinstance(key, int) and key < len(values)


def _put(flat: dict[str, Any], path: Path, value: Any) -> None:
    *before, last = path
    for key in before:
        flat = flat.setdefault(str(key), {})
    there = flat.get(str(last))
    both = isinstance(there, dict) and isinstance(value, dict)
    flat[str(last)] = there | value if both else value


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
