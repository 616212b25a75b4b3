"""Fields of another time as truths: what records would have seen of them, and what they lack."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vardax_core.analysis.local.covariance import CORRELATIONS, SpaceTimeCovariance

PAIRS = 4000
"""Pairs of points at each distance and lag from which a covariance is estimated."""
LAGS = (0.0, 0.25, 0.5, 1.0)
"""In the longest timescale, at most."""


class PriorFields(NamedTuple):
    """Departures of fields from their mean.

    Attributes:
        fields: by time and flat point; 0 where the state does not exist.
        minutes: of the fields, increasing.
        straight: embedding of the points.
        inside: points that belong to the state.
    """

    fields: Float[np.ndarray, "time point"]
    minutes: Float[np.ndarray, " time"]
    straight: Float[np.ndarray, "point straight"]
    inside: Int[np.ndarray, " inside"]

    def at(
        self,
        points: Int[np.ndarray, "*any corner"],
        weights: Float[np.ndarray, "*any corner"],
        minutes: Float[np.ndarray, "*any"],
    ) -> Float[np.ndarray, "*any"]:
        """Interpolate in space and, between two fields, in time; beyond the ends the last field
        stays."""
        row = np.interp(minutes, self.minutes, np.arange(self.minutes.size))
        first = np.floor(row).astype(np.int64)
        second = np.minimum(first + 1, self.minutes.size - 1)
        share = row - first

        def read(rows: Int[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
            return np.sum(weights * self.fields[rows[..., None], points], axis=-1)

        return (1 - share) * read(first) + share * read(second)

    def starts(self, span: float, count: int, *, seed: int) -> Float[np.ndarray, " start"]:
        """Draw minutes at which targets are set, so that so many minutes to either side are within
        the fields, or as nearly as they allow."""
        low, high = self.minutes[0] + span, self.minutes[-1] - span
        if low > high:
            low = high = (self.minutes[0] + self.minutes[-1]) / 2
        return np.random.default_rng(seed).uniform(low, high, count)

    def missing(
        self, covariance: SpaceTimeCovariance, *, seed: int
    ) -> tuple[float, SpaceTimeCovariance]:
        """What the fields lack of a covariance that was fitted to observations.

        The covariance of the fields is written as the components of the fitted one with other
        variances, none negative. Maps that are smoother than the state have less of the short
        components.

        Returns:
            A factor on the fields, below one where they vary more than the fitted covariance,
            and the covariance of what has to be drawn beside them.
        """
        from scipy.optimize import nnls

        rng = np.random.default_rng(seed)
        variances, lengths, timescales = (
            np.asarray(x, np.float64)
            for x in (covariance.variances, covariance.lengths, covariance.timescales)
        )
        finite = timescales[np.isfinite(timescales)]
        longest = min(float(finite.max(initial=0.0)), np.ptp(self.minutes) / 2)
        rows, targets = [], []
        step = float(np.median(np.diff(self.minutes))) if self.minutes.size > 1 else 1.0
        for lag in sorted({round(part * longest / step) for part in LAGS}):
            first = self.inside[rng.integers(0, self.inside.size, PAIRS)]
            near = self._beside(first, rng)
            time = rng.integers(0, max(self.minutes.size - lag, 1), PAIRS)
            products = self.fields[time, first] * self.fields[time + lag, near]
            apart = np.linalg.norm(self.straight[first] - self.straight[near], axis=1)
            for part in np.array_split(np.argsort(apart), 12):
                r, t = apart[part, None] / lengths, lag * step / timescales[None]
                of = (CORRELATIONS[covariance.space], CORRELATIONS[covariance.time])
                shape = np.asarray(of[0](jnp.asarray(r))) * np.asarray(of[1](jnp.asarray(t)))
                rows.append(shape.mean(axis=0))
                targets.append(products[part].mean())
        held, _ = nnls(np.asarray(rows, np.float64), np.asarray(targets, np.float64))
        factor = min(1.0, float(np.sqrt(variances.sum() / max(held.sum(), 1e-30))))
        least = 1e-6 * variances.sum()
        lacking = np.maximum(variances - factor**2 * held, least)
        dtype = covariance.variances.dtype
        return factor, SpaceTimeCovariance(
            jnp.asarray(lacking, dtype),
            covariance.lengths,
            covariance.timescales,
            covariance.space,
            covariance.time,
        )

    def _beside(
        self, first: Int[np.ndarray, " pair"], rng: np.random.Generator
    ) -> Int[np.ndarray, " pair"]:
        """A point for each, itself among the possible ones and near ones more often."""
        order = np.argsort(first)
        second = np.empty_like(first)
        for rows in np.array_split(order, 40):
            centre = self.straight[first[rows]]
            among = self.inside[rng.integers(0, self.inside.size, 400)]
            among = np.concatenate([among, first[rows]])
            apart = np.linalg.norm(self.straight[among][None] - centre[:, None], axis=-1)
            ranked = np.argsort(apart, axis=1)
            pick = np.floor(ranked.shape[1] * rng.uniform(size=rows.size) ** 3).astype(int)
            second[rows] = among[ranked[np.arange(rows.size), pick]]
        return second
