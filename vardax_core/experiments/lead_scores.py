"""Forecasts from the analyses of a store, scored by the observations of later cycles."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.analysis.origin import Origin
from vardax_core.calibration.detail import percent
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.channels import names_of, stacked
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.observed_columns import (
    ObservedColumns,
    Prediction,
    prediction,
    read_columns,
)
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.store import ExperimentStore
from vardax_core.words import counted, short, unit_label

BLOCK = 16
"""Analyses that are in memory together."""


def lead_table(
    experiment: Experiment, store: ExperimentStore, prepared: Prepared, leads: int
) -> tuple[list[str], list[list[str]]]:
    """Score forecasts of so many cycles from every analysis, by the observations of their times.

    The model of the cycles makes them, with R and the spread of the members for their errors. Used
    and withheld observations are scored apart; neither was known at the analysis, but for windows
    that look ahead.

    Arguments:
        leads: cycles of a forecast, at most.
    """
    recipe, units = experiment.recipe, experiment.recipe.observed.units
    columns = read_columns(store, recipe, recipe.burn_in)
    found = _departures(experiment, store, prepared, columns, leads)
    header = [
        "lead",
        "used",
        unit_label("mean", units),
        unit_label("rms", units),
        "spread/rms",
        "withheld",
        unit_label("withheld mean", units),
        unit_label("withheld rms", units),
        "withheld spread/rms",
        unit_label("CRPS", units),
        "90 % coverage",
    ]
    rows = []
    for lead in range(leads + 1):
        departure, variance = found[lead]
        known = np.isfinite(departure)
        used, held = (
            prediction(departure[which & known], variance[which & known])
            for which in (columns.used, columns.held)
        )
        name = counted(lead, "cycle") if lead else "analysis"
        rows.append([name, *_cells(used), *_cells(held), short(held.crps), percent(held.coverage)])
    return header, rows


def _cells(found: Prediction) -> list[str]:
    return [str(found.count), *map(short, (found.mean, found.rms, found.ratio))]


def _departures(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    columns: ObservedColumns,
    leads: int,
) -> Float[np.ndarray, "lead 2 record"]:
    """Every record minus what is forecast of it, and the variance that is expected of that."""
    program, first = prepared.program, experiment.recipe.burn_in
    grid = experiment.space(store).grid
    found = np.full((leads + 1, 2, columns.cycle.size), np.nan)
    found[0] = columns.residual, columns.analysis_variance + columns.error_sd**2
    key = experiment_key(experiment.settings.seed)
    ahead: list[Array] = []
    for number, minute, members in _analyses(experiment, store, prepared):
        at = np.flatnonzero((columns.cycle == number) & (columns.used | columns.held))
        corners = grid.stencil(columns.places[at]) if at.size else None
        if corners is not None:
            now = _equivalents(members, *corners)
            observed = columns.residual[at] + now.mean(axis=0)
            for lead, forecast in enumerate(ahead, start=1):
                said = _equivalents(forecast, *corners)
                found[lead, 0, at] = observed - said.mean(axis=0)
                found[lead, 1, at] = said.var(axis=0, ddof=1) + columns.error_sd[at] ** 2
        time = jnp.asarray(minute, jnp.int32)
        # The first lead is the very background of the next cycle.
        own = cycle_key(key, first + number + 1, Purpose.FORECAST)
        ahead = [_forecast(program, state, time, own) for state in [members, *ahead][:leads]]
    return found


def _analyses(
    experiment: Experiment, store: ExperimentStore, prepared: Prepared
) -> Iterator[tuple[int, int, Float[Array, "member *state"]]]:
    """Number, time and members of every analysis that is scored, with a climate where points do
    not belong to the state."""
    recipe = experiment.recipe
    analysis = store.dataset("analysis")[names_of(recipe)]
    analysis = analysis.isel(time=slice(recipe.burn_in, None))
    minutes = to_minutes(analysis["time"].values)
    for first in range(0, len(minutes), BLOCK):
        part = analysis.isel(time=slice(first, first + BLOCK)).load()
        fields = stacked(part, recipe).transpose("time", "member", ...).to_numpy()
        for row, members in enumerate(fields):
            number = first + row
            usual = prepared.climatology.mean_at(jnp.asarray(minutes[number], jnp.int32))
            state = jnp.asarray(members)
            yield (
                number,
                int(minutes[number]),
                jnp.where(jnp.isfinite(state), state, usual[None].astype(state.dtype)),
            )


@eqx.filter_jit
def _forecast(
    program: CycleProgram,
    members: Float[Array, "member *state"],
    time: Int[Array, ""],
    key: PRNGKeyArray,
) -> Float[Array, "member *state"]:
    origin = Origin(
        ensemble=members,
        time=time,
        key=key,
        model=program.model,
        steps=program.forecast_steps,
        valid_range=program.valid_range,
        climate=program.climate,
    )
    return origin.forecast(members)[0]


def _equivalents(
    members: Float[Array, "member *state"],
    points: Int[np.ndarray, "obs corner"],
    weights: Float[np.ndarray, "obs corner"],
) -> Float[np.ndarray, "member obs"]:
    flat = np.asarray(jax.device_get(members), np.float64).reshape(members.shape[0], -1)
    return np.sum(weights[None] * flat[:, points], axis=2)
