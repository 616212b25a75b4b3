"""What real observations and fields of another time say of the states, for every method."""

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vardax_core.analysis.local.covariance import TWICE_SMOOTHNESS, SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.data.observed_period import ObservedPeriod
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import EQUIVALENT, OBSERVED_AT, PLATFORM, grid_of_frame
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.methods.priors import AbstractPrior, Learned, Progress, UnknownPriorError
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import MINUTES_A_DAY, Climatology
from vardax_core.models.persistence import DampedPersistence
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.covariance_fit import (
    CovarianceFit,
    calibration_of,
    fit_covariance,
    predict_withheld,
    withheld_neighbours,
)
from vardax_core.training.registry import Factories
from vardax_core.training.slots import UnfitPeriodError, slot_means

REFERENCE = "reported-reference"
COMPONENTS = 2
FEATURES = 64
"""Random features of the first members."""
FEWEST = 50
"""Records without which nothing is learned."""
CALIBRATED = 3000
"""Records that are withheld, in turn, to calibrate the spread."""
NEAR = 60


class ReportedReference(eqx.Module):
    """What is learned from real observations for every method.

    Attributes:
        climatology: mean of the fields of the prior, or of all observations.
        covariance: of the departures from it.
        scale: local standard deviation over the covariance's own.
        nugget_sd, shared_sd, error_factor: errors of the observations, see `LocalInterpolation`.
    """

    climatology: Climatology
    covariance: SpaceTimeCovariance
    scale: Float[Array, "*state"]
    nugget_sd: Float[Array, ""]
    shared_sd: Float[Array, ""]
    error_factor: Float[Array, ""]


def _reference_like(
    *, shape: list[int], slots: int, rank: int, components: int, interval: int, forms: list[str]
) -> ReportedReference:
    state, zero = tuple(shape), jnp.zeros((), jnp.float32)
    one = jnp.ones(components, jnp.float32)
    return ReportedReference(
        Climatology(
            mean=jnp.zeros((slots, *state), jnp.float32),
            square_root=jnp.zeros((*state, rank), jnp.float32),
            interval=interval,
            state_shape=state,
        ),
        SpaceTimeCovariance(one, one, one, space=forms[0], time=forms[1]),
        jnp.ones(state, jnp.float32),
        zero,
        zero,
        zero,
    )


@dataclasses.dataclass(frozen=True)
class ReportedPrior(AbstractPrior):
    """Real observations of a training period, and perhaps fields of another time.

    Attributes:
        recipe: with streams of observations.
        period: what may be learned from; None where it is not at hand, as while cycling.
        known: what was learned; None before.
    """

    simulates: ClassVar[bool] = False
    reported: ClassVar[bool] = True
    dense: ClassVar[bool] = False
    learned_as: ClassVar[str | None] = "reference"
    factories: ClassVar[Factories] = {REFERENCE: _reference_like}

    recipe: Recipe
    period: ObservedPeriod | None = None
    known: ReportedReference | None = None

    @property
    def ring(self) -> bool:
        return False

    @property
    def local(self) -> bool:
        return True

    @property
    def reference(self) -> ReportedReference:
        """What was learned.

        Raises:
            UnknownPriorError: if nothing was learned yet.
        """
        if self.known is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: nothing was learned from the observations yet; train first: "
                "vardax train, with the same options."
            )
        return self.known

    @property
    def model(self) -> AbstractForecastModel:
        known, minutes = self.reference, duration_to_minutes(self.recipe.cycle_interval)
        here = jnp.zeros((), jnp.float32)
        later = known.covariance(here, here + minutes) / known.covariance.variance()
        return DampedPersistence(  # type: ignore[call-arg]
            climatology=known.climatology, correlation=later, interval=minutes
        )

    @property
    def climatology(self) -> Climatology:
        return self.reference.climatology

    @property
    def covariance(self) -> Float[Array, "n n"]:
        raise UnknownPriorError(
            f"{self.recipe.name}: the covariances of all points with one another are not held "
            "where observations are real; choose a local method."
        )

    @property
    def varying(self) -> Bool[np.ndarray, "*state"]:
        return np.asarray(self.reference.scale) > 0

    def knowing(self, learned: eqx.Module) -> "ReportedPrior":
        assert isinstance(learned, ReportedReference), "what `learn` gave"
        return dataclasses.replace(self, known=learned)

    def learn(self, progress: Progress) -> Learned:
        """Fit the covariance and the errors to predictions of withheld observations.

        Raises:
            UnfitPeriodError: if there are too few observations.
        """
        period = self.period
        if period is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: the observations of the training period are not at hand; "
                "read them with `Experiment.training_run`."
            )
        grid, key = grid_of_frame(period.frame, self.recipe), jax.random.key(0)
        progress(0, 3, {})
        mean = _mean(self.recipe, period)
        records = training_records(self.recipe, period, grid, mean)
        count = int(records.mask.sum())
        if count < FEWEST:
            raise UnfitPeriodError(
                f"{self.recipe.name}: {count} observations in the training period, expected "
                f"{FEWEST} at least to learn how observations go together; choose a longer period."
            )
        fit_key, take_key, root_key = jax.random.split(key, 3)
        fit = fit_covariance(records, components=COMPONENTS, key=fit_key)
        progress(1, 3, {})
        fit = _calibrated(fit, records, take_key)
        progress(2, 3, {})
        inside = np.ones(grid.shape, bool) if grid.mask is None else np.asarray(grid.mask)
        interval = duration_to_minutes(self.recipe.cycle_interval)
        root = _square_root(fit.covariance, grid, root_key) * inside[..., None]
        known = ReportedReference(
            Climatology(
                mean=jnp.asarray(mean, jnp.float32),
                square_root=jnp.asarray(root, jnp.float32),
                interval=interval,
                state_shape=grid.shape,
            ),
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), fit.covariance),
            jnp.asarray(inside, jnp.float32),
            jnp.asarray(fit.nugget_sd, jnp.float32),
            jnp.asarray(fit.shared_sd, jnp.float32),
            jnp.asarray(1.0 if fit.calibration is None else fit.calibration.factor, jnp.float32),
        )
        progress(3, 3, {})
        return Learned(
            known,
            REFERENCE,
            {
                "shape": list(grid.shape),
                "slots": mean.shape[0],
                "rank": root.shape[-1],
                "components": fit.covariance.variances.shape[0],
                "interval": interval,
                "forms": [fit.covariance.space, fit.covariance.time],
            },
            {"notes": [], "covariance_fit": fit.numbers()},
        )


def training_records(
    recipe: Recipe,
    period: ObservedPeriod,
    grid: AbstractGrid,
    mean: Float[np.ndarray, "slots *state"],
) -> LocalRecords:
    """The usable observations of a training period as departures from the forecast, or where none
    is given from a climatological mean."""
    columns = {
        str(name): array.transpose("time", "station").to_numpy().reshape(-1)
        for name, array in period.observations.data_vars.items()
    }
    used = np.flatnonzero(columns[QUALITY_CONTROL] == QualityCode.KEPT)
    taken = {name: values[used] for name, values in columns.items()}
    places = np.stack([taken[dim] for dim in recipe.state_dims], axis=1)
    minutes = taken[OBSERVED_AT] / 60.0
    points, weights = (
        grid.stencil(places) if used.size else (np.zeros((0, 4), int), np.zeros((0, 4)))
    )
    if EQUIVALENT in taken:
        expected = taken[EQUIVALENT].astype(np.float64)
    else:
        slots, flat = len(mean), mean.reshape(len(mean), -1)
        slot = (minutes.astype(np.int64) % MINUTES_A_DAY) * slots // MINUTES_A_DAY
        expected = np.sum(weights * flat[slot[:, None], points], axis=1)
    name = recipe.variable.name
    start = minutes.min() if used.size else 0.0
    return LocalRecords.of(
        jnp.asarray(taken[name] - expected, jnp.float32),
        jnp.asarray(taken[f"{name}_error"], jnp.float32),
        jnp.asarray(grid.embedded(places), jnp.float32),
        minutes=jnp.asarray(minutes - start, jnp.float32),
        platform=jnp.asarray(taken[PLATFORM], jnp.int32),
    )


def _mean(recipe: Recipe, period: ObservedPeriod) -> Float[np.ndarray, "slots *state"]:
    shape = tuple(period.frame.sizes[dim] for dim in recipe.state_dims)
    name = recipe.variable.name
    if period.fields is not None:
        fields = period.fields[name].transpose("time", *recipe.state_dims)
        return slot_means(fields.to_numpy(), to_minutes(fields["time"].values))
    values = period.observations[name].to_numpy()
    known = values[np.isfinite(values)]
    return np.full((1, *shape), known.mean(dtype=np.float64) if known.size else 0.0)


def _calibrated(fit: CovarianceFit, records: LocalRecords, key: jax.Array) -> CovarianceFit:
    with_errors = fit.with_errors(records)
    usable = jnp.asarray(np.flatnonzero(np.asarray(records.mask)))
    chosen = np.sort(np.asarray(jax.random.permutation(key, usable))[:CALIBRATED])
    groups = np.asarray(records.platform)
    neighbours = withheld_neighbours(records, chosen, groups, speed=fit.speed, most=NEAR)
    found = predict_withheld(with_errors, chosen, neighbours, fit.covariance, groups)
    return fit.calibrated(calibration_of(found))


def _square_root(
    covariance: SpaceTimeCovariance, grid: AbstractGrid, key: jax.Array
) -> Float[np.ndarray, "*state rank"]:
    """Random features of a covariance at one time, of its very variance at every point.

    Source: Rahimi and Recht (2007), Random Features for Large-Scale Kernel Machines.
    """
    straight = grid.embedded(grid.points())
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    variances, lengths = np.asarray(covariance.variances), np.asarray(covariance.lengths)
    share = np.maximum(1, np.round(FEATURES * variances / variances.sum()).astype(int))
    freedom = TWICE_SMOOTHNESS[covariance.space]
    columns = []
    for variance, length, count in zip(variances, lengths, share, strict=True):
        normal = rng.standard_normal((straight.shape[1], count))
        spectrum = normal / length * np.sqrt(freedom / rng.chisquare(freedom, count))
        phase = rng.uniform(0, 2 * math.pi, count)
        columns.append(np.sqrt(2 * variance / count) * np.cos(straight @ spectrum + phase))
    root = np.concatenate(columns, axis=1)
    norm = np.sqrt((root**2).sum(axis=1, keepdims=True))
    return (root * np.sqrt(variances.sum()) / norm).reshape(*grid.shape, -1)
