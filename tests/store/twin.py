"""A small synthetic experiment whose every number follows from its cycle index.

It is also a program: `python twin.py ACTION PATH FIRST LAST` appends the cycles of a range and
dies by SIGKILL at the moment that ACTION names.
"""

import dataclasses
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import icechunk
import numpy as np

from vardax_core.store import (
    ChunkPlan,
    Coordinate,
    Diagnostic,
    ExperimentStore,
    ObservedDescription,
    StateDescription,
    Writer,
    experiment_layout,
    observation_layout,
)

N_STATE, N_MEMBERS, N_STATIONS, STEP = 12, 3, 4, 180
DIGEST = "a" * 64


def layout(segment_length=4, n_state=N_STATE):
    x = Coordinate("x", ("x",), np.arange(n_state), {"units": "1", "axis": "X"})
    stations = (
        Coordinate("station", ("station",), np.array(["ab", "c", "de", "f"])),
        Coordinate(
            "latitude",
            ("station",),
            np.linspace(50.0, 53.0, N_STATIONS),
            {"standard_name": "latitude", "units": "degrees_north"},
        ),
    )
    state = StateDescription(
        "t2m",
        (x,),
        {"standard_name": "air_temperature", "long_name": "temperature", "units": "K"},
    )
    observed = ObservedDescription(state, stations, {"used": 0, "missing": 1})
    chunks = ChunkPlan(segment_length=segment_length)
    cycled = experiment_layout(
        states=(state,),
        observed=observed,
        n_members=N_MEMBERS,
        diagnostics={
            "chi2": Diagnostic(attrs={"long_name": "innovation chi square", "units": "1"}),
            "rank_counts": Diagnostic({"rank": N_MEMBERS + 1}, "int64"),
        },
        chunks=chunks,
    )
    # As earlier versions laid it out, with the observations in the same store.
    kept = observation_layout(observed=observed, states=(state,), chunks=chunks)
    own = [group for group in kept.groups if group.name != "grid"]
    return dataclasses.replace(cycled, groups=(*own, *cycled.groups))


def create(path, **kwargs):
    return ExperimentStore.create(path, layout(**kwargs), {"name": "twin", "digest": DIGEST})


def segment(first, last, n_state=N_STATE):
    """Groups, times and closing state of the cycles first .. last - 1."""
    rows = [_cycle(i, n_state) for i in range(first, last)]
    groups = {
        group: {name: np.stack([row[group][name] for row in rows]) for name in rows[0][group]}
        for group in rows[0]
    }
    times = np.arange(first, last, dtype=np.int64) * STEP
    state = {"ensemble": groups["analysis"]["t2m"][-1], "cycle": np.array(last)}
    return groups, times, state


def _cycle(index, n_state):
    rng = np.random.default_rng(index)

    def field(*shape):
        return rng.normal(size=shape).astype(np.float32)

    stations, flags = (N_STATIONS,), (rng.random(N_STATIONS) < 0.3).astype(np.int8)
    ensemble = field(N_MEMBERS, n_state)
    return {
        "observations": {
            "t2m": np.where(flags == 1, np.float32(np.nan), field(*stations)),
            "t2m_error": np.full(stations, 0.5, np.float32),
            "quality_control": flags,
            "arrival_time": np.full(stations, index * STEP + 10, np.int64),
        },
        "nature_run": {"t2m": field(n_state)},
        "background": {"t2m": field(N_MEMBERS, n_state)},
        "analysis": {
            "t2m": ensemble,
            "t2m_mean": ensemble.mean(0),
            "t2m_spread": ensemble.std(0, ddof=1),
        },
        "innovations": {
            "background_departure": field(*stations),
            "analysis_departure": field(*stations),
            "background_equivalent_variance": field(*stations) ** 2,
            "quality_control": flags,
        },
        "diagnostics": {
            "chi2": rng.random(),
            "rank_counts": rng.integers(0, 9, N_MEMBERS + 1),
        },
    }


def append(writer: Writer, first, last, **kwargs):
    groups, times, state = segment(first, last, **kwargs)
    return writer.append(groups, times, state=state, metadata={"method": "etkf", "first": first})


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_write(number):
    """Arrange for death when the given object of a commit is about to be written."""
    countdown = itertools.count(1)
    write = icechunk.IcechunkStore.set

    async def deadly(*args, **kwargs):
        if next(countdown) == number:
            die()
        return await write(*args, **kwargs)

    icechunk.IcechunkStore.set = deadly


def main(action, path, *cycles):
    if action == "create_then_die":
        Path.rename = die
        create(path)
    store = ExperimentStore.open(path)
    with store.writer(before_publish=die if action == "before_publish" else None) as writer:
        if action == "hold":
            print("held", flush=True)
            time.sleep(60)
        if action.startswith("write_"):
            die_at_write(int(action.removeprefix("write_")))
        append(writer, *map(int, cycles))


if __name__ == "__main__":
    main(*sys.argv[1:])
