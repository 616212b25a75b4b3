"""One set of Lorenz-96 weights for ensemble sizes, model errors and networks that it never met.

The analysis is trained for some minutes on streams of several ensemble sizes, of natures whose
forcing is another than the forecast's, and of networks and R drawn anew each cycle. It is then
cycled with sizes and forcings that were not among them, on the same nature runs and observations as
an LETKF whose localization and inflation were tuned for that very size, forcing and stream of
networks. The network sees means of past departures, which tell a model that errs from one that does
not: the same weights must hold for a forcing that is right.

    python benchmarks/robustness.py --minutes 15
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
from twins.learning import restored, trained
from twins.scoring import BURN_IN, cycled, line, scored
from twins.settings import SETTINGS
from twins.tuning import tuned_letkf

from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.training.nature import Nature, nature_of

TRAINED = replace(
    SETTINGS["networks"],
    streams=40,
    sizes=(12, 16, 24, 40),
    natures=tuple(Nature(Lorenz96(forcing=7 + 2 * i / 9)) for i in range(10)),
    memories=(25.0, 200.0),
)
HELD_OUT = tuple(
    replace(TRAINED, members=members, nature=Nature(Lorenz96(forcing=forcing)))
    for members in (20, 32)
    for forcing in (7.25, 8.0, 8.75)
)
RADII = (6.0, 8.0, 11.0)
INFLATIONS = (1.02, 1.05, 1.1, 1.2)
RATIO, RIGHT_MODEL, SPREAD, COVERAGE = 1.05, 1.03, 0.05, 0.02
"""Largest rmse.a over that of the tuned LETKF, where the forecast's forcing is wrong and where it
is right, and distances from an honest spread."""


def analysis(setting, options, key):
    """The trained step, and the minutes that it took."""

    def say(total):
        def each(done, loss, rmse):
            text = f"step {done} of {total}, loss {loss:.4f}, rmse.a {rmse:.4f}"
            print(text, file=sys.stderr, flush=True)

        return each

    if options.weights:
        return restored(setting, options.weights / "robustness.eqx"), 0.0
    step, training = trained(setting, options.minutes, options.steps, key=key, say=say)
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        eqx.tree_serialise_leaves(options.save / "robustness.eqx", step.network)
    return step, training["training_minutes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short case, under a minute")
    parser.add_argument("--minutes", type=float, default=15.0, help="training time")
    parser.add_argument("--steps", type=int, default=3000, help="used if --minutes is 0")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--cycles", type=int, default=5000, help="scored, after the burn-in")
    parser.add_argument("--tuning-cycles", type=int, default=2000)
    parser.add_argument("--save", type=Path, help="folder for the trained weights")
    parser.add_argument("--weights", type=Path, help="folder of such weights; nothing is trained")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    setting, draws = TRAINED, HELD_OUT
    radii, inflations = RADII, INFLATIONS
    if options.quick:
        setting = replace(TRAINED, streams=4, sizes=(12,), natures=TRAINED.natures[::9])
        options.minutes, options.steps, options.streams = 0.0, 50, 2
        options.cycles, options.tuning_cycles = 50, BURN_IN + 50
        draws, radii, inflations = HELD_OUT[:1], RADII[:1], INFLATIONS[2:3]
    key = jax.random.fold_in(jax.random.key(options.seed), 100)
    step, minutes = analysis(setting, options, key)
    print(f"{'':44}{'rmse.a':>8}{'spread':>8}{'ratio':>8}{'cov 90':>8}{'worst':>8}")
    rows, bars = [], []
    for number, draw in enumerate(draws):
        forcing = nature_of(draw.nature, draw.model).model.forcing
        largest = RIGHT_MODEL if forcing == draw.model.forcing else RATIO
        name = f"{draw.members} members, forcing {forcing:g}"
        size = (options.streams, BURN_IN + options.cycles)
        run_key, tuning_key = jax.random.split(jax.random.fold_in(key, 10 + number))
        ours = scored(cycled(draw, step, None, *size, key=run_key))
        letkf, label = tuned_letkf(
            draw,
            options.tuning_cycles,
            radii=radii,
            inflations=inflations,
            key=tuning_key,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        theirs = scored(cycled(draw, letkf, None, *size, key=run_key))
        print(line(f"{name}: amortized", ours))
        print(line(f"  {label}", theirs), flush=True)
        rows.append({"draw": name, "amortized": ours, "letkf": theirs | {"method": label}})
        for what, value, bar in (
            ("rmse.a / tuned LETKF's", ours["rmse_a"] / theirs["rmse_a"], largest),
            ("|spread/RMSE - 1|", abs(ours["spread_over_rmse"] - 1), SPREAD),
            ("|90 % coverage - .9|", abs(ours["coverage_90"] - 0.9), COVERAGE),
            ("lost streams", ours["lost_streams"], 0),
        ):
            bars.append(
                {
                    "name": f"{name}: {what}",
                    "value": round(value, 4),
                    "bar": bar,
                    "pass": bool(value <= bar),
                }
            )
    print(f"trained {minutes:.1f} min")
    for bar in bars:
        print(f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']} ({bar['bar']})")
    figures = {"rows": rows, "minutes": minutes, "device": jax.devices()[0].device_kind}
    print(json.dumps({"name": "robustness", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
