"""Covariances fitted to what was observed, by predictions of withheld records."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.local.covariance import Shape, SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, local_system
from vardax_core.training.covariogram import PAIRED, Start, start_values
from vardax_core.training.root_finding import NORMAL_95
from vardax_core.training.score_search import Look, search
from vardax_core.training.withheld import Calibration, speed_of, withheld_neighbours

STARTS = 3
"""Covariograms that a search may begin at, where there are more records than one is made of."""


@dataclass(frozen=True)
class Parameter:
    """A fitted number with its interval of 95 %; equal ends where it was given."""

    name: str
    value: float
    low: float
    high: float


SAID = {
    "nugget_sd": "each record's own error",
    "shared_sd": "error that a platform's records share",
}
"""Names of parameters in words, where they are no words."""


@dataclass(frozen=True)
class CovarianceFit:
    """A covariance, and the errors that go with it.

    Attributes:
        covariance: of the state's departures from the background.
        nugget_sd: of each record's error beside the given one: representativeness.
        shared_sd: of the error that a platform's records have in common.
        parameters: with their intervals.
        score_before, score: mean negative log density of withheld records with the start values
            and now.
        count: records that were predicted.
        converged: whether the search ended by itself.
        calibration: of the spread, or None where it was not looked at.
    """

    covariance: SpaceTimeCovariance
    nugget_sd: float
    shared_sd: float
    parameters: tuple[Parameter, ...]
    score_before: float
    score: float
    count: int
    converged: bool
    calibration: Calibration | None = None

    def with_errors(self, records: LocalRecords) -> LocalRecords:
        """Give records the errors of this fit, beside those that they have."""
        nugget = jnp.asarray(self.nugget_sd, records.error_sd.dtype)
        factor = 1.0 if self.calibration is None else self.calibration.factor
        given = records.error_sd * jnp.asarray(factor, records.error_sd.dtype)
        shared = jnp.full_like(records.shared_sd, self.shared_sd)
        return eqx.tree_at(
            lambda r: (r.error_sd, r.shared_sd), records, (jnp.hypot(given, nugget), shared)
        )

    @property
    def speed(self) -> float:
        """Distance that counts as much as a minute in a search for neighbours."""
        return speed_of(self.covariance)

    def calibrated(self, calibration: Calibration) -> "CovarianceFit":
        """The same with every standard deviation times the factor; no weight changes.

        Errors that records bring along are multiplied too, by `with_errors`.
        """
        factor = calibration.factor
        return replace(
            self,
            covariance=self.covariance.scaled(factor),
            nugget_sd=self.nugget_sd * factor,
            shared_sd=self.shared_sd * factor,
            calibration=calibration,
        )

    @property
    def words(self) -> str:
        """The outcome in a sentence."""
        parts = "; ".join(
            f"{SAID.get(p.name, p.name)} {p.value:.4g} ({p.low:.3g} to {p.high:.3g})"
            for p in self.parameters
        )
        ended = "" if self.converged else ", the search did not end by itself"
        said = (
            f"Fitted to {self.count} withheld observations, whose mean negative log density (low "
            f"where they are predicted well) was {self.score_before:.4f} before and is "
            f"{self.score:.4f} now{ended}: {parts}."
        )
        if (found := self.calibration) is not None:
            said += (
                f" Standard deviations times {found.factor:.3f} ({found.low:.3f} to "
                f"{found.high:.3f})."
            )
        return said

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON values."""
        found = self.calibration
        return {
            "parameters": {p.name: [p.value, p.low, p.high] for p in self.parameters},
            "score_before": self.score_before,
            "score": self.score,
            "count": self.count,
            "finished": self.converged,
            "spread_factor": None if found is None else [found.factor, found.low, found.high],
            "words": self.words,
        }


def fit_covariance(
    records: LocalRecords,
    *,
    groups: Int[np.ndarray, " obs"] | None = None,
    start: Start | None = None,
    errors_known: bool = False,
    components: int = 2,
    space: Shape = "matern32",
    time: Shape = "exponential",
    most: int = 40,
    targets: int = 600,
    thinned: tuple[float, ...] = (),
    key: PRNGKeyArray,
) -> CovarianceFit:
    """Fit variances, lengths, timescales and errors to predictions of withheld records.

    The mean negative log density of records, each predicted from its neighbours of other groups,
    is minimised over the logarithms of the parameters. A length or a timescale that begins
    infinite, and a standard deviation that begins at zero, stay so. Intervals come from the
    curvature of the score and its differences among groups, so records of one group may depend
    on each other.

    Arguments:
        records: innovations of a training period, with the errors that are known; the usable
            ones count.
        groups: withheld together; platforms by default.
        start: where the search begins; by default the best of `STARTS` covariograms, each of other
            records, by what it predicts of those that are withheld.
        errors_known: whether records have no error beside the given one.
        components: their number, where `start` is not given.
        space, time: shape of the correlations, where `start` is not given.
        most: neighbours of a prediction.
        targets: records that are predicted, drawn at random.
        thinned: see `space_time_neighbours`.
        key: which records are predicted.

    Raises:
        ValueError: if there are too few records to begin with, see `start_values`.

    Source: Gneiting and Raftery (2007), doi:10.1198/016214506000001437, on the score; Varin et
        al. (2011), Statistica Sinica 21, on the intervals of a composite likelihood.
    """
    groups = np.asarray(records.platform) if groups is None else groups
    usable = jax.random.permutation(key, jnp.asarray(np.flatnonzero(np.asarray(records.mask))))
    chosen = np.sort(np.asarray(usable)[:targets])
    if start is not None:
        starts = [start]
    else:
        apart = eqx.tree_at(lambda r: r.platform, records, jnp.asarray(groups, jnp.int32))
        starts = [
            start_values(apart, components=components, space=space, time=time, seed=draw)
            for draw in range(STARTS if usable.size > PAIRED else 1)
        ]
    if errors_known:
        starts = [one._replace(nugget_sd=0.0, shared_sd=0.0) for one in starts]
    attempts = [_Attempt.of(records, groups, one, chosen, most, thinned) for one in starts]
    begun = min(attempts, key=lambda a: a.before.score)
    best, converged = search(begun.look, begun.before)
    covariance, nugget, shared = begun.layout.at(jnp.asarray(best.moved, records.innovations.dtype))
    return CovarianceFit(
        covariance=covariance,
        nugget_sd=float(nugget),
        shared_sd=float(shared),
        parameters=begun.layout.parameters(best.moved, best.standard_errors(groups[chosen])),
        score_before=begun.before.score,
        score=best.score,
        count=len(chosen),
        converged=converged,
    )


class _Attempt(NamedTuple):
    """Where a search begins, and how it looks around.

    Attributes:
        layout: what is searched for.
        look: at the logarithms of the parameters over their start.
        before: at the start.
    """

    layout: "_Layout"
    look: Callable[[Float[np.ndarray, " parameter"]], Look]
    before: Look

    @classmethod
    def of(
        cls,
        records: LocalRecords,
        groups: Int[np.ndarray, " obs"],
        start: Start,
        chosen: Int[np.ndarray, " target"],
        most: int,
        thinned: tuple[float, ...],
    ) -> "_Attempt":
        neighbours = withheld_neighbours(
            records, chosen, groups, speed=speed_of(start.covariance), most=most, thinned=thinned
        )
        layout = _Layout.of(start)
        data = (jnp.asarray(chosen), jnp.asarray(neighbours.indices), jnp.asarray(neighbours.near))
        dtype = records.innovations.dtype

        def moments(moved: Float[Array, " parameter"]) -> Float[Array, "2 target"]:
            covariance, nugget, shared = layout.at(moved)
            error = jnp.sqrt(records.error_sd**2 + nugget.astype(dtype) ** 2)
            own = eqx.tree_at(
                lambda r: (r.error_sd, r.shared_sd),
                records,
                (error, jnp.full_like(records.shared_sd, shared.astype(dtype))),
            )
            return _moments(own, *data, covariance)

        @jax.jit
        def with_slopes(moved: Float[Array, " parameter"]) -> tuple[Array, Array]:
            found, pushed = jax.linearize(moments, moved)
            return found, jax.vmap(pushed, out_axes=-1)(jnp.eye(len(moved), dtype=moved.dtype))

        def look(moved: Float[np.ndarray, " parameter"]) -> Look:
            found = (np.asarray(x, np.float64) for x in with_slopes(jnp.asarray(moved, dtype)))
            return Look.of(moved, *found)

        return cls(layout, look, look(np.zeros(len(layout.names))))


def _moments(
    records: LocalRecords,
    targets: Int[Array, " target"],
    indices: Int[Array, "target near"],
    near: Bool[Array, "target near"],
    covariance: SpaceTimeCovariance,
) -> Float[Array, "2 target"]:
    """Departures of records from their predictions, and the variances expected of them.

    With w = S^-1 G and a = S^-1 d held fast, G'a + w'd - w'S a and 2 w'G - w'S w have the values
    of w'd and w'G and their first derivatives by G and S: no factorisation is differentiated.
    """

    def at_target(
        target: Int[Array, ""], index: Int[Array, " near"], there: Bool[Array, " near"]
    ) -> Float[Array, " 2"]:
        system = local_system(
            records.straight[target],
            records.minutes[target],
            records.scale[target],
            index,
            there & records.mask[index],
            records,
            covariance,
        )
        d = jnp.where(there & records.mask[index], records.innovations[index], 0.0)
        weights, a = jax.lax.stop_gradient(system).solve(jax.lax.stop_gradient(d))
        through = system.matrix @ jnp.stack([a, weights], axis=1)
        mean = system.to_target @ a + weights @ d - weights @ through[:, 0]
        explained = 2 * (weights @ system.to_target) - weights @ through[:, 1]
        prior = covariance.variance().astype(d.dtype) * records.scale[target] ** 2
        error = records.error_sd[target] ** 2 + records.shared_sd[target] ** 2
        return jnp.stack([records.innovations[target] - mean, prior - explained + error])

    return jax.vmap(at_target)(targets, indices, near).T


class _Layout(NamedTuple):
    """Which numbers of a start are searched for, in which order."""

    start: Start
    names: tuple[str, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, start: Start) -> "_Layout":
        covariance = start.covariance
        named = [
            (f"{name} {i + 1}", float(value))
            for name, column in (
                ("variance", covariance.variances),
                ("length", covariance.lengths),
                ("timescale", covariance.timescales),
            )
            for i, value in enumerate(np.asarray(column))
        ]
        named += [("nugget_sd", start.nugget_sd), ("shared_sd", start.shared_sd)]
        free = [(name, value) for name, value in named if np.isfinite(value) and value > 0]
        return cls(start, tuple(n for n, _ in free), tuple(v for _, v in free))

    def at(
        self, moved: Float[Array, " parameter"]
    ) -> tuple[SpaceTimeCovariance, Float[Array, ""], Float[Array, ""]]:
        """The covariance and errors with logarithms moved from the start."""
        by = {name: jnp.exp(moved[k]) for k, name in enumerate(self.names)}
        covariance = self.start.covariance

        def column(name: str, given: Float[Array, " component"]) -> Float[Array, " component"]:
            ones = jnp.ones((), moved.dtype)
            factors = [by.get(f"{name} {i + 1}", ones) for i in range(given.shape[0])]
            return given * jnp.stack(factors).astype(given.dtype)

        ones = jnp.ones((), moved.dtype)
        return (
            SpaceTimeCovariance(
                column("variance", covariance.variances),
                column("length", covariance.lengths),
                column("timescale", covariance.timescales),
                covariance.space,
                covariance.time,
            ),
            self.start.nugget_sd * by.get("nugget_sd", ones),
            self.start.shared_sd * by.get("shared_sd", ones),
        )

    def parameters(self, moved: np.ndarray, sd: np.ndarray) -> tuple[Parameter, ...]:
        """Values and intervals."""
        width = np.minimum(NORMAL_95 * sd, 50.0)
        best = np.asarray(self.values) * np.exp(moved)
        return tuple(
            Parameter(name, float(value), float(value * np.exp(-w)), float(value * np.exp(w)))
            for name, value, w in zip(self.names, best, width, strict=True)
        )
