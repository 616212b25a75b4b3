"""Twin experiments: a nature run made by a model, and the simulated observation of any truth."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from vardax_core.data.channels import channel_attributes, split, stacked
from vardax_core.data.conventions import attributes_of, error_attributes, global_attributes
from vardax_core.data.errors import PeriodError, RecipeError, SourceError
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import (
    MINUTES_UNITS,
    duration_to_minutes,
    from_minutes,
    instant_to_minutes,
    to_minutes,
)
from vardax_core.data.truth_sources import TwinSource
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.quality import (
    QUALITY_CONTROL,
    QualityCode,
    check_bounds,
    flag_attributes,
)
from vardax_core.observations.settings import Sites
from vardax_core.words import counted


def twin_model(source: TwinSource) -> AbstractForecastModel:
    """Make the model of a twin's nature run."""
    return source.settings.build(duration_to_minutes(source.step_interval))


def simulate_nature_run(
    recipe: Recipe,
    *,
    start: int | None = None,
    end: int | None = None,
    dtype: str = "float32",
) -> xr.Dataset:
    """The nature run of a twin: the model started near rest, spun up, and integrated on the CPU.

    The run is always made whole, so that any part of the period is the same bit for bit.

    Arguments:
        recipe: a recipe whose source is of kind `twin`.
        start, end: first and last minute since `MINUTES_EPOCH`; by default `recipe.span`.
        dtype: of the integration and the result; float64 needs JAX's x64 mode.

    Raises:
        PeriodError: if the period is not within the recipe's.
        SourceError: if the recipe's source is not a twin, or JAX has no CPU backend.
    """
    source = recipe.source
    if not isinstance(source, TwinSource):
        raise SourceError(
            f"Recipe '{recipe.name}': its nature run is in a file; use open_nature_run."
        )
    model = twin_model(source)
    first, last = recipe.span
    minutes = np.arange(first, last + 1, model.interval, dtype=np.int64)
    start, end = first if start is None else start, last if end is None else end
    chosen = (minutes >= start) & (minutes <= end)
    if start < first or end > last or not chosen.any():
        spans = [str(t)[:16] for t in from_minutes(np.array([first, last, start, end]))]
        raise PeriodError(
            f"Recipe '{recipe.name}': its nature run covers {spans[0]} to {spans[1]}, but "
            f"{spans[2]} to {spans[3]} was asked for; choose a period within it that holds at "
            f"least one step of {model.interval} minutes."
        )
    states = _integrate(model, source, minutes.size, dtype)[chosen]
    if not np.isfinite(states).all():
        raise SourceError(
            f"Recipe '{recipe.name}': the nature run of the model {source.model} is not finite; "
            "shorten its step_size."
        )
    coordinates = {
        "time": ("time", from_minutes(minutes[chosen]), {"standard_name": "time", "axis": "T"}),
        **{
            dim: (dim, *axis)
            for dim, axis in zip(recipe.state_dims, source.settings.grid_axes(), strict=True)
        },
    }
    dims = ("time", *recipe.state_dims)
    fields = split(states, recipe)
    return xr.Dataset(
        {one.name: (dims, fields[one.name], attributes_of(one)) for one in recipe.variables},
        coordinates,
        global_attributes(recipe) | {"source": f"{source.model} twin, seed {source.seed}"},
    )


def _integrate(
    model: AbstractForecastModel, source: TwinSource, n_steps: int, dtype: str
) -> np.ndarray:
    with jax.default_device(_cpu()):
        key = jax.random.key(source.seed)
        first = source.settings.start(dtype, key=key)

        @jax.jit
        def run(start):
            total = source.spin_up_steps + n_steps
            time = jnp.zeros((), jnp.int32)
            return model.trajectory(start, time, total, key=key)[source.spin_up_steps :]

        return np.asarray(run(first))


def draw_network(recipe: Recipe, grid_shape: tuple[int, ...]) -> np.ndarray:
    """Flat (row-major) index in a state of every station, int32, without repetition.

    The network comes first, in ascending order, then the stations that stand beside it. Where
    states have channels, there is a station for every channel that is observed.

    Raises:
        RecipeError: if the stations do not fit on the grid.
    """
    size = int(np.prod(grid_shape))
    try:
        network = recipe.network.places(grid_shape)
    except ValueError as error:
        raise RecipeError(f"Recipe '{recipe.name}': {error}") from error
    if recipe.channels:
        return np.concatenate([n * size + network for n in recipe.observed_channels]).astype(
            np.int32
        )
    withheld = recipe.screening.withheld if recipe.screening else None
    if withheld is None or not withheld.beside:
        return network
    free = np.setdiff1d(np.arange(size), network)
    if withheld.count > free.size:
        raise RecipeError(
            f"Recipe '{recipe.name}': screening.withheld places "
            f"{counted(withheld.count, 'station')} beside the network, which leaves "
            f"{counted(free.size, 'point')} of the grid; lower its count, or take "
            "them from the network (beside: false)."
        )
    drawn = np.random.default_rng(withheld.seed).choice(free, withheld.count, replace=False)
    return np.concatenate([network, np.sort(drawn)]).astype(np.int32)


def draw_noise(seed: int, minutes: np.ndarray, n_stations: int) -> np.ndarray:
    """Standard normal numbers (time, station) that depend on (seed, minute, station) alone.

    Each row is a stream of the counter-based generator Philox with the key (seed, minute), so the
    same row comes out of any period, and its first n numbers of a network of any size.

    Source: Salmon et al. (2011), doi:10.1145/2063384.2063405
    """
    noise = np.empty((minutes.size, n_stations))
    for row, minute in zip(noise, minutes.astype(np.uint64), strict=True):
        key = np.array([seed, minute], np.uint64)
        np.random.Generator(np.random.Philox(key=key)).standard_normal(out=row)
    return noise


def _arrival_delays(recipe: Recipe, n_stations: int) -> np.ndarray:
    """Minutes from valid time to arrival of each station."""
    noise = recipe.simulation
    delays = np.full(n_stations, duration_to_minutes(noise.arrival_delay), np.int64)
    late = noise.late
    if late is None:
        return delays
    if late.count > n_stations:
        raise RecipeError(
            f"Recipe '{recipe.name}': {late.count} late stations, but the network has "
            f"{n_stations}; lower observation.late.count."
        )
    drawn = np.random.default_rng(late.seed).choice(n_stations, late.count, replace=False)
    delays[drawn] += duration_to_minutes(late.delay)
    return delays


def observe(nature_run: xr.Dataset, recipe: Recipe) -> xr.Dataset:
    """Observe a nature run with the recipe's network, noise and arrival delay.

    Arguments:
        nature_run: dataset with the recipe's variables on (time, *state_dims); times between two
            observation times of the recipe are passed over, times that it lacks are absent.
        recipe: what says how to observe.

    Returns:
        Dataset on (time, station): the variable, `<variable>_error` (standard deviation, same
        unit), `quality_control` (`QualityCode`: `MISSING` where the truth is not finite,
        `GROSS_ERROR` where it or the observed value is out of bounds), `arrival_time` (int64
        minutes since `MINUTES_EPOCH`); coordinates of the stations, and `grid_index` (int32, flat
        row-major). Where states have channels the name is that of `Recipe.observed`, `channel` is
        a coordinate of the stations, and `grid_index` that of the whole state.

    Raises:
        PeriodError: if the nature run holds none of the recipe's observation times.
        RecipeError: if the network is smaller than the recipe says.
    """
    variable, noise = recipe.observed, recipe.simulation
    minutes = to_minutes(nature_run["time"].values)
    since_first_cycle = minutes - instant_to_minutes(recipe.period.start)
    observed = since_first_cycle % duration_to_minutes(noise.interval) == 0
    observed &= from_minutes(minutes) == nature_run["time"].values
    if not observed.any():
        raise PeriodError(
            f"Recipe '{recipe.name}': the nature run has {minutes.size} times, but none on the "
            f"observation times every {noise.interval} from {recipe.period.start.isoformat()}; "
            "correct observation.interval or choose another period."
        )
    minutes = minutes[observed]
    truth = stacked(nature_run.isel(time=observed), recipe)
    index = draw_network(recipe, tuple(nature_run.sizes[dim] for dim in recipe.state_dims))
    where = np.unravel_index(index, truth.shape[1:])
    exact = _equivalents(truth, recipe, index)
    points = where[-len(recipe.state_dims) :]
    channel = {CHANNEL: ("station", where[0].astype(np.int8), channel_attributes(recipe))}
    low, high = _bounds(recipe, where[0])
    drawn = noise.error_sd * draw_noise(noise.seed, minutes, index.size)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (exact + drawn).astype(exact.dtype)
    in_bounds = (exact >= low) & (exact <= high)
    codes = np.where(in_bounds, QualityCode.KEPT, QualityCode.GROSS_ERROR)
    codes = np.where(np.isfinite(values), codes, QualityCode.MISSING).astype(np.int8)
    arrival = minutes[:, None] + _arrival_delays(recipe, index.size)[None]
    dims, shape = ("time", "station"), values.shape
    attrs = attributes_of(variable) | {
        "ancillary_variables": f"{variable.name}_error {QUALITY_CONTROL}"
    }
    arrival_attrs = {
        "long_name": "arrival time",
        "units": MINUTES_UNITS,
        "calendar": "proleptic_gregorian",
    }
    observations = xr.Dataset(
        {
            variable.name: (dims, values, attrs),
            f"{variable.name}_error": (
                dims,
                np.full(shape, noise.error_sd, values.dtype),
                error_attributes(recipe),
            ),
            QUALITY_CONTROL: (dims, codes, flag_attributes()),
            "arrival_time": (
                dims,
                arrival,
                arrival_attrs,
            ),
        },
        {
            "time": nature_run["time"][observed],
            **{
                dim: ("station", nature_run[dim].values[p], nature_run[dim].attrs)
                for dim, p in zip(recipe.state_dims, points, strict=True)
            },
            "grid_index": ("station", index, {"long_name": "flat row-major index of the grid"}),
            **(channel if recipe.channels else {}),
        },
        nature_run.attrs,
    )
    return check_bounds(observations, variable.name, low, high)


def _equivalents(truth: xr.DataArray, recipe: Recipe, index: np.ndarray) -> np.ndarray:
    """What every station sees of the truth, (time, station)."""
    settings, shape = recipe.simulation.operator, truth.shape[1:]
    if settings is None:
        where = zip(truth.dims[1:], np.unravel_index(index, shape), strict=True)
        places = {dim: xr.DataArray(point, dims="station") for dim, point in where}
        return truth.isel(places).transpose("time", "station").to_numpy()
    with jax.default_device(_cpu()):
        operator = settings.build(Sites(state_grid(truth, recipe), index, shape))
        return np.asarray(jax.jit(jax.vmap(operator))(truth.to_numpy()))


def _cpu() -> jax.Device:
    try:
        return jax.devices("cpu")[0]
    except RuntimeError as error:
        raise SourceError(
            "A truth is simulated and observed on the CPU, but JAX_PLATFORMS leaves it out; add "
            "it, e.g. export JAX_PLATFORMS=cuda,cpu."
        ) from error


def _bounds(recipe: Recipe, channel: np.ndarray) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Smallest and largest possible value, of every station by its channel if there are any."""
    if not recipe.channels:
        return recipe.observed.valid_min, recipe.observed.valid_max
    parts = [recipe.as_observed(one) for one in recipe.variables]
    low, high = np.array([(one.valid_min, one.valid_max) for one in parts]).T
    return low[channel], high[channel]
