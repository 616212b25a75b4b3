"""What real observations and fields of another time say of the states, for every method."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.local.covariance import Shape, SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.analysis.local.simulation import RandomFeatures
from vardax_core.cycling.biases import BiasCorrection
from vardax_core.data.heights import HEIGHT_SHIFT
from vardax_core.data.observed_period import ObservedPeriod
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import EQUIVALENT, OBSERVED_AT, PLATFORM
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.methods.priors import (
    AbstractPrior,
    Learned,
    Progress,
    UnknownPriorError,
    no_dense_covariance,
    nothing_learned,
)
from vardax_core.methods.reported_biases import bias_correction, find_biases
from vardax_core.methods.reported_errors import ERRORS_LEARNED, find_errors, said_of_errors
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import MINUTES_A_DAY, Climatology
from vardax_core.models.persistence import DampedPersistence
from vardax_core.observations.placement import ReportedErrors
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.covariance_fit import CovarianceFit, fit_covariance
from vardax_core.training.registry import Factories
from vardax_core.training.slots import UnfitPeriodError, slot_means
from vardax_core.training.withheld import calibration_of, predict_withheld, withheld_neighbours

REFERENCE = "reported-reference"
WAVES = 32
"""Of each component, of which the first members are made."""
DENSE = 500
"""Records of a platform beyond which it is an image, of which parts are withheld."""
PARTS = 8
"""Parts of an image along its longer side."""
SPARSER = (1 / 75, 1 / 25)
"""Sides of boxes from which sparser neighbours of images are taken, over the width of all."""
FEWEST = 50
"""Records without which nothing is learned."""
CALIBRATED = 3000
"""Records that are withheld, in turn, to calibrate the spread."""
NEAR = 60
POINTS = 65_536
"""At which waves are evaluated at once."""


class ReportedReference(eqx.Module):
    """What is learned from real observations for every method.

    Attributes:
        climatology: mean of the fields of the prior, or of all observations.
        covariance: of the departures from it.
        scale: local standard deviation over the covariance's own.
        errors: of the observations: factor, nugget and shared part, see `ReportedErrors`.
        biases: of platforms or streams, by number, as they are taken off.
        sides: of the boxes from which sparser neighbours are taken, see `space_time_neighbours`.
        departures: mean departure of each of these and its inverse variance; None in what earlier
            versions learned.
        usual_bias: standard deviation of the true biases, or None.
        stream_errors: factor on the errors of every stream, see `StreamErrors`, or None.
        units: names of what has a bias, see `BiasUnits`.
    """

    climatology: Climatology
    covariance: SpaceTimeCovariance
    scale: Float[Array, "*state"]
    errors: Float[Array, "3"]
    biases: Float[Array, " platform"]
    sides: Float[Array, " side"]
    departures: Float[Array, "2 unit"] | None = None
    usual_bias: Float[Array, ""] | None = None
    stream_errors: Float[Array, " stream"] | None = None
    units: tuple[str, ...] = eqx.field(static=True, default=())


def reference_like(
    *,
    shape: list[int],
    slots: int,
    rank: int,
    components: int,
    interval: int,
    forms: list[Shape],
    platforms: int,
    sides: int,
    units: list[str] | None = None,
    streams: int = 0,
) -> ReportedReference:
    """A reference of zeros and ones, of the size of one that was learned."""
    state, one = tuple(shape), jnp.ones(components, jnp.float32)
    return ReportedReference(
        Climatology(
            mean=jnp.zeros((slots, *state), jnp.float32),
            square_root=jnp.zeros((*state, rank), jnp.float32),
            interval=interval,
            state_shape=state,
        ),
        SpaceTimeCovariance(one, one, one, space=forms[0], time=forms[1]),
        jnp.ones(state, jnp.float32),
        jnp.zeros(3, jnp.float32),
        jnp.zeros(platforms, jnp.float32),
        jnp.zeros(sides, jnp.float32),
        None if units is None else jnp.zeros((2, platforms), jnp.float32),
        None if units is None else jnp.zeros((), jnp.float32),
        jnp.ones(streams, jnp.float32) if streams else None,
        tuple(units or ()),
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
    factories: ClassVar[Factories] = {REFERENCE: reference_like}

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
            raise nothing_learned(self.recipe)
        return self.known

    @property
    def model(self) -> AbstractForecastModel:
        minutes = duration_to_minutes(self.recipe.cycle_interval)
        return DampedPersistence(  # type: ignore[call-arg]
            climatology=self.reference.climatology,
            correlation=self._correlation,
            interval=minutes,
        )

    @property
    def _correlation(self) -> Float[Array, ""]:
        """Of the state with itself a cycle later."""
        known, minutes = self.reference, duration_to_minutes(self.recipe.cycle_interval)
        here = jnp.zeros((), jnp.float32)
        return known.covariance(here, here + minutes) / known.covariance.variance()

    @property
    def climatology(self) -> Climatology:
        return self.reference.climatology

    @property
    def covariance(self) -> Float[Array, "n n"]:
        raise no_dense_covariance(self.recipe)

    @property
    def reported_errors(self) -> ReportedErrors:
        known = self.reference
        streams = () if known.stream_errors is None else known.stream_errors
        of_streams = tuple(float(factor) for factor in streams)
        if all(factor == 1.0 for factor in of_streams):
            of_streams = ()
        factor, nugget, shared = (float(value) for value in known.errors)
        return ReportedErrors(factor, nugget, shared, of_streams)

    def bias_correction(self, platforms: Sequence[str]) -> BiasCorrection | None:
        known = self.reference
        values = np.zeros((3, len(known.units)))
        if known.departures is not None:
            values = np.stack([known.biases, *known.departures]).astype(np.float64)
        usual = 0.0 if known.usual_bias is None else float(known.usual_bias)
        lasting = float(self._correlation)
        return bias_correction(self.recipe, platforms, known.units, values, usual, lasting)

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
        grid, key = state_grid(period.frame, self.recipe), jax.random.key(0)
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
        error_key = jax.random.fold_in(key, 3)
        biases, taken = find_biases(self.recipe, period.platforms, records)
        records = eqx.tree_at(
            lambda r: r.innovations, records, records.innovations - jnp.asarray(taken, jnp.float32)
        )
        groups = withheld_groups(records)
        sides = self._sides(records)
        fit = fit_covariance(records, groups=groups, thinned=sides, key=fit_key)
        progress(1, 3, {})
        fit = _calibrated(fit, records, groups, sides, take_key)
        errors = find_errors(
            self.recipe, period.platforms, records, fit, thinned=sides, key=error_key
        )
        progress(2, 3, {})
        inside = np.ones(grid.shape, bool) if grid.mask is None else np.asarray(grid.mask)
        interval = duration_to_minutes(self.recipe.cycle_interval)
        root = _square_root(fit.covariance, grid, root_key)
        root[~inside] = 0.0
        factor = 1.0 if fit.calibration is None else fit.calibration.factor
        known = ReportedReference(
            Climatology(
                mean=jnp.asarray(mean, jnp.float32),
                square_root=jnp.asarray(root, jnp.float32),
                interval=interval,
                state_shape=grid.shape,
            ),
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), fit.covariance),
            jnp.asarray(inside, jnp.float32),
            jnp.asarray([factor, fit.nugget_sd, fit.shared_sd], jnp.float32),
            jnp.asarray(biases.values[0], jnp.float32),
            jnp.asarray(sides, jnp.float32),
            jnp.asarray(biases.values[1:], jnp.float32),
            jnp.asarray(biases.usual_sd, jnp.float32),
            jnp.asarray(errors.factors, jnp.float32),
            biases.names,
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
                "platforms": len(biases.names),
                "sides": len(sides),
                "units": list(biases.names),
                "streams": errors.factors.size,
            },
            {"notes": [*biases.said, said_of_errors(self.recipe, records, fit), *errors.said]}
            | {"covariance_fit": fit.numbers(), ERRORS_LEARNED: errors.numbers},
        )

    def _sides(self, records: LocalRecords) -> tuple[float, ...]:
        """Sides of the boxes of sparser choices, where images are dense."""
        if not any(s.source.are_images for s in self.recipe.streams or ()):
            return ()
        widest = float(np.ptp(np.asarray(records.straight), axis=0).max())
        return tuple(widest * share for share in SPARSER)


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
    if HEIGHT_SHIFT in taken:
        expected = expected + np.nan_to_num(taken[HEIGHT_SHIFT].astype(np.float64))
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


def _calibrated(
    fit: CovarianceFit,
    records: LocalRecords,
    groups: Int[np.ndarray, " obs"],
    sides: tuple[float, ...],
    key: PRNGKeyArray,
) -> CovarianceFit:
    with_errors = fit.with_errors(records)
    usable = jnp.asarray(np.flatnonzero(np.asarray(records.mask)))
    chosen = np.sort(np.asarray(jax.random.permutation(key, usable))[:CALIBRATED])
    neighbours = withheld_neighbours(
        records, chosen, groups, speed=fit.speed, most=NEAR, thinned=sides
    )
    found = predict_withheld(with_errors, chosen, neighbours, fit.covariance, groups)
    return fit.calibrated(calibration_of(found))


def _square_root(
    covariance: SpaceTimeCovariance, grid: AbstractGrid, key: PRNGKeyArray
) -> Float[np.ndarray, "*state rank"]:
    """Waves of a covariance at one time, of its very variance at every point."""
    straight = grid.embedded(grid.points()).astype(np.float32)
    waves = RandomFeatures.of(
        covariance, straight.shape[1], count=WAVES, dtype=jnp.dtype(jnp.float32), key=key
    )
    amplitudes = jnp.tile(waves.amplitudes, 2)
    root = np.empty((grid.size, amplitudes.size), np.float32)
    for begin in range(0, grid.size, POINTS):
        phase = jnp.asarray(straight[begin : begin + POINTS]) @ waves.wavenumbers.T
        both = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=1)
        root[begin : begin + POINTS] = both * amplitudes[None]
    return root.reshape(*grid.shape, -1)


def withheld_groups(records: LocalRecords) -> Int[np.ndarray, " obs"]:
    """What is withheld together: a platform, or a part of an image where these are dense."""
    platforms, straight = np.asarray(records.platform), np.asarray(records.straight)
    if len(platforms) < DENSE * np.unique(platforms).size:
        return platforms
    side = max(float(np.ptp(straight, axis=0).max()) / PARTS, float(np.finfo(np.float32).tiny))
    boxes = np.floor((straight - straight.min(axis=0)) / side).astype(np.int64)
    parts = np.column_stack([boxes, platforms])
    return np.unique(parts, axis=0, return_inverse=True)[1].reshape(-1)
