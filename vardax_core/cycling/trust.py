"""When an analysis should not be trusted: departures unlike those of its training."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from vardax_core.observations.departures import Departures, Residuals

CHECKS = ("bias", "chi2", "persistence", "residual", "rejected", "largest", "station")
"""What every cycle is asked, in this order; see `departure_checks`."""

BLOCK = 50
"""Cycles of one block, whose largest score enters the tail from which the threshold comes."""

CONFIDENCE, RESAMPLES = 0.9, 100
"""Of the threshold, and how many times the blocks are drawn anew for it."""

STATION_MEMORY = 6.0
"""Cycles that a station's mean squared innovation goes back."""

TAIL = 0.1
"""Share of the blocks that make the tail."""

LEAST_SCALE = 0.01
"""Least standard deviation of an average: a check that never moves in trusted cycles, as the
rejections, is unusual when it does."""

FURTHEST = 1000.0
"""Standard deviations of an average from the usual as which any check counts, so that a wild
cycle is forgotten after some five times the longest memory."""


def departure_checks(
    departures: Departures, residuals: Residuals, stations: Float[Array, "2 obs"]
) -> tuple[Float[Array, " check"], Float[Array, "2 obs"]]:
    """One number for each of `CHECKS`, near zero in a cycle as it should be.

    bias: sum z / sqrt p. chi2: (sum z^2 - p) / sqrt(2 p). persistence: sum z z_last / sqrt p, as
    the innovations of a good filter do not remember. residual: sum(O-A)(O-B) / sum R - 1.
    rejected: share of the observations that the first-guess check refused. largest: log of
    1 + max z^2 over 1 + 2 log 2p. station: log of the largest mean z^2 that a station
    had of late, refused or not.
    Here z is O-B over the root of HBH' + R and p the number of observations; the last two are for
    one wrong station among many.

    Arguments:
        departures: of the cycle.
        residuals: of the analysis that is judged.
        stations: what each had before this cycle, see `TrustState`.

    Returns:
        The numbers, and what each station has after this cycle.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108; Kailath (1968),
    doi:10.1109/TAC.1968.1099025
    """
    last, power = stations
    used, rejected = departures.used, departures.rejected
    innovation = departures.innovation
    d, a = (jnp.where(used, x, 0.0) for x in (innovation, residuals.residual))
    z = jnp.where(used, departures.normalised, 0.0)
    count = jnp.sum(used).astype(z.dtype)
    several = jnp.maximum(count, 1.0)
    pairs = jnp.maximum(jnp.sum(used & (last != 0)).astype(z.dtype), 1.0)
    error = jnp.sum(jnp.where(used, departures.error_sd**2, 0.0))
    refused = jnp.sum(rejected).astype(z.dtype)
    keep = math.exp(-1 / STATION_MEMORY)
    known = used | rejected
    squared = jnp.where(known, innovation**2 / departures.expected_variance, 0.0)
    power = jnp.where(known, keep * power + (1 - keep) * squared, power)
    largest = jnp.log1p(jnp.max(z**2)) - jnp.log1p(2 * jnp.log(2 * several))
    checks = jnp.stack(
        [
            jnp.sum(z) / jnp.sqrt(several),
            (jnp.sum(z**2) - count) / jnp.sqrt(2 * several),
            jnp.sum(z * last) / jnp.sqrt(pairs),
            jnp.where(count > 0, jnp.sum(a * d) / jnp.where(count > 0, error, 1.0) - 1, 0.0),
            refused / jnp.maximum(count + refused, 1.0),
            jnp.where(count > 0, largest, 0.0),
            jnp.where(jnp.any(known), jnp.log(jnp.max(power)), 0.0),
        ]
    )
    return checks, jnp.stack([z, power])


def usual_stations(n_observations: int, dtype: DTypeLike = jnp.float32) -> Float[Array, "2 obs"]:
    """What stations that have not reported yet had, see `TrustState`."""
    return jnp.stack([jnp.zeros((n_observations,), dtype), jnp.ones((n_observations,), dtype)])


class TrustState(eqx.Module):
    """What the monitor remembers; part of the state of a cycle.

    Attributes:
        averages: exponentially forgotten means of the checks.
        stations: standardised innovations of the last cycle, zero where there was none, and the
            mean of their squares with a memory of `STATION_MEMORY` cycles.
    """

    averages: Float[Array, "memory check"]
    stations: Float[Array, "2 obs"]


class DepartureMonitor(eqx.Module):
    """A score of how unlike the departures of late are to those of trusted cycles.

    The checks are averaged over the last cycles with short and long memories, and the score is
    the largest distance of an average from its usual value, in its usual standard deviations.
    Above the threshold the observations or the background are not what the analysis was made for.

    Attributes:
        centre, scale: mean and standard deviation of every average in trusted cycles.
        threshold: score above which a cycle is not trusted.
        memories: cycles after which a cycle's weight has fallen to 1/e.
    """

    centre: Float[Array, "memory check"]
    scale: Float[Array, "memory check"]
    threshold: Float[Array, ""]
    memories: tuple[float, ...] = eqx.field(static=True)

    def init(self, n_observations: int, dtype: DTypeLike = jnp.float32) -> TrustState:
        """The state before the first cycle: as usual."""
        return TrustState(self.centre.astype(dtype), usual_stations(n_observations, dtype))

    def update(
        self,
        state: TrustState,
        checks: Float[Array, " check"],
        stations: Float[Array, "2 obs"],
        observed: Bool[Array, ""],
    ) -> TrustState:
        """Take one cycle in; without an observation, or with checks that are not finite, nothing
        is learned."""
        keep = jnp.exp(-1 / jnp.asarray(self.memories, checks.dtype))[:, None]
        centre, scale = (x.astype(checks.dtype) for x in (self.centre, self.scale))
        bounded = jnp.clip(checks[None], centre - FURTHEST * scale, centre + FURTHEST * scale)
        averages = keep * state.averages + (1 - keep) * bounded
        usable = observed & jnp.all(jnp.isfinite(checks))
        return TrustState(
            jnp.where(usable, averages, state.averages),
            jnp.where(usable, stations, state.stations),
        )

    def score(self, state: TrustState) -> Float[Array, ""]:
        """Distance from the usual, in standard deviations."""
        centre, scale = (x.astype(state.averages.dtype) for x in (self.centre, self.scale))
        return jnp.max(jnp.abs(state.averages - centre) / scale)

    def trusts(self, state: TrustState) -> Bool[Array, ""]:
        """Whether the score is below the threshold."""
        return self.score(state) <= self.threshold.astype(state.averages.dtype)

    def numbers(self) -> dict[str, list]:
        """The monitor as plain numbers, see `from_numbers`."""
        return {
            "checks": list(CHECKS),
            "centre": np.asarray(self.centre, np.float64).tolist(),
            "scale": np.asarray(self.scale, np.float64).tolist(),
            "threshold": [float(self.threshold)],
            "memories": list(self.memories),
        }

    @classmethod
    def from_numbers(cls, numbers: dict[str, list]) -> "DepartureMonitor":
        """The monitor that `numbers` came from.

        Raises:
            ValueError: if they are of other checks than these, or do not fit together.
        """
        shape = (len(numbers["memories"]), len(CHECKS))
        centre, scale = (np.asarray(numbers[k], np.float32) for k in ("centre", "scale"))
        if tuple(numbers["checks"]) != CHECKS or centre.shape != shape or scale.shape != shape:
            raise ValueError(
                f"DepartureMonitor: expected centre and scale of shape {shape} for the checks "
                f"{CHECKS}, got {centre.shape} and {scale.shape} for {numbers['checks']}; train "
                "again, which calibrates the monitor."
            )
        return cls(
            centre=jnp.asarray(centre),
            scale=jnp.asarray(scale),
            threshold=jnp.asarray(numbers["threshold"][0], jnp.float32),
            memories=tuple(float(m) for m in numbers["memories"]),
        )

    @classmethod
    def calibrated(
        cls,
        checks: Float[np.ndarray, "stream cycle check"],
        *,
        memories: tuple[float, ...] = (1.0, 3.0, 12.0),
        false_alarms: float = 0.01,
        period: int = 1000,
    ) -> "DepartureMonitor":
        """The monitor for which trusted cycles are as given.

        The threshold is such that within `period` cycles the score exceeds it with probability
        at most `false_alarms`, by the tail of the largest squared scores of blocks of `BLOCK`
        cycles, exponential as a squared Gaussian score's. Rare alarms are beyond what the blocks
        show, so it is the `CONFIDENCE` quantile of the thresholds of resampled blocks. A stream
        that really lost its truth for a while moves it little.

        Arguments:
            checks: of trusted cycles after their spin-up.
            memories: see the attributes.
            false_alarms: probability of at least one alarm within a period.
            period: cycles of a period.

        Raises:
            ValueError: if there are fewer than 20 blocks, or a check is not finite.

        Source: Pickands (1975), doi:10.1214/aos/1176343003, on the excesses over a high level.
        """
        checks = np.asarray(checks, np.float64)
        longest = int(np.ceil(5 * max(memories)))
        blocks = (checks.shape[1] - longest) // BLOCK
        if checks.shape[0] * blocks < 20 or not np.isfinite(checks).all():
            raise ValueError(
                f"DepartureMonitor: needs finite checks of 20 blocks of {BLOCK} cycles after the "
                f"first {longest} of each stream, got shape {checks.shape} with "
                f"{np.count_nonzero(~np.isfinite(checks))} values that are not finite; cycle "
                "longer, and only where the analysis is trusted."
            )
        keep = np.exp(-1 / np.asarray(memories))[:, None]
        average = np.broadcast_to(
            checks.mean(axis=(0, 1)), (checks.shape[0], len(memories), checks.shape[2])
        )
        averages = []
        for cycle in range(checks.shape[1]):
            average = keep * average + (1 - keep) * checks[:, cycle, None]
            averages.append(average)
        usual = np.stack(averages, axis=1)[:, checks.shape[1] - blocks * BLOCK :]
        centre = usual.mean(axis=(0, 1))
        scale = np.maximum(usual.std(axis=(0, 1)), LEAST_SCALE)
        scores = np.max(np.abs(usual - centre) / scale, axis=(2, 3))
        squares = scores.reshape(-1, BLOCK).max(axis=1) ** 2
        beyond = 1 - (1 - false_alarms) ** (BLOCK / period)
        draw = np.random.default_rng(0)
        levels = [_tail_level(draw.choice(squares, squares.size), beyond) for _ in range(RESAMPLES)]
        threshold = float(np.sqrt(np.quantile(levels, CONFIDENCE)))
        return cls(
            centre=jnp.asarray(centre, jnp.float32),
            scale=jnp.asarray(scale, jnp.float32),
            threshold=jnp.asarray(threshold, jnp.float32),
            memories=tuple(memories),
        )


def _tail_level(values: Float[np.ndarray, " block"], beyond: float) -> float:
    """What a share of the values lies beyond, by an exponential tail of the largest of them."""
    level = np.quantile(values, 1 - TAIL)
    excess = np.mean(values[values >= level] - level)
    return float(level + excess * np.log(TAIL / beyond))
