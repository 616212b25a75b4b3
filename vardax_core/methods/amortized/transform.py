"""The amortized analysis where a model simulates: a network in its own cycle on a ring."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.amortized.ring_network import RingNetwork
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.cycling.trust import DepartureMonitor
from vardax_core.methods.amortized.first_guess import Kind, chosen_guess, first_guess
from vardax_core.methods.base import FALLBACK, Assembly, Problem, Trained, TrainingSettings
from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.optimal_interpolation import interpolation
from vardax_core.methods.priors import AbstractPrior, Learned, Progress
from vardax_core.training.convergence import judged
from vardax_core.training.kept_share import keep_best_share
from vardax_core.training.on_policy import OnPolicySettings, train_on_policy, typical_nearness
from vardax_core.training.spread_calibration import calibrate_spread
from vardax_core.training.trusted_cycles import calibrated_monitor
from vardax_core.training.twin_cycles import TwinPlan

FACTORY = "ring-network"
TRIAL_PLAN = TwinPlan(streams=32, cycles=120, spin_up=60)
"""Twins on which a trained analysis is scored, to choose what is kept of it and its spread."""
SPREAD_TRIALS, SPREAD_REPEATS = 5, 2
"""Moves tried after training, and measurements of each, if the noise needs them."""
USUAL_STEPS = 3600
FALLBACKS = ("etkf", "oi")
"""What may step in, in this order."""


class TransformShape(NamedTuple):
    """What the network of a transform looks like.

    Attributes:
        first_guess: what it corrects.
        reach: points to each side that a gain covers.
        width, depth: of the network.
        nearness: see `OnPolicySettings`.
    """

    first_guess: Kind
    reach: int
    width: int
    depth: int
    nearness: float | None


def untrained(
    problem: Problem,
    shape: TransformShape,
    found: Mapping[str, Any] | None,
    *,
    network: RingNetwork | None = None,
    key: PRNGKeyArray,
) -> LocalTransformStep:
    """The transform of a network, or with fresh weights.

    Arguments:
        problem: the network of observations, and what may be learned from.
        shape: of the neural network.
        found: what it corrects, see `first_guess`.
        network: that was trained, if one was.
        key: of fresh weights.
    """
    centre, scale = problem.prior.rough_climate
    return LocalTransformStep.create(
        problem.operator,
        first_guess(problem, shape.first_guess, found),
        centre=centre,
        scale=scale,
        reach=shape.reach,
        width=shape.width,
        depth=shape.depth,
        network=network,
        key=key,
    )


def learn(
    problem: Problem, shape: TransformShape, training: TrainingSettings, progress: Progress
) -> Learned:
    """Train the transform in its own cycle, keep of it what is better than its first guess there,
    and make its spread its error.

    Raises:
        ValueError: if the trained analysis loses its truths, or every local filter does where one
            is to be corrected.
    """
    prior, variable = problem.prior, problem.recipe.variable
    model, start = prior.model, prior.climatology.mean[0]
    key = cycle_key(jax.random.key(training.seed), 0, Purpose.TRAINING)
    network_key, run_key, monitor_key = jax.random.split(key, 3)
    total, nearness = training.steps, shape.nearness
    if nearness is None:
        nearness = typical_nearness(problem.observing, prior.rough_climate[1])
    kept: dict[str, Any] = {}
    if shape.first_guess in ("best", "letkf"):
        guess = chosen_guess(
            problem,
            shape.first_guess,
            2 * nearness,
            tell=lambda tried: progress(0, total, {"filter": tried}),
            key=jax.random.fold_in(monitor_key, 3),
        )
        kept["first_guess"] = guess.numbers()
    step = untrained(problem, shape, kept.get("first_guess"), key=network_key)
    plan = OnPolicySettings(steps=total, members=(problem.members,), nearness=nearness)
    step, curve = train_on_policy(
        step,
        model,
        problem.observing,
        plan,
        key=run_key,
        progress=lambda done, loss, rmse: progress(done, total, {"loss": loss, "rmse": rmse}),
    )
    if step.first_guess is not None:
        step, share = keep_best_share(
            step,
            model,
            problem.observing,
            start,
            TRIAL_PLAN._replace(members=problem.members, start_sd=2 * nearness),
            key=jax.random.fold_in(monitor_key, 2),
        )
        kept["share"] = share.numbers()
    step, spread = calibrate_spread(
        step,
        model,
        problem.observing,
        start,
        TRIAL_PLAN._replace(members=problem.members, start_sd=2 * nearness),
        trials=SPREAD_TRIALS,
        repeats=SPREAD_REPEATS,
        key=jax.random.fold_in(monitor_key, 1),
    )
    monitor = calibrated_monitor(
        step,
        model,
        problem.observing,
        start,
        TwinPlan(members=problem.members, start_sd=2 * nearness),
        valid_range=(variable.valid_min, variable.valid_max),
        key=monitor_key,
    )
    first = step.network.first
    return Learned(
        step.network,
        FACTORY,
        {
            "channels_in": first.weight.shape[0] // (2 * first.reach + 1),
            "channels_out": step.network.last.bias.shape[0],
            "width": first.bias.shape[0],
            "depth": 1 + len(step.network.middle),
        },
        {
            **kept,
            "spread": spread.numbers(),
            "monitor": monitor.numbers(),
            "convergence": judged(plan.looks, curve[:, 0].tolist()).numbers(),
            "loss_curve": [[float(v) for v in row] for row in np.asarray(curve)],
        },
    )


def build(problem: Problem, shape: TransformShape, trained: Trained) -> Assembly:
    """Assemble the trained transform with its guard."""
    operator, prior = problem.operator, problem.prior
    network: Any = trained.module
    found = trained.metadata.get("first_guess")
    step = untrained(problem, shape, found, network=network, key=jax.random.key(0))
    fallbacks: tuple[AbstractAnalysisStep, ...] = (
        finite_size_filter(operator),
        interpolation(operator, prior),
    )
    guard = Guard(
        DepartureMonitor.from_numbers(trained.metadata["monitor"]),
        fallbacks,
        better_than_doubted(trained.gates),
    )
    return Assembly.of(prior, step)._replace(guard=guard)


def better_than_doubted(gates: Mapping[str, str]) -> Bool[Array, " fallback"] | None:
    """Which of `FALLBACKS` the gates found better than an analysis that is not trusted; None for
    weights whose gates did not compare them, which fall back on all."""
    chosen = gates.get(FALLBACK)
    return None if chosen is None else jnp.asarray([name == chosen for name in FALLBACKS])


def build_network(channels_in: int, channels_out: int, width: int, depth: int) -> RingNetwork:
    """The factory that the model registry calls: a network's shapes, in single precision."""

    def single() -> RingNetwork:
        network = RingNetwork.create(
            channels_in, channels_out, width=width, depth=depth, key=jax.random.key(0)
        )
        return jax.tree.map(lambda w: w.astype(jnp.float32), network)

    # Weights that are drawn to be read over would take a second of compilations.
    shapes: RingNetwork = eqx.filter_eval_shape(single)
    return shapes


def lacks(prior: AbstractPrior, reach: int) -> str | None:
    """What a prior that simulates lacks for the transform."""
    points = math.prod(prior.model.state_shape)
    if not prior.ring:
        return (
            "its local analysis is learned on a ring of equal points, which the model of the "
            "truth is not"
        )
    if points < 2 * reach + 1:
        return (
            f"its gains reach {reach} points to each side, and the ring has {points} points; "
            "lower reach, or take a ring of more points"
        )
    return None
