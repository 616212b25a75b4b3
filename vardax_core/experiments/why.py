"""Why an analysis is what it is at a place: what observations did to it, and what was refused."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from vardax_core.analysis.base import AbstractAnalysisStep, made_at
from vardax_core.data.errors import PeriodError
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.experiments.again import made_again
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.explained import Explained, RecordsOfCycle
from vardax_core.experiments.store_layout import INCREMENT_CAUSE
from vardax_core.experiments.watched import cause_of
from vardax_core.state.grids.base import OutsideDomainError
from vardax_core.store import ExperimentStore
from vardax_core.types import Observations, ResultCode, ensemble_mean

CLOSE = 1e-5
"""Share of an increment that the weights may miss it by."""
NODES = (1, 4)
"""Of the Gauss-Legendre rules that are tried on a panel before it is halved."""
MOST_HALVED = 100
"""Panels: some five kinks; where rounding alone makes the sum miss, none is halved for ever."""
AT_ONCE = 32
"""Observations whose weights are computed together."""


@dataclasses.dataclass(frozen=True)
class Why:
    """What an analysis is made of at a place.

    Attributes:
        time: analysis time.
        variable: name of the variable.
        place: coordinates of the grid point.
        background, analysis: as they are stored, means of the members, unit of the state.
        made: the method's own analysis, made again.
        rest: of its increment that no innovation gives.
        method, result: which made the stored analysis, and how it ended.
        replaced: what was replaced and why, empty where nothing was.
        entered: observations that entered, those of the largest contribution first.
        others: observations that did not.
    """

    time: str
    variable: str
    place: tuple[float, ...]
    background: float
    analysis: float
    made: float
    rest: float
    method: str
    result: str
    replaced: str
    entered: tuple[Explained, ...]
    others: tuple[Explained, ...]

    @property
    def increment(self) -> float:
        """Of the method's own analysis."""
        return self.made - self.background


Value = Callable[..., Float[Array, ""]]
"""Of an analysis, from the observed values and what is given."""


def contributions(
    value: Value,
    without: Float[Array, "window obs"],
    innovation: Float[Array, "window obs"],
    *given: PyTree,
) -> tuple[Float[np.ndarray, "window obs"], float, float]:
    """What each innovation gives to a value of the analysis.

    The integral over t from 0 to 1 of d_j dvalue/dy_j at y = H(x_b) + t d: of a linear analysis
    the gain times the innovation; of any, the sum is value(H(x_b) + d) - value(H(x_b)). Panels of
    t are halved where the sum misses that, as about a kink.

    Arguments:
        value: of the analysis, from the observed values and what is given.
        without: equivalents H(x_b).
        innovation: d, 0 where nothing is used.
        given: large arrays that the value is computed from, which compilers need not look into.

    Returns:
        The contributions, the value without any innovation, and that with all.

    Source: Sundararajan et al. (2017), Axiomatic attribution for deep networks, section 3.
    """
    places = tuple(jnp.asarray(part) for part in np.nonzero(np.asarray(innovation)))
    serves = _serves(value, without + innovation, given)

    def gradient(at: Float[Array, "window obs"]) -> Float[np.ndarray, "window obs"]:
        if serves:
            return np.asarray(_backwards(value, at, given)[1])
        return np.asarray(_forwards(value, at, places, given))

    def along(share: float) -> float:
        at = without + share * innovation
        # One program for value and slope: to trace another takes longer than to run this one.
        return float(_backwards(value, at, given)[0] if serves else _valued(value, at, given))

    def panel(begin: float, end: float, count: int) -> Float[np.ndarray, "window obs"]:
        nodes, weights = np.polynomial.legendre.leggauss(count)
        half = (end - begin) / 2
        slopes = (gradient(without + (begin + half * (1 + t)) * innovation) for t in nodes)
        return np.asarray(half * sum(w * s for w, s in zip(weights, slopes, strict=True)))

    none, whole = along(0.0), along(1.0)
    close = CLOSE * abs(whole - none)
    parts, left, halved = np.zeros(innovation.shape), [(0.0, 1.0, none, whole)], 0
    while left:
        begin, end, before, after = left.pop()
        for count in NODES:
            found = np.asarray(innovation) * panel(begin, end, count)
            missed = abs(found.sum() - (after - before))
            if missed <= close * (end - begin):
                break
        if missed <= close * (end - begin) or halved == MOST_HALVED:
            parts += found
        else:
            halved += 1
            middle = (begin + end) / 2
            there = along(middle)
            left += [(begin, middle, before, there), (middle, end, there, after)]
    return parts, none, whole


@eqx.filter_jit
def _valued(value: Value, at: Float[Array, "window obs"], given: PyTree) -> Float[Array, ""]:
    return value(at, *given)


@eqx.filter_jit
def _forwards(
    value: Value, at: Float[Array, "window obs"], places: tuple[Array, ...], given: PyTree
) -> Float[Array, "window obs"]:
    """A pass for each observation, which serves every analysis."""

    def along(place: tuple[Array, ...]) -> Float[Array, ""]:
        direction = jnp.zeros_like(at).at[place].set(1.0)
        return jax.jvp(lambda values: value(values, *given), (at,), (direction,))[1]

    found = jax.lax.map(along, places, batch_size=AT_ONCE)
    return jnp.zeros_like(at).at[places].set(found)


@eqx.filter_jit
def _backwards(
    value: Value, at: Float[Array, "window obs"], given: PyTree
) -> tuple[Float[Array, ""], Float[Array, "window obs"]]:
    """The value, and one pass for all observations."""
    return jax.value_and_grad(lambda values: value(values, *given))(at)


def _serves(value: Value, at: Float[Array, "window obs"], given: PyTree) -> bool:
    """Whether a derivative can be taken backwards: an analysis with a loop of unknown length has
    none, and in one with a square root of nothing it is not finite."""
    try:
        return bool(np.all(np.isfinite(np.asarray(_backwards(value, at, given)[1]))))
    except (ValueError, NotImplementedError):
        return False


class _AtPoint(eqx.Module):
    """Increment of an analysis at a point, from the observed values.

    Attributes:
        index: in a flat state.
        key: of the analysis.
    """

    index: Int[Array, ""]
    key: PRNGKeyArray

    def __call__(
        self,
        values: Float[Array, "window obs"],
        step: AbstractAnalysisStep,
        members: Float[Array, "member *state"],
        observations: Observations,
    ) -> Float[Array, ""]:
        window = dataclasses.replace(observations, values=values)
        increment = step(members, window, key=self.key).mean - ensemble_mean(members)
        return increment.reshape(-1)[self.index]


def explain(
    experiment: Experiment,
    store: ExperimentStore,
    time: np.datetime64,
    at: tuple[float, ...],
    variable: str | None = None,
) -> Why:
    """Say what an analysis is made of at the grid point whose cell a place is in.

    The analysis is made again from the stored background and the observations, in double precision
    where JAX has it switched on. What a method remembers of past departures is not stored of each
    cycle and is taken to be as usual.

    Arguments:
        experiment, store: the cycles.
        time: an analysis time.
        at: coordinates in the order of the recipe's state_dims.
        variable: name of a variable; by default the first.

    Raises:
        PeriodError: if there is no such cycle in the store.
        OutsideDomainError: if there is no grid point at the place.
        RecipeError: if there is no such variable.
    """
    recipe = experiment.recipe
    chosen = recipe.variable_of(variable or recipe.variable.name)
    again = made_again(experiment, store, time)
    point = _point(experiment, store, at)
    cell = tuple(int(i) for i in np.unravel_index(point, again.members.shape[-len(at) :]))
    index = (recipe.channels.index(chosen.name), *cell) if recipe.channels else cell
    observations, innovation = again.observations, again.innovation
    step = made_at(again.program.step, point)

    flat = np.ravel_multi_index(index, again.members.shape[1:])
    value = _AtPoint(jnp.asarray(flat), again.key)
    given = (step, again.members, observations)
    parts, rest, made = contributions(value, again.equivalents, innovation, *given)
    limit = again.program.first_guess_limit
    shown = RecordsOfCycle(experiment, store, limit, time, again)
    before = float(np.mean(np.asarray(again.members[(slice(None), *index)])))
    entered = shown.entered(parts, innovation, observations)
    diagnostics = store.dataset("diagnostics").isel(time=again.number).load()
    analysis = store.dataset("analysis").isel(time=again.number)
    field = analysis[f"{chosen.name}_mean"].transpose(..., *recipe.state_dims).to_numpy()
    return Why(
        time=str(time.astype("datetime64[m]")),
        variable=chosen.name,
        place=tuple(float(x) for x in experiment.space(store).grid.points()[point]),
        background=before,
        analysis=float(field[cell]),
        made=before + made,
        rest=rest,
        method=_meaning(diagnostics["analysis_method"]),
        result=_meaning(diagnostics["result"]),
        replaced=_replaced(diagnostics),
        entered=entered,
        others=shown.others(),
    )


def place_of_observation(
    experiment: Experiment, store: ExperimentStore, name: str
) -> tuple[np.datetime64, tuple[float, ...], str]:
    """The place and the variable of an observation by its id, TIME/COLUMN, and the first analysis
    time whose window it is in.

    Raises:
        PeriodError: if there is no such observation, or no cycle yet that could have seen it.
    """
    instant, _, column = name.rpartition("/")
    recipe, kept = experiment.recipe, store.dataset("observations")
    try:
        time, number = np.datetime64(instant, "ns"), int(column)
        row = kept.sel(time=time, station=number).load()
    except (ValueError, KeyError) as error:
        raise PeriodError(
            f"--observation: expected TIME/COLUMN, such as 2024-01-01T00:00/3, of an observation "
            f"in {store.location}, got {name}; `vardax why` with --time and --at lists them."
        ) from error
    dims, channel = recipe.state_dims, 0
    if recipe.channels and CHANNEL in row:
        channel = max(int(row[CHANNEL]), 0)
    if all(dim in row for dim in dims):
        place = tuple(float(row[dim]) for dim in dims)
    else:
        grid = experiment.space(store).grid
        place = tuple(float(x) for x in grid.points()[int(row["grid_index"]) % grid.size])
    return _first_cycle_with(recipe, store, time), place, recipe.variables[channel].name


def _first_cycle_with(recipe: Recipe, store: ExperimentStore, time: np.datetime64) -> np.datetime64:
    window = recipe.window
    before = np.timedelta64(duration_to_minutes(window.spacing) * (window.times - 1), "m")
    after = np.timedelta64(duration_to_minutes(window.spacing) * (window.after or 0), "m")
    cycles = store.dataset("analysis")["time"].values
    seen = cycles[(cycles - before <= time) & (time <= cycles + after)]
    if not seen.size:
        raise PeriodError(
            f"--observation: no cycle of {store.location} has {time.astype('datetime64[m]')} in "
            "its window; name one of a cycle that was made, or assimilate up to it."
        )
    return seen[0]


def _point(experiment: Experiment, store: ExperimentStore, at: tuple[float, ...]) -> int:
    grid, dims = experiment.space(store).grid, experiment.recipe.state_dims
    if len(at) != len(dims):
        raise OutsideDomainError(
            f"--at: expected {len(dims)} numbers, of {', '.join(dims)}, got {len(at)}; give those."
        )
    point = int(grid.cells(np.asarray([at], np.float64))[0])
    if point < 0:
        raise OutsideDomainError(
            f"--at: there is no grid point at {at}; the grid spans {grid.span()}."
        )
    return point


def _meaning(code: xr.DataArray) -> str:
    values = [int(v) for v in np.atleast_1d(code.attrs["flag_values"])]
    names = dict(zip(values, str(code.attrs["flag_meanings"]).split(), strict=True))
    return names.get(int(code), str(int(code)))


def _replaced(diagnostics: xr.Dataset) -> str:
    if not int(diagnostics["analysis_method"]):
        drawn_back = int(diagnostics["result"]) == int(ResultCode.OUT_OF_RANGE)
        return "a spread beyond that of the climate, by what this allows" if drawn_back else ""
    cause = int(diagnostics[INCREMENT_CAUSE]) if INCREMENT_CAUSE in diagnostics else 0
    why = cause_of(cause) if cause else f"it ended with {_meaning(diagnostics['result'])}"
    return f"the method's own analysis: {why}"
