"""A small model with two layers as a recipe, of which the upper one is observed."""

import copy

from vardax_core.data import Recipe
from vardax_core.data.recipe import validate_recipe

LAYERS = ("q1", "q2")
CYCLES, BURN_IN, SIZE = 30, 6, 16

VALUES = {
    "schema": 2,
    "name": "layers",
    "title": "Two small layers",
    "attribution": "simulated",
    "variables": [
        {
            "name": name,
            "long_name": f"potential vorticity of the {where} layer",
            "units": "s-1",
            "valid_min": -bound,
            "valid_max": bound,
        }
        for name, where, bound in (("q1", "upper", 1e-3), ("q2", "lower", 5e-4))
    ],
    "grid": {"dims": ["y", "x"]},
    "truth": {
        "kind": "twin",
        "model": "qg",
        "size": SIZE,
        "length": 5e5,
        "deformation_radius": 4e4,
        "depth_ratio": 1.0,
        "shear": 0.1,
        "friction": 2e-6,
        "step_size": 21600.0,
        "step_interval": "1d",
        "spin_up_steps": 600,
        "seed": 1,
    },
    "observations": [
        {
            "error_sd": 5e-7,
            "source": {
                "kind": "simulated",
                "network": {"kind": "regular", "every": 2},
                "channels": ["q1"],
                "interval": "1d",
                "arrival_delay": "0h",
                "seed": 1,
            },
        }
    ],
    "cycle": {
        "start": "2000-01-01T00:00:00Z",
        "end": "2000-01-30T00:00:00Z",
        "interval": "1d",
        "window": {"times": 1, "spacing": "1d"},
    },
    "verification": {"burn_in": BURN_IN},
    "members": 20,
}


def values() -> dict:
    """What the recipe's file would hold, to be changed."""
    return copy.deepcopy(VALUES)


def recipe() -> Recipe:
    """The recipe."""
    return validate_recipe(values(), "layers")
