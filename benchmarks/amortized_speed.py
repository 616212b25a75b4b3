"""Training and sampling time beside the sbi package, on the same machine in one run.

The sbi package (PyTorch) runs in a process of its own, in the environment whose interpreter
`--sbi-python` names; without it only vardax is measured and no bar is printed. Both sides get the
same simulations of two_moons, standardise them, and use all cores. Training time to a target is the
time until the mean held-out log-density of the flow first reaches what sbi's NPE reached when it
stopped by itself; compilation is counted apart. Score samples are drawn for ten observations.

    python benchmarks/amortized_speed.py --sbi-python /path/to/env/bin/python
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sbi_tasks import TASKS, c2st, draw

from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.encoders import IdentityObsEncoder
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.support import box
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.preparation import linear_start, standardised
from vardax_core.training.simulations import (
    fit_simulations,
    simulation_batch,
    simulation_head,
    simulation_settings,
)
from vardax_core.training.sources import ArraySource

FLOW_BAR = 3.0
"""Least ratio of sbi's training time to ours."""
SCORE_BAR = 10.0
"""Least ratio of our score samples a second to sbi's."""

SBI_SIDE = """
import json, sys, time
import numpy as np, torch
from sbi.inference import NPE, NPSE
from sbi.utils import BoxUniform

folder, what, n_samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = np.load(folder + "/data.npz")
theta, x = (torch.tensor(data[k], dtype=torch.float32) for k in ("theta", "x"))
prior = BoxUniform(-torch.ones(2), torch.ones(2))
torch.manual_seed(0)
out = {}
start = time.perf_counter()
if what == "npe":
    trainer = NPE(prior, density_estimator="nsf", show_progress_bars=False)
    estimator = trainer.append_simulations(theta, x).train(show_train_summary=False)
    out["training_seconds"] = time.perf_counter() - start
    out["epochs"] = trainer.summary["epochs_trained"][-1]
    with torch.no_grad():
        test_theta, test_x = (
            torch.tensor(data[k], dtype=torch.float32) for k in ("test_theta", "test_x")
        )
        log_q = estimator.log_prob(test_theta[None], test_x)[0]
    out["log_q"] = float(log_q.mean())
else:
    trainer = NPSE(prior, sde_type="ve", show_progress_bars=False)
    estimator = trainer.append_simulations(theta, x).train(show_train_summary=False)
    out["training_seconds"] = time.perf_counter() - start
    posterior = trainer.build_posterior(estimator)
    draws, seconds = [], []
    for observed in torch.tensor(data["observed"], dtype=torch.float32):
        start = time.perf_counter()
        draws.append(posterior.sample((n_samples,), x=observed, show_progress_bars=False).numpy())
        seconds.append(time.perf_counter() - start)
    np.save(folder + "/draws.npy", np.stack(draws))
    out["samples_per_second"] = n_samples / float(np.median(seconds))
print()
print(json.dumps(out))
"""


def run_sbi(python, folder, what, n_samples):
    """One side of the comparison in the other environment."""
    script = folder / "side.py"
    script.write_text(SBI_SIDE)
    command = [python, str(script), str(folder), what, str(n_samples)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def flow_training(theta, x, test, target, settings, key):
    """Seconds, without compilation, until the held-out log-density reaches the target."""
    n_validation = max(1, len(theta) // 10)
    training = simulation_batch(theta[:-n_validation], x[:-n_validation])
    head = simulation_head("flow", 2 * x.shape[1], theta.shape[1], key=key)
    config = AmortizedConfig("flow")
    posterior = AmortizedPosterior(IdentityObsEncoder(), head, config)
    posterior = linear_start(standardised(posterior, training), training)
    source = ArraySource(training, min(256, training.input.shape[0]))
    moments, losses = [time.perf_counter()], []

    def note(step, training_loss, validation_loss):
        moments.append(time.perf_counter())
        losses.append(validation_loss)

    # The test set takes the place of the validation set, so that its loss is known at every look.
    result = fit(posterior, source, test, settings=settings, key=key, on_check=note)
    # The first look holds the compilation; it is counted like the median of the others.
    steps = np.diff(moments)
    compilation = float(steps[0] - np.median(steps[1:]))
    log_det = float(result.posterior.head.scaling.log_det(result.posterior.head.state_shape))
    reached = [i for i, loss in enumerate(losses) if log_det - loss >= target]
    median = float(np.median(steps[1:]))
    return {
        "log_q": log_det - min(losses),
        "seconds_to_target": (reached[0] + 1) * median if reached else None,
        "seconds": median * len(losses),
        "compilation_seconds": compilation,
    }


def score_sampling(posterior, observed, n_samples):
    """Samples a second for one observation at a time, and the compilation time."""

    @eqx.filter_jit
    def draw(posterior, x, key):
        return posterior.sample(simulation_batch(None, x[None]), key, n_samples)

    start = time.perf_counter()
    jax.block_until_ready(draw(posterior, observed[0], jax.random.key(0)))
    first = time.perf_counter() - start
    seconds = []
    for i, x in enumerate(observed):
        start = time.perf_counter()
        jax.block_until_ready(draw(posterior, x, jax.random.key(i)))
        seconds.append(time.perf_counter() - start)
    return {
        "samples_per_second": n_samples / float(np.median(seconds)),
        "compilation_seconds": first - float(np.median(seconds)),
    }


def mean_c2st(draws, observed, n):
    """Mean C2ST of draws against the exact posterior of two_moons."""
    rng = np.random.default_rng(0)
    exact = TASKS["two_moons"].posterior
    return float(
        np.mean(
            [
                c2st(exact(rng, np.asarray(x), n), d[:n])
                for x, d in zip(observed, draws, strict=True)
            ]
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="vardax alone, few steps")
    parser.add_argument("--sbi-python", default="", help="interpreter that has the sbi package")
    parser.add_argument("--simulations", type=int, default=10000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--observations", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.simulations, options.samples, options.observations = 1000, 100, 1
        options.sbi_python = ""
    key = jax.random.key(0)
    task = TASKS["two_moons"]
    theta, x = task.simulate(jax.random.fold_in(key, 0), options.simulations)
    test_theta, test_x = task.simulate(jax.random.fold_in(key, 1), 2000)
    _, observed = task.simulate(jax.random.fold_in(key, 2), options.observations)
    figures: dict = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(
            folder / "data.npz",
            theta=theta,
            x=x,
            test_theta=test_theta,
            test_x=test_x,
            observed=observed,
        )
        target = -jnp.inf
        if options.sbi_python:
            figures["sbi_npe"] = run_sbi(options.sbi_python, folder, "npe", options.samples)
            figures["sbi_npse"] = run_sbi(options.sbi_python, folder, "npse", options.samples)
            target = figures["sbi_npe"]["log_q"]
            figures["sbi_npse"]["c2st"] = mean_c2st(
                np.load(folder / "draws.npy"), observed, options.samples
            )
    settings = simulation_settings("flow", options.simulations)
    score_settings = None
    if options.quick:
        settings = FitSettings(n_steps=100, check_every=50)
        score_settings = FitSettings(n_steps=100, check_every=50)
    test = simulation_batch(test_theta, test_x)
    figures["flow"] = flow_training(theta, x, test, target, settings, jax.random.fold_in(key, 3))
    start = time.perf_counter()
    score = fit_simulations(
        theta,
        x,
        head_type="score",
        support=box(-task.bound, task.bound),
        settings=score_settings,
        key=jax.random.fold_in(key, 4),
    ).posterior
    figures["score"] = score_sampling(score, observed, options.samples)
    figures["score"]["training_seconds"] = time.perf_counter() - start
    draws = [
        np.asarray(draw(score, o, jax.random.fold_in(key, 50 + i), options.samples))
        for i, o in enumerate(observed)
    ]
    figures["score"]["c2st"] = mean_c2st(draws, observed, options.samples)
    bars = []
    for name in ("sbi_npe", "flow", "sbi_npse", "score"):
        if name in figures:
            numbers = figures[name].items()
            shown = "  ".join(
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers
            )
            print(f"{name:10}{shown}")
    if options.sbi_python:
        ours = figures["flow"]["seconds_to_target"]
        ratio = figures["sbi_npe"]["training_seconds"] / ours if ours else 0.0
        faster = figures["score"]["samples_per_second"] / figures["sbi_npse"]["samples_per_second"]
        excess = figures["score"]["c2st"] - figures["sbi_npse"]["c2st"]
        bars = [
            {
                "name": "flow training, times faster than NPE to its held-out log-density",
                "value": ratio,
                "bar": FLOW_BAR,
                "pass": ratio >= FLOW_BAR,
            },
            {
                "name": "score sampling, times faster than NPSE",
                "value": faster,
                "bar": SCORE_BAR,
                "pass": faster >= SCORE_BAR,
            },
            {
                "name": "score C2ST less that of NPSE",
                "value": excess,
                "bar": 0.0,
                "pass": excess <= 0.0,
            },
        ]
    print(json.dumps({"name": "amortized_speed", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
