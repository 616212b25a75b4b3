"""Amortized local transform beside a tuned LETKF on two-layer quasi-geostrophic eddies.

The state is the streamfunction of both layers in standard deviations of the climate; the upper one
is observed along two tracks a day, or by a network that is drawn anew each day: one to four
tracks, a swath on some days, nothing on others. Filters and transform see the same nature runs and
the same observations, and the transform was trained on others. The LETKF is tuned on runs of its
own. Forecasts of 1 to 10 days start from the analyses of both.

    python benchmarks/qg.py
    python benchmarks/qg.py --quick
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ocean.cycles import plane
from ocean.eddies import climate

from vardax_core.analysis.amortized.grid_transform import REACH, GridTransformStep
from vardax_core.analysis.amortized.transform_network import TransformNetwork
from vardax_core.analysis.amortized.transform_view import TransformView
from vardax_core.analysis.ensemble.inflation import RelaxationToPriorSpread
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import unplaced_network
from vardax_core.calibration.statistics import fair_crps
from vardax_core.observations.placement import PlacedPoints, place, search_of, with_placement
from vardax_core.training.grid_cycles import GridTraining, settled, train_on_grid
from vardax_core.training.observing import FixedNetwork
from vardax_core.types import Observations

ERROR_SD, MOST, CHUNK, LEADS, EVERY = 0.2, 60, 25, 10, 40
TUNED = [(c, r) for c in (5.0, 6.0, 8.0) for r in (0.1, 0.2, 0.4)]


def tracks(size: int, rng: np.random.Generator, anew: bool) -> np.ndarray:
    """Coordinates of the records of a day, filled up with NaN to a number that is always equal."""
    count, swath = (2, False) if not anew else (int(rng.integers(1, 5)), rng.random() < 0.2)
    if anew and rng.random() < 0.1:
        count, swath = 0, False
    y = np.arange(size)
    # Every second of two tracks of the usual network rises, as orbits do.
    lines = [(rng.uniform(0, size), 1 if k % 2 else -1) for k in range(count)]
    places = [np.stack([y, np.round(x + s * y / 2) % size], axis=1) for x, s in lines]
    if swath:
        left = rng.uniform(0, size)
        places += [
            np.stack([y[::2], np.round(left + k + y[::2] / 2) % size], axis=1)
            for k in range(0, 12, 2)
        ]
    room = 2 * size if not anew else 7 * size
    found = np.unique(np.concatenate([*places, np.zeros((0, 2))]), axis=0)
    return np.concatenate([found, np.full((room - len(found), 2), np.nan)])


class World:
    """A domain: its grid, its model, and where the records of every day of a run are."""

    def __init__(self, size: int, options, draws: int):
        days, apart = (1000, 20) if not options.quick else (40, 10)
        self.size, self.shape = size, (2, size, size)
        self.model, self.climate = climate(size, draws, days, apart)
        self.grid = plane(size)
        self.operator = PlacedPoints.nowhere(self.shape)

    def placement(self, day: int, seed: int, anew: bool, search):
        places = tracks(self.size, np.random.default_rng((seed, day)), anew)
        every, none = np.ones(len(places), bool), np.zeros(len(places))
        channels, order = np.zeros(len(places), int), np.arange(len(places))
        found = place(self.grid, places, none, order, every, every, search, channels=channels)
        return jax.tree.map(jnp.asarray, found)

    def letkf(self, half_width: float, rtps: float):
        network = unplaced_network(self.grid, half_width, MOST)
        return RelaxationToPriorSpread(LETKF(self.operator, network), rtps)

    def transform(self, network: TransformNetwork, half_width: float) -> GridTransformStep:
        view = TransformView.nowhere(self.grid, REACH * half_width, MOST)
        return GridTransformStep(self.operator, view, network, half_width)

    def cycled(self, step, cycles: int, seed: int, anew: bool, members: int) -> dict:
        """Squares of errors and spreads of every cycle, and of forecasts from some analyses."""
        rng = np.random.default_rng(seed)
        numbers = rng.choice(len(self.climate), members + 1, replace=False)
        truth, ensemble = self.climate[numbers[0]], self.climate[numbers[1:]]
        rows, ahead, key = [], [], jax.random.key(seed)
        for first in range(0, cycles, CHUNK):
            days = range(first, min(first + CHUNK, cycles))
            placements = [self.placement(d, seed, anew, search_of(step)) for d in days]
            stacked = jax.tree.map(lambda *x: jnp.stack(x), *placements)
            keys = jnp.stack([jax.random.fold_in(key, d) for d in days])
            (truth, ensemble), row = days_on(self.model, step, truth, ensemble, stacked, keys)
            rows.append(jax.tree.map(np.asarray, row))
            if (first + CHUNK) % EVERY < CHUNK or first + CHUNK >= cycles:
                ahead.append(jax.tree.map(np.asarray, forecasts(self.model, truth, ensemble)))
        rows = jax.tree.map(lambda *x: np.concatenate(x), *rows)
        return rows | {"ahead": jax.tree.map(lambda *x: np.stack(x), *ahead)}


@eqx.filter_jit
def days_on(model, step, truth, ensemble, placements, keys):
    """Cycle some days on."""
    now = jnp.zeros((), jnp.int32)

    def day(carry, given):
        (truth, ensemble), (placement, key) = carry, given
        truth = model.step(truth, now, key=key)
        background = jax.lax.map(lambda x: model.step(x, now, key=key), ensemble)
        placed = with_placement(step, placement)
        noise = ERROR_SD * jax.random.normal(key, placement.platforms.shape)
        values = placed.operator(truth) + noise
        mask = (placement.platforms >= 0)[None]
        errors = jnp.full_like(values, ERROR_SD)[None]
        window = Observations(values[None], mask, errors, now[None])
        ensemble = placed(background, window, key=key).ensemble
        error = jnp.mean((jnp.mean(ensemble, axis=0) - truth) ** 2, axis=(1, 2))
        spread = jnp.mean(jnp.var(ensemble, axis=0, ddof=1), axis=(1, 2))
        return (truth, ensemble), {"error": error, "spread": spread}

    return jax.lax.scan(day, (truth, ensemble), (placements, keys))


@eqx.filter_jit
def forecasts(model, truth, ensemble):
    """Squared errors and CRPS of forecasts, by day and layer."""
    now, key = jnp.zeros((), jnp.int32), jax.random.key(0)

    def day(carry, _):
        truth, ensemble = carry
        truth = model.step(truth, now, key=key)
        ensemble = jax.lax.map(lambda x: model.step(x, now, key=key), ensemble)
        error = jnp.mean((jnp.mean(ensemble, axis=0) - truth) ** 2, axis=(1, 2))
        crps = jnp.mean(fair_crps(truth, ensemble), axis=(1, 2))
        return (truth, ensemble), {"error": error, "crps": crps}

    return jax.lax.scan(day, (truth, ensemble), length=LEADS)[1]


def scored(world: World, step, options, runs: int, seed: int, anew: bool) -> dict:
    """Scores of some nature runs together."""
    begin = time.perf_counter()
    length = options.burn_in + options.cycles
    found = [world.cycled(step, length, seed + k, anew, options.members) for k in range(runs)]
    error = np.stack([f["error"][options.burn_in :] for f in found]).mean(axis=(0, 1))
    spread = np.stack([f["spread"][options.burn_in :] for f in found]).mean(axis=(0, 1))
    ahead = {
        k: np.concatenate([f["ahead"][k] for f in found]).mean(axis=0) for k in ("error", "crps")
    }
    return {
        "rmse": np.sqrt(error).tolist(),
        "spread_over_rmse": np.sqrt(spread / error).tolist(),
        "forecast_rmse": np.sqrt(ahead["error"]).tolist(),
        "forecast_crps": ahead["crps"].tolist(),
        "seconds": time.perf_counter() - begin,
    }


def tuned(world: World, options, say: Callable[[str], None]) -> tuple[float, float]:
    """Half-width and relaxation of the LETKF with the least error of both layers."""
    scores = {}
    for half_width, rtps in options.candidates:
        step = world.letkf(half_width, rtps)
        found = world.cycled(step, options.tuning, 900, False, options.members)
        error = found["error"][options.tuning // 3 :].mean(axis=0)
        scores[half_width, rtps] = float(np.sqrt(error).sum())
        say(f"LETKF half-width {half_width:g}, rtps {rtps:g}: {scores[half_width, rtps] / 2:.4f}")
    return min(scores, key=scores.__getitem__)


def learned(world: World, half_width: float, options, say) -> TransformNetwork:
    """Train the transform on networks of both kinds, on runs that no score sees."""
    fresh = TransformNetwork.create(jnp.full(2, 0.2), key=jax.random.key(5))
    step = world.transform(fresh, half_width)
    search = search_of(step)

    @functools.lru_cache(maxsize=2 * CHUNK)
    def placing(number: int):
        return world.placement(number, 77, True, search)

    given = (world.model, FixedNetwork(ERROR_SD), world.climate)
    asked = {"members": options.members, "placing": placing}
    step = settled(step, *given, options.settle, key=jax.random.key(6), **asked)
    say(f"spread of backgrounds {step.network.spread}")
    plan = GridTraining(steps=options.steps, streams=1, points=options.points)
    step, _ = train_on_grid(
        step,
        *given,
        plan,
        key=jax.random.key(7),
        progress=lambda done, loss, error, ratio: say(
            f"step {done}, loss {loss:.4f}, error {error:.4f}, spread/error {ratio:.3f}"
        ),
        **asked,
    )
    return step.network


def bars_of(name: str, ours: dict, letkf: dict) -> list[dict]:
    """What issue 24 asks for."""
    gains = [a / b for a, b in zip(ours["rmse"], letkf["rmse"], strict=True)]
    wanted = [
        (f"{name}: rmse / LETKF's, {layer}", g, 0.95) for layer, g in zip("12", gains, strict=True)
    ]
    wanted += [
        (f"{name}: |spread/rmse - 1|, {layer}", abs(r - 1), 0.05)
        for layer, r in zip("12", ours["spread_over_rmse"], strict=True)
    ]
    for what in ("forecast_rmse", "forecast_crps"):
        worst = float(np.max(np.asarray(ours[what]) / np.asarray(letkf[what])))
        wanted.append((f"{name}: worst {what} / LETKF's", worst, 1.0))
    return [
        {"name": what, "value": round(value, 4), "bar": bar, "pass": bool(value <= bar)}
        for what, value, bar in wanted
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small domain, a few cycles")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cycles", type=int, default=400, help="scored, of each run")
    parser.add_argument("--burn-in", type=int, default=50)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--tuning", type=int, default=150, help="cycles for each candidate")
    parser.add_argument("--large-runs", type=int, default=1, help="on twice the side")
    options = parser.parse_args()
    options.candidates, options.settle, options.points = TUNED, 40, 512
    if options.quick:
        options.size, options.members, options.runs, options.cycles = 16, 8, 1, 6
        options.burn_in, options.steps, options.tuning, options.settle = 4, 2, 4, 2
        options.large_runs = 0
        options.candidates, options.points = [(4.0, 0.2)], 16

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    world = World(options.size, options, 48)
    half_width, rtps = tuned(world, options, say)
    network = learned(world, half_width, options, say)
    rows, bars = {}, []
    worlds = [("two tracks", world, False, options.runs), ("drawn anew", world, True, options.runs)]
    if options.quick:
        worlds = worlds[:1]
    if options.large_runs:
        large = World(2 * options.size, options, 48)
        worlds.append(
            (f"{2 * options.size} x {2 * options.size}", large, False, options.large_runs)
        )
    print(f"{'':34}{'rmse':>16}{'spread/rmse':>16}{'seconds':>9}")
    for name, where, anew, runs in worlds:
        steps = {
            "amortized": where.transform(network, half_width),
            f"LETKF {half_width:g}, {rtps:g}": where.letkf(half_width, rtps),
        }
        found = {k: scored(where, step, options, runs, 1000, anew) for k, step in steps.items()}
        for label, row in found.items():
            both = [" ".join(f"{v:.4f}" for v in row[k]) for k in ("rmse", "spread_over_rmse")]
            print(
                f"{name + ', ' + label:34}{both[0]:>16}{both[1]:>16}{row['seconds']:>9.0f}",
                flush=True,
            )
        rows[name] = found
        bars += bars_of(name, *found.values())
    for bar in bars:
        print(f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']} ({bar['bar']})")
    figures = {
        "rows": rows,
        "half_width": half_width,
        "rtps": rtps,
        "device": jax.devices()[0].device_kind,
    }
    print(json.dumps({"name": "qg", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
