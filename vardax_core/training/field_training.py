"""Training of the field analysis on a single period, cross-fitted and on policy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.field_step import (
    FieldFeatures,
    FieldStep,
)
from vardax_core.analysis.variational.window_interpolation import WindowInterpolation
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.field_cycles import train_network
from vardax_core.training.field_streams import (
    FieldTrainingSettings,
    ObservingNetwork,
    fit_folds,
    fit_model,
    fit_period,
    regular_rows,
    usable_modes,
)
from vardax_core.training.slots import UnfitPeriodError, slots_of_day
from vardax_core.training.statistics import (
    WindowStatistics,
    daily_amplitude,
    typical_deviation,
)

FEWEST_CYCLES = 2


class FieldAnalysis(eqx.Module):
    """All that a training period leaves behind for cycling.

    Attributes:
        statistics: climatology and lagged covariances of the whole period.
        model: forecast model fitted on the whole period.
        features, network: of the analysis step.
    """

    statistics: WindowStatistics
    model: LinearInverseModel
    features: FieldFeatures
    network: FieldNetwork

    def step(self, operator: AbstractObservationOperator) -> FieldStep:
        """The analysis step for one network of stations."""
        return FieldStep(
            operator=operator,
            first_guess=window_interpolation(self.statistics, operator),
            features=self.features,
            network=self.network,
        )


def window_interpolation(
    statistics: WindowStatistics, operator: AbstractObservationOperator
) -> WindowInterpolation:
    """Space-time optimal interpolation with fitted statistics."""
    return WindowInterpolation.from_covariances(
        operator, statistics.climatology, statistics.covariances, statistics.lag_interval
    )


def field_features(
    statistics: WindowStatistics,
    grid: AbstractGrid,
) -> FieldFeatures:
    """Position, daily amplitude and variance of every point as static inputs of order one.

    Where nothing is known of a point, its variance is that of a typical one, and its surface the
    mean of all.
    """
    scale = np.sqrt(np.asarray(statistics.variance, np.float64))
    varying = scale > 0
    amplitude = daily_amplitude(np.asarray(statistics.climatology.mean, np.float64), scale)
    scale = np.where(varying, scale, typical_deviation(scale))

    def standard(field, among):
        chosen = field[among]
        standardised = (field - chosen.mean()) / max(float(chosen.std()), 1e-6)
        return np.where(among, standardised, 0.0)

    everywhere = np.ones(grid.shape, bool)
    position = (
        standard(axis, everywhere) for axis in np.moveaxis(np.asarray(grid.positions()), -1, 0)
    )
    surface = (standard(np.log(field), varying) for field in (amplitude, scale))
    return FieldFeatures(
        scale=jnp.asarray(scale, jnp.float32),
        static=jnp.asarray(np.stack([*position, *surface]), jnp.float32),
    )


def plan_for(rows: int, settings: FieldTrainingSettings) -> FieldTrainingSettings:
    """The same training in a period of so many states, `row_interval` apart, with shorter streams
    or fewer blocks where it is short.

    Raises:
        UnfitPeriodError: if a block of half of the period does not hold two cycles.
    """
    one_cycle = dataclasses.replace(settings, cycles=1).needed_rows
    for blocks in range(settings.blocks, 1, -1):
        cycles = min(settings.cycles, (rows // blocks - one_cycle) // settings.rows_per_cycle + 1)
        if cycles >= min(FEWEST_CYCLES, settings.cycles):
            draws = -(-settings.n_steps // cycles)
            return dataclasses.replace(settings, blocks=blocks, cycles=cycles, draws=draws)
    needed = 2 * dataclasses.replace(settings, cycles=FEWEST_CYCLES).needed_rows
    raise UnfitPeriodError(
        f"A training period of {rows} states every {settings.row_interval} minutes is too short: "
        f"each half of it has to hold {FEWEST_CYCLES} cycles every {settings.interval} minutes, "
        f"so it needs {needed} states or more; lengthen it."
    )


def train_field_analysis(
    fields: Float[np.ndarray, "time y x"],
    times: Int[np.ndarray, " time"],
    grid: AbstractGrid,
    observed: ObservingNetwork,
    settings: FieldTrainingSettings,
    *,
    key: PRNGKeyArray,
    phase: int | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    **statistics: Any,
) -> FieldAnalysis:
    """Fit statistics and forecast model to a period, and train the analysis network on it.

    The network is trained on analyses of each block of the period with the statistics of the
    other blocks; what is returned uses the statistics of all of it. A change of unit changes the
    result by nothing but that unit.

    Arguments:
        fields: training states in any unit, NaN where missing.
        times: minutes since `MINUTES_EPOCH`, increasing, of any cadence and with gaps.
        grid: of the states.
        observed: the observing network that the analysis is for.
        settings: of the training; a short period has fewer cycles in a stream.
        key: all randomness; two trainings with one key give the same weights.
        phase: a minute at which a state can be analysed; by default that of the first state.
        on_step: called with the number of gradient steps done and the mean loss since the last.
        **statistics: passed on to `fit_window_statistics`.

    Raises:
        UnfitPeriodError: if the period is too short, no point of it varies, or no two states are
            an interval apart.
    """
    phase = int(times[0]) if phase is None else phase
    states, rows = regular_rows(fields, times, settings.row_interval, phase)
    if not np.isin(times, times + settings.interval).any() or not np.isfinite(states).any():
        raise UnfitPeriodError(
            f"The {len(times)} states of the training period hold no two that are one interval of "
            f"{settings.interval} minutes apart and at times of an analysis; give states at least "
            "that often, or lengthen cycle_interval."
        )
    settings = plan_for(len(rows), settings)
    statistics = {"slots": slots_of_day(times), **statistics}
    full = fit_period(fields, times, grid, settings, **statistics)
    climatology = full.climatology
    modes = usable_modes(climatology, times, settings)
    model = fit_model(climatology, fields, times, settings, modes)
    features = field_features(full, grid)
    folds = fit_folds(fields, times, grid, settings, phase=phase, **statistics)
    network = train_network(folds, features, observed, settings, key=key, on_step=on_step)
    return FieldAnalysis(statistics=full, model=model, features=features, network=network)
