"""How the points of a store's grid count in its scores."""

import numpy as np
from jaxtyping import Float

from vardax_core.state.grids import AbstractGrid
from vardax_core.store import ExperimentStore

SCORE_WEIGHTS = "score_weights"
"""Key of a store's record."""
BY_AREA, ALIKE = "area", "alike"


def weighting_record(grid: AbstractGrid) -> dict[str, str]:
    """What a new store's record says: by area, and nothing where all cells have one area."""
    weights = grid.weights()
    return {} if np.all(weights[weights > 0] == 1) else {SCORE_WEIGHTS: BY_AREA}


def stored_weighting(store: ExperimentStore) -> str:
    """How the points of a store count; one that does not say began when all counted alike."""
    return str(store.experiment.get(SCORE_WEIGHTS, ALIKE))


def point_weights(store: ExperimentStore, grid: AbstractGrid) -> Float[np.ndarray, "*state"]:
    """Weight of every point in the scores of a store, with a mean of one."""
    return grid.weights() if stored_weighting(store) == BY_AREA else np.ones(grid.shape)
