"""Fields of a training period, and what is learned from them for every method."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from vardax_core.data.channels import stacked
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.methods.field_inputs import notes_on
from vardax_core.methods.field_references import (
    FACTORIES,
    LOCAL_REFERENCE,
    REFERENCE,
    AnomalyModel,
    FieldReference,
    LocalCovariance,
    LocalFieldReference,
)
from vardax_core.methods.priors import (
    AbstractPrior,
    Learned,
    Progress,
    UnknownPriorError,
    no_dense_covariance,
)
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.models.standardised import Standardised
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.field_streams import FieldTrainingSettings, fit_model, usable_modes
from vardax_core.training.local_fields import fit_local_covariance
from vardax_core.training.registry import Factories
from vardax_core.training.statistics import fit_climatology, fit_window_statistics

TAPER = 0.95
"""Of the covariance of optimal interpolation, in correlation lengths of the field."""

FIT, FIT_LAG = 40, 24
"""Measured bytes for each pair of points while statistics are fitted: of all, and of a lag."""
DENSE = 4096
"""Numbers of a state up to which a method that needs no covariance of all points with one another
learns it with the others; it is then learned once for all methods."""
FIELDS_HELD = 80
"""Bytes for each value of the training period at the worst moment without such a covariance."""


@dataclasses.dataclass(frozen=True)
class FieldsPrior(AbstractPrior):
    """Gridded fields of a training period, which are taken for the truth.

    Attributes:
        recipe: with the training period.
        nature_run: the fields; None where they are not at hand, as while cycling.
        known: what was learned from them; None before.
    """

    simulates: ClassVar[bool] = False
    learned_as: ClassVar[str | None] = "reference"
    learned_locally_as: ClassVar[str | None] = "local-reference"
    factories: ClassVar[Factories] = FACTORIES

    recipe: Recipe
    nature_run: xr.Dataset | None = None
    known: FieldReference | LocalFieldReference | None = None

    @property
    def ring(self) -> bool:
        return False

    @property
    def local(self) -> bool:
        return True

    @property
    def fields(self) -> Float[np.ndarray, "time *state"]:
        """States of the training period, NaN where missing."""
        return stacked(self._nature_run, self.recipe).transpose("time", ...).to_numpy()

    @property
    def times(self) -> np.ndarray:
        """Of the states, minutes since `MINUTES_EPOCH`."""
        return to_minutes(self._nature_run["time"].values)

    @property
    def grid(self) -> AbstractGrid:
        """Of the states.

        Raises:
            SourceFormatError: if the coordinates are not understood.
        """
        return state_grid(self._nature_run, self.recipe)

    @property
    def source(self) -> str:
        """sha256 of the file that the fields come from."""
        return str(self._nature_run.attrs["source_sha256"])

    @property
    def _nature_run(self) -> xr.Dataset:
        if self.nature_run is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: the fields of the training period are not at hand; read them "
                "with `Experiment.training_run`."
            )
        return self.nature_run

    @property
    def _known(self) -> FieldReference | LocalFieldReference:
        if self.known is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: nothing was learned from the training period yet; train "
                "first: vardax train, with the same options."
            )
        return self.known

    @property
    def model(self) -> AbstractForecastModel:
        if self._known.model is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: no two states of the training period are one cycle of "
                f"{self.recipe.cycle_interval} apart, so that no forecast model can be learned; "
                "give states at least that often, or choose a method that needs none."
            )
        return self._known.model

    @property
    def climatology(self) -> Climatology:
        return self._known.climatology

    @property
    def covariance(self) -> Float[Array, "n n"]:
        known = self._known
        if isinstance(known, LocalFieldReference):
            raise no_dense_covariance(self.recipe)
        return known.covariance

    @property
    def local_covariance(self) -> LocalCovariance:
        """Covariance by distance and time.

        Raises:
            UnknownPriorError: if it was not learned.
        """
        known = self._known
        if isinstance(known, FieldReference) or known.local is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: no covariance by distance and time was learned; train first: "
                "vardax train, with the same options."
            )
        return known.local

    @property
    def varying(self) -> Bool[np.ndarray, "*state"]:
        known = self._known
        if isinstance(known, LocalFieldReference):
            return np.asarray(jnp.any(known.climatology.square_root != 0, axis=-1))
        variance = jnp.diagonal(known.covariance).reshape(self.climatology.state_shape)
        return np.asarray(variance) > 0

    def is_local(self, points: int) -> bool:
        return points * len(self.recipe.variables) > DENSE

    def memory(self, points: int) -> float:
        return (FIT + FIT_LAG) * float(points * len(self.recipe.variables)) ** 2

    def local_memory(self, points: int) -> float:
        training = self.recipe.training
        assert training is not None, "fields are of a training period"
        minutes = (training.end - training.start).total_seconds() / 60
        states = 1 + minutes // self.recipe.spacing
        return FIELDS_HELD * float(states * points * len(self.recipe.variables))

    def knowing(self, learned: eqx.Module) -> "FieldsPrior":
        assert isinstance(learned, FieldReference | LocalFieldReference), "what was learned"
        return dataclasses.replace(self, known=learned)

    def learn(self, progress: Progress) -> Learned:
        """Fit climatology, covariance and forecast model to the training period.

        Raises:
            UnfitPeriodError: if nothing can be learned from the period.
        """
        recipe, times = self.recipe, self.times
        centre, scale = _sizes_of_channels(self.fields, recipe)
        fields = (self.fields - centre) / scale
        interval = duration_to_minutes(recipe.cycle_interval)
        spacing = duration_to_minutes(recipe.window.spacing)
        statistics = fit_window_statistics(
            fields,
            times,
            self.grid,
            interval=interval,
            lag_interval=spacing,
            n_lags=1,
            harmonics=None,
            taper=TAPER,
            smooth_weight=0.0,
        )
        model = self._forecast_model(statistics.climatology, fields)
        climate, covariance = statistics.climatology, statistics.covariances[0]
        if scale.ndim:
            each = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), climate.state_shape).reshape(
                -1
            )
            covariance = covariance * jnp.outer(each, each)
        known = FieldReference(
            _climate_in_units(climate, centre, scale),
            covariance,
            _model_in_units(model, centre, scale),
        )
        varying = np.asarray(statistics.variance) > 0
        return Learned(known, REFERENCE, self._sizes(climate, model), self._notes(varying))

    def learn_locally(self, progress: Progress) -> Learned:
        """Fit climatology and forecast model, and a covariance by distance and time, to the
        training period; work and memory grow with the values of its fields.

        Raises:
            UnfitPeriodError: if nothing can be learned from the period.
        """
        centre, scale = _sizes_of_channels(self.fields, self.recipe)
        fields = self.fields if not scale.ndim else (self.fields - centre) / scale
        interval = duration_to_minutes(self.recipe.cycle_interval)
        climate = fit_climatology(fields, self.times, interval=interval)
        model = self._forecast_model(climate, fields)
        local = None if self.recipe.channels else self._local_covariance(climate, fields)
        known = LocalFieldReference(
            _climate_in_units(climate, centre, scale),
            _model_in_units(model, centre, scale),
            local,
        )
        covariance = None if local is None else local.covariance
        sizes = self._sizes(climate, model) | {
            "components": 0 if covariance is None else covariance.variances.shape[0],
            "forms": [] if covariance is None else [covariance.space, covariance.time],
        }
        metadata = self._notes(dataclasses.replace(self, known=known).varying)
        return Learned(known, LOCAL_REFERENCE, sizes, metadata)

    def _forecast_model(
        self, climatology: Climatology, fields: Float[np.ndarray, "time *state"]
    ) -> LinearInverseModel | None:
        times, recipe = self.times, self.recipe
        plan = FieldTrainingSettings(
            window=1,
            lag_interval=duration_to_minutes(recipe.window.spacing),
            interval=duration_to_minutes(recipe.cycle_interval),
        )
        if not np.isin(times, times + plan.interval).any():
            return None
        modes = usable_modes(climatology, times, plan)
        return fit_model(climatology, fields, times, plan, modes)

    def _local_covariance(
        self, climatology: Climatology, fields: Float[np.ndarray, "time *state"]
    ) -> LocalCovariance:
        fit, scale = fit_local_covariance(
            fields,
            self.times,
            climatology,
            self.grid,
            stations=self.recipe.network.usual_count(self.grid.size, len(self.recipe.state_dims)),
            error_sd=self.recipe.error_sd,
            key=jax.random.key(0),
        )
        factor = 1.0 if fit.calibration is None else fit.calibration.factor
        covariance = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), fit.covariance)
        return LocalCovariance(
            covariance, jnp.asarray(scale, jnp.float32), jnp.asarray(factor, jnp.float32)
        )

    def _sizes(self, climatology: Climatology, model: AnomalyModel | None) -> dict[str, Any]:
        """What a registry is told of the size of what was learned."""
        modes = model.propagator.shape[0] if isinstance(model, LinearInverseModel) else 0
        channels = len(self.recipe.channels)
        return {
            "shape": list(climatology.state_shape),
            "slots": climatology.mean.shape[0],
            "rank": climatology.square_root.shape[-1],
            "interval": climatology.interval,
            "modes": modes,
            **({"channels": channels} if channels else {}),
        }

    def _notes(self, varying: Bool[np.ndarray, "*state"]) -> dict[str, Any]:
        return {"notes": notes_on(self.recipe, self._nature_run, varying)}


def _sizes_of_channels(
    fields: Float[np.ndarray, "time *state"], recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every channel, so that all are of one size; 0 and 1 of states
    without channels, which stay as they are."""
    if not recipe.channels:
        return np.zeros((), fields.dtype), np.ones((), fields.dtype)
    axes = (0, *range(2, fields.ndim))
    known = np.isfinite(fields)
    count = np.maximum(known.sum(axis=axes, keepdims=True), 1)
    mean = np.sum(fields, axis=axes, keepdims=True, where=known, dtype=np.float64) / count
    square = np.sum((fields - mean) ** 2, axis=axes, keepdims=True, where=known) / count
    sd = np.sqrt(square)
    return mean[0].astype(fields.dtype), np.where(sd > 0, sd, 1.0)[0].astype(fields.dtype)


def _climate_in_units(climate: Climatology, centre: np.ndarray, scale: np.ndarray) -> Climatology:
    """The climatology of states in their units, from that of standardised ones."""
    if not scale.ndim:
        return climate
    c, s = jnp.asarray(centre, jnp.float32), jnp.asarray(scale, jnp.float32)
    return Climatology(
        mean=c[None] + s[None] * climate.mean,
        square_root=s[..., None] * climate.square_root,
        interval=climate.interval,
        state_shape=climate.state_shape,
    )


def _model_in_units(
    model: LinearInverseModel | None, centre: np.ndarray, scale: np.ndarray
) -> AnomalyModel | None:
    if model is None or not scale.ndim:
        return model
    return Standardised.of(model, jnp.asarray(centre, jnp.float32), jnp.asarray(scale, jnp.float32))
