"""A period cut into streams that run side by side, each with a spin-up before what is kept."""

import dataclasses
import itertools

import numpy as np

from vardax_core.words import counted

TOO_FEW = 2
"""Cycles that a stream must keep at least."""


class StreamPlanError(ValueError):
    """A period that cannot be cut as asked."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """One stretch of a period, in numbers of cycles from the start of the experiment.

    Attributes:
        number: place among the streams.
        start: first cycle that is run.
        first: first cycle that is kept; those before it are spin-up.
        stop: the cycle after the last.
    """

    number: int
    start: int
    first: int
    stop: int

    @property
    def length(self) -> int:
        """Cycles to run, spin-up included."""
        return self.stop - self.start


def cut_streams(
    first: int, stop: int, *, streams: int, overlap: int, segment: int = 1
) -> tuple[Stream, ...]:
    """Cut the cycles from `first` to `stop` - 1 into streams of equal length.

    The first stream starts where the period does. Every other one starts `overlap` cycles early,
    or at cycle 0 where there are not so many, from an ensemble of its own.

    Arguments:
        segment: cycles of a segment. Streams of two or more are made to start at a multiple of
            it, so that their segments fill whole objects of the store, and then differ in length
            by up to that much.

    Raises:
        StreamPlanError: if there are too few cycles for the streams, or a number is negative.
    """
    cycles = stop - first
    if streams < 1 or overlap < 0 or first < 0 or cycles < TOO_FEW * streams:
        raise StreamPlanError(
            f"{counted(cycles, 'cycle')} cannot be cut into {counted(streams, 'stream')} with "
            f"{counted(overlap, 'cycle')} of overlap; give at least one stream, at most "
            f"{max(1, cycles // TOO_FEW)}, and an overlap that is not negative."
        )
    bounds = [first + cycles * number // streams for number in range(streams + 1)]
    if cycles // streams >= 2 * segment:
        bounds[1:-1] = [
            _nearest(bound - overlap, segment) + overlap if bound > overlap else bound
            for bound in bounds[1:-1]
        ]
    return tuple(
        Stream(n, low if n == 0 else max(0, low - overlap), low, high)
        for n, (low, high) in enumerate(itertools.pairwise(bounds))
    )


def _nearest(number: int, multiple: int) -> int:
    return round(number / multiple) * multiple


@dataclasses.dataclass(frozen=True)
class Seam:
    """How well two streams agree in the last analysis that both have.

    Attributes:
        stream: number of the later stream.
        cycle: number of the cycle that is compared.
        difference: root mean square difference of the two analysis means, unit of the state.
        spread: root mean square analysis spread of the earlier stream.
    """

    stream: int
    cycle: int
    difference: float
    spread: float

    @property
    def ratio(self) -> float:
        """Difference over spread; below one the seam is hidden in the uncertainty."""
        return self.difference / self.spread if self.spread > 0 else float("inf")


def seam_between(
    later: Stream, earlier_mean: np.ndarray, earlier_spread: np.ndarray, later_mean: np.ndarray
) -> Seam:
    """The seam before a stream, from the analyses of cycle `first` - 1 in both."""

    def root_mean_square(field: np.ndarray) -> float:
        return float(np.sqrt(np.nanmean(field.astype(np.float64) ** 2)))

    return Seam(
        stream=later.number,
        cycle=later.first - 1,
        difference=root_mean_square(later_mean - earlier_mean),
        spread=root_mean_square(earlier_spread),
    )
