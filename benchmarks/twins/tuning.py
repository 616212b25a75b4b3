"""A classical filter tuned for a setting, on streams that are not scored."""

import jax
import numpy as np
from twins.scoring import BURN_IN, cycled
from twins.settings import Setting

from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import ring_network
from vardax_core.observations.operators import Identity
from vardax_core.training.tuning import choose

STREAMS = (2, 8)
"""Of all candidates, and of those that are left."""


def tuned_letkf(
    setting: Setting,
    cycles: int,
    *,
    radii: tuple[float, ...] = (3.0, 4.0, 6.0, 8.0, 11.0),
    inflations: tuple[float, ...] = (1.0, 1.01, 1.02, 1.05),
    streams: tuple[int, int] = STREAMS,
    key,
    say,
) -> tuple[LETKF, str]:
    """The LETKF of least error over radius and inflation, and its name.

    Arguments:
        cycles: of each stream of the second round; half of them in the first.
        streams: in either round.
    """
    operator = Identity(setting.model.state_shape)
    n = setting.model.state_shape[0]
    candidates = {
        f"LETKF radius {radius:g} inflation {inflation}": LETKF(
            operator, ring_network(n, np.arange(n), radius), inflation=inflation, rotate=True
        )
        for radius in radii
        for inflation in inflations
    }
    if len(candidates) == 1:
        ((label, step),) = candidates.items()
        return step, label

    def errors(label: str, number: int) -> np.ndarray:
        length = cycles if number else cycles // 2
        out = cycled(
            setting,
            candidates[label],
            None,
            streams[number],
            length,
            key=jax.random.fold_in(key, number),
        )
        rmse = np.array(out[0]["rmse"], float)
        rmse[np.asarray(out[0]["non_finite_weight"]) > 0] = np.nan
        return rmse[:, min(BURN_IN, length // 4) :]

    best = choose(tuple(candidates), errors, setting.scale, say=say)
    return candidates[best.name], best.name
