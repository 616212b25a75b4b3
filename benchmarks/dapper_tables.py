"""Classical analyses of vardax and of DAPPER on the same Lorenz-96 and Lorenz-63 runs.

DAPPER makes the nature run and the observations, in the settings of Sakov and Oke (2008) and
Sakov et al. (2012); both libraries then assimilate the very same observations, in one thread and
in double precision. Times are of the processor, so that other work on the machine does not count.
DAPPER comes with the extra `benchmarks`; `--dapper-python` names the interpreter of another
environment that holds it.

    python benchmarks/dapper_tables.py --quick
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filters.ours import climatology_of, our_step, our_system

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
    "MPLBACKEND": "agg",
}
BURN_IN = {"lorenz96": 400, "lorenz63": 160}
CYCLES = {"lorenz96": 10400, "lorenz63": 4160}
SYSTEMS = tuple(CYCLES)

DAPPER_WORKER = """
import sys, time, numpy as np
import dapper.da_methods as da
from dapper.tools.seeding import set_seed
import dapper.tools.progressbar as pb
pb.disable_progbar = True
system, cycles, burn_in, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
names = sys.argv[5].split(";")
if system == "lorenz96":
    from dapper.mods.Lorenz96.sakov2008 import HMM
else:
    from dapper.mods.Lorenz63.sakov2012 import HMM
HMM.tseq.Ko = cycles - 1
METHODS = {
    "lorenz96": {
        "OI": lambda: da.OptInterp(),
        "3D-Var": lambda: da.Var3D(xB=0.02),
        "EnKF N=40": lambda: da.EnKF("PertObs", N=40, infl=1.06),
        "ETKF N=24": lambda: da.EnKF("Sqrt", N=24, infl=1.013, rot=True),
        "ETKF N=24, 1.02": lambda: da.EnKF("Sqrt", N=24, infl=1.02, rot=True),
        "ETKF N=40": lambda: da.EnKF("Sqrt", N=40, infl=1.01, rot=True),
        "EnKF-N N=24": lambda: da.EnKF_N(N=24, xN=2.0, rot=True),
        "LETKF N=7": lambda: da.LETKF(N=7, infl=1.04, rot=True, loc_rad=4),
    },
    "lorenz63": {
        "OI": lambda: da.OptInterp(),
        "3D-Var": lambda: da.Var3D(xB=0.1),
        "EnKF N=100": lambda: da.EnKF("PertObs", N=100, infl=1.01),
        "ETKF N=10": lambda: da.EnKF("Sqrt", N=10, infl=1.02, rot=True),
        "EnKF-N N=10": lambda: da.EnKF_N(N=10, rot=True),
    },
}
set_seed(3000)
xx, yy = HMM.simulate()
values = np.stack([np.asarray(y, float) for y in yy])
results = {"start": HMM.X0.mu, "truth": xx[HMM.tseq.kko], "values": values}
for name in names:
    method = METHODS[system][name]()
    method.seed = 3000
    begin = time.process_time()
    method.assimilate(HMM, xx, yy, liveplots=False)
    seconds = time.process_time() - begin
    results[name] = np.array([
        np.mean(method.stats.err.rms.a[burn_in:]),
        np.mean(method.stats.spread.rms.a[burn_in:]),
        seconds / cycles,
    ])
np.savez(out, **results)
"""

METHODS = {
    "lorenz96": (
        "OI",
        "3D-Var",
        "EnKF N=40",
        "ETKF N=24",
        "ETKF N=24, 1.02",
        "ETKF N=40",
        "EnKF-N N=24",
        "LETKF N=7",
    ),
    "lorenz63": ("OI", "3D-Var", "EnKF N=100", "ETKF N=10", "EnKF-N N=10"),
}
FOUR_DVAR_WINDOWS = (1, 4, 10, 20)
# Scale of the climatological covariance that serves as B at the start of each window, tuned on
# another nature run of 2000 cycles.
FOUR_DVAR_SCALE = {1: 0.02, 4: 0.012, 10: 0.006, 20: 0.005}


def timed(function, *arguments):
    """The result, the seconds of a second call, and the seconds the first took beyond it."""
    import jax

    begin = time.process_time()
    jax.block_until_ready(function(*arguments))
    first = time.process_time() - begin
    begin = time.process_time()
    result = jax.block_until_ready(function(*arguments))
    seconds = time.process_time() - begin
    return result, seconds, max(first - seconds, 0.0)


def cycle(system, name, run_of_dapper, burn_in):
    """rmse.a, spread, seconds per cycle and compile seconds of one of our methods."""
    import jax
    import jax.numpy as jnp

    from vardax_core.types import Observations

    first, truth, values = (run_of_dapper[key] for key in ("start", "truth", "values"))
    model, error_variance, start_variance = our_system(system)
    mean, matrix = climatology_of(model, jax.random.key(5))
    step, members = our_step(system, name, model, matrix)
    noise = jax.random.normal(jax.random.key(6), (members, *model.state_shape))
    start = jnp.asarray(first)[None] + start_variance**0.5 * noise
    climatological = jnp.asarray(mean)[None]

    @jax.jit
    def run(start, truth, values):
        def body(carry, row):
            ensemble, key, time = carry
            true, value = row
            key, forecast_key, step_key = jax.random.split(key, 3)
            background = model.forecast(ensemble, time, key=forecast_key)
            if name == "OI":
                background = climatological
            time = time + model.interval
            observations = Observations(
                value[None],
                jnp.ones((1, value.shape[0]), bool),
                jnp.full((1, value.shape[0]), error_variance**0.5),
                time[None],
            )
            analysis = step(background, observations, key=step_key)
            members = analysis.mean[None] if name in ("OI", "3D-Var") else analysis.ensemble
            error = jnp.sqrt(jnp.mean((analysis.mean - true) ** 2))
            spread = jnp.sqrt(jnp.mean(analysis.spread**2))
            return (members, key, time), (error, spread)

        carry = (start, jax.random.key(7), jnp.asarray(0, jnp.int32))
        return jax.lax.scan(body, carry, (truth, values))[1]

    (error, spread), seconds, compiling = timed(run, start, jnp.asarray(truth), jnp.asarray(values))
    scored = slice(burn_in, None)
    return (
        float(jnp.mean(error[scored])),
        float(jnp.mean(spread[scored])),
        seconds / len(values),
        compiling,
    )


def cycle_four_dvar(rows, scale, run_of_dapper, burn_in):
    """Strong 4D-Var in windows of `rows` observation times that follow one another."""
    import jax
    import jax.numpy as jnp

    from vardax_core.analysis.variational.covariance import DenseCovariance
    from vardax_core.analysis.variational.four_dvar import StrongFourDVar
    from vardax_core.analysis.variational.minimisers import QuasiNewton
    from vardax_core.observations.operators import Identity
    from vardax_core.types import Observations, ResultCode

    first, truth, values = (run_of_dapper[key] for key in ("start", "truth", "values"))
    model, error_variance, _ = our_system("lorenz96")
    _, matrix = climatology_of(model, jax.random.key(5))
    step = StrongFourDVar(
        Identity(model.state_shape),
        model,
        DenseCovariance.from_matrix(jnp.asarray(scale * matrix), model.state_shape),
        minimiser=QuasiNewton(tolerance=1e-4, max_iterations=100),
        n_modes=1,
    )
    windows = len(values) // rows
    truth = jnp.asarray(truth[: windows * rows]).reshape(windows, rows, -1)
    values = jnp.asarray(values[: windows * rows]).reshape(windows, rows, -1)

    @jax.jit
    def run(start, truth, values):
        def body(state, row):
            true, value = row
            first = model.step(state, jnp.asarray(0, jnp.int32), key=jax.random.key(0))
            observations = Observations(
                value,
                jnp.ones(value.shape, bool),
                jnp.full(value.shape, error_variance**0.5),
                model.interval * jnp.arange(rows, dtype=jnp.int32),
            )
            analysis = step(first[None], observations, key=jax.random.key(0))
            error = jnp.sqrt(jnp.mean((analysis.mean - true[-1]) ** 2))
            return analysis.mean, (error, analysis.result)

        return jax.lax.scan(body, start, (truth, values))[1]

    (error, result), seconds, compiling = timed(run, jnp.asarray(first), truth, values)
    scored = slice(burn_in // rows, None)
    return (
        float(jnp.mean(error[scored])),
        seconds / len(error) / rows,
        compiling,
        float(jnp.mean(result == int(ResultCode.OK))),
    )


def own_run(system, cycles):
    """Truth and observations of a nature run of ours."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    model, error_variance, _ = our_system(system)
    start, _ = climatology_of(model, jax.random.key(8))
    truth = model.trajectory(
        jnp.asarray(start), jnp.asarray(0, jnp.int32), cycles, key=jax.random.key(9)
    )
    noise = jax.random.normal(jax.random.key(10), truth.shape)
    values = truth + error_variance**0.5 * noise
    return {"start": start, "truth": np.asarray(truth), "values": np.asarray(values)}


def run_dapper(python, system, cycles, burn_in, names, *, quick):
    """Truth, observations and DAPPER's scores by method name."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dapper.npz"
        command = [python, "-c", DAPPER_WORKER, system, str(cycles), str(burn_in), str(out)]
        done = subprocess.run(
            [*command, ";".join(names)], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode and quick and "No module named 'dapper'" in done.stderr:
            print("DAPPER is not installed: our methods alone, on a nature run of our own.")
            return own_run(system, cycles)
        if done.returncode:
            sys.exit(
                "DAPPER did not run; install the extra 'benchmarks' or name another interpreter "
                f"with --dapper-python.\n{done.stderr[-2000:]}"
            )
        with np.load(out) as results:
            return {key: results[key] for key in results.files}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cycles, fewer methods")
    parser.add_argument("--dapper-python", default=sys.executable, help="python with DAPPER")
    parser.add_argument("--four-dvar-scale", type=float, help="one scale of B for all windows")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    import numpy as np

    figures, bars = {}, []

    def bar(name, value, limit, at_most=True):
        passed = value <= limit if at_most else value >= limit
        bars.append({"name": name, "value": round(value, 4), "bar": limit, "pass": bool(passed)})

    heading = f"{'method':16} {'rmse.a':>8} {'spread':>8} {'ms/cycle':>9}"
    for system in ("lorenz96",) if options.quick else SYSTEMS:
        burn_in = 100 if options.quick else BURN_IN[system]
        cycles = 400 if options.quick else CYCLES[system]
        names = ("OI", "ETKF N=24", "LETKF N=7") if options.quick else METHODS[system]
        dapper = run_dapper(
            options.dapper_python, system, cycles, burn_in, names, quick=options.quick
        )
        print(f"\n{system}: {cycles - burn_in} cycles scored after {burn_in}, one thread, float64")
        print(f"{'':16} {'DAPPER':^27} | {'vardax':^38}")
        print(f"{heading} | {heading[17:]} {'compile s':>9}")
        for name in names:
            rmse, spread, seconds, compiling = cycle(system, name, dapper, burn_in)
            theirs = dapper.get(name, np.full(3, np.nan))
            print(
                f"{name:16} {theirs[0]:8.4f} {theirs[1]:8.4f} {1e3 * theirs[2]:9.3f} | "
                f"{rmse:8.4f} {spread:8.4f} {1e3 * seconds:9.3f} {compiling:9.1f}",
                flush=True,
            )
            figures[f"{system} {name}"] = {
                "rmse_a": rmse,
                "spread": spread,
                "ms_per_cycle": 1e3 * seconds,
                "compile_s": compiling,
            }
            if name in dapper:
                figures[f"{system} {name}"] |= {
                    "dapper_rmse_a": float(theirs[0]),
                    "dapper_spread": float(theirs[1]),
                    "dapper_ms_per_cycle": 1e3 * float(theirs[2]),
                }
        if system == "lorenz96":
            table = []
            print("\nstrong 4D-Var, windows that follow one another, rmse.a at their last time")
            print(f"{'window':>6} {'B scale':>8} {'rmse.a':>8} {'ms/cycle':>9} {'converged':>9}")
            for rows in (20,) if options.quick else FOUR_DVAR_WINDOWS:
                scale = options.four_dvar_scale or FOUR_DVAR_SCALE[rows]
                rmse, seconds, _, converged = cycle_four_dvar(rows, scale, dapper, burn_in)
                print(f"{rows:6} {scale:8} {rmse:8.4f} {1e3 * seconds:9.3f} {converged:9.3f}")
                figures[f"lorenz96 strong 4D-Var L={rows}"] = {
                    "rmse_a": rmse,
                    "ms_per_cycle": 1e3 * seconds,
                    "converged": converged,
                }
                table.append(rmse)
            bar("strong 4D-Var, best rmse.a", min(table), 0.22)

    limits = {
        "lorenz96 ETKF N=24": 0.19,
        "lorenz96 ETKF N=40": 0.178,
        "lorenz96 LETKF N=7": 0.22,
        "lorenz96 3D-Var": 0.42,
        "lorenz96 OI": 0.95,
        "lorenz63 ETKF N=10": 0.55,
        "lorenz63 EnKF-N N=10": 0.55,
    }
    for name, limit in limits.items():
        if name in figures:
            bar(f"{name} rmse.a", figures[name]["rmse_a"], limit)
    for name, limit in {"lorenz96 ETKF N=24": 4.0, "lorenz96 LETKF N=7": 8.0}.items():
        if "dapper_ms_per_cycle" in figures[name]:
            speed = figures[name]["dapper_ms_per_cycle"] / figures[name]["ms_per_cycle"]
            bar(f"{name} times faster than DAPPER", speed, limit, at_most=False)
    print()
    for entry in bars:
        print(
            f"{'ok  ' if entry['pass'] else 'MISS'} {entry['name']}: {entry['value']} "
            f"(bar {entry['bar']})"
        )
    print(json.dumps({"name": "dapper_tables", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
