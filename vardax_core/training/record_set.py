"""The real observations of a training period, and which of them a cycle would see from where."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets
from vardax_core.state.neighbours import SpaceTimeNeighbours, space_time_neighbours


class LeakError(ValueError):
    """Something would be scored on what it was trained on."""


class Reach(NamedTuple):
    """Which records are looked for around a target, as in the cycle.

    Attributes:
        radius, most, pace, thinned: see `Search`.
        before, after: observation times of a window before and after the analysis time.
    """

    radius: float
    most: int
    pace: float
    thinned: tuple[float, ...]
    before: int
    after: int


class RecordSet(NamedTuple):
    """Records of a training period with the errors of a fit.

    Attributes:
        records: as innovations; minutes from the first observation time.
        times: number of the observation time that each record belongs to.
        minutes: of the observation times.
        groups: what is withheld together.
        place: what is known of each record's place.
        covariance: of the state.
        reach: of an analysis.
    """

    records: LocalRecords
    times: Int[np.ndarray, " obs"]
    minutes: Float[np.ndarray, " time"]
    groups: Int[np.ndarray, " obs"]
    place: Float[np.ndarray, " obs"]
    covariance: SpaceTimeCovariance
    reach: Reach

    @property
    def usable(self) -> Bool[np.ndarray, " obs"]:
        return np.asarray(self.records.mask)

    def drawn(self, most: int, *, seed: int) -> Int[np.ndarray, " target"]:
        """So many usable records at random, in their order."""
        there = np.flatnonzero(self.usable)
        return np.sort(np.random.default_rng(seed).permutation(there)[:most])

    def targets(self, chosen: Int[np.ndarray, " target"]) -> LocalTargets:
        """Places of records, at the observation times that they belong to."""
        dtype = self.records.minutes.dtype
        return LocalTargets(
            self.records.straight[chosen],
            jnp.asarray(self.minutes[self.times[chosen]], dtype),
            self.records.scale[chosen],
        )

    def around(
        self,
        targets: LocalTargets,
        times: Int[np.ndarray, " target"],
        *,
        withheld: Int[np.ndarray, " target"] | None = None,
        without: Bool[np.ndarray, " time"] | None = None,
    ) -> SpaceTimeNeighbours:
        """Find the neighbours that an analysis at each target's time would have.

        Arguments:
            targets: where.
            times: number of each target's observation time.
            withheld: group of each target, whose records are left out.
            without: observation times whose records are left out.
        """
        straight, minutes = (
            np.asarray(self.records.straight),
            np.asarray(self.records.minutes),
        )
        usable = self.usable.copy()
        if without is not None:
            usable &= ~without[self.times]
        indices = np.zeros((times.size, self.reach.most), np.int32)
        near = np.zeros(indices.shape, bool)
        for time in np.unique(times):
            rows = np.flatnonzero(times == time)
            apart_in_time = self.times - time
            window = (apart_in_time >= -self.reach.before) & (apart_in_time <= self.reach.after)
            if not (usable & window).any():
                continue
            found = space_time_neighbours(
                np.asarray(targets.straight)[rows],
                np.asarray(targets.minutes)[rows],
                straight,
                minutes,
                speed=self.reach.pace,
                most=self.reach.most,
                radius=self.reach.radius,
                usable=usable & window,
                apart=None if withheld is None else (withheld[rows], self.groups),
                thinned=self.reach.thinned,
            )
            indices[rows], near[rows] = found.indices, found.near
        return SpaceTimeNeighbours(indices, near)


def blocks_of(times: int, count: int) -> list[Bool[np.ndarray, " time"]]:
    """Divide observation times into so many blocks in a row, each as a mask."""
    number = np.arange(times) * count // max(times, 1)
    return [number == block for block in range(min(count, times))]


def check_apart(
    trained: Int[np.ndarray, " trained"],
    scored: Int[np.ndarray, " scored"],
    seen: Int[np.ndarray, " seen"],
    times: Int[np.ndarray, " obs"],
) -> None:
    """Refuse a training that met the observation times that it is scored on.

    Arguments:
        trained, seen: numbers of the records that were targets and inputs of the training.
        scored: numbers of the records of the scores.
        times: number of the observation time of each record.

    Raises:
        LeakError: if a scored time is among those of the training.
    """
    met = np.intersect1d(times[np.concatenate([trained, seen])], times[scored])
    if met.size:
        raise LeakError(
            f"{met.size} of the observation times that are scored were trained on (the first is "
            f"number {int(met[0])}); leave them out of the training."
        )
