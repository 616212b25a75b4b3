"""The engine runs what the scan runs, on one device and on several."""

import json
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cycling.test_cycle import KEY, MEMBERS, MODEL, PROGRAM, N
from tests.support import ROOT
from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.cycling import verification
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.engine import Engine, SegmentInput, usable_devices
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.pipeline import overlapped
from vardax_core.cycling.scan import run_segment, scan_cycles
from vardax_core.cycling.threads import TooFewThreadsError, require_threads
from vardax_core.observations.operators import Identity
from vardax_core.observations.quality import QualityCode

LENGTH, STREAMS, DEVICES = 5, 16, 4
NETWORK = CycleProgram(
    model=MODEL,
    step=LocalTransformStep.create(
        Identity((N,)),
        FiniteSizeETKF(Identity((N,))),
        centre=2.0,
        scale=4.0,
        reach=2,
        width=8,
        key=jax.random.key(7),
    ),
    adaptation=None,
    score_weights=PROGRAM.score_weights,
    spread_scale=1.0,
)
"""A method with batched LAPACK routines, which need a thread more than there are devices."""


def start(stream):
    noise = np.random.default_rng(stream).normal(size=(MEMBERS, N)).astype(np.float32)
    return PROGRAM.initial_state(jnp.asarray(MODEL.forcing + noise), jnp.zeros((), jnp.int32))


def given(stream):
    """Arrays of the host; the last cycle is padding."""
    values = np.random.default_rng(100 + stream).normal(3, 3, (LENGTH, 1, N)).astype(np.float32)
    values[1, 0, 2] = np.nan
    return {
        "values": values,
        "error_sd": np.ones_like(values),
        "minutes": (np.arange(LENGTH, dtype=np.int32) * MODEL.interval)[:, None],
        "quality": np.zeros((LENGTH, N), np.int8),
        "truth": np.zeros((LENGTH, N), np.float32),
        "valid": np.arange(LENGTH) < LENGTH - 1,
    }


def stacked(trees):
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def in_streams(devices=None, program=PROGRAM):
    engine = Engine(program, key=KEY, streams=STREAMS, devices=devices)
    state = engine.place_state(stacked([start(n) for n in range(STREAMS)]))
    inputs = SegmentInput(**engine.place(stacked([given(n) for n in range(STREAMS)])))
    return engine, engine.start(state, inputs)


@pytest.mark.slow
def test_one_chain_is_the_scan_and_its_state_may_be_handed_on():
    """The scan is another program, so that its sums may round another way in single precision."""
    engine = Engine(PROGRAM, key=KEY)
    inputs = SegmentInput(**engine.place(given(0)))
    expected_state, expected = run_segment(PROGRAM, start(0), inputs.cycles(), key=KEY)
    following, kept, output = engine.start(engine.place_state(start(0)), inputs)
    expected, output = jax.tree.map(lambda x: x[:-1], (expected, output))  # without padding
    for one, other in zip(
        jax.tree.leaves((expected_state, expected)), jax.tree.leaves((kept, output)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert int(kept.cycle) == LENGTH - 1
    engine.start(following, inputs)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(following))
    assert np.isfinite(kept.ensemble).all()


@pytest.mark.parametrize(("values", "skips"), [(1, False), (2 * MEMBERS * N, True), (10**9, False)])
def test_what_is_verified_after_the_scan_is_what_each_cycle_verifies(monkeypatch, values, skips):
    """Groups of one, two and all of the cycles; sums may round another way in single precision."""
    monkeypatch.setattr(verification, "MOST_VALUES", values)
    inputs = jax.tree.map(lambda x: x[1:], SegmentInput(**Engine(PROGRAM, key=KEY).place(given(0))))
    inputs = inputs.cycles()
    _, output, keys = eqx.filter_jit(scan_cycles)(PROGRAM, start(0), inputs, key=KEY, skips=skips)

    @eqx.filter_jit  # Of its own, as what was traced for other groups would be used again.
    def verify(made):
        how = PROGRAM.verification
        return verification.verify_cycles(how, made, inputs.valid, keys=keys, skips=skips)

    sums = verify(verification.Made.of(output, inputs.truth))
    state, cycle = start(0), eqx.filter_jit(PROGRAM.run)
    for number in range(LENGTH - 2):
        one = jax.tree.map(lambda x, number=number: x[number], inputs)
        state, alone = cycle(state, one, keys=cycle_keys(KEY, state.cycle))
        assert set(alone.statistics) == set(sums)
        for name, expected in alone.statistics.items():
            np.testing.assert_allclose(
                sums[name][number], expected, rtol=1e-4, atol=1e-4, err_msg=name
            )
    if skips:
        last = [np.any(np.asarray(x[-1])) for x in jax.tree.leaves(output.analysis)]
        assert not any(last)


@pytest.mark.slow
def test_streams_are_chains_side_by_side():
    _, (_, kept, output) = in_streams()
    for n in range(STREAMS):
        inputs = SegmentInput(**Engine(PROGRAM, key=KEY).place(given(n)))
        _, alone = run_segment(PROGRAM, start(n), inputs.cycles(), key=KEY)
        # Five cycles in single precision; a batched matrix product may round another way.
        np.testing.assert_allclose(output.analysis.mean[n], alone.analysis.mean, atol=1e-3)
    assert kept.cycle.tolist() == [LENGTH - 1] * STREAMS


def test_streams_take_as_many_devices_as_divide_them():
    devices = jax.local_devices() * 3
    assert [len(usable_devices(s, devices)) for s in (1, 2, 3, 4, 6)] == [1, 2, 3, 2, 3]


@pytest.mark.slow
def test_streams_over_four_devices_give_what_one_device_gives():
    environment = os.environ | {
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4",
        "PJRT_NPROC": str(DEVICES + 1),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.cycling.test_engine"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == [1, DEVICES]
    assert found["difference"] < 1e-3


@pytest.mark.parametrize(("threads", "devices"), [("1", 2), ("4", 4)])
def test_devices_that_would_wait_for_each_other_are_refused(monkeypatch, threads, devices):
    monkeypatch.setenv("PJRT_NPROC", threads)
    with pytest.raises(TooFewThreadsError, match=f"got {threads}; set PJRT_NPROC={devices + 1}"):
        require_threads(devices)
    monkeypatch.setenv("PJRT_NPROC", str(devices + 1))
    require_threads(devices)


def test_without_a_word_about_threads_the_processors_count(monkeypatch):
    monkeypatch.delenv("PJRT_NPROC")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    require_threads(2)
    with pytest.raises(TooFewThreadsError):
        require_threads(3)


def test_work_is_done_in_order_while_the_next_is_read():
    log = []
    reports = overlapped(
        range(4),
        read=lambda n: log.append(("read", n)) or n,
        start=lambda n, given: log.append(("start", n)) or given,
        finish=lambda n: log.append(("finish", n)) or n,
        commit=lambda n: log.append(("commit", n)) or 10 * n,
    )
    assert log == []
    assert next(reports) == 0
    # The third is on the device when the first is known to be committed.
    assert log.index(("start", 1)) < log.index(("finish", 0)) < log.index(("commit", 0))
    assert ("start", 2) in log
    assert list(reports) == [10, 20, 30]
    assert [n for what, n in log if what == "commit"] == [0, 1, 2, 3]


def test_a_refused_commit_ends_the_work_and_nothing_after_it_is_committed():
    committed = []

    def commit(n):
        if n == 1:
            raise OSError(28, "No space left on device")
        committed.append(n)
        return n

    reports = overlapped(
        range(6), read=lambda n: n, start=lambda n, g: g, finish=lambda n: n, commit=commit
    )
    with pytest.raises(OSError, match="No space left"):
        list(reports)
    assert committed == [0]


def main():
    """Both ways in one process that has four devices."""
    one, (_, _, alone) = in_streams(jax.devices()[:1], NETWORK)
    _, (_, _, spread) = in_streams(program=NETWORK)
    difference = jax.tree.map(
        lambda a, b: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))),
        eqx.filter(alone.analysis, eqx.is_inexact_array),
        eqx.filter(spread.analysis, eqx.is_inexact_array),
    )
    devices = [len(one.devices), len(spread.analysis.mean.sharding.device_set)]
    print(json.dumps({"devices": devices, "difference": max(jax.tree.leaves(difference))}))


if __name__ == "__main__":
    main()


def test_what_is_withheld_has_its_own_value_and_error_and_is_not_in_the_window():
    values, error_sd = jnp.asarray([[[3.0, 4.0, 5.0]]]), jnp.asarray([[[0.5, 0.25, 2.0]]])
    quality = jnp.asarray([[QualityCode.KEPT, QualityCode.WITHHELD, QualityCode.KEPT]], jnp.int8)
    given = SegmentInput(
        values=values,
        error_sd=error_sd,
        minutes=jnp.zeros((1, 1), jnp.int32),
        quality=quality,
        truth=jnp.zeros((1, 3)),
        valid=jnp.ones(1, bool),
    ).cycles()
    hidden = np.asarray(quality) == QualityCode.WITHHELD
    np.testing.assert_array_equal(given.observations.mask[:, 0], ~hidden)
    np.testing.assert_array_equal(given.withheld.mask[:, 0], hidden)
    np.testing.assert_array_equal(given.withheld.values[:, 0][hidden], [4.0])
    np.testing.assert_array_equal(given.withheld.error_sd[:, 0][hidden], [0.25])
