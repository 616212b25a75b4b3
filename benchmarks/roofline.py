"""Work and traffic of the kernels of a large analysis, counted for a point, and what a GPU allows.

Arithmetic is counted from the products and factorisations that a kernel is made of; the turns of
the inverse root are those that points of a typical problem take. Traffic is counted twice: if every
intermediate array goes through memory, as where each operation is a kernel of its own, and if none
does. The time at the bound is what a device with the given rates would need for 721 x 1440 points,
the longer of arithmetic and traffic; no code reaches it.

python benchmarks/roofline.py --quick
python benchmarks/roofline.py --tflops 67 --tbytes 3.35      # an H100
"""

import argparse
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.amortized.transform_network import INPUTS, OUTPUTS
from vardax_core.analysis.ensemble.roots import BOUNDS, QUINTICS, largest_value

POINTS = 721 * 1440
NUMBER = 4
"""Bytes of a number in single precision."""
LOCAL, MOST, HIDDEN, SPACING = 70, 60, 24, 3
SPREAD_OVER_ERROR = 0.7
BARS = {"LETKF, 32 members": 0.15, "LETKF, 64 members": 0.6, "interpolated, 32 members": 0.1}
"""Seconds that are asked of an H100."""


class Cost(NamedTuple):
    """Of one point.

    Attributes:
        flops: additions and multiplications.
        least, most: bytes, if no intermediate array goes through memory, and if all do.
    """

    flops: float
    least: float
    most: float

    def seconds(self, tflops: float, tbytes: float, fused: bool) -> float:
        """For all points of the globe, at the rates of a device."""
        traffic = self.least if fused else self.most
        return POINTS * max(self.flops / (tflops * 1e12), traffic / (tbytes * 1e12))


def turns(members: int, sample: int) -> float:
    """Mean number of turns that the inverse root takes for points of a typical problem."""
    rng = np.random.default_rng(members)
    rows = SPREAD_OVER_ERROR * rng.normal(size=(sample, LOCAL, members))
    rows *= np.sqrt(rng.uniform(0, 1, size=(sample, LOCAL, 1)))
    squares = jnp.asarray(np.swapaxes(rows, 1, 2) @ rows / (members - 1), jnp.float32)
    lowest = (1 + largest_value(squares)) ** -0.5
    first = jnp.sum(lowest[:, None] >= jnp.asarray(BOUNDS[1:])[None], axis=1)
    return float(jnp.mean(len(QUINTICS) - 1 - first))


def transform(members: int, local: int, sample: int) -> Cost:
    """The symmetric square-root update of a point, see `point_transforms`."""
    m, p, taken = members, local, turns(members, sample)
    root = 8 * m**3 * taken
    flops = 2 * p * m + 2 * p * m**2 + root + 2 * p * m + 4 * m**2
    gathered = p * (m + 3)
    return Cost(flops, NUMBER * (gathered + m**2), NUMBER * (2 * gathered + m**2 * (3 + 9 * taken)))


def letkf(members: int, sample: int) -> Cost:
    """A transform at every point, and its application to the members there."""
    made, m = transform(members, LOCAL, sample), members
    # A matrix that is applied where it is made does not leave the chip.
    least = made.least + NUMBER * (2 * m - m**2)
    return Cost(made.flops + 2 * m**2, least, made.most + NUMBER * (m**2 + 2 * m))


def interpolated(members: int, sample: int) -> Cost:
    """Transforms at nodes, and one product for each cell between them, see `moved_between`."""
    made, m, inside = transform(members, LOCAL, sample), members, SPACING**2
    corners = 4 * m**2
    flops = made.flops / inside + 2 * 4 * m**2 + 4 * m
    least = made.least / inside + NUMBER * (corners / inside + 2 * m)
    most = made.most / inside + NUMBER * (2 * corners / inside + 2 * m + 8 * m)
    return Cost(flops, least, most)


def amortized(members: int, sample: int) -> Cost:
    """What a network chooses of a local transform, see `GridTransformStep`."""
    m, p, made = members, MOST, transform(members, MOST, sample)
    network = 2 * (INPUTS * HIDDEN + HIDDEN**2 + HIDDEN * OUTPUTS)
    spread = 2 * p * m**2 + m**3 / 3 + m**2
    mean = 2 * p**2 * m + 12 * p**2 + p**3 / 3 + 4 * p**2
    flops = made.flops + network + spread + mean + 2 * m**2
    own = p * (m + 8) + 2 * m
    return Cost(flops, NUMBER * own, made.most + NUMBER * (3 * p**2 + 2 * m**2 + own + 4 * HIDDEN))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="turns from fewer points")
    parser.add_argument("--tflops", type=float, default=67.0, help="1e12 operations a second")
    parser.add_argument("--tbytes", type=float, default=3.35, help="1e12 bytes a second")
    options = parser.parse_args()
    sample = 64 if options.quick else 4096
    kernels = {
        f"{name}, {members} members": cost(members, sample)
        for name, cost in (
            ("LETKF", letkf),
            ("interpolated", interpolated),
            ("amortized", amortized),
        )
        for members in (32, 64)
    }
    print(f"{'':28}{'kflop':>10}{'kB least':>10}{'kB most':>10}{'s fused':>10}{'s unfused':>11}")
    figures, bars = {}, []
    for name, cost in kernels.items():
        fused, apart = (cost.seconds(options.tflops, options.tbytes, f) for f in (True, False))
        print(
            f"{name:28}{cost.flops / 1e3:>10.0f}{cost.least / 1e3:>10.1f}{cost.most / 1e3:>10.1f}"
            f"{fused:>10.4f}{apart:>11.4f}"
        )
        figures[name] = cost._asdict() | {"seconds_fused": fused, "seconds_unfused": apart}
        if name in BARS:
            what = f"{name}: seconds at the bound, every array through memory"
            passed = bool(apart <= BARS[name])
            bars.append({"name": what, "value": apart, "bar": BARS[name], "pass": passed})
    figures |= {
        "tflops": options.tflops,
        "tbytes": options.tbytes,
        "device": jax.devices()[0].device_kind,
    }
    print(json.dumps({"name": "roofline", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
