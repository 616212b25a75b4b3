"""Power and false-alarm rate of the gates on planted faults, and their agreement with references.

The posterior is known: given a pair's observations, x = m + e with m and e stationary first-order
autoregressive along the state (correlation 0.8 between neighbours), both of variance 1. So the
prior has variance 2, and the observations halve it. Each fault changes the draws of a posterior,
its log-density and its marginals as a wrong model would; truths stay what they are. A trial is one
set of pairs, a detection is a set of gates that does not pass.

    python benchmarks/gate_power.py --sbi-python /path/to/env/bin/python

needs some forty minutes on one core, most of them for the largest state; `--quick` less than one,
with few trials of the small states.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scoringrules
from scipy.signal import lfilter
from scipy.stats import binomtest, chisquare

from vardax_core.calibration.gates.base import FAMILY_LEVEL, run_gates
from vardax_core.calibration.gates.context import Pairs, collect
from vardax_core.calibration.gates.operators import AdjointGate, derivatives
from vardax_core.calibration.gates.sets import gates_for
from vardax_core.calibration.scores import flatness
from vardax_core.calibration.statistics import fair_crps, fair_energy_score, gaussian_crps

PHI = 0.8
MODES = 2.0
"""Half the distance of the two modes, in posterior standard deviations."""
DRAWS = {3: 31, 40: 19, 1600: 9, 16384: 5}
CHUNK = 2_000_000
"""Numbers in the draws of one chunk: few enough to stay in the cache."""
FALSE_ALARM_BAR, POWER_BAR = 0.05, 0.95
EXACT = "exact"
FAULTS = (
    *("sign flip", "bias 0.3", "sd x 0.8", "sd x 1.25", "correlations dropped"),
    *("coordinate swapped", "one mode of two", "wrong in one regime"),
)
WEAK = "bias 0.1"


def smooth(noise):
    """Stationary first-order autoregressive series of variance 1 along the last axis."""
    noise = noise * np.float32(np.sqrt(1 - PHI**2))
    noise[..., 0] /= np.float32(np.sqrt(1 - PHI**2))
    return lfilter([np.float32(1)], np.array([1, -PHI], np.float32), noise)


def whitened(x):
    """The inverse of `smooth`."""
    rest = (x[..., 1:] - PHI * x[..., :-1]) / np.sqrt(1 - PHI**2)
    return np.concatenate([x[..., :1], rest], axis=-1)


class Trial:
    """One set of pairs of the exact problem, from which every fault is made."""

    def __init__(self, seed, n, size, draws):
        rng = np.random.Generator(np.random.SFC64(seed))
        self.size = size

        def normal(*shape):
            return rng.standard_normal(shape, np.float32)

        self.mean, self.error = smooth(normal(n, size)), smooth(normal(n, size))
        self.noise = normal(n, draws, size)
        self.anomaly = smooth(self.noise.copy())
        self.log_noise = -0.5 * np.einsum("nsd,nsd->ns", self.noise, self.noise)
        self.regime = rng.integers(0, 2, n)
        self.sides = rng.choice(np.float32([-1, 1]), (n, draws + 1))

    def pairs(self, fault, oracle=True):
        """The pairs that a model with this fault makes."""
        m, e, a = self.mean, self.error, self.anomaly
        truth, oracle_mean, oracle_sd = m + e, m, np.ones_like(m)
        centre, spread = m, np.ones((len(m), 1), np.float32)
        if fault.startswith("bias"):
            centre = m + np.float32(fault.split()[1])
        elif fault.startswith("sd x"):
            spread = spread * np.float32(fault.split()[2])
        elif fault == "wrong in one regime":
            # Too narrow in one regime, too wide in the other: the mean variance is right.
            spread = np.where(self.regime == 0, 0.75, 1.2).astype(np.float32)[:, None]
        elif fault == "coordinate swapped":
            centre = m.copy()
            centre[:, [0, self.size // 2]] = m[:, [self.size // 2, 0]]
        elif fault == "correlations dropped":
            a = self.noise
        draws = centre[:, None] + spread[:, None] * a
        log_draws = self.log_noise
        standard = (truth - centre) / spread
        residual = standard if fault == "correlations dropped" else whitened(standard)
        log_truth = -0.5 * np.sum(residual**2, axis=-1)
        if fault == "sign flip":
            draws = -draws
            residual = whitened(-truth - m)
            log_truth = -0.5 * np.sum(residual**2, axis=-1)
        if fault == "one mode of two":
            # The posterior has modes at +-MODES along a bump; the model knows the upper alone.
            bump = np.float32(MODES) * np.exp(-0.5 * (np.arange(self.size) / 2.0) ** 2)
            bump = bump.astype(np.float32)
            truth = truth + self.sides[:, :1] * bump
            draws = draws + bump
            log_truth = -0.5 * np.sum(whitened(truth - m - bump) ** 2, axis=-1)
            oracle = False
        return Pairs(
            truth=truth,
            draws=draws,
            log_prob_truth=log_truth,
            log_prob_draws=log_draws,
            oracle_mean=oracle_mean if oracle else None,
            oracle_sd=oracle_sd if oracle else None,
        )


def trial_pairs(seed, n, size):
    """The trial in chunks that fit the memory, and the regime of every pair."""
    chunk = max(
        k for k in range(1, n + 1) if n % k == 0 and (k * size * DRAWS[size] <= CHUNK or k == 1)
    )
    parts = [Trial([seed, size, n, i], chunk, size, DRAWS[size]) for i in range(n // chunk)]
    return parts, {"regime": np.concatenate([part.regime for part in parts])}


N_GATES = 7
"""Gates with a share of the false-alarm rate when everything is there."""


def rejecting(parts, strata, fault, key, families, oracle=True):
    """The gates that do not pass, each at its share of the rate of the whole set."""
    context = collect(
        (part.pairs(fault, oracle) for part in parts), key=key, strata=strata, families=families
    )
    gates = gates_for(context)
    share = sum(gate.statistical for gate in gates) / N_GATES
    results = run_gates(gates, context, level=FAMILY_LEVEL * share)
    return [r.name for r in results if not r.passed]


CHEAP = ("coordinates",)
MIDDLE = ("quantities", "tarp", "density")
COSTLY = ("projections",)


def detect(parts, strata, fault, key):
    """Whether truths alone show the fault, and which gates do; a costly family of gates is looked
    at only where the cheap one has found nothing."""
    found = []
    for families in (CHEAP, MIDDLE, COSTLY):
        found += rejecting(parts, strata, fault, key, families, oracle=False)
        if found and fault != EXACT:
            return found
    if fault == EXACT:
        found += rejecting(parts, strata, fault, key, (), oracle=True)
    return found


def power_table(sizes, n, trials):
    """Share of trials in which each fault is found, and the first gate that finds it."""
    rates = {}
    for size in sizes:
        start = time.perf_counter()
        hits = dict.fromkeys((EXACT, *FAULTS, WEAK), 0)
        by_gate = {fault: {} for fault in hits}
        for trial in range(trials):
            parts, strata = trial_pairs(trial, n, size)
            for fault in hits:
                gates = detect(parts, strata, fault, jax.random.key(trial))
                hits[fault] += bool(gates)
                for gate in gates:
                    by_gate[fault][gate] = by_gate[fault].get(gate, 0) + 1
        rates[size] = {
            "rates": {fault: count / trials for fault, count in hits.items()},
            "false_alarms": hits[EXACT],
            "by_gate": {
                f: {g: c / trials for g, c in found.items()} for f, found in by_gate.items()
            },
            "seconds": time.perf_counter() - start,
        }
    return rates


def adjoint_table(sizes, trials):
    """Share of trials in which a relative error of 1 of the gain in one direction is found, beside
    errors of 5 % in all others, and in which the 5 % alone are."""

    def smooth_gain(case, y):
        return 0.25 * jnp.roll(y, 1) + 0.5 * y + 0.25 * jnp.roll(y, -1)

    def right(case, y):
        return smooth_gain(case, y) + 0.05 * case["sign"] * smooth_gain(case, y)

    def faulty(case, y):
        return right(case, y) + case["u"] * jnp.vdot(case["v"], y)

    def stopped(model, cases, size, key):
        measured = derivatives(model, smooth_gain, cases, jnp.zeros((trials, size)), key=key)
        return sum(not AdjointGate((one,)).check(None).passed for one in measured) / trials

    found = {}
    for size in sizes:
        keys = jax.random.split(jax.random.key(size), 4)
        u, v = (jax.random.normal(k, (trials, size)) for k in keys[:2])
        cases = {
            "u": u / jnp.linalg.norm(u, axis=1, keepdims=True),
            "v": v / jnp.linalg.norm(v, axis=1, keepdims=True),
            "sign": jax.random.rademacher(keys[2], (trials, size), jnp.float32),
        }
        found[size] = {
            "rate": stopped(faulty, cases, size, keys[3]),
            "false_alarms": stopped(right, cases, size, keys[3]),
        }
    return found


def pairs_needed(sizes, trials, candidates):
    """Fewest pairs with which a bias of 0.1 is found in 95 % of the trials, from truths alone and
    with an oracle's marginals."""
    found = {}
    for size in sizes:
        found[size] = {}
        for what, families in (("truths", (*CHEAP, *MIDDLE, *COSTLY)), ("oracle", ())):
            needed = None
            for n in candidates:
                if n * size * DRAWS[size] > 2e8 or needed:
                    break
                hits = 0
                for trial in range(trials):
                    parts, strata = trial_pairs(10_000 + trial, n, size)
                    key = jax.random.key(trial)
                    hits += bool(
                        rejecting(parts, strata, WEAK, key, families, oracle=what == "oracle")
                    )
                    if trial + 1 - hits > 0.05 * trials:
                        break
                if hits >= POWER_BAR * trials:
                    needed = n
            found[size][what] = needed
    return found


SBI_SIDE = """
import json, sys
import numpy as np, torch
from sbi.diagnostics.sbc import _run_sbc
from sbi.diagnostics.tarp import _run_tarp

data = np.load(sys.argv[1])
truth, draws, references = (torch.tensor(data[k]) for k in ("truth", "draws", "references"))
draws = draws.swapaxes(0, 1)
ranks = _run_sbc(truth, truth, draws, "marginals", show_progress_bar=False)
ecp, alpha = _run_tarp(draws, truth, references, num_bins=16)
np.savez(sys.argv[1], ranks=ranks.numpy(), ecp=ecp.numpy(), alpha=alpha.numpy())
"""


def agreement(sbi_python):
    """Largest differences from the reference implementations on the same samples."""
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(400, 5)).astype(np.float32)
    draws = rng.normal(size=(400, 63, 5)).astype(np.float32) * np.float32(0.9)
    references = rng.normal(size=(400, 5)).astype(np.float32)
    context = collect([Pairs(truth, draws, references=references)], key=jax.random.key(0))
    ranks = context.tables["coordinates"].ranks
    found = {}
    if sbi_python:
        with tempfile.TemporaryDirectory() as name:
            file, script = Path(name) / "data.npz", Path(name) / "side.py"
            np.savez(file, truth=truth, draws=draws, references=references)
            script.write_text(SBI_SIDE)
            subprocess.run([sbi_python, str(script), str(file)], check=True, capture_output=True)
            theirs = dict(np.load(file))
        found["SBC ranks, sbi"] = float(np.max(np.abs(ranks - theirs["ranks"])))
        shares = context.tables["tarp"].ranks[:, 0] / 63
        counts, _ = np.histogram(shares, bins=theirs["alpha"])
        curve = np.append(0, np.cumsum(counts) / len(shares))
        found["TARP coverage curve, sbi"] = float(np.max(np.abs(curve - theirs["ecp"])))
    fair = np.mean(scoringrules.crps_ensemble(truth, draws, m_axis=1, estimator="fair"))
    mean, sd = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    gaussian = np.mean(scoringrules.crps_normal(truth, mean, sd))
    energy = np.mean(scoringrules.es_ensemble(truth, draws, m_axis=1, estimator="fair"))
    ours = jax.vmap(
        lambda t, d, m, s: (
            jnp.mean(fair_crps(t, d)),
            jnp.mean(gaussian_crps(t, m, s)),
            fair_energy_score(t, d),
        )
    )(truth, draws, mean, sd)
    references_of = {
        "fair CRPS, scoringrules": (ours[0], fair),
        "Gaussian CRPS, scoringrules": (ours[1], gaussian),
        "fair energy score, scoringrules": (ours[2], energy),
    }
    for name, (mine, other) in references_of.items():
        found[name] = float(np.abs(np.mean(np.asarray(mine, float)) - other))
    histogram = np.array([30.0, 18.0, 22.0, 30.0])
    # Expected 25 a bin: (25 + 49 + 9 + 25) / 25 = 4.32.
    sums = {"rank_histogram": histogram, "weight": 100.0, "squared_weight": 100.0}
    chi2, p_value = flatness(sums)
    found["rank histogram chi2, by hand"] = abs(chi2 - 4.32)
    found["its p-value, scipy"] = float(abs(p_value - chisquare(histogram).pvalue))
    return found


def show(rates, adjoint, needed, agree, n, trials):
    """The tables for people."""
    sizes = list(rates)
    print(f"detection rate, {n} pairs, {trials} trials, truths alone; draws of each pair in ( )")
    print(f"{'':24}" + "".join(f"{f'{s} ({DRAWS[s]})':>14}" for s in sizes) + "   found by")
    for fault in (EXACT, *FAULTS, WEAK):
        label = "none (false alarms)" if fault == EXACT else fault
        row = "".join(f"{rates[s]['rates'][fault]:>14.3f}" for s in sizes)
        seen = {}
        for size in sizes:
            for gate, share in rates[size]["by_gate"][fault].items():
                seen[gate] = max(seen.get(gate, 0), share)
        gates = ", ".join(sorted(seen, key=lambda g: -seen[g])[:3])
        print(f"{label:24}{row}   {gates}")
    row = "".join(f"{adjoint[s]['rate']:>14.3f}" for s in sizes)
    print(f"{'adjoint, one direction':24}{row}   adjoint")
    row = "".join(f"{adjoint[s]['false_alarms']:>14.3f}" for s in sizes)
    print(f"{'adjoint, error of 5 %':24}{row}   (false alarms)")
    for what in ("truths", "oracle"):
        row = "".join(f"{needed[s][what] or '-'!s:>14}" for s in sizes)
        print(f"{f'pairs for {WEAK}, {what}':24}{row}")
    for size in sizes:
        interval = binomtest(rates[size]["false_alarms"], trials).proportion_ci()
        print(
            f"false alarms at {size}: {rates[size]['false_alarms']} of {trials}, 95 % interval "
            f"{interval.low:.3f} to {interval.high:.3f}; {rates[size]['seconds']:.0f} s"
        )
    print("largest difference from reference implementations")
    for name, value in agree.items():
        print(f"  {name:36}{value:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few trials, states of 3 and 40")
    parser.add_argument("--sbi-python", default="", help="interpreter that has the sbi package")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DRAWS))
    options = parser.parse_args()
    candidates, trials_needed = (30, 60, 125, 250, 500, 1000, 2000, 4000, 8000), 40
    if options.quick:
        options.trials, options.sizes, trials_needed = 4, [3, 40], 4
        candidates = (125, 1000)
    agree = agreement(options.sbi_python)
    adjoint = adjoint_table(options.sizes, min(options.trials, 40))
    rates = power_table(options.sizes, options.pairs, options.trials)
    needed = pairs_needed(options.sizes, trials_needed, candidates)
    show(rates, adjoint, needed, agree, options.pairs, options.trials)
    bars = []
    for size in options.sizes:
        alarms = rates[size]["rates"][EXACT]
        bars.append((f"false alarms at {size}", alarms, FALSE_ALARM_BAR, alarms <= FALSE_ALARM_BAR))
        found = {f: rates[size]["rates"][f] for f in FAULTS} | {"adjoint": adjoint[size]["rate"]}
        for fault, rate in found.items():
            bars.append((f"power at {size}, {fault}", rate, POWER_BAR, rate >= POWER_BAR))
    for name, value in agree.items():
        bars.append((f"agreement: {name}", value, 1e-6, value <= 1e-6))
    figures = {"rates": rates, "adjoint": adjoint, "pairs_needed": needed, "agreement": agree}
    entries = [{"name": n, "value": v, "bar": b, "pass": bool(ok)} for n, v, b, ok in bars]
    print(json.dumps({"name": "gate_power", "figures": figures, "bars": entries}))


if __name__ == "__main__":
    main()
