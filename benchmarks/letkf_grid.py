"""LETKF on a square grid with sparse stations: seconds for one analysis and peak memory.

python benchmarks/letkf_grid.py --quick
python benchmarks/letkf_grid.py --size 1024     # where a GPU is at hand
"""

import argparse
import json
import resource
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import plane_network
from vardax_core.analysis.variational.spectral import gaussian_covariance
from vardax_core.observations.operators import PointSampling
from vardax_core.types import Observations

LENGTH = 8.0
ERROR_SD = 0.3


def peak_memory_mb() -> float:
    """Peak of the accelerator's memory if there is one, else of this process."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a grid of 64 x 64")
    parser.add_argument("--size", type=int, default=256, help="points along a side")
    parser.add_argument("--members", type=int, default=40)
    parser.add_argument("--half-width", type=float, default=9.0, help="of the taper, points")
    parser.add_argument("--share", type=float, default=0.05, help="share of points observed")
    parser.add_argument("--batch", type=int, help="points analysed at once")
    options = parser.parse_args()
    size = 64 if options.quick else options.size

    rng = np.random.default_rng(4)
    stations = rng.choice(size * size, size=round(options.share * size * size), replace=False)
    axis = np.arange(float(size))
    begin = time.perf_counter()
    places = np.stack([stations // size, stations % size], axis=1).astype(float)
    network = plane_network(axis, axis, places, options.half_width)
    network = jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, network
    )
    building = time.perf_counter() - begin

    covariance = gaussian_covariance(jnp.ones((size, size)), LENGTH, grid_axes=2)
    keys = jax.random.split(jax.random.key(0), options.members + 1)
    draw = jax.jit(lambda k: covariance.square_root(jax.random.normal(k, (covariance.rank,))))
    truth, ensemble = draw(keys[0]), jnp.stack([draw(k) for k in keys[1:]])
    operator = PointSampling(jnp.asarray(stations), (size, size))
    noise = ERROR_SD * jnp.asarray(rng.normal(size=len(stations)), truth.dtype)
    observations = Observations(
        (operator(truth) + noise)[None],
        jnp.ones((1, len(stations)), bool),
        jnp.full((1, len(stations)), ERROR_SD),
        jnp.zeros(1, jnp.int32),
    )
    step = eqx.filter_jit(LETKF(operator, network, batch_size=options.batch))

    begin = time.perf_counter()
    jax.block_until_ready(step(ensemble, observations, key=keys[0]).mean)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    analysis = jax.block_until_ready(step(ensemble, observations, key=keys[0]))
    seconds = time.perf_counter() - begin

    local = network.indices.shape[1]
    needed = ensemble.nbytes * 2**-20
    figures = {
        "device": jax.devices()[0].device_kind,
        "size": size,
        "members": options.members,
        "observations": len(stations),
        "most_local_observations": local,
        "network_s": building,
        "compile_s": first - seconds,
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "ensemble_mb": needed,
        "dense_points_by_points_mb": size**4 * 4 * 2**-20,
        "background_rmse": float(jnp.sqrt(jnp.mean((jnp.mean(ensemble, 0) - truth) ** 2))),
        "analysis_rmse": float(jnp.sqrt(jnp.mean((analysis.mean - truth) ** 2))),
        "analysis_spread": float(jnp.sqrt(jnp.mean(analysis.spread**2))),
    }
    for name, value in figures.items():
        print(f"{name:28} {value if isinstance(value, str | int) else round(value, 3)}")
    ratio = figures["analysis_rmse"] / figures["background_rmse"]
    bars = [
        {"name": "analysis over background RMSE", "value": ratio, "bar": 0.5, "pass": ratio < 0.5},
    ]
    if not options.quick:
        share = figures["peak_memory_mb"] / figures["dense_points_by_points_mb"]
        bars.append(
            {
                "name": "peak memory over one dense matrix of points by points",
                "value": share,
                "bar": 0.5,
                "pass": share < 0.5,
            }
        )
    print(json.dumps({"name": "letkf_grid", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
