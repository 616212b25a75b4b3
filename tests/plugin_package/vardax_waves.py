"""A model, an operator, a method that learns, and a source, as another package adds them."""

import json
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.source import AbstractStreamSource
from vardax_core.methods.base import AbstractLearningMethod, Assembly
from vardax_core.methods.priors import Learned
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.settings import AbstractModelSettings, numbered
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.linear import WeightedPoints
from vardax_core.observations.settings import AbstractOperatorSettings
from vardax_core.types import Analysis, ResultCode, ensemble_mean, ensemble_spread


class Waves(AbstractForecastModel):
    state_shape: tuple[int, ...] = eqx.field(static=True)
    interval: int = eqx.field(static=True)

    def step(self, state, time, *, key):
        return 0.8 * jnp.roll(state, 1) + 0.6 * jax.random.normal(key, state.shape, state.dtype)


class WavesSettings(AbstractModelSettings):
    name: ClassVar[str] = "waves"
    title: ClassVar[str] = "waves that travel around a ring, are damped and pushed at random"
    source: ClassVar[str] = "made up"
    free_run: ClassVar[tuple[int, int]] = (4000, 100)

    size: int = Field(default=8, ge=2, description="points")

    @property
    def state_shape(self):
        return (self.size,)

    def build(self, interval):
        return Waves(self.state_shape, interval)

    def start(self, dtype, *, key):
        return jax.random.normal(key, self.state_shape, dtype)

    def axes(self):
        return (numbered(self.size, "point of the ring"),)


class PairSettings(AbstractOperatorSettings):
    name: ClassVar[str] = "pair"
    title: ClassVar[str] = "the sum of a point and the next one"
    source: ClassVar[str] = "made up"

    def build(self, sites):
        both = jnp.stack([sites.points, (sites.points + 1) % sites.grid.size], axis=1)
        return WeightedPoints(both, jnp.ones(both.shape, jnp.float32), sites.state_shape)

    def range_of(self, low, high):
        return 2 * low, 2 * high

    def units_of(self, units):
        return units


class Gain(eqx.Module):
    matrix: jax.Array


class Regression(AbstractAnalysisStep):
    operator: AbstractObservationOperator
    gain: Gain

    def analyse(self, background, observations, *, key):
        now = observations.at_analysis_time()
        seen = self.operator.ensemble(background)
        noise = now.error_sd * jax.random.normal(key, seen.shape, seen.dtype)
        innovations = jnp.where(now.mask, now.values + noise - seen, 0.0)
        drawn = background + innovations @ self.gain.matrix.T
        code = jnp.asarray(int(ResultCode.OK), jnp.int32)
        return Analysis(drawn, ensemble_mean(drawn), ensemble_spread(drawn), code, {})


class RegressionMethod(AbstractLearningMethod):
    name: ClassVar[str] = "regression"
    title: ClassVar[str] = "draws of the climate, corrected by a regression on observations"
    source: ClassVar[str] = "Matheron's rule"

    def learn(self, problem, training, progress):
        key = jax.random.key(training.seed)
        nothing = jnp.zeros((4096, *problem.operator.state_shape), jnp.float32)
        states = problem.prior.climatology.forecast(nothing, jnp.zeros((), jnp.int32), key=key)
        exact = problem.operator.ensemble(states)
        noise = jax.random.normal(jax.random.fold_in(key, 1), exact.shape, exact.dtype)
        seen = exact + problem.recipe.error_sd * noise
        centred = [part - part.mean(axis=0)[None] for part in (seen, states)]
        gain = Gain(jnp.linalg.lstsq(*centred)[0].T)
        progress(training.steps, training.steps, {})
        return Learned(gain, "gain", {"shape": list(gain.matrix.shape)}, {})

    def build(self, problem, trained):
        step = Regression(problem.operator, trained.module)
        return Assembly.of(problem.prior, step, problem.prior.climatology)

    @property
    def factories(self):
        return {"gain": lambda shape: Gain(jnp.zeros(shape, jnp.float32))}


class JsonLines(AbstractStreamSource):
    name: ClassVar[str] = "json-lines"
    title: ClassVar[str] = "an observation to a line, as JSON"
    is_described: ClassVar[bool] = False
    states_errors: ClassVar[bool] = False

    def pieces(self, file, dims, tally):
        found = [json.loads(line) for line in file.path.read_text().splitlines()]
        roles = {role: role for role in ("value", "time", "platform", *dims)}
        columns = {role: np.array([one[role] for one in found], object) for role in roles}
        tally.files[file.name] = len(found)
        yield Piece(file, np.arange(len(found)) + 1, columns, roles)
