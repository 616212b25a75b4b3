"""How a recipe is written: schema 2 in sections by what they are about, and schema 1 flat.

The keys of schema 1 are those of `Recipe`; schema 2 has the same values in other places.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from vardax_core.data.recipe_sections import ObservationNoise
from vardax_core.data.reported import AxisRange, StateGrid
from vardax_core.words import did_you_mean

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
_DIVIDED = ("prior", "cycle", "verification")
"""Sections of which nothing but the values of `_MOVED` is taken."""
_LISTS = ("variables", "observations")


def is_schema_2(values: Any) -> bool:
    """Whether a recipe says that it is written in schema 2."""
    return isinstance(values, dict) and values.get("schema") == 2


def arranged(values: Any) -> Any:
    """Give the values of a recipe of either schema as `Recipe` takes them.

    A key that schema 2 does not have is left out; see `faults_of_keys`.
    """
    if not isinstance(values, dict) or "schema" not in values:
        return values
    if values["schema"] == 1:
        return {key: value for key, value in values.items() if key != "schema"}
    if not is_schema_2(values):
        return values
    flat: dict[str, Any] = {key: values[key] for key in _SAME if key in values}
    rest = {key: _copied(values[key]) for key in _SECTIONS if key in values}
    for key in _unknown_in_grid(rest.get("grid")):
        del rest["grid"][key]
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
    return flat


def faults_of_keys(values: Any) -> Iterator[str]:
    """Say which keys schema 2 does not have, by the section that they stand in.

    What a section holds that is taken whole, such as `truth`, is said by its own check.
    """
    if not is_schema_2(values):
        return
    yield from _unknown("", values, ("schema", *_SAME, *_SECTIONS))
    for name in _SECTIONS:
        kind, said = (list, "a list") if name in _LISTS else (dict, "keys and values")
        if values.get(name) is not None and not isinstance(values[name], kind):
            yield f"{name}: expected {said}, got {values[name]!r}"
    for name in _DIVIDED:
        if isinstance(values.get(name), dict):
            yield from _unknown(name, values[name], [old[1] for old, _ in _MOVED if old[0] == name])
    grid = values.get("grid")
    if unknown := _unknown_in_grid(grid):
        yield _said("grid", unknown, ("dims", *_dims(grid), *_GRID))
    if _is_simulated(values):
        yield from _unknown_of_simulated(values["observations"])


def _unknown_of_simulated(observations: list[Any]) -> Iterator[str]:
    if len(observations) > 1:
        yield (
            "observations: expected one entry where a truth is observed, got "
            f"{len(observations)}; leave the others out"
        )
    beside = [str(old[2]) for old, _ in _SIMULATED if len(old) == 3]
    yield from _unknown("observations.0", observations[0], beside)
    own = [key for key in ObservationNoise.model_fields if key not in beside]
    source = observations[0]["source"]
    yield from _unknown("observations.0.source", source, ("kind", "network", *own))


def _unknown_in_grid(grid: Any) -> list[Any]:
    """The keys of a grid that are neither its own nor axes."""
    if not isinstance(grid, dict):
        return []
    known = {"dims", "axes", *_GRID, *_dims(grid)}
    axes = {k for k, v in grid.items() if isinstance(v, dict) and v.keys() & AxisRange.model_fields}
    return [key for key in grid if key not in known | axes]


_GRID = tuple(key for key in StateGrid.model_fields if key != "axes")


def _dims(grid: Any) -> list[str]:
    dims = grid.get("dims")
    return [dim for dim in dims if isinstance(dim, str)] if isinstance(dims, list) else []


def _unknown(where: str, section: dict[Any, Any], known: Collection[str]) -> Iterator[str]:
    if unknown := [key for key in section if key not in known]:
        yield _said(where, unknown, known)


def _said(where: str, unknown: list[Any], known: Collection[str]) -> str:
    said = " ".join(f"unknown key '{key}'{_meant(where, str(key), known)}" for key in unknown)
    return f"{where or 'recipe'}: {said} Valid keys: {', '.join(known)}."


def _meant(where: str, key: str, known: Collection[str]) -> str:
    """A clause that offers where schema 2 has a key of schema 1, or the nearest that it has."""
    moved = [old for old, new in _MOVED if new == (key,) and old != (key,)]
    if not where and moved:
        return f"; schema 2 has it as {_dotted(moved[0])}."
    return did_you_mean(key, list(known))


def names_of(values: Any) -> Callable[[Path], str]:
    """Give the function that names a value of `Recipe` as the writer of these values knows it."""
    if not is_schema_2(values):
        return _dotted
    pairs = (*_MOVED, *(_SIMULATED if _is_simulated(values) else _REPORTED))
    longest_first = sorted(pairs, key=lambda pair: -len(pair[1]))

    def named(path: Path) -> str:
        if path[:2] == ("grid", "axes"):
            return _dotted(("grid", *path[2:]))
        if path[:1] == ("further",) and len(path) > 1 and isinstance(path[1], int):
            return _dotted(("variables", path[1] + 1, *path[2:]))
        for old, new in longest_first:
            if path[: len(new)] == new:
                return _dotted((*old, *path[len(new) :]))
        parts = [old for old, new in pairs if path and new[: len(path)] == path]
        return str(parts[0][0]) if parts else _dotted(path)

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
