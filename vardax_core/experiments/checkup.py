"""What a recipe finds before it is run: in words, in tables, in pictures."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from vardax_core.calibration.page import table
from vardax_core.calibration.plots import save
from vardax_core.calibration.plots.found import (
    DayCounts,
    FoundMap,
    counts_by_day,
    found_map,
    histogram_of_values,
)
from vardax_core.data import Recipe, ingest
from vardax_core.data.account import origin_of
from vardax_core.data.errors import RecipeError, SourceError
from vardax_core.data.found import Found, StreamFound, look, mask_share
from vardax_core.data.masks import frame_mask
from vardax_core.data.recipe_sections import CHANNEL, Variable
from vardax_core.data.rejected import rejected_of
from vardax_core.data.space import state_grid
from vardax_core.data.streams.coverage import by_platform, gaps
from vardax_core.data.streams.records import Records
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.experiments.settings import require_training, usual_methods
from vardax_core.files import write_atomically
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.words import counted

MOST_ROWS = 40
MOST_GAPS = 5


class NotReadyError(RecipeError):
    """A recipe that cannot be run as it is."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of what is said.

    Attributes:
        title: of the part.
        lines: sentences.
        header, rows: of a table; both empty without one.
    """

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Checkup:
    """What was found for a recipe.

    Attributes:
        name: of the data set.
        sections: everything, in words.
        pictures: PNG files.
        page: Markdown file beside them.
        faults: what keeps it from being run.
    """

    name: str
    sections: tuple[Section, ...]
    pictures: tuple[pathlib.Path, ...]
    page: pathlib.Path
    faults: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Whether it can be run, in a sentence."""
        if not self.faults:
            return f"{self.name} can be run: vardax run {self.name}"
        return f"{self.name} cannot be run yet: {counted(len(self.faults), 'fault')}"

    def require_ready(self) -> None:
        """Refuse a recipe that cannot be run.

        Raises:
            NotReadyError: naming every fault.
        """
        if self.faults:
            raise NotReadyError("\n  ".join([f"{self.verdict}.", *self.faults]))


def check_up(recipe: Recipe, root: pathlib.Path, data_dir: pathlib.Path | None = None) -> Checkup:
    """Look at everything that a recipe names, and write pictures and a page of it.

    Arguments:
        recipe: of a data set.
        root: folder of all runs; the files are written below `checks/<name>`.
        data_dir: folder of data; by default as in the environment.
    """
    own = _of_reports if recipe.reported else _of_simulation
    sections, figures, faults = own(recipe, data_dir)
    faults += [*_of_methods(recipe), *_of_rejected(recipe)]
    folder = root / "checks" / recipe.name
    for old in folder.glob("*.png"):
        if old.stem not in figures:
            old.unlink()
    pictures = tuple(save(figure, folder / f"{name}.png") for name, figure in figures.items())
    made = Checkup(recipe.name, tuple(sections), pictures, folder / "check.md", tuple(faults))
    write_atomically(made.page, _page(made, recipe).encode())
    return made


def _of_methods(recipe: Recipe) -> Iterator[str]:
    try:
        require_training(recipe)
        if not usual_methods(recipe):
            yield "methods: no method can be run with what the recipe names"
    except ValueError as error:
        yield str(error)


def _of_rejected(recipe: Recipe) -> Iterator[str]:
    """Faults of the reject list beside the recipe, of which the first cycle would be told."""
    try:
        rejected_of(recipe.name)
    except RecipeError as error:
        yield str(error)


def _of_reports(
    recipe: Recipe, data_dir: pathlib.Path | None
) -> tuple[list[Section], dict[str, Figure], list[str]]:
    found = look(recipe, data_dir)
    sections = [_section_of_cycles(recipe, found)]
    if found.frame is not None:
        sections.append(Section("grid", (mask_share(found.frame, recipe), *found.fields)))
    for stream in found.streams:
        sections.append(_section_of(stream, recipe))
    if found.streams:
        sections.append(_section_of_days(found.streams))
    return sections, _figures(recipe, found), list(found.faults)


def _section_of_cycles(recipe: Recipe, found: Found) -> Section:
    start, end = (f"{t:%Y-%m-%dT%H:%M}" for t in (recipe.period.start, recipe.period.end))
    blind, cycles = found.blind_cycles()
    window = recipe.window
    lines = [
        origin_of(recipe),
        f"{counted(cycles, 'cycle')} from {start} to {end}, every {_hours(recipe.cycle_interval)}; "
        f"a window of {counted(window.times + (window.after or 0), 'observation time')} every "
        f"{_hours(window.spacing)}",
    ]
    if blind and found.observed is not None:
        lines.append(f"{blind} of them have no observation that can be used in their window")
    if recipe.withheld is None:
        lines.append(
            "nothing is withheld, so that no report can say how good the maps are; write "
            "verification.withheld"
        )
    return Section("cycles", tuple(lines))


def _hours(duration) -> str:
    minutes = duration_to_minutes(duration)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _section_of(stream: StreamFound, recipe: Recipe) -> Section:
    account, records = stream.account, stream.records
    without = len(account.without)
    first, *others = account.sentences()
    lines = [first, *(f"first of those {line.split(' ', 1)[1]}" for line in others[:without])]
    lines += others[without:]
    if len(records):
        values, variable = records.value, variable_of(stream, recipe)
        lines.append(
            f"values {values.min():.6g} to {values.max():.6g} {variable.units}, bounds "
            f"{variable.valid_min:g} to {variable.valid_max:g}"
        )
        lines.append(_platforms_of(records))
        lines += _gaps_of(records, recipe)
        lines += _empty_days(_days(stream))
    rows = tuple((what, str(count), done) for what, count, done in stream.outcomes())
    return Section(f"stream '{stream.name}'", tuple(lines), ("what", "rows", "is done"), rows)


def variable_of(stream: StreamFound, recipe: Recipe) -> Variable:
    """Give the variable that a stream observes."""
    (own,) = (one for one in recipe.streams or () if one.name == stream.name)
    return recipe.variable_of_stream(own)


def _platforms_of(records: Records) -> str:
    found = by_platform(records)
    used = found.used > 0
    text = f"{counted(int(used.sum()), 'platform')} used, {int((found.moves & used).sum())} move"
    if used.sum() > 1:
        low, middle, high = np.quantile(found.used[used], [0, 0.5, 1])
        text += f"; observations of each {low:g} to {high:g}, median {middle:g}"
    return text


def _empty_days(count: DayCounts) -> list[str]:
    empty = count.days[count.used + count.withheld == 0]
    if not empty.size or empty.size > count.days.size / 2:
        return []
    first = ", ".join(map(str, empty[:MOST_GAPS]))
    return [
        f"days without an observation: {empty.size} of {count.days.size} ({first}"
        + (", ...)" if empty.size > MOST_GAPS else ")")
    ]


def _gaps_of(records: Records, recipe: Recipe) -> list[str]:
    longer = np.timedelta64(3 * duration_to_minutes(recipe.cycle_interval), "m")
    period = recipe.period
    start, end = (np.datetime64(t.replace(tzinfo=None), "ns") for t in (period.start, period.end))
    found = gaps(records, longer, start, end)
    said = [
        f"no observation from {np.datetime_as_string(begin, unit='m')} to "
        f"{np.datetime_as_string(stop, unit='m')}"
        for begin, stop in found[:MOST_GAPS]
    ]
    if len(found) > MOST_GAPS:
        said.append(f"and {counted(len(found) - MOST_GAPS, 'further gap')} of more than 3 cycles")
    return said


def _section_of_days(streams: Sequence[StreamFound]) -> Section:
    counts = [_days(stream) for stream in streams]
    by_day = {
        day: [0] * len(counts) for count in counts for day in count.days.astype("datetime64[D]")
    }
    for column, count in enumerate(counts):
        for day, number in zip(count.days, count.used + count.withheld, strict=True):
            by_day[day][column] = int(number)
    unit = "day"
    if len(by_day) > MOST_ROWS:
        unit = "month"
        months: dict[np.datetime64, list[int]] = {}
        for day, numbers in by_day.items():
            month = day.astype("datetime64[M]")
            before = months.get(month, [0] * len(counts))
            months[month] = [a + b for a, b in zip(before, numbers, strict=True)]
        by_day = months
    days = sorted(by_day)
    shown = days if len(days) <= MOST_ROWS else [*days[: MOST_ROWS // 2], *days[-MOST_ROWS // 2 :]]
    lines = () if len(days) <= MOST_ROWS else (f"first and last of {len(days)} {unit}s",)
    rows = tuple((str(day), *map(str, by_day[day])) for day in shown)
    return Section(
        f"used and withheld by {unit}", lines, (unit, *(count.name for count in counts)), rows
    )


def _days(stream: StreamFound) -> DayCounts:
    records = stream.records
    if not len(records):
        none = np.empty(0, np.int64)
        return DayCounts(stream.name, np.empty(0, "datetime64[D]"), none, none, none)
    day = records.time.astype("datetime64[D]")
    first, size = day.min(), int((day.max() - day.min()).astype(int)) + 1
    number = (day - first).astype(int)
    kept, withheld = records.code == QualityCode.KEPT, records.code == QualityCode.WITHHELD
    parts = (np.bincount(number[of], minlength=size) for of in (kept, withheld, ~kept & ~withheld))
    return DayCounts(stream.name, first + np.arange(size), *parts)


def _figures(recipe: Recipe, found: Found) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    if found.streams:
        figures["days"] = counts_by_day([_days(stream) for stream in found.streams])
    for number, variable in enumerate(recipe.variables):
        streams = [one for one in found.streams if variable_of(one, recipe) == variable]
        if found.frame is None or not streams:
            continue
        names = {"units": variable.units, "variable": variable.long_name}
        suffix = f"-{variable.name.lower()}" if number else ""
        parts = [stream.records for stream in streams]
        code = np.concatenate([part.code for part in parts])
        withheld = code == QualityCode.WITHHELD
        panel = FoundMap(
            grid=state_grid(found.frame, recipe),
            mask=frame_mask(found.frame, recipe.state_dims),
            places=np.concatenate([part.place for part in parts]),
            values=np.concatenate([part.value for part in parts]),
            withheld=withheld,
            unused=~withheld & (code != QualityCode.KEPT),
            title=f"{recipe.name}: observations from {recipe.period.start:%Y-%m-%d} to "
            f"{recipe.period.end:%Y-%m-%d}",
        )
        figures[f"map{suffix}"] = found_map(panel, **names)
        figures[f"values{suffix}"] = histogram_of_values(
            [(stream.name, stream.records.value) for stream in streams],
            (variable.valid_min, variable.valid_max),
            **names,
        )
    rank = ["map", "days", "values"]
    return dict(sorted(figures.items(), key=lambda one: rank.index(one[0].partition("-")[0])))


def _of_simulation(
    recipe: Recipe, data_dir: pathlib.Path | None
) -> tuple[list[Section], dict[str, Figure], list[str]]:
    """One time of a simulation, which says where the stations are."""
    lines = [origin_of(recipe)]
    start, end = (f"{t:%Y-%m-%dT%H:%M}" for t in (recipe.period.start, recipe.period.end))
    lines.append(f"cycles from {start} to {end}, every {_hours(recipe.cycle_interval)}")
    try:
        start_at = recipe.period.start
        made = ingest(recipe, start=start_at, end=start_at, data_dir=data_dir, partly=True)
        grid = state_grid(made.frame, recipe)
    except SourceError as error:
        return [Section("cycles", tuple(lines))], {}, [str(error)]
    observations = made.observations
    size, name = observations.sizes["station"], recipe.observed.name
    lines.append(f"{counted(size, 'station')} on {counted(int(np.prod(grid.shape)), 'point')}")
    shown = recipe.variable
    if recipe.channels:
        # The first variable that is observed stands for all, which are observed at the same points.
        (first, *_) = recipe.observed_channels
        observations = observations.isel(station=observations[CHANNEL].to_numpy() == first)
        shown = recipe.variables[first]
    codes = observations[QUALITY_CONTROL].to_numpy()[0]
    if "grid_index" in observations:
        places = np.asarray(grid.points())[observations["grid_index"].to_numpy() % grid.size]
    else:
        dims = recipe.state_dims
        places = np.stack([observations[dim].to_numpy() for dim in dims], axis=1)
    withheld = codes == QualityCode.WITHHELD
    panel = FoundMap(
        grid=grid,
        mask=frame_mask(made.frame, recipe.state_dims),
        places=places.astype(float),
        values=observations[name].to_numpy()[0].astype(float),
        withheld=withheld,
        unused=~withheld & (codes != QualityCode.KEPT),
        title=f"{recipe.name}: stations, simulated values of {start}",
    )
    names = {"units": shown.units, "variable": shown.long_name}
    return [Section("cycles", tuple(lines))], {"map": found_map(panel, **names)}, []


def _page(made: Checkup, recipe: Recipe) -> str:
    parts = [f"# Check of {made.name}", recipe.title, f"**{made.verdict}**"]
    parts += [f"- {fault}" for fault in made.faults]
    for section in made.sections:
        parts.append(f"## {section.title}")
        parts.append("\n".join(f"- {line}" for line in section.lines))
        if section.rows:
            parts.append(table(section.header, section.rows))
    captions = {"map": "Where", "days": "When", "values": "Which values"}
    parts += [f"![{captions[path.stem.partition('-')[0]]}]({path.name})" for path in made.pictures]
    return "\n\n".join(part for part in parts if part) + "\n"
