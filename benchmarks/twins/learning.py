"""How a setting's analysis and smoother are trained."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from twins.settings import Setting

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.history import DepartureHistory
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.local_smoother import LocalSmoother
from vardax_core.observations.operators import Identity
from vardax_core.training.convergence import judged
from vardax_core.training.kept_share import keep_best_share
from vardax_core.training.nature import nature_of
from vardax_core.training.on_policy import OnPolicySettings, train_on_policy
from vardax_core.training.smoothing import SmoothingSettings, train_smoother
from vardax_core.training.spread_calibration import calibrate_spread
from vardax_core.training.twin_cycles import TwinPlan, climate_range, twin_program

QUICK = {"streams": 4, "cycles": 50, "spin_up": 50}
"""Twins of a measurement that is only to run."""


def untrained(setting: Setting, *, key) -> LocalTransformStep:
    """The step of a setting with fresh weights."""
    operator = Identity(setting.model.state_shape)
    guess = first_guess(setting)
    n = setting.model.state_shape[0]
    # The three variables of Lorenz-63 are no ring of equals: the network is told which is which.
    static = jnp.eye(n) if n == 3 else None
    return LocalTransformStep.create(
        operator,
        guess,
        centre=setting.centre,
        scale=setting.scale,
        reach=setting.reach,
        width=setting.width,
        depth=setting.depth,
        history=DepartureHistory(setting.memories) if setting.memories else None,
        static=static,
        counts=setting.counts,
        sight=setting.sight,
        key=key,
    )


def first_guess(setting: Setting) -> AbstractAnalysisStep | None:
    """The filter that the network of a setting corrects."""
    operator = Identity(setting.model.state_shape)
    if setting.guess is not None:
        return setting.guess
    if setting.certainty is None:
        return None
    if setting.iterations:
        return IterativeETKF(operator, iterations=setting.iterations, certainty=setting.certainty)
    return FiniteSizeETKF(operator, certainty=setting.certainty)


def restored(setting: Setting, path: Path) -> LocalTransformStep:
    """The step of a setting with weights that were kept."""
    step = untrained(setting, key=jax.random.key(0))
    network = eqx.tree_deserialise_leaves(path, step.network)
    return eqx.tree_at(lambda s: s.network, step, network)


def trained(setting: Setting, minutes: float, steps: int, *, key, say: Callable):
    """The step trained for some minutes, or for a number of steps, and how that went."""
    step = untrained(setting, key=jax.random.fold_in(key, 0))
    settings = OnPolicySettings(
        steps=steps,
        streams=setting.streams,
        members=setting.sizes or (setting.members,),
        nearness=setting.nearness,
        chunk=100,
    )
    natures = setting.natures or (nature_of(setting.nature, setting.model),)
    run_key = jax.random.fold_in(key, 1)
    if minutes:
        moments = []
        train_on_policy(
            step,
            setting.model,
            setting.systems or setting.observing,
            settings._replace(steps=3 * settings.chunk),
            natures=natures,
            key=run_key,
            progress=lambda *_: moments.append(time.perf_counter()),
        )
        seconds = (moments[2] - moments[0]) / 2
        settings = settings._replace(steps=settings.chunk * max(3, int(60 * minutes / seconds)))
    start = time.perf_counter()
    step, curve = train_on_policy(
        step,
        setting.model,
        setting.systems or setting.observing,
        settings,
        natures=natures,
        key=run_key,
        progress=say(settings.steps),
    )
    verdict = judged(settings.looks, curve[:, 0].tolist())
    print(verdict.words, file=sys.stderr, flush=True)
    step, share = with_kept_share(setting, step, bool(minutes), key=key)
    step, spread = calibrated(setting, step, bool(minutes), key=key)
    found = {
        "steps": settings.steps,
        "kept_share": share,
        "training_minutes": (time.perf_counter() - start) / 60,
        "convergence": verdict.numbers(),
        "spread_calibration": spread.numbers(),
    }
    return step, found


def with_kept_share(setting: Setting, step: LocalTransformStep, whole: bool, *, key):
    """The step with what is worth keeping of its correction; all of it where it corrects nothing
    but the background."""
    if step.first_guess is None:
        return step, 1.0
    plan = plan_of(setting, streams=16, cycles=300) if whole else plan_of(setting, **QUICK)
    near = jnp.full(setting.model.state_shape, setting.centre)
    step, kept = keep_best_share(
        step,
        setting.model,
        setting.observing,
        near,
        plan,
        nature=setting.nature,
        key=jax.random.fold_in(key, 6),
    )
    print(kept.words, file=sys.stderr, flush=True)
    return step, kept.share


def calibrated(setting: Setting, step: LocalTransformStep, whole: bool, *, key):
    """The step with a spread that is its error, over many cycles or, for a quick look, over few."""
    sizes = setting.measured or setting.sizes or (setting.members,)
    streams, cycles, repeats = setting.calibration
    plan, trials = plan_of(setting, streams=streams, cycles=cycles), 8
    if not whole:
        plan, trials, repeats = plan._replace(**QUICK), 2, 1
    step, spread = calibrate_spread(
        step,
        setting.model,
        setting.observing,
        jnp.full(setting.model.state_shape, setting.centre),
        plan,
        sizes=sizes[:1] if not whole else sizes,
        trials=trials,
        repeats=repeats,
        nature=setting.nature,
        key=jax.random.fold_in(key, 5),
    )
    print(spread.words, file=sys.stderr, flush=True)
    return step, spread


def plan_of(setting: Setting, **size) -> TwinPlan:
    return TwinPlan(members=setting.members, start_sd=2 * setting.nearness, **size)


def program_of(setting: Setting, analysis_step: AbstractAnalysisStep) -> CycleProgram:
    return twin_program(
        setting.model,
        analysis_step,
        valid_range=climate_range(setting.centre, setting.scale),
        spread_scale=setting.nearness,
    )


def trained_smoother(setting: Setting, analysis_step, minutes: float, *, key, tell: Callable):
    """A smoother behind a trained step, trained for some minutes or, without, for one round."""
    key = jax.random.fold_in(key, 4)
    smoother = LocalSmoother.create(
        setting.lag,
        centre=setting.centre,
        scale=setting.scale,
        reach=setting.smoother_reach,
        key=jax.random.fold_in(key, 0),
    )
    settings = SmoothingSettings(rounds=2 if minutes else 1)
    plan = plan_of(setting, streams=24, cycles=300, spin_up=50)
    if not minutes:
        plan = plan._replace(streams=2, cycles=20)
    near = jnp.full(setting.model.state_shape, setting.centre)
    program = program_of(setting, analysis_step)
    moments = []

    def train(settings, progress):
        return train_smoother(
            smoother,
            program,
            setting.observing,
            near,
            settings,
            plan,
            key=jax.random.fold_in(key, 1),
            progress=progress,
        )

    if minutes:
        train(settings, lambda *_: moments.append(time.perf_counter()))
        rounds = max(2, int(60 * minutes / (moments[1] - moments[0])))
        settings = settings._replace(rounds=rounds)

    def progress(done, loss, rmse):
        tell(f"smoother, round {done} of {settings.rounds}, loss {loss:.4f}, rmse {rmse:.4f}")

    start = time.perf_counter()
    smoother, curve = train(settings, progress)
    verdict = judged([*range(1, settings.rounds + 1)], curve[:, 0].tolist())
    tell(f"the smoother, steps being rounds: {verdict.words}")
    return smoother, time.perf_counter() - start
