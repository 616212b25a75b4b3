"""What a cycle of each method costs beside the others: their compiled segments in turn, in one run.

The times in the table of `vardax run` are those of one method after another, some minutes apart, in
which a shared processor changes its pace by a half. Here the segments of all methods of a data set
take turns, so that a ratio is of neighbours. Network weights are hardly trained, which changes no
cost.

    python benchmarks/cycle_cost.py --quick
    python benchmarks/cycle_cost.py
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from rates.recipes import of_method

from flows.environment import configure

MOST = 1.0
"""Cost of the amortized analysis over that of the LETKF."""


def engine_of(name, method, root):
    """The engine of a method, and the state, inputs and length of its first segment."""
    from flows.ingest import ingest
    from flows.parameters import ExperimentParameters
    from vardax_core.experiments.assimilate import Assimilation, pending_cycles

    given = {"dataset": name, "root": root}
    if method == "amortized":
        parameters = of_method(method, **given)
    else:
        parameters = ExperimentParameters(**given, method=method)
    ingest(parameters)
    made = parameters.experiment()
    store = made.open_store()
    work = Assimilation(made, store, made.prepare(store))
    state, inputs, cycles = work.first_inputs(pending_cycles(made, store))
    work.engine.compile(state, inputs)
    return work.engine, state, inputs, cycles


def in_turn(engines, repeats):
    """Microseconds a cycle of each method, one column a repeat, each in turn in every one."""
    import jax

    found = {method: [] for method in engines}
    for _ in range(repeats):
        for method, (engine, state, inputs, cycles) in engines.items():
            begin = time.perf_counter()
            state, _, output = engine.start(state, inputs)
            jax.block_until_ready(output)
            found[method].append(1e6 * (time.perf_counter() - begin) / cycles)
            engines[method] = engine, state, inputs, cycles
    return {method: np.array(times)[1:] for method, times in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two methods without a training")
    parser.add_argument("--dataset", default="lorenz96-sparse")
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    methods = ["etkf", "letkf"] if options.quick else ["oi", "etkf", "letkf", "amortized"]
    repeats = 4 if options.quick else options.repeats
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PJRT_NPROC", "1")
    with tempfile.TemporaryDirectory() as folder:
        configure(Path(folder))
        engines = {m: engine_of(options.dataset, m, Path(folder)) for m in methods}
        found = in_turn(engines, repeats)
    figures, bars = {"dataset": options.dataset}, []
    print(f"{'':12}{'us a cycle':>12}{'over the LETKF':>17}{'95 %':>18}")
    for method, times in found.items():
        ratio = times / found["letkf"]
        draws = np.random.default_rng(1).choice(ratio, (2000, ratio.size))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        share = float(np.median(ratio))
        figures[method] = {"us": float(np.median(times)), "share": share, "95": [low, high]}
        print(f"{method:12}{np.median(times):12.0f}{share:17.3f}{low:10.3f} to {high:.3f}")
    if "amortized" in figures:
        share = figures["amortized"]["share"]
        name = "cost of a cycle, amortized over LETKF"
        bars.append({"name": name, "value": share, "bar": MOST, "pass": share <= MOST})
    print(json.dumps({"name": "cycle_cost", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
