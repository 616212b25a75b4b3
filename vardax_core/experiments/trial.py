"""Trial cycles of an analysis that learned from one period of real data.

Truths like those of a twin cannot be simulated for real weather. What can be held out is time: the
same training on the first part of its period gives a sibling of the weights, which is cycled
through the rest, over networks that nobody trained on, beside a rival that its method names and
that learns from the same fields. The weights themselves are cycled there too; they have met these
fields, but not these stations, and damage shows.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from vardax_core.calibration.gates.base import run_gates, unsaid
from vardax_core.calibration.gates.context import GateContext
from vardax_core.calibration.gates.report import Judgement
from vardax_core.calibration.gates.trial import SCORES, SPREAD_FAULT, Interval, ScoreGate
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.data.errors import RecipeError
from vardax_core.data.ingest import Ingested, ingest
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.methods.priors import Progress
from vardax_core.words import counted

FEWEST_CYCLES = 8
SKILL_FAULT = "the rival with the same knowledge is better"
SIBLING, WEIGHTS, RIVAL = "trained without these days", "these weights", "rival"


class TrialPlan(NamedTuple):
    """How trial cycles are made.

    Attributes:
        share: last part of the training period that the sibling does not train on.
        densities: numbers of stations, relative to the recipe's.
        draws: networks of each density.
        seed: added to the recipe's seeds for the first of them.
    """

    share: float = 0.25
    densities: tuple[float, ...] = (0.25, 1.0, 2.0)
    draws: int = 1
    seed: int = 1000


class Trial(NamedTuple):
    """Scores of the trial cycles, by who made the analyses and by network.

    Attributes:
        scores: of the sibling, the weights and the reference, by part of the trial: a network, or
            a half of the day.
        cycles: on all networks together.
        days: that were cycled.
    """

    scores: Mapping[str, Mapping[str, Scores]]
    cycles: int
    days: str


def trial_times(recipe: Recipe, share: float) -> tuple[datetime, datetime]:
    """First and last analysis time in the last part of the training period, on the recipe's grid;
    the last lies before the first if there is none."""
    training, interval = recipe.training, recipe.cycle_interval
    assert training is not None, "what is learned from a file has a training period"
    held_out = (training.end - training.start) * share
    first = recipe.period.start - (recipe.period.start - training.end + held_out) // interval * (
        interval
    )
    return first, first + (training.end - first) // interval * interval


def trial_recipe(recipe: Recipe, plan: TrialPlan, stations: int | None, draw: int) -> Recipe:
    """The recipe of trial cycles: its training and its period are parts of the recipe's training.

    Arguments:
        stations: how many are drawn, None where the recipe draws none.

    Raises:
        RecipeError: if the training period is too short to be divided, or there is no truth to try
            by.
    """
    if recipe.reported:
        raise RecipeError(
            f"Recipe '{recipe.name}': trial cycles compare with a truth, and its observations are "
            "real; compare settings by their reports on withheld observations: vardax run "
            f"{recipe.name} -m METHOD --set KEY=VALUE."
        )
    first, last = trial_times(recipe, plan.share)
    values = recipe.model_dump(mode="json")
    before = first - max(recipe.cycle_interval, recipe.window.times * recipe.window.spacing)
    values["training"]["end"] = before.isoformat()
    values["period"] = {"start": first.isoformat(), "end": last.isoformat()}
    values["burn_in"] = 0
    values["observation"]["seed"] += plan.seed + draw
    usual = recipe.network.draw
    if usual is not None:
        values["network"] |= {"count": stations, "seed": usual.seed + plan.seed + draw}
    return validate_recipe(values, f"{recipe.name}, trial")


def networks_of(recipe: Recipe, plan: TrialPlan, points: int) -> dict[str, Recipe]:
    """The recipes of all trial cycles by name of their network.

    Arguments:
        points: of the grid, which limit the number of stations.
    """
    counts: list[int | None] = [None]
    usual = usual_count(recipe)
    if usual is not None:
        most = points - withheld_beside(recipe)
        counts = [min(max(1, round(density * usual)), most) for density in plan.densities]
    found = {}
    for count in dict.fromkeys(counts):
        for draw in range(1, plan.draws + 1):
            number = f", draw {draw}" if plan.draws > 1 else ""
            name = f"{count or 'all'} stations{number}"
            found[name] = trial_recipe(recipe, plan, count, draw)
    return found


def usual_count(recipe: Recipe) -> int | None:
    """How many stations a recipe draws, None where it draws none."""
    draw = recipe.network.draw
    return None if draw is None else draw.stations


def withheld_beside(recipe: Recipe) -> int:
    """How many stations a recipe sets beside its network to be withheld."""
    withheld = recipe.screening and recipe.screening.withheld
    return withheld.count if withheld and withheld.beside else 0


def run_trial(
    experiment: Experiment, path: str | Path | None, plan: TrialPlan, progress: Progress
) -> Trial:
    """Train the sibling and the reference for a network of the recipe's size, and cycle both and
    the weights on all networks.

    Everything is written to a temporary folder and goes the way of an operational run.

    Arguments:
        experiment: trained.
        path: where the file of the nature run is; see `open_nature_run`.
        progress: called while the sibling is trained.
    """
    learned = experiment.training_run(path)
    assert learned is not None
    points = math.prod(learned.sizes[dim] for dim in experiment.recipe.state_dims)
    settings = experiment.settings.model_copy(update={"lag": 0, "cut_off": None})
    plain = {"method": settings.analysis.rival, "options": {}, "precision": settings.dtype}
    rival = settings.model_copy(update=plain)
    actual = replace(experiment, settings=settings)
    networks = networks_of(experiment.recipe, plan, points)
    usual = trial_recipe(experiment.recipe, plan, usual_count(experiment.recipe), draw=1)
    found: dict[str, dict[str, xr.Dataset]] = {SIBLING: {}, WEIGHTS: {}, RIVAL: {}}
    with tempfile.TemporaryDirectory(prefix="vardax-trial-") as name:
        for network, recipe in networks.items():
            ingested = ingest(recipe, path=path)
            for who, chosen, maker in (
                (SIBLING, settings, None),
                (RIVAL, rival, None),
                (WEIGHTS, settings, actual),
            ):
                stores = Path(name) / who / network
                made = Experiment(recipe, chosen, Path(name), str(stores))
                if maker is None:
                    maker = replace(made, recipe=usual)
                    learn_for_trial(
                        maker, ingested, progress if who == SIBLING else lambda *_: None
                    )
                found[who][network] = cycle_trial(made, ingested, maker)
    scores = {who: _scores(runs, experiment) for who, runs in found.items()}
    recipe = next(iter(networks.values()))
    days = " to ".join(f"{day:%Y-%m-%dT%H:%M}" for day in (recipe.period.start, recipe.period.end))
    return Trial(scores, sum(run.sizes["time"] for run in found[SIBLING].values()), days)


def learn_for_trial(made: Experiment, ingested: Ingested, progress: Progress) -> None:
    """Learn what an experiment's method needs from the training period among what was ingested."""
    training = made.recipe.training
    assert training is not None
    days = slice(*(day.replace(tzinfo=None) for day in (training.start, training.end)))
    assert ingested.nature_run is not None, "trials are of recipes with a truth"
    learned = ingested.nature_run.sel(time=days)
    if made.trained_version(learned) is None:
        made.train(learned, progress)


def cycle_trial(made: Experiment, ingested: Ingested, maker: Experiment) -> xr.Dataset:
    """Statistics of an experiment's cycles with the method of `maker`."""
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    for _ in Assimilation(made, store, maker.prepare(store)).run(pending_cycles(made, store)):
        pass
    return stored_statistics(made.recipe, store.dataset("diagnostics").load())


def _scores(runs: Mapping[str, xr.Dataset], experiment: Experiment) -> dict[str, Scores]:
    """Scores on each network, and on all of them in each half of the day."""
    key, units = jax.random.key(experiment.settings.seed), experiment.recipe.variable.units
    found = {name: compute_scores(run, key=key, units=units) for name, run in runs.items()}
    together = xr.concat(list(runs.values()), "time", combine_attrs="override")
    morning = together["time"].dt.hour < 12
    for half, cycles in (("00 to 12 UTC", morning), ("12 to 24 UTC", ~morning)):
        if cycles.any():
            part = together.isel(time=np.flatnonzero(cycles))
            found[half] = compute_scores(part, key=key, units=units, resamples=0)
    return found


def gates_of(trial: Trial) -> tuple[ScoreGate, ...]:
    """The gates on the scores of a trial.

    The sibling has to be calibrated, unbiased and no worse than its rival on fields that
    it never met. The weights have met them, so that their spread may be too wide there.
    """

    def score(name: str, who: str) -> dict[str, Interval]:
        values = {part: found.values[name] for part, found in trial.scores[who].items()}
        return {part: Interval(v.value, v.lower, v.upper) for part, v in values.items()}

    def ratio(who: str, name: str, other: str, of: str) -> dict[str, Interval]:
        return {
            part: Interval(found[name] / trial.scores[other][part][of], math.nan, math.nan)
            for part, found in trial.scores[who].items()
        }

    gates = []
    for who, widest, most in ((SIBLING, 1.25, 0.97), (WEIGHTS, 1.6, 0.99)):
        crps = ratio(who, "crps_gaussian", RIVAL, "crps_gaussian")
        bias = ratio(who, "bias", who, "rmse")
        spread, coverage = score("spread_over_rmse", who), score("coverage_90", who)
        for name, what, parts, lowest, highest, fault in (
            ("spread", "spread/RMSE", spread, 0.8, widest, SPREAD_FAULT),
            ("coverage", "share of truths in the 90 % interval", coverage, 0.8, most, SPREAD_FAULT),
            ("bias", "bias/RMSE", bias, -0.3, 0.3, "the analysis is biased"),
            ("skill", "CRPS over that of the rival", crps, -math.inf, 1.0, SKILL_FAULT),
        ):
            gates.append(
                ScoreGate(f"{name}, {who}", what, parts, trial.cycles, lowest, highest, fault)
            )
    return tuple(gates)


def _explained(rival: str) -> str:
    return (
        f"{SCORES} The scores are of trial cycles on the last part of the training period. What is "
        f"*{SIBLING}* has learned from the rest of the period in the same way, and has met neither "
        f"the fields nor the stations; *{WEIGHTS}* have met the fields. The rival is {rival}, "
        "learned from that rest, too."
    )


def judge_trial(
    experiment: Experiment, path: str | Path | None, plan: TrialPlan, progress: Progress
) -> Judgement:
    """Run the gates on trial cycles; the scores are the sibling's, over the recipe's own network.

    A training period with too few cycles to hold out does not pass.

    Arguments: those of `run_trial`.
    """
    recipe = experiment.recipe
    first, last = trial_times(recipe, plan.share)
    cycles = (last - first) // recipe.cycle_interval + 1
    if cycles < FEWEST_CYCLES:
        why = (
            f"the last {100 * plan.share:g} % of the training period hold "
            f"{counted(max(cycles, 0), 'cycle')}, of {FEWEST_CYCLES} that are needed; "
            "train on a longer period"
        )
        return Judgement((unsaid("trial", why),), {}, {"trial": "none"}, SCORES)
    trial = run_trial(experiment, path, plan, progress)
    results = run_gates(gates_of(trial), GateContext(tables={}))
    found = trial.scores[SIBLING]
    count = usual_count(recipe) or "all"
    usual = [part for part in found if part.startswith(f"{count} stations")]
    names = ("rmse", "spread_over_rmse", "coverage_90", "crps_gaussian")
    scores = {name: float(np.mean([found[part][name] for part in usual])) for name in names}
    provenance = {
        "trial": f"{counted(trial.cycles, 'cycle')}, {trial.days}, of "
        f"{counted(len(found) - 2, 'observing network')}",
        SIBLING: f"learned from all but the last {100 * plan.share:g} % of the training period",
    }
    explained = _explained(experiment.settings.analysis.rival)
    return Judgement(results, scores, provenance, explained)
