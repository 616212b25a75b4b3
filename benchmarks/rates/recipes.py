"""The data sets whose throughput is measured, and experiments with them."""

import numpy as np
import yaml

LORENZ = {
    "name": "throughput-ring",
    "title": "Lorenz-96 for the measurement of throughput",
    "attribution": "Simulated.",
    "variable": {
        "name": "x",
        "long_name": "Lorenz-96 variable",
        "units": "1",
        "valid_min": -50.0,
        "valid_max": 50.0,
    },
    "state_dims": ["location"],
    "burn_in": 0,
    "cycle_interval": "6h",
    "window": {"times": 1, "spacing": "6h"},
    "latency": "0h",
    "source": {
        "kind": "twin",
        "model": "lorenz96",
        "size": 40,
        "step_interval": "6h",
        "spin_up_steps": 1000,
        "seed": 1,
    },
    "network": {"kind": "every_point"},
    "observation": {"error_sd": 1.0, "interval": "6h", "arrival_delay": "0h", "seed": 1},
}
FIELD = LORENZ | {
    "name": "throughput-field",
    "title": "A field for the measurement of throughput",
    "state_dims": ["y", "x"],
    "source": {
        "kind": "file",
        "variable": "value",
        "files": [{"name": "field.nc", "sha256": "0" * 64}],
    },
}
FIELD["variable"] = LORENZ["variable"] | {"name": "f", "long_name": "field"}
ERROR_SD = 0.3
START = np.datetime64("2000-01-01T00", "ns")


def write_recipe(folder, values, cycles, **changes):
    end = START + (cycles - 1) * np.timedelta64(6, "h")
    recipe = values | changes
    recipe["period"] = {"start": f"{START}"[:19] + "Z", "end": f"{end}"[:19] + "Z"}
    path = folder / recipe["name"] / "recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe))
    return recipe["name"]


def of_method(method, **given):
    """Parameters of an experiment; a network is trained for a few steps if there is none."""
    from flows.parameters import ExperimentParameters
    from flows.train import train

    parameters = ExperimentParameters(**given, method=method, training_steps=20)
    train(parameters)
    return parameters
