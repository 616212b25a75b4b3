"""What committed segments cost beside the same bytes in a raw file."""

import os
import time

import numpy as np


def writing(folder, size, members, cycles, repeats=9):
    """Bytes a second of committed segments, beside the same bytes in a raw file with fsync.

    Medians of pairs taken in turn: the raw write of one machine varies by a third between pairs.
    """
    from vardax_core.store import (
        ChunkPlan,
        Coordinate,
        ExperimentStore,
        ObservedDescription,
        StateDescription,
        experiment_layout,
    )

    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(cycles, members, size, size)).astype(np.float32)
    smooth = np.cumsum(smooth, axis=-1, dtype=np.float32) / np.float32(np.sqrt(size))
    axes = tuple(Coordinate(d, (d,), np.arange(size)) for d in ("y", "x"))
    state = StateDescription("f", axes, {"units": "1"})
    stations = (Coordinate("station", ("station",), np.arange(2)),)
    layout = experiment_layout(
        states=(state,),
        observed=ObservedDescription(state, stations, {"kept": 0}),
        n_members=members,
        diagnostics={},
        chunks=ChunkPlan(segment_length=cycles),
    )
    store = ExperimentStore.create(folder / "writing", layout, {"name": "w", "digest": "0"})
    mean, spread = smooth.mean(axis=1), smooth.std(axis=1)
    arrays = [smooth, smooth, mean, spread]
    n_bytes = sum(a.nbytes for a in arrays)
    ours, raw = [], []
    for number in range(repeats):
        begin = time.perf_counter()
        with (folder / f"raw-{number}").open("wb") as file:
            for array in arrays:
                file.write(array.data)
            file.flush()
            os.fsync(file.fileno())
        raw.append(n_bytes / (time.perf_counter() - begin))
        times = np.arange(number * cycles, (number + 1) * cycles, dtype=np.int64)
        groups = {
            "background": {"f": smooth},
            "analysis": {"f": smooth, "f_mean": mean, "f_spread": spread},
        }
        begin = time.perf_counter()
        with store.writer() as writer:
            writer.append(groups, times, metadata={})
        ours.append(n_bytes / (time.perf_counter() - begin))
    return {
        "segment_mb": n_bytes / 1e6,
        "store_mb_per_s": float(np.median(ours)) / 1e6,
        "raw_fsync_mb_per_s": float(np.median(raw)) / 1e6,
    }
