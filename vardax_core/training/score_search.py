"""The search for the parameters by which withheld records are predicted best."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

SEARCHED = 50.0
"""Factor by which a parameter may leave its start."""
STEPS = 60
ENOUGH = 1e-4
"""Improvement of the mean score by a step below which the search ends."""
PRIOR_SD = 2.0
"""Of the logarithm of a parameter about its start, as one further observation."""


class Look(NamedTuple):
    """The score of records at some parameters, drawn towards the start, and its derivatives.

    Attributes:
        moved: logarithms of the parameters over their start.
        score: mean negative log density.
        total: of all records together, what draws back included.
        slopes: of each record's negative log density.
        curvature: expected second derivative of the total.
    """

    moved: Float[np.ndarray, " parameter"]
    score: float
    total: float
    slopes: Float[np.ndarray, "target parameter"]
    curvature: Float[np.ndarray, "parameter parameter"]

    @classmethod
    def of(
        cls,
        moved: Float[np.ndarray, " parameter"],
        found: Float[np.ndarray, "2 target"],
        by: Float[np.ndarray, "2 target parameter"],
    ) -> "Look":
        departure, variance = found
        if not np.all(variance > 0):
            return cls(moved, np.inf, np.inf, by[0], np.eye(len(moved)))
        density = 0.5 * (np.log(2 * np.pi * variance) + departure**2 / variance)
        slopes = by[0] * (departure / variance)[:, None]
        slopes += by[1] * (0.5 * (variance - departure**2) / variance**2)[:, None]
        of_mean, of_variance = by[0] / np.sqrt(variance)[:, None], by[1] / variance[:, None]
        curvature = of_mean.T @ of_mean + 0.5 * of_variance.T @ of_variance
        curvature += np.eye(len(moved)) / PRIOR_SD**2
        total = float(density.sum() + 0.5 * np.sum((moved / PRIOR_SD) ** 2))
        return cls(moved, float(density.mean()), total, slopes, curvature)

    @property
    def gradient(self) -> Float[np.ndarray, " parameter"]:
        return self.slopes.sum(axis=0) + self.moved / PRIOR_SD**2

    def standard_errors(
        self, groups: Int[np.ndarray, " target"]
    ) -> Float[np.ndarray, " parameter"]:
        """Of the logarithms: curvature and differences among groups, in the form of a sandwich."""
        _, number = np.unique(groups, return_inverse=True)
        sums = np.stack([np.bincount(number, column) for column in self.slopes.T], axis=1)
        count = len(sums)
        spread = sums.T @ sums * count / max(count - 1, 1)
        spread += np.eye(len(self.moved)) / PRIOR_SD**2
        inverse = np.linalg.inv(self.curvature)
        return np.sqrt(np.diagonal(inverse @ spread @ inverse))


def search(
    look: Callable[[Float[np.ndarray, " parameter"]], Look], start: Look
) -> tuple[Look, bool]:
    """Minimise by steps of Levenberg and Marquardt with the expected curvature.

    Source: Nocedal and Wright (2006), Numerical Optimization, section 10.3.
    """
    best, damping, reach = start, 1e-2, np.log(SEARCHED)
    for _ in range(STEPS):
        damped = best.curvature + damping * np.diag(np.diagonal(best.curvature))
        step = -np.linalg.solve(damped, best.gradient)
        moved = np.clip(best.moved + np.clip(step, -1.5, 1.5), -reach, reach)
        if -best.gradient @ (moved - best.moved) < ENOUGH * len(best.slopes):
            return best, True
        tried = look(moved)
        if tried.total < best.total:
            best, damping = tried, max(damping / 4, 1e-6)
        elif damping > 1e6:
            return best, True
        else:
            damping *= 8
    return best, False
