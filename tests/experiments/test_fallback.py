"""The fallback of an analysis that is not trusted is what was best in trial cycles, or none."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from vardax_core.analysis.background_only import BackgroundOnly
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.calibration.gates.report import REPORT
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.trust import CHECKS, DepartureMonitor
from vardax_core.experiments.fallback import (
    ALONE,
    IMPERFECT,
    PERFECT,
    FallbackPlan,
    choose_fallback,
    trial_record,
    try_fallbacks,
)
from vardax_core.methods.amortized.transform import better_than_doubted
from vardax_core.methods.priors import free_run_climatology
from vardax_core.models.lorenz96 import Lorenz96, Lorenz96Settings
from vardax_core.observations.operators import Identity
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.promotion import gate_provenance, gates_folder
from vardax_core.training.registry import ModelVersion

N, MEMBERS = 12, 8


@pytest.mark.parametrize(
    ("etkf", "oi", "chosen"),
    [
        ((0.2, 0.5), (0.2, 0.7), "etkf"),
        ((0.2, 0.96), (0.2, 0.98), ALONE),
        ((0.21, 0.5), (0.2, 0.58), "oi"),
        ((0.21, 0.5), (float("nan"), 0.3), ALONE),
        ((0.2, 0.6), (0.2, 0.6), ALONE),
    ],
)
def test_it_is_better_on_the_average_and_worse_nowhere(etkf, oi, chosen):
    """Left alone the analysis has .2 with a perfect model and .6 with a model error."""
    scores = {
        name: {ALONE: alone, "etkf": etkf[i], "oi": oi[i]}
        for i, (name, alone) in enumerate(((PERFECT, 0.2), (IMPERFECT, 0.6)))
    }
    assert choose_fallback(scores) == chosen


def trial(step, fallback):
    """Of a guard that trusts nothing, so that the fallback always steps in."""
    model, operator = Lorenz96(state_shape=(N,)), Identity((N,))
    shape = (1, len(CHECKS))
    monitor = DepartureMonitor(
        jnp.zeros(shape, jnp.float32),
        jnp.ones(shape, jnp.float32),
        jnp.asarray(0.0, jnp.float32),
        memories=(5.0,),
    )
    program = CycleProgram(
        model=model,
        step=step(operator),
        adaptation=None,
        score_weights=jnp.ones(N, jnp.float32),
        spread_scale=1.0,
        guard=Guard(monitor, (fallback(operator),)),
    )
    plan = FallbackPlan(streams=8, settle=40, cycles=60, members=MEMBERS)
    climatology = free_run_climatology(Lorenz96Settings(size=N), model.interval)
    key = jax.random.key(4)
    return try_fallbacks(program, ["other"], climatology, FixedNetwork(1.0), 0.1, plan, key=key)


@pytest.mark.slow
def test_a_worse_fallback_is_not_chosen_and_a_better_one_is():
    found = trial(FiniteSizeETKF, BackgroundOnly)
    assert found.chosen == ALONE
    assert found.rmse[PERFECT][ALONE] < found.rmse[IMPERFECT][ALONE] < found.rmse[PERFECT]["other"]
    assert found.doubted == {PERFECT: 1.0, IMPERFECT: 1.0}
    better = trial(BackgroundOnly, FiniteSizeETKF)
    assert better.chosen == "other"
    assert "other" in trial_record(better)["RMSE by fallback, perfect model"]


def test_old_weights_fall_back_as_they_were_proven(tmp_path):
    """On all fallbacks in turn, as do those whose report is of other weights."""
    version = ModelVersion("a", 1, "0" * 64, tmp_path)
    assert better_than_doubted(gate_provenance(version)) is None
    gates_folder(version).mkdir()
    for choice, sha256, expected in (
        ("etkf", version.sha256, [True, False]),
        (ALONE, version.sha256, [False, False]),
        ("etkf", "1" * 64, None),
        (None, version.sha256, None),
    ):
        provenance = {"weights sha256": sha256} | ({"fallback": choice} if choice else {})
        report = {"provenance": provenance, "passed": True}
        (gates_folder(version) / REPORT).write_text(json.dumps(report))
        found = better_than_doubted(gate_provenance(version))
        assert (None if found is None else found.tolist()) == expected


def test_a_program_without_its_fallbacks_is_refused():
    operator = Identity((N,))
    program = CycleProgram(
        Lorenz96(state_shape=(N,)), BackgroundOnly(operator), None, jnp.ones(N), 1.0
    )
    with pytest.raises(ValueError, match="1 fallbacks, got none"):
        try_fallbacks(
            replace(program, guard=None),
            ["other"],
            free_run_climatology(Lorenz96Settings(size=N), program.model.interval),
            FixedNetwork(1.0),
            0.1,
            FallbackPlan(),
            key=jax.random.key(0),
        )
