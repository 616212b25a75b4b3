"""How many threads a run computes with."""

import os

from vardax_core.cycling.threads import simulated_devices, xla_threads
from vardax_core.data.recipe import Recipe


def fit_threads(recipe: Recipe) -> None:
    """Give XLA one thread for small states, unless the user has set how many.

    On arrays as small as a simulated ring's, handing work to a second thread costs more than it
    brings, and takes the processor away from the threads that read and commit. It also moves the
    last bits: with one thread every machine of a kind gives the same store. It has an effect only
    before the first computation of a process. Simulated devices get as many as they need, see
    `require_threads`.
    """
    devices = simulated_devices()
    if devices > 1:
        os.environ.setdefault("PJRT_NPROC", str(max(xla_threads(), devices + 1)))
    elif recipe.source.simulates:
        os.environ.setdefault("PJRT_NPROC", "1")
