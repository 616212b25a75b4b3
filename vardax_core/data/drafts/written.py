"""A drafted recipe as people read it: YAML with a comment wherever something was guessed."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vardax_core.data.drafts.draft import SHARE, SHARE_OF_IMAGES, UNKNOWN_UNITS, Draft, DraftStream
from vardax_core.data.drafts.fields import FieldsFound
from vardax_core.data.drafts.rhythm import span_of
from vardax_core.data.forecast_members import MEMBER_DIMS
from vardax_core.data.streams.kinds.gridded import GriddedSource
from vardax_core.data.streams.kinds.table import TableSource

FILL_IN = "licence to be filled in"
MEMBERS = 20
_WIDTH = 96


def recipe_text(draft: Draft) -> str:
    """The whole of `recipe.yaml`."""
    parts = (
        _head(draft),
        _variables(draft),
        _grid(draft),
        _fields(draft),
        ["observations:"],
        *(_stream(draft, *one) for one in zip(draft.streams, stream_names(draft), strict=True)),
        _cycle(draft),
        _verification(draft),
        [f"members: {MEMBERS}"],
    )  # fmt: skip
    return "\n".join(line for part in parts for line in part) + "\n"


def stream_names(draft: Draft) -> tuple[str, ...]:
    """The name of each stream; those that two files share get a number."""
    seen: dict[str, int] = {}
    names = []
    for stream in draft.streams:
        own = stream.found.stream.name[:90]
        seen[own] = seen.get(own, 0) + 1
        names.append(own if seen[own] == 1 else f"{own}-{seen[own]}")
    return tuple(names)


def values_text(found: tuple[float, float], units: str) -> str:
    """A range of values with their units, for people."""
    low, high = found
    return f"{low:.6g} to {high:.6g}" + ("" if units == UNKNOWN_UNITS else f" {units}")


def _head(draft: Draft) -> Iterator[str]:
    files = ", ".join(one.name for s in draft.streams for one in s.found.stream.source.files)
    yield "# Drafted from the files; guesses are marked. `vardax check` shows what is found."
    yield "schema: 2"
    yield f"name: {draft.name}"
    title = f"{draft.variable['long_name']} from {files}"
    yield f"title: {_scalar(title[:200])}"
    yield f"attribution: {FILL_IN}  # what any use of the data must say"


def _variables(draft: Draft) -> Iterator[str]:
    variable, bounds, units = draft.variable, draft.bounds, draft.variable["units"]
    yield "variables:"
    yield f"  - name: {_scalar(variable['name'])}"
    if "standard_name" in variable:
        yield f"    standard_name: {variable['standard_name']}"
    yield f"    long_name: {_scalar(variable['long_name'])}"
    unsaid = units == UNKNOWN_UNITS
    yield f"    units: {_scalar(units)}" + ("  # guess: no file states units" if unsaid else "")
    shown = values_text(bounds.found, units)
    yield from _comment(
        f"guess: {shown} were observed; the bounds are as wide again on either side",
        "    ",
    )
    yield f"    valid_min: {bounds.low:.10g}"
    yield f"    valid_max: {bounds.high:.10g}"


def _grid(draft: Draft) -> Iterator[str]:
    yield "grid:"
    yield "  dims: [latitude, longitude]"
    if draft.area is not None:
        area = draft.area
        yield from _comment(f"guess: {area.why}", "  ")
        for axis, (first, last) in (("latitude", area.latitude), ("longitude", area.longitude)):
            yield f"  {axis}: {{first: {first:.10g}, last: {last:.10g}, step: {area.step:.10g}}}"
        return
    if draft.fields is not None:
        if draft.is_forecast:
            yield from _like(draft.fields.files, draft.fields.variable)
        return
    image = next(stream for stream in draft.streams if stream.is_image)
    source = image.found.stream.source
    assert isinstance(source, GriddedSource), "images are"
    yield from _like(source.files[0].name, source.variable)
    if image.mask is not None:
        name, accept = image.mask
        yield f"  mask:  # guess: {_scalar(name)} has these values wherever an image has some"
        yield f"    files: [{_scalar(source.files[0].name)}]"
        yield f"    variable: {_scalar(name)}"
        yield f"    accept: {list(accept)}"


def _like(file: str, variable: str) -> Iterator[str]:
    yield f"  like: {{files: [{_scalar(file)}], variable: {_scalar(variable)}}}"


def _fields(draft: Draft) -> Iterator[str]:
    fields = draft.fields
    if fields is None:
        return
    others = f"; other variables there: {', '.join(fields.others)}" if fields.others else ""
    if not draft.is_forecast:
        yield f"prior:  # its grid is that of the maps{others}"
        yield "  fields:"
        yield from _files_of(fields, "    ", fields.select)
        return
    yield from _comment(
        "guess: these fields are of the observed period, so that they are the background of every "
        f"analysis{others}",
        "",
    )
    yield "forecast:"
    levels = {dim: first for dim, first in fields.select.items() if dim not in MEMBER_DIMS}
    yield from _files_of(fields, "  ", levels)
    kinds = [stream.statistic for stream in draft.streams if stream.statistic]
    if kinds:
        yield f"  statistic: {{kind: {kinds[0]}, hours: 24}}  # as the observations are"


def _files_of(fields: FieldsFound, indent: str, select: Mapping[str, float]) -> Iterator[str]:
    count = f"  # {fields.count} files" if fields.count > 1 else ""
    yield f"{indent}files: [{_scalar(fields.files)}]{count}"
    yield f"{indent}variable: {_scalar(fields.variable)}"
    if select:
        yield f"{indent}select: {_scalar(dict(select))}  # guess: the first, or at the surface"


def _stream(draft: Draft, stream: DraftStream, name: str) -> Iterator[str]:
    source = stream.found.stream.source
    yield f"  - name: {name}"
    for question in stream.found.questions:
        if "time.zone" not in question and not _answered(stream, question):
            yield from _comment(f"open: {question}", "    ")
    yield "    source:"
    said = source.model_dump(mode="json", exclude_defaults=True)
    yield f"      kind: {said['kind']}"
    yield f"      files: [{', '.join(_scalar(file.name) for file in source.files)}]"
    for key in ("format", "encoding", "skip"):
        if said.get(key):
            yield f"      {key}: {said[key]}"
    yield from _what(stream)
    if stream.units is not None:
        if stream.found.units != UNKNOWN_UNITS:
            why = "guess: see the values"
        else:
            why = "guess: as in the prior" if draft.fields else "open: nothing says which"
        yield f"      units: {_scalar(stream.units)}  # {why}"
    yield from _times(draft, stream)
    if source.level_range is not None:
        yield f"      levels: {_scalar(list(source.level_range))}  # guess: next to the surface"
    if source.missing:
        yield f"      missing: {_scalar(list(source.missing))}  # guess: far from all others"
    if source.gap is not None:
        gap = f"{source.gap.total_seconds():.10g}s"
        yield f"      gap: {gap}  # guess: a longer one begins another piece of track"
    if not isinstance(source, TableSource) or source.columns.arrival is None:
        yield "      delay: 0h  # guess: all had arrived; leave it out if files come day by day"
    if stream.statistic:
        yield f"    statistic: {{kind: {stream.statistic}, hours: 24}}  # guess, from the name"
    yield from _error(draft, stream)


def _answered(stream: DraftStream, question: str) -> bool:
    """Whether the recipe gives an answer to a question: units that the prior has."""
    return question.startswith("units of") and stream.units not in (None, UNKNOWN_UNITS)


def _what(stream: DraftStream) -> Iterator[str]:
    source = stream.found.stream.source
    if isinstance(source, GriddedSource):
        yield f"      variable: {_scalar(source.variable)}"
        if source.axes:
            yield f"      axes: {_scalar(dict(source.axes))}"
        if source.error:
            yield f"      error: {_scalar(source.error)}"
        if stream.mask is not None:
            name, accept = stream.mask
            yield f"      mask: {{variable: {_scalar(name)}, accept: {list(accept)}}}"
        return
    assert isinstance(source, TableSource), "a file is taken for images or for a table"
    others = [said for said in stream.found.sentences if said.startswith("further")]
    for said in others:
        yield from _comment(said, "      ")
    roles = source.columns.by_role
    order = ["time", "clock", "latitude", "longitude", "value", "platform", *roles]
    yield f"      columns: {_scalar({role: roles[role] for role in order if role in roles})}"


def _times(draft: Draft, stream: DraftStream) -> Iterator[str]:
    reading = stream.found.stream.source.time
    said: dict[str, Any] = {}
    if reading.format or reading.units:
        said |= {"format": reading.format} if reading.format else {"units": reading.units}
    why = []
    if any("without a time zone" in question for question in stream.found.questions):
        said["zone"] = "UTC"
        why.append("no zone is stated")
    if stream.is_dates and draft.is_forecast and stream.statistic:
        said["offset"] = "24h"
        why.append("from 00 to 24 h of the date; 33h if it is from 09 to 09 h of the next day")
    if said:
        yield from _comment(f"guess: {'; '.join(why)}", "      ") if why else ()
        yield f"      time: {_scalar(said)}"


def _error(draft: Draft, stream: DraftStream) -> Iterator[str]:
    if stream.has_errors:
        why = "the median of what the file states, for values without one"
    else:
        why = "guess: a tenth of the standard deviation of the values"
    yield f"    error_sd: {stream.error_sd:.10g}  # {why}"


def _cycle(draft: Draft) -> Iterator[str]:
    rhythm = draft.rhythm
    yield "cycle:"
    yield from _comment(f"guess: {rhythm.why}", "  ")
    if rhythm.without:
        yield from _comment(f"open: {rhythm.without}", "  ")
    yield f"  start: {_instant(rhythm.start)}"
    yield f"  end: {_instant(rhythm.end)}"
    yield f"  interval: {span_of(rhythm.interval)}"
    after = f", after: {rhythm.after}" if rhythm.after else ""
    yield f"  window: {{times: {rhythm.times}, spacing: {span_of(rhythm.spacing)}{after}}}"


def _verification(draft: Draft) -> Iterator[str]:
    images = all(stream.is_image for stream in draft.streams)
    every = zip(stream_names(draft), draft.streams, strict=True)
    names = [name for name, stream in every if not stream.is_image]
    if images:
        yield "verification:  # what another image's clouds would have hidden, of a share of images"
        yield f"  withheld: {{share: {SHARE_OF_IMAGES}, seed: 1, by: cloud}}"
        return
    if draft.seed is None:
        yield "# open: too few platforms to withhold one; name their column (columns.platform), or"
        yield "# there are no scores: verification: {withheld: {share: 0.2, seed: 1}}"
        return
    some = f", streams: {_scalar(names)}" if len(names) < len(draft.streams) else ""
    yield "verification:"
    yield f"  withheld: {{share: {SHARE}, seed: {draft.seed}{some}}}  # of the platforms"


def _instant(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time.astype('datetime64[s]'))}Z"


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ -]*[A-Za-z0-9_]|[A-Za-z]")
_TAKEN = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"}


def _scalar(value: Any) -> str:
    """A value as YAML in one line; texts that mean something else are quoted."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_scalar(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _TAKEN
        return value if plain else json.dumps(value, ensure_ascii=False)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _comment(text: str, indent: str) -> Iterator[str]:
    """A comment in lines that are not too long."""
    words: Sequence[str] = " ".join(text.split()).split(" ")
    line = f"{indent}#"
    for word in words:
        if len(line) + len(word) + 1 > _WIDTH and line != f"{indent}#":
            yield line
            line = f"{indent}#"
        line += f" {word}"
    yield line
