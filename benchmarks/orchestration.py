"""What Prefect costs: the `assimilate` flow with segments that take no time.

The flow is the real one, with its tasks, progress artifact, events, logs and looks for a hold,
against an embedded server; only the computing and the commits are replaced by nothing. Runs of
different numbers of segments give the price of a segment (slope, the median over pairs of runs) and
of a run (the rest). The price of a cycle is that of a segment of 200 cycles over 200.

    python benchmarks/orchestration.py --quick
    python benchmarks/orchestration.py
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from flows.environment import configure

BAR_MILLISECONDS = 2.0
SEGMENT = 200


class NothingToCompute:
    """Stands in for `Assimilation`: every segment is committed at once."""

    def __init__(self, *arguments):
        pass

    def segments(self, times):
        return [times[start : start + SEGMENT] for start in range(0, len(times), SEGMENT)]

    def run(self, times, *, metadata=None) -> Iterator:
        from vardax_core.experiments.assimilate import SegmentReport
        from vardax_core.store import Tip

        for segment in self.segments(times):
            tip = Tip("none", len(segment), None, {})
            yield SegmentReport(segment[0], segment[-1], len(segment), 0, 0.0, tip)


def seconds_of_a_run(parameters, segments):
    """Wall time of one flow run."""
    from flows import assimilate as module

    times = np.datetime64("2000-01-01T00", "m") + np.arange(segments * SEGMENT) * np.timedelta64(
        6, "h"
    )
    with (
        mock.patch.object(module, "Assimilation", NothingToCompute),
        mock.patch.object(module, "prepare_proven", return_value=None),
        mock.patch.object(module, "due_cycles", return_value=times),
    ):
        begin = time.perf_counter()
        module.assimilate(parameters)
        return time.perf_counter() - begin


def measure(parameters, few, many, pairs):
    """The price of a segment and of a run, in milliseconds."""
    seconds_of_a_run(parameters, 1)
    segment, run = [], []
    for _ in range(pairs):
        short, long = (seconds_of_a_run(parameters, n) for n in (few, many))
        slope = (long - short) / (many - few)
        segment.append(slope)
        run.append(short - few * slope)
    return {
        "segment_ms": 1e3 * statistics.median(segment),
        "segment_ms_least": 1e3 * min(segment),
        "segment_ms_most": 1e3 * max(segment),
        "run_ms": 1e3 * statistics.median(run),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    quick = parser.parse_args().quick
    few, many, pairs = (2, 12, 2) if quick else (5, 55, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        configure(root)
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        from flows.ingest import ingest
        from flows.parameters import ExperimentParameters

        parameters = ExperimentParameters.model_validate(
            {"dataset": "lorenz96", "method": "climatology", "root": root}
        )
        begin = time.perf_counter()
        ingest(parameters)
        start_up = time.perf_counter() - begin
        figures = measure(parameters, few, many, pairs)
    figures |= {
        "cycle_ms": figures["segment_ms"] / SEGMENT,
        "start_up_and_ingest_s": start_up,
        "segments": [few, many],
        "pairs": pairs,
    }
    print("| what | price |")
    print("| --- | --- |")
    print(f"| server, first run and ingest | {start_up:.1f} s |")
    print(f"| a run | {figures['run_ms']:.0f} ms |")
    print(
        f"| a segment | {figures['segment_ms']:.1f} ms ({figures['segment_ms_least']:.1f} to "
        f"{figures['segment_ms_most']:.1f}) |"
    )
    print(f"| a cycle of a segment of {SEGMENT} | {figures['cycle_ms']:.3f} ms |")
    bar = {
        "name": f"milliseconds per cycle at {SEGMENT} cycles per segment",
        "value": figures["cycle_ms"],
        "bar": BAR_MILLISECONDS,
        "pass": bool(figures["cycle_ms"] <= BAR_MILLISECONDS),
    }
    print(json.dumps({"name": "orchestration", "figures": figures, "bars": [bar]}))


if __name__ == "__main__":
    main()
