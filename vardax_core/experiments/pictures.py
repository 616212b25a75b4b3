"""Pictures of the cycles of a store, for its report."""

import numpy as np
import xarray as xr
from jaxtyping import Bool
from matplotlib.figure import Figure

from vardax_core.calibration.plots import (
    FieldPanel,
    ObservedMap,
    PointSeries,
    SectionPanel,
    maps,
    observed_map,
    point_series,
    section,
)
from vardax_core.calibration.plots.scale import scale_of
from vardax_core.calibration.plots.support import support_maps
from vardax_core.calibration.report import Panel
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.support import supported
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore

SERIES_CYCLES = 120


def support_figure(experiment: Experiment, store: ExperimentStore, time: np.datetime64) -> Figure:
    """Draw what the analysis of a cycle rests on, see `supported`.

    Raises:
        PeriodError: if there is no such cycle in the store.
    """
    found = supported(experiment, store, time)
    fields = {str(one.attrs["long_name"]): one for one in found.values()}
    when = found.attrs["time"].replace("T", " ")
    comment = f"; {found.attrs['comment']}" if found.attrs["comment"] else ""
    title = f"What the analysis of {experiment.name} rests on, {when} UTC{comment}"
    return support_maps(fields, experiment.space(store).grid, title)


def example_panels(experiment: Experiment, store: ExperimentStore) -> tuple[Panel, ...]:
    """Pictures of the last scored cycle, and of the cycles that led to it."""
    recipe = experiment.recipe
    analysis = store.dataset("analysis")
    if analysis.sizes["time"] == 0:
        return ()
    last = analysis.isel(time=slice(-SERIES_CYCLES, None))
    times = last["time"].to_numpy()
    if recipe.reported:
        best = _best_observed(store, times)
        return tuple(
            _observed_panel(experiment, store, best, number)
            for number in range(len(recipe.variables))
        )
    return tuple(
        panel
        for number in range(len(recipe.variables))
        for panel in _truth_panels(experiment, store, last, number)
    )


def _truth_panels(
    experiment: Experiment, store: ExperimentStore, last: xr.Dataset, number: int
) -> tuple[Panel, ...]:
    """Pictures of one channel beside its truth.

    Arguments:
        last: analyses of the cycles.
        number: of the channel.
    """
    recipe, variable = experiment.recipe, experiment.recipe.variables[number]
    name, scale = variable.name, scale_of(last[variable.name].attrs)
    units, times = scale.units, last["time"].to_numpy()
    suffix = f"-{name.lower()}" if number else ""
    last = last.assign({n: last[n] - scale.offset for n in (name, f"{name}_mean")})
    truth = store.dataset("nature_run")[name].sel(time=times) - scale.offset
    background = store.dataset("background")[name].sel(time=times) - scale.offset
    when = str(times[-1].astype("datetime64[m]"))
    shape = tuple(truth.sizes[dim] for dim in recipe.state_dims)
    size = int(np.prod(shape))
    index = store.dataset("observations")["grid_index"].to_numpy()
    own = index // size == number
    stations = index[own] % size
    observed = store.dataset("observations")[recipe.observed.name].sel(time=times).to_numpy()
    observed = observed[:, own] - scale.offset
    held_out = np.setdiff1d(np.arange(size), stations)
    point = int(held_out[len(held_out) // 2]) if held_out.size else size // 2
    series = _series(recipe.state_dims, last, truth, background, name, point, shape)
    at_point = np.flatnonzero(stations == point)
    observations = (
        observed[:, at_point[0]] if at_point.size else np.full(len(times), np.nan)
    ).astype(float)
    place = ", ".join(
        f"{dim} {float(truth[dim][i]):g}"
        for dim, i in zip(recipe.state_dims, np.unravel_index(point, shape), strict=True)
    )
    kind = "held out" if held_out.size else "observed"
    line = PointSeries(
        times=times,
        observations=observations,
        title=f"{variable.long_name} at {place} ({kind})",
        **series,
    )
    if len(shape) == 1:
        gridded = np.full(size, np.nan)
        gridded[stations] = observed[-1]
        panel = SectionPanel(
            position=truth[recipe.state_dims[0]].to_numpy().astype(float),
            truth=truth[-1].to_numpy().astype(float),
            background=background[-1].mean("member").to_numpy().astype(float),
            observations=gridded,
            ensemble=last[name][-1].to_numpy().astype(float),
            title=f"{variable.long_name}, {when}",
        )
        figure = section(panel, line, units=units, variable=name)
        caption = "The last cycle (above), and one point over the last cycles with its 90 % band."
        return (Panel(f"example{suffix}", caption, figure),)
    grid = experiment.space(store).grid
    codes = store.dataset("observations")[QUALITY_CONTROL].sel(time=times[-1]).to_numpy()[own]
    field = FieldPanel(
        truth=truth[-1].to_numpy().astype(float),
        background=background[-1].mean("member").to_numpy().astype(float),
        analysis=last[f"{name}_mean"][-1].to_numpy().astype(float),
        spread=last[f"{name}_spread"][-1].to_numpy().astype(float),
        grid=grid,
        stations=grid.points()[stations[codes != QualityCode.WITHHELD]],
        title=f"{variable.long_name}, {when}",
    )
    return (
        Panel(
            f"map{suffix}",
            "Truth, background, analysis, errors and spread of the last cycle; dots are stations.",
            maps(field, units=units, variable=name),
        ),
        Panel(
            f"point{suffix}",
            "A point without a station over the last cycles, with the analysis' 90 % band.",
            point_series(line, units=units, variable=name),
        ),
    )


def _series(
    dims: tuple[str, ...],
    analysis: xr.Dataset,
    truth: xr.DataArray,
    background: xr.DataArray,
    name: str,
    point: int,
    shape: tuple[int, ...],
) -> dict[str, np.ndarray]:
    where = {dim: int(i) for dim, i in zip(dims, np.unravel_index(point, shape), strict=True)}
    return {
        "truth": truth.isel(where).to_numpy().astype(float),
        "background": background.isel(where).mean("member").to_numpy().astype(float),
        "analysis": analysis[f"{name}_mean"].isel(where).to_numpy().astype(float),
        "spread": analysis[f"{name}_spread"].isel(where).to_numpy().astype(float),
    }


def _best_observed(store: ExperimentStore, times: np.ndarray) -> np.datetime64:
    """The cycle of some that has the most withheld observations, the last of several."""
    codes = store.dataset("innovations")[QUALITY_CONTROL].sel(time=times).to_numpy()
    held = np.sum(codes == QualityCode.WITHHELD, axis=1)
    there = held if held.any() else np.sum(codes == QualityCode.KEPT, axis=1)
    return times[len(there) - 1 - int(np.argmax(there[::-1]))]


def _observed_panel(
    experiment: Experiment, store: ExperimentStore, when: np.datetime64, number: int
) -> Panel:
    """Maps of a channel of an analysis of real observations, beside which there is no truth."""
    recipe, variable = experiment.recipe, experiment.recipe.variables[number]
    name, dims = variable.name, recipe.state_dims
    analysis = store.dataset("analysis").sel(time=when)
    mean, spread = (
        analysis[f"{name}_{which}"].transpose(*dims).to_numpy().astype(float)
        for which in ("mean", "spread")
    )
    scale = scale_of(analysis[name].attrs)
    background = store.dataset("background")[name].sel(time=when).mean("member")
    places, codes = observed_places(store, recipe, when)
    mine = observed_of(store.dataset("observations").sel(time=when), recipe, number)
    innovations = store.dataset("innovations").sel(time=when)
    used = mine & ((codes == QualityCode.KEPT) | (codes == QualityCode.WITHHELD))
    panel = ObservedMap(
        background=background.transpose(*dims).to_numpy().astype(float) - scale.offset,
        analysis=mean - scale.offset,
        spread=spread,
        grid=experiment.space(store).grid,
        places=places[used],
        innovations=innovations["background_departure"].to_numpy().astype(float)[used],
        residuals=innovations["analysis_departure"].to_numpy().astype(float)[used],
        withheld=codes[used] == QualityCode.WITHHELD,
        title=f"{variable.long_name}, {when.astype('datetime64[m]')} UTC",
    )
    caption = (
        "Analysis, spread and increment of a cycle; the observations that were used, by O-B, and "
        "those that were withheld, by O-A."
    )
    figure = observed_map(panel, units=scale.units, variable=name)
    return Panel(f"map-{name.lower()}" if number else "map", caption, figure)


def observed_of(
    observations: xr.Dataset, recipe: Recipe, number: int
) -> Bool[np.ndarray, " record"]:
    """Which observations of a cycle are of a channel.

    Arguments:
        observations: of one time.
        number: of the channel.
    """
    if not recipe.channels:
        return np.ones(observations.sizes["station"], bool)
    return np.broadcast_to(
        observations[CHANNEL].to_numpy() == number, observations.sizes["station"]
    )


def observed_places(
    store: ExperimentStore, recipe: Recipe, when: np.datetime64
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the real observations of a cycle, and their quality codes after it."""
    observations = store.dataset("observations").sel(time=when)
    columns = [observations[dim].to_numpy().astype(float) for dim in recipe.state_dims]
    codes = store.dataset("innovations")[QUALITY_CONTROL].sel(time=when).to_numpy()
    return np.stack(columns, axis=-1), codes
