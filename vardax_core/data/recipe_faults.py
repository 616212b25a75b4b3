"""What is wrong between the sections of a recipe that are each right."""

from collections.abc import Iterable, Iterator
from typing import Any

from vardax_core.data.observing_networks import Reported
from vardax_core.data.recipe_sections import RESERVED
from vardax_core.data.regions import faults_of_regions
from vardax_core.data.reported import NoTruth, StateFields
from vardax_core.data.streams.sections import faults_of_names
from vardax_core.data.truth_sources import FileSource, TwinSource
from vardax_core.words import counted


def faults_of_recipe(recipe: Any) -> Iterator[str]:
    """Say what is wrong between the sections of a recipe that are each right.

    Arguments:
        recipe: a `Recipe`, which itself asks.
    """
    yield from _of_times(recipe)
    yield from _of_channels(recipe)
    if recipe.reported:
        yield from _of_streams(recipe)
    else:
        yield from _of_simulation(recipe)


def _of_streams(recipe: Any) -> Iterator[str]:
    streams = recipe.streams or ()
    known = [one.name for one in recipe.variables]
    for number, stream in enumerate(streams):
        if stream.variable not in (*known, *([] if recipe.channels else [None])):
            said = "is needed" if stream.variable is None else f"'{stream.variable}' is not there"
            yield f"observations.{number}.variable {said}: which of {known} the values are of"
            continue
        variable = recipe.variable_of_stream(stream)
        bounds = (variable.valid_min, variable.valid_max)
        for fault in stream.faults_with(recipe.state_dims, variable.units, bounds):
            yield f"observations.{number}.{fault}"
        if stream.error_sd is None and not stream.source.states_errors:
            yield (
                f"observations.{number}.error_sd is needed: neither it nor a column of errors says "
                "how good the values are; a guess will do, which training then corrects and says so"
            )
    for fault in faults_of_names(streams):
        yield f"streams: {fault}"
    if not isinstance(recipe.source, NoTruth) or not isinstance(recipe.network, Reported):
        yield "streams: real observations have no truth and no simulated observing network"
    for name in ("observation", "screening", "binning"):
        if getattr(recipe, name) is not None:
            yield f"{name} is for observations that are simulated; a stream says its own"
    if recipe.grid is None and recipe.prior is None:
        yield "grid: real observations say nothing about where maps are wanted; give a grid"
    if recipe.grid is not None:
        for fault in recipe.grid.faults_with(recipe.state_dims):
            yield f"grid: {fault}"
    averaged = [stream.name for stream in streams if stream.statistic is not None]
    if averaged and recipe.forecast_files is None:
        yield (
            f"streams: the values of {averaged} are of some hours, which asks for a forecast "
            "whose fields lie within them"
        )
    yield from _of_biases(recipe)
    if recipe.leads is not None and recipe.forecast is not None:
        yield (
            "leads: forecasts of files, of a command or of a function are not made again for a "
            "report, whose O-B scores them; leave leads out"
        )
    lifted = [stream.name for stream in streams if stream.heights is not None]
    if lifted and (recipe.grid is None or recipe.grid.orography is None):
        yield (
            f"grid.orography is needed: the values of {lifted} are brought to the heights of the "
            "grid; name a file that has them, or leave `heights` out"
        )
    for fault in faults_of_regions(recipe.regions or {}, recipe.state_dims):
        yield f"regions.{fault}"
    names = {stream.name for stream in streams}
    unknown = sorted(set((recipe.withheld and recipe.withheld.streams) or ()) - names)
    if unknown:
        yield f"withheld.streams: there are no streams {unknown}, only {sorted(names)}"


def _of_biases(recipe: Any) -> Iterator[str]:
    streams = recipe.streams or ()
    anchors = [s for s in streams if s.bias is None or s.bias.anchor]
    if not anchors:
        yield (
            "bias.anchor: no stream is an anchor, so that biases cannot be told from the level of "
            "the background; leave `anchor: false` out of one, or its bias"
        )
    for number, stream in enumerate(streams):
        alone = [one.name for one in anchors] == [stream.name]
        if stream.bias is not None and stream.bias.by == "stream" and alone:
            yield (
                f"observations.{number}.bias: '{stream.name}' is the only anchor, and what a whole "
                "stream is off by is told from other anchors; say by: platform, or leave the bias "
                "out"
            )
        if stream.carries_bias and recipe.window.after is not None:
            yield (
                f"observations.{number}.bias.memory: a bias is remembered from what a background "
                "says that has not seen the observations, and in windows that look ahead it has; "
                "leave window.after out, or memory"
            )


def _of_simulation(recipe: Any) -> Iterator[str]:
    if recipe.observation is None:
        yield "observation is needed: how the truth is observed"
        return
    if isinstance(recipe.source, NoTruth) or isinstance(recipe.network, Reported):
        yield "source and network are needed: without real streams a truth is observed"
        return
    for name in ("grid", "prior", "withheld", "regions", "leads"):
        if getattr(recipe, name) is not None:
            yield f"{name} is for real observations, and these are simulated from a truth"
    if recipe.binning is not None and recipe.unlike_points:
        yield (
            f"binning averages values at points, and these are of the kind "
            f"{recipe.unlike_points[0]}; leave binning or the operator out"
        )
    if recipe.window.after is not None:
        yield "window.after is for maps of real observations"
    yield from _of_twin(recipe)


def _of_times(recipe: Any) -> Iterator[str]:
    if recipe.forecast is not None and recipe.window.times + (recipe.window.after or 0) > 1:
        yield (
            "window: with a forecast from files, a command or a function the observations of "
            "one time are analysed; set times to 1 and leave `after` out"
        )
    if (
        recipe.training is not None
        and recipe.training.end >= recipe.period.start
        and not recipe.reported
    ):
        yield (
            f"training ends at {recipe.training.end.isoformat()}, which must be before period "
            f"starts at {recipe.period.start.isoformat()}: a method is scored on later days only"
        )
    if (recipe.period.end - recipe.period.start) % recipe.cycle_interval:
        yield (
            f"period must hold a whole number of cycles of {recipe.cycle_interval}: it runs from "
            f"{recipe.period.start.isoformat()} to {recipe.period.end.isoformat()}"
        )
    # Rounded up, and not times x spacing, which may be longer than a timedelta can be.
    fit = -(-recipe.cycle_interval // recipe.window.spacing)
    if recipe.window.times > fit and not recipe.reported:
        yield (
            f"a window of {recipe.window.times} times every {recipe.window.spacing} is longer than "
            f"the cycle of {recipe.cycle_interval}: an observation would be used twice"
        )
    own = recipe.window.spacing if recipe.observation is None else recipe.observation.interval
    name = "window.spacing" if recipe.observation is None else "observation.interval"
    for key, length in (
        ("cycle_interval", recipe.cycle_interval),
        ("window.spacing", recipe.window.spacing),
    ):
        if length % own:
            yield f"{key} {length} must be a multiple of {name} {own}"


def _of_twin(recipe: Any) -> Iterator[str]:
    if not isinstance(recipe.source, TwinSource) or recipe.observation is None:
        return
    channels, shape = recipe.source.settings.channels, recipe.source.settings.grid_shape
    if len(recipe.state_dims) != len(shape):
        yield (
            f"state_dims: a state of the model {recipe.source.model} has "
            f"{counted(len(shape), 'dimension')}, {shape} points; got {list(recipe.state_dims)}"
        )
    elif len(recipe.channels) != channels:
        yield (
            f"variables: a state of the model {recipe.source.model} holds "
            f"{counted(channels or 1, 'variable')}; got "
            f"{[one.name for one in recipe.variables]}"
        )
    else:
        try:
            recipe.network.places(shape)
        except ValueError as error:
            yield f"network: {error}"
    if recipe.observation.interval % recipe.source.step_interval:
        yield (
            f"observation.interval {recipe.observation.interval} must be a multiple of "
            f"source.step_interval {recipe.source.step_interval}"
        )


def faults_of_files(found: Iterable[Any]) -> Iterator[str]:
    """Say which variables of a state would be read from the same values.

    Arguments:
        found: see `Recipe.in_files`.
    """
    seen: dict[tuple, str] = {}
    for one in found:
        key = (one.name, *sorted(one.select.items()))
        if key in seen:
            yield (
                f"variables: '{seen[key]}' and '{one.variable.name}' are both '{one.name}' in the "
                "files; give each its file_variable or select, such as a level"
            )
        seen[key] = one.variable.name


def _of_channels(recipe: Any) -> Iterator[str]:
    chosen = recipe.observation.channels if recipe.observation is not None else None
    names = [one.name for one in recipe.variables]
    if chosen is not None and (unknown := sorted(set(chosen) - set(names))):
        yield f"observation.channels: there are no variables {unknown}, only {names}"
        return
    if recipe.further is None:
        return
    if len(set(names)) < len(names) or set(names) & RESERVED:
        yield (
            f"variables: every one needs a name of its own, and none of {sorted(RESERVED)}; "
            f"got {names}"
        )
    for section in (recipe.source, recipe.prior, recipe.forecast_files):
        if isinstance(section, FileSource | StateFields):
            yield from faults_of_files(recipe.in_files(section))
    if recipe.reported:
        return
    units = {recipe.variables[number].units for number in recipe.observed_channels}
    if len(units) > 1:
        yield (
            f"observation.channels: the observed variables have the units {sorted(units)}, and "
            "one error_sd is of one unit; observe variables of one unit"
        )
    for name in ("screening", "binning"):
        if getattr(recipe, name) is not None:
            yield f"{name} is for a state of one variable, so far"
