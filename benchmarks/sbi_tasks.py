"""How well the heads find posteriors that are known exactly, beside published results of NPE.

C2ST is the accuracy of a classifier that tells samples of the head from the exact posterior: 0.5
is perfect. Protocol: z-scored by the reference, two hidden layers of 10 d units, relu, adam, mean
accuracy of five folds. Heads know the support of the prior and draw nothing outside of it.

Published column: NPE with a neural spline flow, sbibm (Lueckmann et al. 2021, arXiv:2101.04653).

    python benchmarks/sbi_tasks.py --budgets 1000 10000 --tasks two_moons --heads flow score
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

from vardax_core.analysis.amortized.support import EVERYWHERE, box
from vardax_core.training.fit import FitSettings
from vardax_core.training.simulations import fit_simulations, simulation_batch


@dataclass(frozen=True)
class Task:
    """A simulator with its exact posterior.

    Attributes:
        simulate: (key, n) -> parameters and data.
        posterior: (generator, data, n) -> exact draws.
        bound: parameters outside of +-bound have no prior density; infinite for a Gaussian prior.
        published: C2ST of NPE by number of simulations.
    """

    simulate: Callable
    posterior: Callable
    bound: float
    published: dict[int, float]


def _gaussian_linear(key, n):
    prior_key, noise_key = jax.random.split(key)
    theta = 0.1**0.5 * jax.random.normal(prior_key, (n, 10))
    return theta, theta + 0.1**0.5 * jax.random.normal(noise_key, (n, 10))


def _gaussian_linear_uniform(key, n):
    prior_key, noise_key = jax.random.split(key)
    theta = jax.random.uniform(prior_key, (n, 10), minval=-1.0, maxval=1.0)
    return theta, theta + 0.1**0.5 * jax.random.normal(noise_key, (n, 10))


def _truncated(rng, x, n):
    out = np.empty((n, x.size))
    for i, centre in enumerate(x):
        kept = np.empty(0)
        while kept.size < n:
            draws = rng.normal(centre, 0.1**0.5, 8 * n)
            kept = np.concatenate([kept, draws[np.abs(draws) < 1]])
        out[:, i] = kept[:n]
    return out


def _two_moons(key, n):
    prior_key, angle_key, radius_key = jax.random.split(key, 3)
    theta = jax.random.uniform(prior_key, (n, 2), minval=-1.0, maxval=1.0)
    angle = jax.random.uniform(angle_key, (n,), minval=-jnp.pi / 2, maxval=jnp.pi / 2)
    radius = 0.1 + 0.01 * jax.random.normal(radius_key, (n,))
    crescent = jnp.stack([radius * jnp.cos(angle) + 0.25, radius * jnp.sin(angle)], axis=-1)
    total, difference = theta[:, 0] + theta[:, 1], theta[:, 1] - theta[:, 0]
    return theta, crescent + jnp.stack([-jnp.abs(total), difference], axis=-1) / 2**0.5


def _two_moons_posterior(rng, x, n):
    kept = np.empty((0, 2))
    while len(kept) < n:
        angle = rng.uniform(-np.pi / 2, np.pi / 2, 4 * n)
        radius = rng.normal(0.1, 0.01, 4 * n)
        first = rng.choice([-1, 1], 4 * n) * (radius * np.cos(angle) + 0.25 - x[0])
        second = x[1] - radius * np.sin(angle)
        theta = np.stack([first - second, first + second], axis=-1) / 2**0.5
        kept = np.concatenate([kept, theta[(np.abs(theta) < 1).all(axis=1)]])
    return kept[:n]


def _gaussian_mixture(key, n):
    prior_key, part_key, noise_key = jax.random.split(key, 3)
    theta = jax.random.uniform(prior_key, (n, 2), minval=-10.0, maxval=10.0)
    sd = jnp.where(jax.random.bernoulli(part_key, 0.5, (n, 1)), 1.0, 0.1)
    return theta, theta + sd * jax.random.normal(noise_key, (n, 2))


def _gaussian_mixture_posterior(rng, x, n):
    kept = np.empty((0, 2))
    while len(kept) < n:
        sd = rng.choice([1.0, 0.1], (8 * n, 1))
        theta = x + sd * rng.standard_normal((8 * n, 2))
        kept = np.concatenate([kept, theta[(np.abs(theta) < 10).all(axis=1)]])
    return kept[:n]


def _slcp_parts(theta):
    """Mean and Cholesky factor of the four points of SLCP."""
    first, second = theta[..., 2] ** 2, theta[..., 3] ** 2
    slope = jnp.tanh(theta[..., 4])
    return theta[..., :2], first, slope * second, second * jnp.sqrt(1 - slope**2 + 1e-6)


def _slcp(key, n):
    prior_key, noise_key = jax.random.split(key)
    theta = jax.random.uniform(prior_key, (n, 5), minval=-3.0, maxval=3.0)
    mean, first, below, second = _slcp_parts(theta)
    noise = jax.random.normal(noise_key, (n, 4, 2))
    one = mean[:, None, 0] + first[:, None] * noise[..., 0]
    other = mean[:, None, 1] + below[:, None] * noise[..., 0] + second[:, None] * noise[..., 1]
    return theta, jnp.stack([one, other], axis=-1).reshape(n, 8)


def _slcp_log_likelihood(theta, x):
    mean, first, below, second = _slcp_parts(theta)
    points = x.reshape(4, 2)
    z = (points[:, 0] - mean[0]) / first
    w = (points[:, 1] - mean[1] - below * z) / second
    return -0.5 * jnp.sum(z**2 + w**2) - 4 * (jnp.log(first) + jnp.log(second))


MOVES, LEAST_POWER = 600, 0.01
"""Of the chains; and the power of the likelihood that they begin with."""


@jax.jit
def _slcp_chains(key, x):
    """10 000 chains: from draws of the prior resampled by a small power of their likelihood, with
    steps that are differences of two other chains and signs that flip. In the first half the power
    rises to one, and chains are resampled by what it adds: of the whole likelihood at once, a
    handful of draws would start all chains, and their differences would be zero.

    Source: ter Braak (2006), doi:10.1007/s11222-006-8769-1; Del Moral et al. (2006),
    doi:10.1111/j.1467-9868.2006.00553.x, on the powers.
    """
    log_likelihood = jax.vmap(lambda theta: _slcp_log_likelihood(theta, x))
    start_key, choose_key, run_key = jax.random.split(key, 3)
    many = jax.random.uniform(start_key, (400_000, 5), minval=-3.0, maxval=3.0)
    weight = log_likelihood(many)
    # By the sum of the weights: noise for each of them and each chain would take 64 GB.
    likely = jax.nn.softmax(LEAST_POWER * weight)
    chains = many[jax.random.choice(choose_key, len(many), (10_000,), p=likely)]

    def power_at(number):
        return LEAST_POWER ** jnp.clip(1 - 2 * number / MOVES, 0.0, 1.0)

    def move(number, state):
        chains, now = state
        keys = jax.random.split(jax.random.fold_in(run_key, number), 7)
        power = power_at(number)
        likely = jax.nn.softmax((power - power_at(number - 1)) * now)
        kept = jax.random.choice(keys[6], 10_000, (10_000,), p=likely)
        kept = jnp.where(2 * number <= MOVES, kept, jnp.arange(10_000))
        chains, now = chains[kept], now[kept]
        a, b = (chains[jax.random.permutation(k, 10_000)] for k in keys[:2])
        factor = jnp.where(jax.random.bernoulli(keys[2], 0.1), 1.0, 0.75)
        jitter = 1e-4 * jax.random.normal(keys[3], chains.shape)
        flips = jnp.where(jax.random.bernoulli(keys[4], 0.1, (10_000, 2)), -1.0, 1.0)
        ones = jnp.ones((10_000, 1))
        signs = jnp.concatenate([ones, ones, flips, ones], axis=1)
        tried = signs * (chains + factor * (a - b) + jitter)
        inside = jnp.all(jnp.abs(tried) < 3, axis=1)
        then = jnp.where(inside, log_likelihood(tried), -jnp.inf)
        taken = jnp.log(jax.random.uniform(keys[5], (10_000,))) < power * (then - now)
        return jnp.where(taken[:, None], tried, chains), jnp.where(taken, then, now)

    return jax.lax.fori_loop(0, MOVES, move, (chains, log_likelihood(chains)))[0]


def _slcp_posterior(rng, x, n):
    draws = np.asarray(_slcp_chains(jax.random.key(int(rng.integers(1 << 31))), jnp.asarray(x)))
    return draws[rng.permutation(len(draws))[:n]]


TASKS = {
    "gaussian_linear": Task(
        _gaussian_linear,
        lambda rng, x, n: x / 2 + 0.05**0.5 * rng.standard_normal((n, 10)),
        np.inf,
        {1000: 0.694, 10000: 0.552, 100000: 0.506},
    ),
    "gaussian_linear_uniform": Task(_gaussian_linear_uniform, _truncated, 1.0, {}),
    "two_moons": Task(
        _two_moons, _two_moons_posterior, 1.0, {1000: 0.725, 10000: 0.606, 100000: 0.542}
    ),
    "gaussian_mixture": Task(_gaussian_mixture, _gaussian_mixture_posterior, 10.0, {}),
    "slcp": Task(_slcp, _slcp_posterior, 3.0, {}),
}

BARS = {
    ("gaussian_linear", "regression"): 0.52,
    ("gaussian_linear", "flow"): 0.55,
    ("gaussian_linear", "score"): 0.54,
    ("two_moons", "flow"): 0.58,
    ("two_moons", "score"): 0.53,
    ("gaussian_linear_uniform", "flow"): 0.53,
    ("slcp", "flow"): 0.72,
}
"""Largest C2ST at 10000 simulations."""

LOG_Q_BAR = -3.45
"""Largest mean -log q of the flow on two_moons at 10000 simulations."""


def c2st(reference, samples, seed=1, n_jobs=1):
    """Mean accuracy over five folds of a classifier between two equally large sets."""
    mean, sd = reference.mean(axis=0), reference.std(axis=0)
    both = ((np.concatenate([reference, samples]) - mean) / sd).astype(np.float32)
    label = np.repeat([0, 1], [len(reference), len(samples)])
    width = 10 * reference.shape[1]
    classifier = MLPClassifier(
        activation="relu",
        hidden_layer_sizes=(width, width),
        max_iter=10000,
        solver="adam",
        random_state=seed,
    )
    folds = KFold(n_splits=5, shuffle=True, random_state=seed)
    scores = cross_val_score(classifier, both, label, cv=folds, scoring="accuracy", n_jobs=n_jobs)
    return float(scores.mean())


@eqx.filter_jit
def draw(posterior, data, key, n):
    """`n` draws of the parameters given the data of one simulation."""
    return posterior.sample(simulation_batch(None, data[None]), key, n)[0]


@eqx.filter_jit
def _log_prob(posterior, parameters, data):
    return posterior.log_prob(parameters, simulation_batch(None, data))


def evaluate(task_name, head_type, budget, *, n_observations, n_samples, settings, seed, n_jobs):
    """Train one head on one task and compare it with the exact posterior."""
    task = TASKS[task_name]
    key = jax.random.key(seed)
    parameters, data = task.simulate(jax.random.fold_in(key, 0), budget)
    start = time.perf_counter()
    support = box(-task.bound, task.bound) if np.isfinite(task.bound) else EVERYWHERE
    result = fit_simulations(
        parameters,
        data,
        head_type=head_type,
        support=support,
        settings=settings,
        key=jax.random.fold_in(key, 1),
    )
    seconds = time.perf_counter() - start
    _, observed = task.simulate(jax.random.fold_in(key, 2), n_observations)
    rng = np.random.default_rng(seed)
    scores, outside = [], 0.0
    for i, x in enumerate(observed):
        k = jax.random.fold_in(key, 100 + i)
        draws = np.asarray(draw(result.posterior, x, k, n_samples))
        outside = max(outside, float((np.abs(draws) > task.bound).any(axis=1).mean()))
        exact = task.posterior(rng, np.asarray(x), n_samples)
        scores.append(c2st(exact, draws, n_jobs=n_jobs))
        print(
            f"{task_name} {head_type} {budget}: observation {i + 1} of {n_observations}, "
            f"C2ST {scores[-1]:.3f}",
            file=sys.stderr,
            flush=True,
        )
    test_parameters, test_data = task.simulate(jax.random.fold_in(key, 3), 1000)
    n_density = 1000 if head_type != "score" else 100
    log_q = _log_prob(result.posterior, test_parameters[:n_density], test_data[:n_density])
    return {
        "task": task_name,
        "head": head_type,
        "simulations": budget,
        "c2st": float(np.mean(scores)),
        "c2st_each": [round(s, 4) for s in scores],
        "largest_share_outside": outside,
        "npe_published": task.published.get(budget),
        "minus_log_q": float(-jnp.mean(log_q)),
        "training_seconds": round(seconds, 1),
        "steps": result.steps[-1],
        "convergence": result.convergence.words,
    }


def bars_of(rows):
    """The bars that the measured rows are held against."""
    bars = []
    for row in rows:
        if row["simulations"] != 10000:
            continue
        where = (row["task"], row["head"])
        name = f"{row['task']} {row['head']} at 10000"
        value = row["largest_share_outside"]
        bars.append({"name": f"outside {name}", "value": value, "bar": 0.0, "pass": value == 0})
        if where in BARS:
            value, bar = row["c2st"], BARS[where]
            bars.append({"name": f"C2ST {name}", "value": value, "bar": bar, "pass": value <= bar})
        if where == ("two_moons", "flow"):
            value = row["minus_log_q"]
            bars.append(
                {
                    "name": f"-log q {name}",
                    "value": value,
                    "bar": LOG_Q_BAR,
                    "pass": value <= LOG_Q_BAR,
                }
            )
    return bars


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small case, under a minute")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1000, 10000, 100000])
    parser.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), default=["gaussian_linear", "two_moons"]
    )
    parser.add_argument(
        "--heads",
        nargs="+",
        choices=["regression", "flow", "score"],
        default=["regression", "flow", "score"],
    )
    parser.add_argument("--observations", type=int, default=10)
    parser.add_argument("--samples", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="folds of a C2ST at a time")
    options = parser.parse_args()
    settings = None
    if options.quick:
        options.budgets, options.tasks, options.heads = [1000], ["two_moons"], ["flow"]
        options.observations, options.samples = 1, 1000
        settings = FitSettings(n_steps=300, check_every=100)
    rows = []
    print(f"{'task':24}{'head':12}{'sims':>8}{'C2ST':>8}{'NPE':>8}{'-log q':>9}{'train s':>9}")
    for task in options.tasks:
        for budget in options.budgets:
            for head in options.heads:
                row = evaluate(
                    task,
                    head,
                    budget,
                    n_observations=options.observations,
                    n_samples=options.samples,
                    settings=settings,
                    seed=options.seed,
                    n_jobs=options.jobs,
                )
                published = row["npe_published"]
                print(
                    f"{task:24}{head:12}{budget:>8}{row['c2st']:>8.3f}"
                    f"{'-' if published is None else format(published, '.3f'):>8}"
                    f"{row['minus_log_q']:>9.3f}{row['training_seconds']:>9.1f}",
                    flush=True,
                )
                rows.append(row)
    figures = {
        "rows": rows,
        "observations": options.observations,
        "samples": options.samples,
        "device": jax.devices()[0].device_kind,
    }
    print(json.dumps({"name": "sbi_tasks", "figures": figures, "bars": bars_of(rows)}))


if __name__ == "__main__":
    main()
