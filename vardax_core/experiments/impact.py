"""What stored observations did to the forecasts of a store, without running anything again but one
forecast a cycle."""

import dataclasses
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.ensemble.impact import observation_impact
from vardax_core.analysis.ensemble.localization import LocalNetwork, gaspari_cohn
from vardax_core.analysis.origin import Origin
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.channels import stacked
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.segments import SegmentReader
from vardax_core.observations.placement import Placement, with_placement
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore

AT_ONCE = 64
"""Cycles that are read together."""


@dataclasses.dataclass(frozen=True)
class Impacts:
    """What observations did to forecasts of one cycle.

    Attributes:
        times: analysis times.
        impact: of every column, 0 where none entered; negative made the forecast better. Units are
            those of the mean squared error.
        change: mean squared error of the forecast from the analysis minus that from its
            background, at the next analysis time.
        verified: what errors are taken from: truth, or the next analysis.
    """

    times: np.ndarray
    impact: Float[np.ndarray, "cycle column"]
    change: Float[np.ndarray, " cycle"]
    verified: str


def lack_of_impacts(experiment: Experiment, prepared: Prepared) -> str | None:
    """Say in a sentence why impacts cannot be estimated; None if they can."""
    recipe, method = experiment.recipe, experiment.settings.analysis
    if prepared.hosted or recipe.forecast_files is not None:
        return "forecasts from the backgrounds would be needed, which only a model of its own makes"
    if not method.carries_members(prior_of(recipe)):
        return "its members are not carried from cycle to cycle, so that they say nothing of it"
    return None


def half_width_of(program: CycleProgram) -> float | None:
    """Half-width of the taper by which an analysis is localized; None where it is not."""

    def is_network(part: object) -> bool:
        return isinstance(part, LocalNetwork)

    parts = jax.tree.leaves(program.step, is_leaf=is_network)
    return next((part.half_width for part in parts if isinstance(part, LocalNetwork)), None)


def impacts(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    first: np.datetime64,
    last: np.datetime64,
) -> Impacts:
    """Estimate what every observation of a period did to the forecast of the next cycle.

    Observations of the analysis time are counted, those of the other times of a window are not. The
    later time is the next analysis; localized are impacts as the analyses are.

    Arguments:
        experiment, store, prepared: of the cycles.
        first, last: analysis times.
    """
    recipe, program = experiment.recipe, prepared.program
    grid = experiment.space(store).grid
    analysis = store.dataset("analysis")
    have = analysis["time"].values
    numbers = np.flatnonzero(
        (have >= first) & (have <= last) & (np.arange(have.size) < have.size - 1)
    )
    reader = SegmentReader(store, recipe, experiment.settings, AT_ONCE, program)
    stations = None if recipe.reported else store.dataset("observations")["grid_index"].to_numpy()
    weights = program.score_weights / jnp.sum(program.score_weights)
    half_width, positions = half_width_of(program), jnp.asarray(grid.points(), weights.dtype)
    key = experiment_key(experiment.settings.seed)

    @eqx.filter_jit
    def estimated(one: "_Cycle") -> tuple[Float[Array, " column"], Float[Array, ""]]:
        placed = program
        if one.placement is not None:
            placed = with_placement(program, one.placement)
        columns = one.innovation.shape[0]
        equivalents = jax.vmap(placed.step.operator)(one.analysis)[:, :columns]
        before = jnp.mean(_forecast(program, one, key), axis=0)
        errors = [x - one.verifying for x in (jnp.mean(one.later, axis=0), before)]
        taper = None
        if half_width is not None:
            apart = jnp.asarray(grid.distance(one.places[:, None], positions[None]))
            near = gaspari_cohn(apart, half_width).reshape(columns, *grid.shape)
            taper = near.reshape(
                columns, *(1,) * (one.verifying.ndim - len(grid.shape)), *grid.shape
            )
        found = observation_impact(
            equivalents,
            one.innovation,
            one.error_sd[:columns],
            one.later,
            errors[0] + errors[1],
            weights,
            taper,
        )
        change = jnp.sum(weights * (errors[0] ** 2 - errors[1] ** 2))
        return found, change

    found, change, verified = [], [], "truth"
    for one, known in _cycles(experiment, store, reader, numbers, stations):
        of_columns, of_cycle = estimated(one)
        found.append(np.asarray(of_columns))
        change.append(float(of_cycle))
        verified = verified if known else "the next analysis"
    width = max((len(values) for values in found), default=0)
    table = np.zeros((len(found), width))
    for row, values in zip(table, found, strict=True):
        row[: len(values)] = values
    return Impacts(have[numbers], table, np.asarray(change), verified)


class _Cycle(eqx.Module):
    """A stored cycle and the one after it."""

    placement: Placement | None
    analysis: Float[Array, "member *state"]
    background: Float[Array, "member *state"]
    later: Float[Array, "member *state"]
    verifying: Float[Array, "*state"]
    innovation: Float[Array, " column"]
    error_sd: Float[Array, " obs"]
    places: Float[Array, "column coordinate"]
    number: Array
    time: Array


def _forecast(
    program: CycleProgram, one: _Cycle, key: PRNGKeyArray
) -> Float[Array, "member *state"]:
    """The background one cycle further, with the noise of the forecast from the analysis."""
    made = Origin(
        ensemble=one.background,
        time=one.time,
        key=cycle_key(key, one.number + 1, Purpose.FORECAST),
        model=program.model,
        steps=program.forecast_steps,
        valid_range=program.valid_range,
        climate=program.climate,
    )
    return made.forecast(one.background)[0]


def _cycles(
    experiment: Experiment,
    store: ExperimentStore,
    reader: SegmentReader,
    numbers: np.ndarray,
    stations: np.ndarray | None,
) -> Iterator[tuple[_Cycle, bool]]:
    """Each cycle with what it takes, and whether the truth of the next is known."""
    recipe, dtype = experiment.recipe, np.dtype(experiment.settings.dtype)
    grid = experiment.space(store).grid
    groups = {name: store.dataset(name) for name in ("analysis", "background", "innovations")}
    observations = store.dataset("observations")
    for start in range(0, numbers.size, AT_ONCE):
        part = numbers[start : start + AT_ONCE]
        rows = slice(int(part[0]), int(part[-1]) + 2)
        read = {name: one.isel(time=rows).load() for name, one in groups.items()}
        members, background = (
            _members(read[name], recipe, dtype) for name in ("analysis", "background")
        )
        times = read["analysis"]["time"].values
        given = reader.read(times[:-1])
        truth = reader.truth_of(times)
        seen = read["innovations"]
        used = (seen[QUALITY_CONTROL] == QualityCode.KEPT).to_numpy()
        departures = np.where(used, np.nan_to_num(seen["background_departure"].to_numpy()), 0.0)
        records = observations.reindex(time=times[:-1]) if recipe.reported else None
        for n in range(len(part)):
            width = departures.shape[1] if stations is not None else _width(given, n, departures)
            errors = given["error_sd"][n, -1]
            if "applied_error" in seen:
                errors = np.where(used[n], seen["applied_error"].to_numpy()[n], 1.0)
            if stations is not None:
                places = grid.points()[stations % grid.size]
            else:
                row = records.isel(time=n)  # type: ignore[union-attr]
                dims = recipe.state_dims
                places = np.stack([row[d].to_numpy()[:width].astype(float) for d in dims], axis=1)
            verifying = truth[n + 1] if np.isfinite(truth[n + 1]).any() else members[n + 1].mean(0)
            one = _Cycle(
                placement=jax.tree.map(lambda x, n=n: jnp.asarray(x[n]), given.get("placement")),
                analysis=jnp.asarray(members[n]),
                background=jnp.asarray(background[n]),
                later=jnp.asarray(background[n + 1]),
                verifying=jnp.asarray(np.nan_to_num(verifying).astype(dtype)),
                innovation=jnp.asarray(departures[n, :width].astype(dtype)),
                error_sd=jnp.asarray(np.nan_to_num(errors, nan=1.0).astype(dtype)),
                places=jnp.asarray(places.astype(dtype)),
                number=jnp.asarray(int(part[n]), jnp.int32),
                time=jnp.asarray(int(to_minutes(times[n : n + 1])[0]), jnp.int32),
            )
            yield one, bool(np.isfinite(truth[n + 1]).any())


def _members(group: xr.Dataset, recipe: Recipe, dtype: np.dtype) -> np.ndarray:
    """Members of some cycles; points that do not belong to the state are 0."""
    found = stacked(group, recipe).transpose("time", "member", ...).to_numpy()
    return np.nan_to_num(found.astype(dtype))


def _width(given: dict, number: int, departures: np.ndarray) -> int:
    """Columns of the analysis time that the program has and the store, too."""
    return int(min(departures.shape[1], given["quality"][number].shape[0]))
