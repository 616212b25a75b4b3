"""How many threads a run computes with."""

import os

from vardax_core.data.recipe import Recipe


def fit_threads(recipe: Recipe) -> None:
    """Give XLA one thread for small states, unless the user has set how many.

    On arrays as small as a simulated ring's, handing work to a second thread costs more than it
    brings, and takes the processor away from the threads that read and commit. It also moves the
    last bits: with one thread every machine of a kind gives the same store. It has an effect only
    before the first computation of a process.
    """
    # Simulated devices share the threads, and with one thread wait for each other for ever.
    simulated = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if recipe.source.kind == "twin" and not simulated:
        os.environ.setdefault("PJRT_NPROC", "1")
