"""4DVarNet on the window of each cycle: a variational cost and a solver that are learned."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.analysis.amortized.checks import target_of
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.analysis.amortized.step import PosteriorAnalysisStep
from vardax_core.analysis.variational.four_dvar_net import (
    FourDVarNet1D,
    last_row,
    window_posterior,
)
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.methods.base import (
    AbstractLearningMethod,
    Assembly,
    Problem,
    Trained,
    TrainingSettings,
)
from vardax_core.methods.four_dvar import steps_per_row
from vardax_core.methods.posterior.shape import single
from vardax_core.methods.priors import AbstractPrior, Learned, Progress
from vardax_core.models.attractor import spin_up
from vardax_core.training.dynamics import learn_dynamics
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.preparation import standardised
from vardax_core.training.registry import Factories
from vardax_core.training.sources import SimulatorSource
from vardax_core.types import Batch1D

FACTORY = "4dvarnet"
RUNS, ROWS, SPIN_UP = 32, 256, 1000
"""Nature runs side by side, rows of each, and steps from their start to the attractor."""
UNSEEN = 4
"""Runs that training does not see."""
BATCH, SAMPLE, LOOKS = 64, 512, 10
SHORT = 0.25
"""Share of the windows of a training that have no observations before the analysis time, as the
first windows of a cycle."""


class NetShape(NamedTuple):
    """What a 4DVarNet looks like.

    Attributes:
        window: rows of a window.
        points: of the ring.
        hidden: channels of the solver's memory.
        iterations: learned steps.
    """

    window: int
    points: int
    hidden: int
    iterations: int


def untrained(shape: NetShape, *, key: PRNGKeyArray) -> AmortizedPosterior:
    """The posterior of whole windows with fresh weights, in single precision."""
    network_key, head_key = jax.random.split(key)
    encoder = FourDVarNet1D(
        shape.window, hidden=shape.hidden, iterations=shape.iterations, key=network_key
    )
    return single(window_posterior(encoder, (shape.points,), key=head_key))


def network_like(**shape: int) -> AmortizedPosterior:
    """The factory that the model registry calls."""
    ones = jnp.ones((1, 1))
    return single(
        eqx.tree_at(
            lambda p: (p.head.scaling, p.input_scaling),
            untrained(NetShape(**shape), key=jax.random.key(0)),
            (AffineScaling(0 * ones, ones), AffineScaling(0 * ones, ones)),
            is_leaf=lambda x: x is None,
        )
    )


class Windows(eqx.Module):
    """Observed windows of nature runs, drawn at random.

    Attributes:
        runs: states at successive observation times.
        stations: grid point of each observation.
        observing: which of them there are, and their errors.
        window: rows of a window.
        size: windows of a batch.
    """

    runs: Float[Array, "run row n"]
    stations: Int[Array, " obs"]
    observing: AbstractObservingSystem
    window: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray) -> Batch1D:
        """One batch."""
        values, known, truth = jax.vmap(self._one)(jax.random.split(key, self.size))
        return Batch1D(input=values, mask=known, target=truth)

    def _one(self, key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        """Observed values and where they are, on the grid, and the states of one window."""
        k_run, k_row, k_short, k_noise, k_network = jax.random.split(key, 5)
        count, rows, points = self.runs.shape
        run = self.runs[jax.random.randint(k_run, (), 0, count)]
        first = jax.random.randint(k_row, (), 0, rows - self.window + 1)
        truth = jax.lax.dynamic_slice_in_dim(run, first, self.window)
        obs = self.stations.shape[0]
        last = first + self.window - 1
        used, error_sd = self.observing.draw(obs, truth.dtype, cycle=last, key=k_network)
        sds = jnp.broadcast_to(error_sd, (self.window, obs))
        noise = self.observing.errors.draw(sds, key=k_noise)
        now = jnp.arange(self.window) == self.window - 1
        known = used[None] & (now | ~jax.random.bernoulli(k_short, SHORT))[:, None]
        nothing = jnp.zeros((self.window, points), truth.dtype)
        values = jnp.where(known, truth[:, self.stations] + noise, 0.0)
        on_grid = nothing.at[:, self.stations]
        return on_grid.set(values), on_grid.set(known.astype(truth.dtype)), truth


def nature_runs(problem: Problem, *, key: PRNGKeyArray) -> Float[Array, "run row n"]:
    """States of the model at successive observation times of windows, from independent starts."""
    model, prior = problem.prior.model, problem.prior
    each = steps_per_row(problem.recipe, prior)
    near, scale = prior.climatology.mean[0], prior.rough_climate[1]

    def one(key: PRNGKeyArray) -> Array:
        away, settle, go = jax.random.split(key, 3)
        start = near + scale * jax.random.normal(away, near.shape, near.dtype)
        start = spin_up(model, start, SPIN_UP, key=settle)
        time = jnp.zeros((), jnp.int32)
        return model.trajectory(start, time, each * ROWS, key=go)[each - 1 :: each]

    return jax.jit(jax.vmap(one))(jax.random.split(key, RUNS))


def learn(
    problem: Problem, shape: NetShape, training: TrainingSettings, progress: Progress
) -> Learned:
    """Fit the dynamics to nature runs, then train cost and solver on observed windows of them.

    Raises:
        NonFiniteLossError: if the training diverges.
    """
    key = cycle_key(jax.random.key(training.seed), 0, Purpose.TRAINING)
    keys = jax.random.split(key, 7)
    runs = nature_runs(problem, key=keys[0])
    windows = Windows(
        runs[:-UNSEEN], jnp.asarray(problem.stations), problem.observing, shape.window, SAMPLE
    )
    sample = eqx.filter_jit(windows)(keys[1])
    posterior = single(standardised(untrained(shape, key=keys[2]), sample, per="all"))
    posterior, error = learn_dynamics(posterior, target_of(sample), key=keys[3])
    unseen = eqx.tree_at(lambda w: w.runs, windows, runs[-UNSEEN:])
    every = max(1, training.steps // LOOKS)
    losses: list[list[float]] = []

    def on_check(done: int, loss: float, unseen_loss: float) -> None:
        losses.append([done, loss])
        progress(done, training.steps, {"loss": loss, "validation": unseen_loss})

    result = fit(
        posterior,
        SimulatorSource(
            Windows(windows.runs, windows.stations, windows.observing, shape.window, BATCH), keys[4]
        ),
        eqx.filter_jit(unseen)(keys[5]),
        settings=FitSettings(
            n_steps=training.steps // every * every,
            check_every=every,
            warm_up=0.1,
            clip=1e3,
            ema=0.995,
            patience=None,
        ),
        key=keys[6],
        on_check=on_check,
    )
    return Learned(
        result.posterior,
        FACTORY,
        shape._asdict(),
        {
            "convergence": result.convergence.numbers(),
            "loss_curve": losses,
            "dynamics_error": float(error),
        },
    )


class FourDVarNetMethod(AbstractLearningMethod):
    """The window alone is seen, and neither a background nor the model: both the dynamics and the
    solver are learned from nature runs."""

    name: ClassVar[str] = "4dvarnet"
    title: ClassVar[str] = "a variational cost and its solver that are learned, checked by gates"
    source: ClassVar[str] = "Fablet et al. (2021), doi:10.1029/2021MS002572"
    place: ClassVar[int] = 70

    hidden: int = Field(48, ge=1, le=1024, description="channels of the solver's memory")
    iterations: int = Field(12, ge=1, le=100, description="learned steps down the cost")

    def lacks(self, prior: AbstractPrior) -> str | None:
        if not prior.simulates:
            return "it learns from nature runs of a model that simulates; take the method amortized"
        if not prior.ring:
            return "its dynamics are learned on a ring of equal points, which the model is not"
        if prior.recipe.window.times < 2:
            return (
                "it reconstructs a window of two observation times or more, and the recipe has "
                "one; set window.times and window.spacing"
            )
        return None

    def needs_points(self, prior: AbstractPrior) -> bool:
        return True

    def usual_steps(self, prior: AbstractPrior) -> int:
        return 3000

    def learn(self, problem: Problem, training: TrainingSettings, progress: Progress) -> Learned:
        shape = NetShape(
            problem.recipe.window.times,
            problem.operator.state_shape[0],
            self.hidden,
            self.iterations,
        )
        return learn(problem, shape, training, progress)

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        assert trained is not None, "a method that learns is built from what it learned"
        posterior = trained.module
        assert isinstance(posterior, AmortizedPosterior), "what `learn` gave"
        step = PosteriorAnalysisStep(
            posterior=last_row(posterior),
            operator=problem.operator,
            on_grid=True,
            rows=problem.recipe.window.times,
        )
        return Assembly.of(problem.prior, step)

    @property
    def factories(self) -> Factories:
        return {FACTORY: network_like}
