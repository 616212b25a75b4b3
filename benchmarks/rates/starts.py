"""How long a worker takes from its start to its first commit."""

import os
import subprocess
import sys

from rates.recipes import LORENZ, of_method, write_recipe

COLD = """
import sys, time
begin = time.perf_counter()
from pathlib import Path
from flows.environment import configure
root = Path(sys.argv[1])
configure(root)
from flows.parameters import ExperimentParameters
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
made = ExperimentParameters(dataset="throughput-ring", root=root, training_steps=20).experiment()
store = made.open_store()
times = pending_cycles(made, store)
next(Assimilation(made, store, made.prepare(store)).run(times[:500]))
print(time.perf_counter() - begin)
"""


def cold_start(folder, root):
    """Seconds from the start of a worker's process to its first commit."""
    import shutil

    from flows.ingest import ingest

    seconds = {}
    for which in ("cold", "warm"):
        name = write_recipe(folder, LORENZ, 500)
        place = root / which
        if (root / "models").exists():
            shutil.copytree(root / "models", place / "models")
        ingest(of_method("amortized", dataset=name, root=place))
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(root / "cold-cache")}
        done = subprocess.run(
            [sys.executable, "-c", COLD, str(place)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        seconds[f"{which}_s"] = float(done.stdout.splitlines()[-1])
    return seconds
