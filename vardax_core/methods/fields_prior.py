"""Fields of a training period, and what is learned from them for every method."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from vardax_core.data.channels import stacked
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.methods.field_inputs import notes_on
from vardax_core.methods.priors import AbstractPrior, Learned, Progress, UnknownPriorError
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.models.standardised import Standardised
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.field_streams import FieldTrainingSettings, fit_model, usable_modes
from vardax_core.training.registry import Factories
from vardax_core.training.statistics import WindowStatistics, fit_window_statistics

REFERENCE = "field-reference"
TAPER = 0.95
"""Of the covariance of optimal interpolation, in correlation lengths of the field."""

FIT, FIT_LAG = 40, 24
"""Measured bytes for each pair of points while statistics are fitted: of all, and of a lag."""


class FieldReference(eqx.Module):
    """What the methods without a network learn from the training period.

    Attributes:
        climatology: means of the slots of the day, and EOFs of the anomalies.
        covariance: sample covariance of the anomalies under a Gaussian taper of `TAPER`.
        model: forecast model of the anomalies; None where no two states are a cycle apart.
    """

    climatology: Climatology
    covariance: Float[Array, "n n"]
    model: LinearInverseModel | Standardised | None


def climatology_like(shape: tuple[int, ...], slots: int, rank: int, interval: int) -> Climatology:
    """A climatology of zeros, of the size of one that was learned."""
    return Climatology(
        mean=jnp.zeros((slots, *shape), jnp.float32),
        square_root=jnp.zeros((*shape, rank), jnp.float32),
        interval=interval,
        state_shape=shape,
    )


def inverse_model_like(climatology: Climatology, modes: int, interval: int) -> LinearInverseModel:
    """A linear inverse model of zeros, of the size of one that was learned."""
    return LinearInverseModel(
        climatology=climatology,
        propagator=jnp.zeros((modes, modes), jnp.float32),
        forcing=jnp.zeros((modes, modes), jnp.float32),
        damping=jnp.zeros((), jnp.float32),
        stability_factor=jnp.zeros((), jnp.float32),
        interval=interval,
        state_shape=climatology.state_shape,
    )


def _reference_like(
    *, shape: list[int], slots: int, rank: int, interval: int, modes: int, channels: int = 0
) -> FieldReference:
    size = int(np.prod(shape))
    climatology = climatology_like(tuple(shape), slots, rank, interval)
    model: LinearInverseModel | Standardised | None = None
    if modes:
        model = inverse_model_like(climatology, modes, interval)
    if model is not None and channels:
        one = jnp.ones((channels, *(1,) * (len(shape) - 1)), jnp.float32)
        model = Standardised.of(model, one, one)
    return FieldReference(climatology, jnp.zeros((size, size), jnp.float32), model)


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
    factories: ClassVar[Factories] = {REFERENCE: _reference_like}

    recipe: Recipe
    nature_run: xr.Dataset | None = None
    known: FieldReference | None = None

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
    def _known(self) -> FieldReference:
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
        return self._known.covariance

    @property
    def varying(self) -> Bool[np.ndarray, "*state"]:
        variance = jnp.diagonal(self.covariance).reshape(self.climatology.state_shape)
        return np.asarray(variance) > 0

    def memory(self, points: int) -> float:
        return (FIT + FIT_LAG) * float(points * len(self.recipe.variables)) ** 2

    def knowing(self, learned: eqx.Module) -> "FieldsPrior":
        assert isinstance(learned, FieldReference), "what `learn` gave"
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
        plan = FieldTrainingSettings(window=1, lag_interval=spacing, interval=interval)
        model = _forecast_model(statistics, fields, times, plan)
        known = _in_units(statistics, model, centre, scale)
        varying = np.asarray(statistics.variance) > 0
        modes = 0 if model is None else model.propagator.shape[0]
        return Learned(
            known,
            REFERENCE,
            {
                "shape": list(known.climatology.state_shape),
                "slots": known.climatology.mean.shape[0],
                "rank": known.climatology.square_root.shape[-1],
                "interval": interval,
                "modes": modes,
                **({"channels": len(recipe.channels)} if recipe.channels else {}),
            },
            {"notes": notes_on(recipe, self._nature_run, varying)},
        )


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


def _in_units(
    statistics: WindowStatistics,
    model: LinearInverseModel | None,
    centre: np.ndarray,
    scale: np.ndarray,
) -> FieldReference:
    """What was learned of standardised states as what is known of states in their units."""
    climate, covariance = statistics.climatology, statistics.covariances[0]
    if not scale.ndim:
        return FieldReference(climate, covariance, model)
    c, s = jnp.asarray(centre, jnp.float32), jnp.asarray(scale, jnp.float32)
    each = jnp.broadcast_to(s, climate.state_shape).reshape(-1)
    in_units = Climatology(
        mean=c[None] + s[None] * climate.mean,
        square_root=s[..., None] * climate.square_root,
        interval=climate.interval,
        state_shape=climate.state_shape,
    )
    wrapped = None if model is None else Standardised.of(model, c, s)
    return FieldReference(in_units, covariance * jnp.outer(each, each), wrapped)


def _forecast_model(
    statistics: WindowStatistics,
    fields: Float[np.ndarray, "time *state"],
    times: np.ndarray,
    plan: FieldTrainingSettings,
) -> LinearInverseModel | None:
    if not np.isin(times, times + plan.interval).any():
        return None
    return fit_model(statistics, fields, times, plan, usable_modes(statistics, times, plan))
