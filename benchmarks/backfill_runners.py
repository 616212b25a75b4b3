"""What two workers gain: a period of Lorenz-96 in streams, on workers of a Dask cluster.

The cluster is started first, and every worker runs a short backfill of the same shapes, so that
what is timed is after start-up: reading, computing and committing of all groups, and the joining.
Each timed backfill fills the same period of a new store:

- one stream on one worker, the chain that a backfill without streams would be;
- four streams in groups of two, both groups on one worker;
- the same on two workers, one group each; the store must have the same content digest.

    python benchmarks/backfill_runners.py --quick
    python benchmarks/backfill_runners.py
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from flows.environment import configure
from vardax_core.data import datasets_dir

STREAMS, GROUP, OVERLAP = 4, 2, 100
BAR = 0.6


def new_store(parameters, root, observed):
    """Parameters with a root of their own, the experiment, and its store with the observations."""
    mine = parameters.model_copy(update={"root": root})
    made = mine.experiment()
    store = made.create_store(observed)
    made.append_observations(store, observed)
    return mine, made, store


def run(client, workers, parameters, root, observed, cycles, streams, group):
    """Wall and processor seconds of a backfill of the first cycles on some workers, and the digest
    of its store."""
    from flows.shares import DONE, fill_share
    from vardax_core.experiments.assimilate import pending_cycles
    from vardax_core.experiments.backfill import Backfill
    from vardax_core.store import content_digest

    mine, made, store = new_store(parameters, root, observed)
    times = pending_cycles(made, store)[:cycles]
    work = Backfill(
        made, store, made.prepare(store), times, streams=streams, overlap=OVERLAP, width=group
    )
    branch = work.open_branch()
    share = {
        "first": 0,
        "stop": len(times),
        "streams": streams,
        "overlap": OVERLAP,
        "width": group,
    }
    begin, begin_cpu = time.perf_counter(), processor_seconds(client)
    futures = [
        client.submit(
            fill_share,
            mine.model_dump(mode="json"),
            share | {"group": number},
            {},
            workers=[workers[number % len(workers)]],
            pure=False,
        )
        for number in range(len(work.groups))
    ]
    outcomes = client.gather(futures)
    work.join(branch)
    seconds = time.perf_counter() - begin
    assert outcomes == [DONE] * len(futures), outcomes
    return seconds, processor_seconds(client) - begin_cpu, content_digest(store)


def processor_seconds(client):
    """Processor time of all workers and of this process, all threads together."""
    return time.process_time() + sum(client.run(time.process_time).values())


def measure(client, parameters, root, cycles, repeats):
    """Wall and processor seconds of the three backfills, alternating; and the digests of the two in
    streams."""
    from vardax_core.data import ingest

    recipe = parameters.recipe()
    observed = ingest(recipe, end=recipe.period.start + (cycles - 1) * recipe.cycle_interval)
    addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
    cases = {
        "one_stream": (addresses[:1], 1, 1),
        "one_worker": (addresses[:1], STREAMS, GROUP),
        "two_workers": (addresses[:2], STREAMS, GROUP),
    }
    for name, (workers, streams, group) in cases.items():
        run(client, workers, parameters, root / f"warm-{name}", observed, 40, streams, group)
    found = {name: [] for name in cases}
    digests = set()
    for repeat in range(repeats):
        for name, (workers, streams, group) in cases.items():
            folder = root / f"{name}-{repeat}"
            *took, digest = run(
                client, workers, parameters, folder, observed, cycles, streams, group
            )
            found[name].append(took)
            if streams > 1:
                digests.add(digest)
    seconds, processor = (
        {name: statistics.median(values[which] for values in rows) for name, rows in found.items()}
        for which in (0, 1)
    )
    return seconds, processor, digests


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a shorter period, once")
    quick = parser.parse_args().quick
    cycles, repeats = (1200, 1) if quick else (20000, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = yaml.safe_load((datasets_dir() / "lorenz96" / "recipe.yaml").read_text())
        recipe["period"]["end"] = "2020-01-01T00:00:00Z"
        (root / "datasets" / "lorenz96").mkdir(parents=True)
        (root / "datasets" / "lorenz96" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        os.environ["VARDAX_DATASETS_DIR"] = str(root / "datasets")
        configure(root)
        from flows.parameters import BackfillParameters, ExperimentParameters
        from flows.runners import dask_client

        parameters = ExperimentParameters.model_validate(
            {"dataset": "lorenz96", "method": "etkf", "root": root}
        )
        begin = time.perf_counter()
        with dask_client(BackfillParameters(workers=2), 2) as client:
            start_up = time.perf_counter() - begin
            seconds, processor, digests = measure(client, parameters, root, cycles, repeats)
            idle = processor_seconds(client)
            time.sleep(2)
            idle = (processor_seconds(client) - idle) / 2
    cores = len(os.sched_getaffinity(0))
    two = seconds["two_workers"]
    over_worker, over_stream = two / seconds["one_worker"], two / seconds["one_stream"]
    spin_up = (STREAMS - 1) * OVERLAP
    # Work that fills every core for all of its time could not end earlier.
    least = processor["two_workers"] / cores / seconds["one_worker"]
    figures = {
        **{f"{name}_s": value for name, value in seconds.items()},
        **{f"{name}_cpu_s": value for name, value in processor.items()},
        "idle_cpu_per_s": idle,
        "least_ratio_of_these_cores": least,
        "start_up_s": start_up,
        "cores": cores,
        "load": float(np.round(os.getloadavg()[0], 2)),
        "cycles": cycles,
        "spin_up_cycles": spin_up,
        "repeats": repeats,
        "content_digests": len(digests),
    }
    print(
        f"| backfill of {cycles} cycles, {cores} cores | seconds | cycles/s, spin-up included | "
        "cores at work |"
    )
    print("| --- | --- | --- | --- |")
    rows = (
        ("one stream, one worker", "one_stream", cycles),
        (f"{STREAMS} streams in groups of {GROUP}, one worker", "one_worker", cycles + spin_up),
        (f"{STREAMS} streams in groups of {GROUP}, two workers", "two_workers", cycles + spin_up),
    )
    for text, name, count in rows:
        busy = processor[name] / seconds[name]
        print(f"| {text} | {seconds[name]:.2f} | {count / seconds[name]:.0f} | {busy:.2f} |")
    alone = processor["one_worker"] / seconds["one_worker"]
    print(
        f"One worker keeps {alone:.2f} of {cores} cores at work: it commits and reads while it "
        f"computes. With all of them at work two workers would take {least:.2f} of its time; what "
        "they take beyond that they wait for each other's commits."
    )
    bars = [
        {
            "name": f"{STREAMS} streams: wall time of two workers over one",
            "value": over_worker,
            "bar": BAR,
            "pass": bool(over_worker <= BAR),
        },
        {
            "name": f"{STREAMS} streams on two workers over one stream",
            "value": over_stream,
            "bar": BAR,
            "pass": bool(over_stream <= BAR),
        },
        {
            "name": "content digests of one worker and of two",
            "value": len(digests),
            "bar": 1,
            "pass": len(digests) == 1,
        },
    ]
    print(json.dumps({"name": "backfill_runners", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
