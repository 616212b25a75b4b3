"""A picture of one cycle of a tree."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vardax_core.calibration.plots.style import (
    ANALYSIS,
    BACKGROUND,
    OBSERVATION,
    TRUTH,
    dress,
    legend,
    new_figure,
)
from vardax_core.notebook.innovations import observed_name
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.words import unit_label


class PictureError(ValueError):
    """A cycle that is not there, or a state that cannot be drawn."""


def cycle_picture(
    tree: xr.DataTree,
    date: str | np.datetime64 | None = None,
    *,
    member: int | None = None,
    variable: str | None = None,
) -> Figure:
    """Draw an analysis with its background and its observations.

    Arguments:
        tree: that `vardax.open` made.
        date: an analysis time (ISO 8601), or the one before it that is nearest; by default the
            last.
        member: which one is drawn; by default the mean.
        variable: of the state; by default the first.

    Raises:
        PictureError: there is no such cycle, member or variable, or the state has more than two
            dimensions.
    """
    cycle = tree["analysis"].to_dataset()
    fields = [str(name) for name, array in cycle.data_vars.items() if "member" in array.dims]
    name = variable or fields[0]
    if name not in fields:
        raise PictureError(f"plot: expected variable to be one of {', '.join(fields)}, got {name}.")
    cycle = cycle.isel(time=_number(cycle["time"].to_numpy(), date))
    when = np.datetime64(int(cycle["time"].to_numpy().astype("datetime64[ns]").astype(int)), "ns")
    size = cycle.sizes["member"]
    if member is not None and not 0 <= member < size:
        raise PictureError(f"plot: expected a member from 0 to {size - 1}, got {member}.")
    shown = cycle[f"{name}_mean"] if member is None else cycle[name].isel(member=member)
    before = tree["background"].to_dataset()[name].sel(time=when)
    before = before.mean("member") if member is None else before.isel(member=member)
    dims = [str(dim) for dim in shown.dims]
    if len(dims) not in (1, 2):
        raise PictureError(
            f"plot: expected a state of one or two dimensions, got {', '.join(dims)}; select some "
            "of it and draw it with xarray."
        )
    title = f"{cycle[name].attrs.get('long_name', name)}, {str(when)[:16]} UTC"
    label = unit_label(name, str(cycle[name].attrs.get("units", "1")))
    places, values = _observed(tree, when, shown)
    what = "mean" if member is None else f"member {member}"
    if len(dims) == 1:
        truth = tree["truth"].to_dataset()[name].sel(time=when) if "truth" in tree else None
        return _line(shown, before, cycle[name], truth, places, values, (title, label, what))
    return _maps(shown, before, cycle[f"{name}_spread"], places, values, (title, label, what))


def _number(times: np.ndarray, date: str | np.datetime64 | None) -> int:
    if not len(times):
        raise PictureError("plot: there is no cycle yet; assimilate some first.")
    if date is None:
        return len(times) - 1
    found = int(np.searchsorted(times, np.datetime64(date), side="right")) - 1
    if found < 0:
        raise PictureError(f"plot: expected a date from {str(times[0])[:16]}, got {date}.")
    return found


def _observed(
    tree: xr.DataTree, when: np.datetime64, shown: xr.DataArray
) -> tuple[np.ndarray, np.ndarray]:
    """Places, one row each, and values of the observations of the state that were not refused."""
    observations = tree["observations"].to_dataset().sel(time=when)
    codes = tree["innovations"].to_dataset()[QUALITY_CONTROL].sel(time=when).to_numpy()
    values = observations[observed_name(observations)].to_numpy().astype(float)
    dims = [str(dim) for dim in shown.dims]
    there = np.isfinite(values) & np.isin(codes, (QualityCode.KEPT, QualityCode.WITHHELD))
    if "grid_index" in observations:
        index = observations["grid_index"].to_numpy()
        there &= index < shown.size
        axes = np.unravel_index(index[there], shown.shape)
        places = [shown[dim].to_numpy()[at] for dim, at in zip(dims, axes, strict=True)]
    else:
        places = [observations[dim].to_numpy()[there] for dim in dims]
    return np.stack(places, axis=1).astype(float), values[there]


def _line(shown, before, ensemble, truth, places, values, words) -> Figure:
    title, label, what = words
    (dim,) = shown.dims
    at = shown[dim].to_numpy()
    figure = new_figure(9.0, 3.6)
    axes = figure.subplots()
    axes.plot(at, ensemble.transpose(dim, "member"), color=ANALYSIS, alpha=0.2, linewidth=0.6)
    if truth is not None:
        axes.plot(at, truth, color=TRUTH, linewidth=1.4, label="truth")
    axes.plot(at, before, color=BACKGROUND, linewidth=1.2, label=f"background {what}")
    axes.plot(at, shown, color=ANALYSIS, linewidth=1.6, label=f"analysis {what}")
    axes.plot(places[:, 0], values, "o", color=OBSERVATION, markersize=4, label="observations")
    dress(axes, title=title, x=str(dim), y=label)
    legend(axes, ncols=4)
    return figure


def _maps(shown, before, spread, places, values, words) -> Figure:
    title, label, what = words
    increment = shown - before
    reach = max(float(np.nanmax(np.abs(increment), initial=0.0)), 1e-12)
    low, high = float(shown.min()), float(shown.max())
    figure = new_figure(12.0, 4.0)
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    panels = (
        (shown, f"analysis {what}", "viridis", low, high),
        (increment, "increment (A-B)", "RdBu_r", -reach, reach),
        (spread, "analysis spread", "cividis", None, None),
    )
    for axes, (field, name, colours, lowest, highest) in zip(
        figure.subplots(1, 3, sharex=True, sharey=True), panels, strict=True
    ):
        _map(figure, axes, field, (name, label, colours), lowest, highest)
        if field is shown:
            edge = {"edgecolors": "black", "linewidths": 0.4}
            norm = {"cmap": colours, "vmin": low, "vmax": high}
            axes.scatter(places[:, 1], places[:, 0], 14, values, **norm, **edge)
    return figure


def _map(figure: Figure, axes: Axes, field: xr.DataArray, words, lowest, highest) -> None:
    name, label, colours = words
    y, x = (str(dim) for dim in field.dims)
    mesh = axes.pcolormesh(field[x], field[y], field, cmap=colours, vmin=lowest, vmax=highest)
    figure.colorbar(mesh, ax=axes, label=label)
    dress(axes, title=name, x=x, y=y, grid="")
