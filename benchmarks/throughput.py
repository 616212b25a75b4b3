"""The whole flow beside the bare scan, and what is stored beside a raw file.

Lorenz-96 with 24 members runs the amortized analysis in streams through the `backfill` flow, and a
field with 32 members the LETKF through the `assimilate` flow: embedded Prefect, ingest, quality
control, verification sums and commits against the same compiled scan alone. Network weights are
hardly trained, which changes no cost. The start of the embedded server and compilation are counted
apart. Each part runs in a process of its own. A chain of the amortized analysis shows whether cost
and memory grow with its length. The cold start runs in processes of their own with an empty and
with a filled compilation cache.

    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import xarray as xr
from rates.recipes import ERROR_SD, FIELD, LORENZ, START, of_method, write_recipe
from rates.starts import cold_start
from rates.writing import writing
from soak import memory_mb

from flows.environment import configure

QUICK_OVER_BARE = 0.5
STREAM_CYCLES = 3000.0
FIELD_OVER_BARE = 1.25
OF_RAW = 0.8
FLAT = 1.1
OPEN_SECONDS = 0.1
WARM_OVER_COLD = 0.5


def bare_rate(engine, state, given, cycles, repeats):
    """Cycles a second of the compiled scan alone: the best of some runs, as others share the CPU.

    Arguments:
        cycles: cycles of one run, all streams together.
    """
    import jax

    seconds, processor = [], []
    engine.compile(state, given)
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        state, _, output = engine.start(state, given)
        jax.block_until_ready(output)
        seconds.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begin_cpu)
    return {
        "bare_per_s": cycles / min(seconds),
        "bare_median_per_s": cycles / float(np.median(seconds)),
        "bare_per_cpu_s": cycles / min(processor),
    }


def without_gates():
    """Let weights to work that were trained for a few steps, and would pass no gate."""
    import flows.assimilate
    import flows.backfill

    for flow in (flows.assimilate, flows.backfill):
        flow.prepare_proven = lambda made, store: made.prepare(store)


def ring(folder, root, cycles, streams, overlap, method):
    """Lorenz-96 in streams: the bare scan, and the flows with all they do."""
    from flows.backfill import backfill
    from flows.ingest import ingest
    from flows.parameters import BackfillParameters
    from vardax_core.experiments.assimilate import pending_cycles
    from vardax_core.experiments.backfill import Backfill

    name = write_recipe(folder, LORENZ, cycles)
    parameters = of_method(method, dataset=name, root=root)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    ingest(parameters)
    ingesting, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    made = parameters.experiment()
    store = made.open_store()
    prepared = made.prepare(store)
    work = Backfill(
        made, store, prepared, pending_cycles(made, store), streams=streams, overlap=overlap
    )
    branch = work.open_branch()
    state, given, n_cycles = work.first_inputs(branch)
    bare = bare_rate(work.engine, state, given, n_cycles, 5)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    done = backfill(parameters, BackfillParameters(streams=streams, overlap=overlap, group=streams))
    seconds, cpu = time.perf_counter() - begin, cpu + time.process_time() - begin_cpu
    assert done == cycles
    spin_up = sum(stream.first - stream.start for stream in work.plan)
    return {
        "streams": streams,
        "cycles": cycles,
        "spin_up_cycles": spin_up,
        **bare,
        "ingest_s": ingesting,
        "flow_s": seconds,
        "flow_per_s": (cycles + spin_up) / (ingesting + seconds),
        "flow_per_cpu_s": (cycles + spin_up) / cpu,
    }


def chain(folder, root, cycles, segment, method):
    """One long chain through the flow: cost and memory along it, and how fast it opens."""
    import icechunk

    from flows.assimilate import assimilate
    from flows.ingest import ingest
    from vardax_core.experiments import assimilate as module
    from vardax_core.experiments import experiment

    name = write_recipe(folder, LORENZ, cycles)
    moments, memory = [], []

    def commit(self, started, record, commit=module.Assimilation._commit):
        report = commit(self, started, record)
        moments.append(time.perf_counter())
        memory.append(memory_mb("VmRSS"))
        return report

    with (
        mock.patch.object(module.Assimilation, "_commit", commit),
        mock.patch.object(experiment, "segment_cycles", return_value=segment),
    ):
        parameters = of_method(method, dataset=name, root=root)
        ingest(parameters)
        assimilate(parameters)
    per_segment = np.diff(moments)
    window = max(1, cycles // 10 // segment)
    path = parameters.experiment().store_path
    opening = []
    for _ in range(5):
        begin = time.perf_counter()
        storage = icechunk.local_filesystem_storage(str(path))
        session = icechunk.Repository.open(storage).readonly_session("main")
        opened = xr.open_zarr(session.store, group="analysis", consolidated=False, chunks=None)
        assert opened.sizes["time"] == cycles
        opening.append(time.perf_counter() - begin)
    return {
        "cycles": cycles,
        "first_s_per_1000": float(np.median(per_segment[:window])) * 1000 / segment,
        "last_s_per_1000": float(np.median(per_segment[-window:])) * 1000 / segment,
        "memory_at_tenth_mb": memory[window],
        "memory_at_end_mb": memory[-1],
        "open_s": float(np.median(opening)),
    }


def field_program(recipe, size, members, stations):
    """An advected, damped and forced field under the LETKF, and its climatology."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from vardax_core.analysis.ensemble.letkf import LETKF
    from vardax_core.analysis.ensemble.localization import plane_network
    from vardax_core.analysis.variational.spectral import gaussian_covariance
    from vardax_core.cycling.cycle import CycleProgram
    from vardax_core.experiments.prepared import Prepared
    from vardax_core.models.base import AbstractForecastModel
    from vardax_core.models.climatology import Climatology
    from vardax_core.observations.operators import PointSampling

    covariance = gaussian_covariance(jnp.ones((size, size)), 8.0, grid_axes=2)

    class Drift(AbstractForecastModel):
        """The field moves two points east in a step, and a third of its variance is renewed."""

        state_shape: tuple[int, ...] = eqx.field(static=True)
        interval: int = eqx.field(static=True)

        def step(self, state, time, *, key):
            noise = covariance.square_root(jax.random.normal(key, (covariance.rank,), state.dtype))
            return 0.8 * jnp.roll(state, 2, axis=1) + 0.6 * noise

    model = Drift((size, size), 360)
    axis = np.arange(float(size))
    places = np.stack([stations // size, stations % size], axis=1).astype(float)
    network = jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x,
        plane_network(axis, axis, places, 9.0),
    )
    operator = PointSampling(jnp.asarray(stations), (size, size))
    keys = jax.random.split(jax.random.key(5), 32)
    root = jax.lax.map(
        lambda k: covariance.square_root(jax.random.normal(k, (covariance.rank,))), keys
    )
    climatology = Climatology(
        jnp.zeros((1, size, size)), jnp.moveaxis(root, 0, -1) / 32**0.5, 360, (size, size)
    )
    program = CycleProgram(
        model, LETKF(operator, network, batch_size=1024), None, jnp.ones((size, size)), 1.0
    )
    return Prepared(program, climatology, members, {})


def field(folder, root, size, members, cycles):
    """A field through the `assimilate` flow; the benchmark brings the method."""
    import jax
    import jax.numpy as jnp

    from flows.assimilate import assimilate
    from flows.ingest import ingest
    from flows.parameters import ExperimentParameters
    from vardax_core.experiments.assimilate import Assimilation, pending_cycles
    from vardax_core.experiments.experiment import Experiment

    count = size * size // 20
    noise = {"error_sd": ERROR_SD, "interval": "6h", "arrival_delay": "0h", "seed": 1}
    network = {"kind": "random_points", "count": count, "seed": 1}
    name = write_recipe(folder, FIELD, cycles, observation=noise, network=network)
    stations = np.sort(np.random.default_rng(1).choice(size * size, count, replace=False))
    prepared = field_program(name, size, members, stations)
    model, start = prepared.program.model, jnp.zeros((size, size))
    truth = model.trajectory(start, jnp.zeros((), jnp.int32), cycles + 20, key=jax.random.key(0))
    times = START + np.arange(cycles) * np.timedelta64(6, "h")
    axis = np.arange(size, dtype=np.float32)
    xr.Dataset(
        {"value": (("time", "y", "x"), np.asarray(truth[-cycles:]), {"units": "1"})},
        {"time": times, "y": axis, "x": axis},
    ).to_netcdf(folder / "field.nc")
    parameters = ExperimentParameters(
        dataset=name,
        root=root,
        method="climatology",
        members=members,
        source_path=folder / "field.nc",
    )
    with mock.patch.object(Experiment, "prepare", return_value=prepared):
        begin = time.perf_counter()
        ingest(parameters)
        ingesting = time.perf_counter() - begin
        made = parameters.experiment()
        store = made.open_store()
        work = Assimilation(made, store, prepared)
        state, given, n_cycles = work.first_inputs(pending_cycles(made, store))
        bare = bare_rate(work.engine, state, given, n_cycles, 2)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        assert assimilate(parameters) == cycles
        seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    return {
        "size": size,
        "members": members,
        "cycles": cycles,
        **bare,
        "ingest_s": ingesting,
        "flow_s": seconds,
        "flow_per_s": cycles / (ingesting + seconds),
        "flow_per_cpu_s_without_ingest": cycles / cpu,
    }


def bar(name, value, limit, *, at_most):
    passed = value <= limit if at_most else value >= limit
    return {"name": name, "value": value, "bar": limit, "pass": bool(passed)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, and without a cold start")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--cycles", type=int, default=160000, help="of Lorenz-96 in streams")
    parser.add_argument("--overlap", type=int, default=200, help="cycles of spin-up of a stream")
    parser.add_argument("--chain", type=int, default=10000, help="cycles of the long chain")
    parser.add_argument("--size", type=int, default=256, help="of the field")
    parser.add_argument("--members", type=int, default=32, help="of the field")
    parser.add_argument("--field-cycles", type=int, default=12)
    parser.add_argument("--only", default="", help="parts to run, by commas")
    parser.add_argument("--folder", default=None, help="where to write [temporary]")
    options = parser.parse_args()
    segment = 500
    if options.quick:
        options.streams, options.cycles, options.chain, segment = 2, 600, 500, 50
        options.overlap = 50
        options.size, options.members, options.field_cycles = 32, 8, 8
    parts = options.only.split(",") if options.only else ["ring", "chain", "field", "write", "cold"]
    if options.quick:
        parts = [part for part in parts if part != "cold"]
    if len(parts) > 1 and not options.quick:
        figures, bars = in_turn(parts)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as made:
            figures, bars = measure(Path(made), options, parts, segment)
    for part, found in figures.items():
        if isinstance(found, dict):
            print(f"{part}")
            for name, value in found.items():
                print(f"  {name:24} {value if isinstance(value, int) else round(value, 4)}")
    for each in bars:
        mark = "pass" if each["pass"] else "FALLS SHORT"
        print(f"{each['name']:70} {each['value']:10.3f}  bar {each['bar']:g}  {mark}")
    print(json.dumps({"name": "throughput", "figures": figures, "bars": bars}))


def in_turn(parts):
    """Every part in a process of its own, as a run would be."""
    figures, bars = {}, []
    for part in parts:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", part]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        peak = found["figures"].pop("peak_memory_mb")
        figures |= found["figures"]
        figures[part]["peak_memory_mb"] = peak
        bars += found["bars"]
    return figures, bars


def measure(folder, options, parts, segment):
    datasets = folder / "datasets"
    datasets.mkdir()
    os.environ["VARDAX_DATASETS_DIR"] = str(datasets)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    root = folder / "root"
    method = "etkf" if options.quick else "amortized"
    configure(root)
    import jax
    from prefect import flow

    from vardax_core.experiments import experiment, settings

    if options.quick:
        experiment.segment_cycles = lambda b: min(segment, settings.segment_cycles(b))
    if "field" not in parts:
        # As the flows choose for a ring; here something is computed before they begin.
        os.environ.setdefault("PJRT_NPROC", "1")
    without_gates()
    begin = time.perf_counter()
    flow(lambda: None, name="start")()
    figures = {
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "server_start_s": time.perf_counter() - begin,
    }
    bars = []
    if "ring" in parts:
        found = figures["ring"] = ring(
            datasets, root, options.cycles, options.streams, options.overlap, method
        )
        share = found["flow_per_s"] / found["bare_per_s"]
        bars.append(
            bar("Lorenz-96 in streams, flow over bare scan", share, QUICK_OVER_BARE, at_most=False)
        )
        bars.append(
            bar(
                "Lorenz-96 in streams, stream-cycles a second of the flow",
                found["flow_per_s"],
                STREAM_CYCLES,
                at_most=False,
            )
        )
    if "chain" in parts:
        found = figures["chain"] = chain(datasets, folder / "chain", options.chain, segment, method)
        growth = found["last_s_per_1000"] / found["first_s_per_1000"]
        bars.append(bar("cost of the last tenth over the first", growth, FLAT, at_most=True))
        growth = found["memory_at_end_mb"] / found["memory_at_tenth_mb"]
        bars.append(bar("memory at the end over that at a tenth", growth, FLAT, at_most=True))
        bars.append(
            bar("opening the store with xarray, s", found["open_s"], OPEN_SECONDS, at_most=True)
        )
    if "field" in parts:
        found = figures["field"] = field(
            datasets, folder / "field", options.size, options.members, options.field_cycles
        )
        ratio = found["bare_per_s"] / found["flow_per_s"]
        bars.append(
            bar("field, time of the flow over the bare scan", ratio, FIELD_OVER_BARE, at_most=True)
        )
    if "write" in parts:
        found = figures["write"] = writing(folder, options.size, options.members, 4)
        share = found["store_mb_per_s"] / found["raw_fsync_mb_per_s"]
        bars.append(bar("bytes stored a second over raw + fsync", share, OF_RAW, at_most=False))
    if "cold" in parts:
        found = figures["cold"] = cold_start(datasets, root)
        share = found["warm_s"] / found["cold_s"]
        bars.append(bar("start with over without the cache", share, WARM_OVER_COLD, at_most=True))
    figures["peak_memory_mb"] = memory_mb("VmHWM")
    return figures, bars


if __name__ == "__main__":
    main()
