"""What real observations say of states of several channels: of each, what its own streams say."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.cycling.biases import BiasCorrection
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.observed_period import ObservedPeriod
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.space import state_grid
from vardax_core.data.state_frame import data_folders
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.methods.forecast_prior import climate_of_fields
from vardax_core.methods.priors import (
    AbstractPrior,
    Learned,
    Progress,
    UnknownPriorError,
    no_dense_covariance,
    nothing_learned,
)
from vardax_core.methods.reported_biases import bias_correction
from vardax_core.methods.reported_prior import (
    REFERENCE,
    ReportedPrior,
    ReportedReference,
    reference_like,
)
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.persistence import DampedPersistence
from vardax_core.observations.placement import ReportedErrors
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.training.registry import Factories

CHANNELS = "reported-channels"


class ChannelReferences(eqx.Module):
    """What is learned of each channel by itself.

    Attributes:
        channels: in their order.
    """

    channels: tuple[ReportedReference, ...]


def _references_like(*, channels: list[dict[str, Any]]) -> ChannelReferences:
    return ChannelReferences(tuple(reference_like(**one) for one in channels))


@dataclasses.dataclass(frozen=True)
class ChannelsPrior(AbstractPrior):
    """Real observations of several variables, and perhaps fields of another time.

    Covariances between variables are left out; where members bring them, methods that use members
    have them.

    Attributes:
        recipe: with streams of observations.
        period: what may be learned from; None where it is not at hand, as while cycling.
        known: what was learned; None before.
    """

    simulates: ClassVar[bool] = False
    reported: ClassVar[bool] = True
    dense: ClassVar[bool] = False
    learned_as: ClassVar[str | None] = "reference"
    factories: ClassVar[Factories] = {CHANNELS: _references_like}

    recipe: Recipe
    period: ObservedPeriod | None = None
    known: ChannelReferences | None = None

    @property
    def ring(self) -> bool:
        return False

    @property
    def local(self) -> bool:
        return True

    @property
    def channels(self) -> tuple[ReportedReference, ...]:
        """What was learned of each channel.

        Raises:
            UnknownPriorError: if nothing was learned yet.
        """
        if self.known is None:
            raise nothing_learned(self.recipe)
        return self.known.channels

    @property
    def climatology(self) -> Climatology:
        """Of all channels, each of which varies by itself."""
        own = [one.climatology for one in self.channels]
        ranks = np.cumsum([0, *(one.square_root.shape[-1] for one in own)])
        root = np.zeros((len(own), *own[0].state_shape, int(ranks[-1])), np.float32)
        for number, one in enumerate(own):
            root[number, ..., ranks[number] : ranks[number + 1]] = one.square_root
        slots = int(np.lcm.reduce([one.mean.shape[0] for one in own]))
        means = [jnp.repeat(one.mean, slots // one.mean.shape[0], axis=0) for one in own]
        return Climatology(
            mean=jnp.stack(means, axis=1),
            square_root=jnp.asarray(root),
            interval=own[0].interval,
            state_shape=root.shape[:-1],
        )

    @property
    def model(self) -> AbstractForecastModel:
        minutes = duration_to_minutes(self.recipe.cycle_interval)
        return DampedPersistence(  # type: ignore[call-arg]
            climatology=self.climatology,
            correlation=self._correlations.reshape(-1, *(1,) * len(self.recipe.state_dims)),
            interval=minutes,
        )

    @property
    def _correlations(self) -> Float[Array, " channel"]:
        """Of each channel with itself a cycle later."""
        here = jnp.zeros((), jnp.float32)
        later = here + duration_to_minutes(self.recipe.cycle_interval)
        return jnp.stack(
            [one.covariance(here, later) / one.covariance.variance() for one in self.channels]
        )

    @property
    def covariance(self) -> Float[Array, "n n"]:
        raise no_dense_covariance(self.recipe)

    @property
    def reported_errors(self) -> ReportedErrors:
        own = tuple(
            ReportedErrors(float(one.errors[0]), float(one.errors[1]), float(one.errors[2]))
            for one in self.channels
        )
        factors = {
            name: float(factor)
            for number, one in enumerate(self.channels)
            if one.stream_errors is not None
            for name, factor in zip(self._streams_of(number), one.stream_errors, strict=True)
        }
        streams = tuple(factors.get(stream.name, 1.0) for stream in self.recipe.streams or ())
        return ReportedErrors(
            channels=own, streams=() if all(factor == 1.0 for factor in streams) else streams
        )

    def bias_correction(self, platforms: Sequence[str]) -> BiasCorrection | None:
        names: list[str] = []
        columns: list[Float[np.ndarray, " 3"]] = []
        usual = 0.0
        for number, one in enumerate(self.channels):
            if one.departures is None:
                continue
            own = self._streams_of(number)
            rows = np.stack([one.biases, *one.departures]).astype(np.float64).T
            mine = [n for n, name in enumerate(one.units) if name.partition("/")[0] in own]
            names += [one.units[n] for n in mine]
            columns += [rows[n] for n in mine]
            usual = max(usual, 0.0 if one.usual_bias is None else float(one.usual_bias))
        values = np.array(columns, np.float64).reshape(-1, 3).T
        return bias_correction(
            self.recipe, platforms, names, values, usual, float(jnp.max(self._correlations))
        )

    def _streams_of(self, number: int) -> tuple[str, ...]:
        """Names of the streams that observe a channel."""
        return tuple(stream.name for stream in _recipe_of(self.recipe, number).streams or ())

    @property
    def varying(self) -> Bool[np.ndarray, "*state"]:
        return np.stack([np.asarray(one.scale) > 0 for one in self.channels])

    def knowing(self, learned: eqx.Module) -> "ChannelsPrior":
        assert isinstance(learned, ChannelReferences), "what `learn` gave"
        return dataclasses.replace(self, known=learned)

    def learn(self, progress: Progress) -> Learned:
        """Learn of each channel what its observations say.

        Raises:
            UnfitPeriodError: if there are too few observations of a channel.
            UnknownPriorError: if nothing says anything of one that is not observed.
        """
        period, count = self.period, len(self.recipe.variables)
        if period is None:
            raise UnknownPriorError(
                f"{self.recipe.name}: the observations of the training period are not at hand; "
                "read them with `Experiment.training_run`."
            )
        parts, notes, fits = [], [], {}
        for number, variable in enumerate(self.recipe.variables):
            if number in self.recipe.observed_channels:
                own = ReportedPrior(_recipe_of(self.recipe, number), _period_of(self, number))
                learned = own.learn(lambda *_: None)
                said = learned.metadata["notes"]
                fits[variable.name] = learned.metadata["covariance_fit"]
            else:
                learned = _unobserved(self, period, number)
                said = ["it is observed by no stream: its climate is that of the fields alone."]
            parts.append(learned)
            notes += [f"{variable.name}: {one}" for one in said]
            progress(number + 1, count, {})
        notes.append(
            "covariances between the variables are left out: an observation of one changes another "
            "through members alone."
        )
        references = tuple(one.module for one in parts)
        return Learned(
            ChannelReferences(references),  # type: ignore[arg-type]
            CHANNELS,
            {"channels": [one.hyperparameters for one in parts]},
            {"notes": notes, "covariance_fit": fits},
        )


def _recipe_of(recipe: Recipe, number: int) -> Recipe:
    """The recipe of one of its variables."""
    variable = recipe.variables[number]
    streams = tuple(s for s in recipe.streams or () if recipe.variable_of_stream(s) == variable)
    return recipe.model_copy(update={"variable": variable, "further": None, "streams": streams})


def _period_of(prior: ChannelsPrior, number: int) -> ObservedPeriod:
    """The training period with the observations of one variable."""
    period, recipe = prior.period, prior.recipe
    assert period is not None, "looked at before"
    name, of_all = recipe.variables[number].name, recipe.observed.name
    found = period.observations
    mine = found[CHANNEL] == number
    codes = found[QUALITY_CONTROL].where(mine, int(QualityCode.MISSING)).astype(np.int8)
    values = {name: found[of_all].where(mine), QUALITY_CONTROL: codes}
    renamed = found.rename({of_all: name, f"{of_all}_error": f"{name}_error"})
    return dataclasses.replace(period, observations=renamed.drop_vars(CHANNEL).assign(values))


def _unobserved(prior: ChannelsPrior, period: ObservedPeriod, number: int) -> Learned:
    """What fields say of a variable that no stream observes."""
    recipe, variable = prior.recipe, prior.recipe.variables[number]
    grid, interval = state_grid(period.frame, recipe), duration_to_minutes(recipe.cycle_interval)
    if period.fields is not None:
        fields = period.fields[variable.name].transpose("time", *recipe.state_dims).to_numpy()
    elif recipe.forecast_files is not None:
        given = GivenForecast(recipe, data_folders(), frame=period.frame).fields[:, :, number]
        fields = given.reshape(-1, *given.shape[2:])
    else:
        raise UnknownPriorError(
            f"{recipe.name}: '{variable.name}' is observed by no stream, and there are neither "
            "fields of a prior nor forecasts that say anything of it; give one of these, or leave "
            "the variable out."
        )
    climate = climate_of_fields(fields, interval=interval)
    inside = np.ones(grid.shape, bool) if grid.mask is None else np.asarray(grid.mask)
    sd = np.sqrt(np.sum(np.asarray(climate.square_root, np.float64) ** 2, axis=-1)) * inside
    typical = max(float(np.sqrt(np.mean(sd[inside] ** 2))), float(np.finfo(np.float32).tiny))
    one = (typical**2, float(grid.areas().sum()) ** (1 / len(grid.shape)), float(interval))
    covariance = SpaceTimeCovariance.of(one)
    known = ReportedReference(
        climate,
        eqx.tree_at(
            lambda c: (c.variances, c.lengths, c.timescales),
            covariance,
            tuple(jnp.asarray([value], jnp.float32) for value in one),
        ),
        jnp.asarray(sd / typical, jnp.float32),
        jnp.asarray([1.0, 0.0, 0.0], jnp.float32),
        jnp.zeros(1, jnp.float32),
        jnp.zeros(0, jnp.float32),
    )
    return Learned(
        known,
        REFERENCE,
        {
            "shape": list(grid.shape),
            "slots": 1,
            "rank": climate.square_root.shape[-1],
            "components": 1,
            "interval": interval,
            "forms": [covariance.space, covariance.time],
            "platforms": 1,
            "sides": 0,
        },
        {},
    )
