"""Ensemble analyses of the eddies, day by day, and smoothers behind them.

Behind every filter runs the same smoother: the LETKF of the day moves the analyses of the days
before, too, which is an ensemble Kalman smoother with localization.
"""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ocean.altimeters import Records
from ocean.eddies import SPACING, Streamfunction

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.inflation import relaxing_factor
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import unplaced_network
from vardax_core.calibration.statistics import fair_crps
from vardax_core.observations.placement import (
    PlacedPoints,
    Placement,
    Search,
    place,
    search_of,
    with_placement,
)
from vardax_core.state.grids import Plane
from vardax_core.types import Observations, ensemble_spread

LAGS = (2, 4, 6, 8)
"""Days after which an analysis of the past is kept, the longest last."""
MOST, CHUNK = 60, 20
BANDS = (250e3, 125e3)
"""Wavelengths, m, between which spread and error are compared scale by scale."""


class Tuned(NamedTuple):
    """What an LETKF is tuned by.

    Attributes:
        half_width: of the taper, grid points.
        rtps: relaxation to the prior spread.
        errors: factor on the errors' standard deviations, whose common part no R knows.
    """

    half_width: float
    rtps: float
    errors: float


def plane(size: int) -> Plane:
    """The domain, in grid points; it closes on itself."""
    side = np.arange(size) * 1.0
    return Plane.from_axes(side, side, periods=(float(size), float(size)))


def placed(grid: Plane, records: Records, day: int, search: Search | None) -> Placement:
    """Where the records of a day are."""
    places = records.places[day]
    every, none = np.ones(len(places), bool), np.zeros(len(places))
    return place(
        grid,
        places,
        none,
        records.platforms[day],
        every,
        every,
        search,
        channels=np.zeros(len(places), int),
    )


def letkf(grid: Plane, tuned: Tuned, channels: int) -> LETKF:
    """The filter of states of so many channels, the observed one first."""
    operator = PlacedPoints.nowhere((channels, *grid.shape))
    return LETKF(operator, unplaced_network(grid, tuned.half_width, MOST))


class Cycled(NamedTuple):
    """What a filter and its smoother said of every day.

    Attributes:
        mean, sd: of the analysis, both layers.
        crps: of the members in the upper layer, mean over the domain.
        band_spread: variance of the members of the upper layer between `BANDS`.
        smooth_mean, smooth_sd: of both layers so many days before, by `LAGS`.
    """

    mean: Float[np.ndarray, "day 2 y x"]
    sd: Float[np.ndarray, "day 2 y x"]
    crps: Float[np.ndarray, " day"]
    band_spread: Float[np.ndarray, "day band"]
    smooth_mean: Float[np.ndarray, "day lag 2 y x"]
    smooth_sd: Float[np.ndarray, "day lag 2 y x"]


def bands(size: int, spacing: float) -> Float[np.ndarray, "band y k"]:
    """Which waves of the real transform of a field belong to which band, with their weights."""
    k = np.fft.fftfreq(size, spacing)[:, None]
    l = np.fft.rfftfreq(size, spacing)[None]  # noqa: E741
    number = np.hypot(k, l)
    edges = [0.0, *(1 / wave for wave in BANDS), np.inf]
    both = np.where((l > 0) & (l < 0.5 / spacing), 2.0, 1.0) * np.ones_like(number)
    found = [both * ((number > low) & (number <= high)) for low, high in itertools.pairwise(edges)]
    return np.stack(found) / size**4


@eqx.filter_jit
def _days_on(model, step, smoother, rtps, waves, ensemble, past, given):
    now = jnp.zeros((), jnp.int32)

    def day(carry, given):
        ensemble, past = carry
        values, sd, there, truth, key, placements = given
        background = jax.lax.map(lambda x: model.step(x, now, key=key), ensemble)
        window = Observations(values[None], there[None], sd[None], now[None])
        every = jnp.concatenate([background, past], axis=1)
        every = with_placement(smoother, placements[0])(every, window, key=key).ensemble
        if step is None:
            ensemble = _relaxed(every[:, :2], background, rtps)
        else:
            ensemble = with_placement(step, placements[1])(background, window, key=key).ensemble
        past = jnp.concatenate([ensemble, every[:, 2:-2]], axis=1)
        anomalies = ensemble[:, 0] - jnp.mean(ensemble[:, 0], axis=0)
        power = jnp.sum(jnp.abs(jnp.fft.rfft2(anomalies)) ** 2, axis=0) / (len(ensemble) - 1)
        lagged = jnp.stack([every[:, 2 * lag : 2 * lag + 2] for lag in LAGS], axis=1)
        found = (
            jnp.mean(ensemble, axis=0),
            ensemble_spread(ensemble),
            jnp.mean(fair_crps(truth[0], ensemble[:, 0])),
            jnp.sum(waves * power, axis=(1, 2)),
            jnp.mean(lagged, axis=0),
            ensemble_spread(lagged),
        )
        return (ensemble, past), found

    return jax.lax.scan(day, (ensemble, past), given)


def _relaxed(ensemble: Array, background: Array, weight: Array) -> Array:
    mean = jnp.mean(ensemble, axis=0)[None]
    factor = relaxing_factor(ensemble_spread(background), ensemble_spread(ensemble), weight)
    return mean + factor * (ensemble - mean)


def cycled(
    model: Streamfunction,
    step: AbstractAnalysisStep | None,
    tuned: Tuned,
    truth: Float[np.ndarray, "day 2 y x"],
    records: Records,
    ensemble: Float[Array, "member 2 y x"],
    *,
    seed: int,
) -> Cycled:
    """Cycle through all days of a nature run.

    Arguments:
        model: of the forecast.
        step: of the analysis; None for the LETKF with relaxation to the prior spread.
        tuned: of that and of the smoother.
        records: that are assimilated.
        ensemble: of the day before the first.
    """
    size = truth.shape[-1]
    grid, key = plane(size), jax.random.key(seed)
    smoother = letkf(grid, tuned, 2 * (1 + LAGS[-1]))
    waves = jnp.asarray(bands(size, SPACING), jnp.float32)
    past = jnp.tile(ensemble, (1, LAGS[-1], 1, 1))
    rows = []
    for first in range(0, len(truth), CHUNK):
        days = range(first, min(first + CHUNK, len(truth)))
        searches = [search_of(smoother)] + ([] if step is None else [search_of(step)])
        placements = tuple(
            jax.tree.map(
                lambda *x: jnp.asarray(np.stack(x)),
                *(placed(grid, records, d, search) for d in days),
            )
            for search in searches
        )
        rows_of = slice(days.start, days.stop)
        given = (
            jnp.asarray(records.values[rows_of], jnp.float32),
            jnp.asarray(tuned.errors * records.sd[rows_of], jnp.float32),
            jnp.asarray(records.platforms[rows_of] >= 0),
            jnp.asarray(truth[rows_of], jnp.float32),
            jnp.stack([jax.random.fold_in(key, d) for d in days]),
            placements,
        )
        rtps = jnp.asarray(tuned.rtps, jnp.float32)
        (ensemble, past), row = _days_on(model, step, smoother, rtps, waves, ensemble, past, given)
        rows.append(jax.tree.map(np.asarray, row))
    return Cycled(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
