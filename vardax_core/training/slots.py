"""The mean of a field in each part of the day, and departures from it, with values missing."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from vardax_core.models.climatology import MINUTES_A_DAY, slot_of

MOST_SLOTS_OF_SPARSE_DATA = 24


class UnfitPeriodError(ValueError):
    """A training period from which the wanted statistics cannot be computed."""


def commonest_step(times: Int[np.ndarray, " time"]) -> int:
    """The cadence of a series with gaps, in minutes; a day if it has one time only.

    Arguments:
        times: minutes since `MINUTES_EPOCH`, increasing.
    """
    steps, counts = np.unique(np.diff(times), return_counts=True)
    return int(steps[np.argmax(counts)]) if steps.size else MINUTES_A_DAY


def slots_of_day(times: Int[np.ndarray, " time"]) -> int:
    """Into how many equal parts the cadence of a series divides the day, see `commonest_step`.

    Where it does not divide the day, times of the day come back after some days: there are then
    no more slots than states in a day, or hours.

    Arguments:
        times: minutes since `MINUTES_EPOCH`, increasing.
    """
    cadence = commonest_step(times)
    most = max(MOST_SLOTS_OF_SPARSE_DATA, MINUTES_A_DAY // cadence)
    return min(MINUTES_A_DAY // math.gcd(cadence, MINUTES_A_DAY), most)


def slot_means(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    *,
    slots: int | None = None,
    harmonics: int | None = None,
) -> Float[np.ndarray, "slots *state"]:
    """Mean of the known values of a field in equal parts of the day, in float64.

    A slot in which a point has no value is interpolated between its neighbours round the day; a
    point without any value has the mean of all others, so that a state is finite everywhere.

    Arguments:
        fields: states at `times`, NaN where missing.
        times: minutes since `MINUTES_EPOCH`.
        slots: equal parts of the day; by default those of the cadence, see `slots_of_day`.
        harmonics: smooth the daily cycle by a mean and this many harmonics of the day; None
            keeps the plain means.

    Raises:
        UnfitPeriodError: if there is no value at all.
    """
    slots = slots_of_day(times) if slots is None else slots
    slot = slot_of(times, slots)
    sums = np.zeros((slots, *fields.shape[1:]))
    counts = np.zeros(sums.shape, np.int64)
    for index in np.unique(slot):
        part = fields[slot == index]
        known = np.isfinite(part)
        counts[index] = known.sum(axis=0)
        sums[index] = np.where(known, part, 0.0).sum(axis=0, dtype=np.float64)
    if not counts.any():
        raise UnfitPeriodError(
            f"slot_means: none of the {len(times)} states of the training period has a value; "
            "choose a period in which the source has data."
        )
    means = _round_the_day(sums / np.maximum(counts, 1), counts > 0)
    if harmonics is None:
        return means
    angle = 2 * np.pi * np.arange(slots) / slots
    waves = [f(k * angle) for k in range(1, harmonics + 1) for f in (np.cos, np.sin)]
    basis = np.linalg.qr(np.stack([np.ones(slots), *waves], axis=1))[0]
    return np.tensordot(basis @ basis.T, means, axes=1)


def _round_the_day(
    means: Float[np.ndarray, "slots *state"], known: Bool[np.ndarray, "slots *state"]
) -> Float[np.ndarray, "slots *state"]:
    if known.all():
        return means
    slots = len(means)
    flat, there = means.reshape(slots, -1).copy(), known.reshape(slots, -1)
    ever, index = there.any(axis=0), np.arange(slots)
    for point in np.flatnonzero(ever & ~there.all(axis=0)):
        given = there[:, point]
        flat[:, point] = np.interp(index, index[given], flat[given, point], period=slots)
    flat[:, ~ever] = flat[:, ever].mean(axis=1, keepdims=True)
    return flat.reshape(means.shape)


def slot_anomalies(
    fields: Float[np.ndarray, "time *state"],
    times: Int[np.ndarray, " time"],
    mean: Float[np.ndarray, "slots *state"],
) -> Float[np.ndarray, "time *state"]:
    """Departures from the mean of each state's slot of the day, in float64, NaN where missing."""
    return fields.astype(np.float64) - mean[slot_of(times, mean.shape[0])]


def gap_filled(
    anomalies: Float[np.ndarray, "time *state"],
) -> Float[np.ndarray, "time *state"]:
    """Anomalies with zero where missing, whose sample variance is still that of what is known.

    What a point has is multiplied by the root of (states / known states). Products of two
    columns form covariances that are positive semi-definite whatever is missing; a covariance is
    underestimated where two points are seldom known together.
    """
    known = np.isfinite(anomalies)
    if known.all():
        return anomalies
    share = known.mean(axis=0)
    weight = np.where(share > 0, np.maximum(share, 1 / len(anomalies)) ** -0.5, 0.0)
    return np.where(known, anomalies, 0.0) * weight
