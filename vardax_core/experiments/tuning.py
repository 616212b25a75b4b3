"""A method's own settings, found on trial cycles and kept with where they come from."""

import abc
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

import vardax_core
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.ingest import SIMULATED, Ingested, ingest
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import simulated_grid, state_grid
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.held_out import compiled_once
from vardax_core.experiments.learning import prepare_method
from vardax_core.experiments.prepared import experiment_key
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.settings import ExperimentSettings, digest_of, experiment_digest
from vardax_core.experiments.trial import (
    TrialPlan,
    cycle_trial,
    learn_for_trial,
    trial_recipe,
    usual_count,
)
from vardax_core.files import write_atomically
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.tuning import choose
from vardax_core.training.twin_cycles import TwinPlan
from vardax_core.training.twin_scores import errors_of_cycles


class NothingToTuneError(ValueError):
    """A method without settings that trial cycles could find, or one that tuning does not serve."""


class TuningPlan(NamedTuple):
    """How candidates are compared: all on few streams, the best of them again on others.

    Attributes:
        streams: of simulated truths, in either round.
        cycles: of each that count, in either round.
        spin_up: cycles before them.
    """

    streams: tuple[int, int] = (4, 16)
    cycles: tuple[int, int] = (200, 500)
    spin_up: int = 100


class Tuned(NamedTuple):
    """Settings that were found, and where they come from.

    Attributes:
        options: the settings that are not the usual ones.
        record: candidates and their scores, digests, versions.
    """

    options: dict[str, Any]
    record: dict[str, Any]


def tuned_path(experiment: Experiment) -> Path:
    """Where tuned settings of an experiment's method are kept."""
    return experiment.root / "tuned" / f"{experiment.recipe.name}-{experiment.settings.method}.json"


def tuned_options(experiment: Experiment) -> dict[str, Any]:
    """The tuned settings of the experiment's method; none if it was not tuned for this recipe and
    ensemble size."""
    path = tuned_path(experiment)
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text())
    fits = kept["record"]["digest"] == tuning_digest(experiment.recipe, experiment.settings)
    return dict(kept["options"]) if fits else {}


def tuning_digest(recipe: Recipe, settings: ExperimentSettings) -> str:
    """Digest of what tuned settings are for: the recipe, whatever is drawn, and the members."""
    values = recipe.model_dump(mode="json")
    for section in ("network", "observation", "source"):
        values[section].pop("seed", None)
    for name in ("title", "attribution", "period", "methods", "members"):
        values.pop(name, None)
    return digest_of(recipe=values, members=settings.members, method=settings.method)


def tune(
    experiment: Experiment,
    plan: TuningPlan = TuningPlan(),  # noqa: B008 (a tuple)
    *,
    path: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Find the settings with which a method errs least in trial cycles, and keep them.

    Where the truth is simulated, the trials are other truths than the recipe's; else they are the
    last part of the training period, seen by other stations, with what was learned before it.

    Arguments:
        experiment: with the method.
        plan: how long the trials are.
        path: where the file of the nature run is; see `open_nature_run`.
        say: called with each candidate's score in words.

    Raises:
        NothingToTuneError: if the method has no such settings, or learns them.
        ValueError: if every candidate loses its truth.
    """
    method, prior = experiment.settings.analysis, prior_of(experiment.recipe)
    if method.learns:
        raise NothingToTuneError(
            f"{experiment.name}: what this method does is learned, not tuned; train it: vardax "
            "train."
        )
    if not prior.simulates and (experiment.recipe.reported or experiment.recipe.training is None):
        raise NothingToTuneError(
            f"{experiment.name}: settings are tried on simulated truths or on the fields of a "
            "training period, and the recipe has neither; set them in its `methods`."
        )
    trials: type[_AbstractTrials] = _SimulatedTrials if prior.simulates else _FieldTrials
    with tempfile.TemporaryDirectory(prefix="vardax-tune-") as folder:
        trial = trials(experiment, plan, path, Path(folder))
        found = method.candidates(trial.grid)
        if not found:
            raise NothingToTuneError(
                f"{experiment.name}: this method has no settings to tune; run it as it is."
            )
        candidates = {_name(options): options for options in ({}, *found)}
        best = choose(
            tuple(candidates),
            lambda name, number: trial.errors(candidates[name], number),
            trial.climate_sd,
            say=say,
        )
    options = candidates[best.name]
    record = {
        "digest": tuning_digest(experiment.recipe, experiment.settings),
        "dataset": experiment.recipe.name,
        "method": method.name,
        "members": experiment.settings.members,
        "rmse": best.score,
        "streams": best.streams,
        "scores": dict(best.scores),
        "code_version": vardax_core.__version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found = Tuned(options, record)
    content = json.dumps(found._asdict(), indent=1) + "\n"
    write_atomically(tuned_path(experiment), content.encode())
    return found


def _name(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in options.items()) or "as it is"


class _AbstractTrials(abc.ABC):
    """Cycles in which candidates are compared.

    Attributes:
        grid: of a state.
        climate_sd: standard deviation of the climate.
    """

    grid: AbstractGrid
    climate_sd: float

    @abc.abstractmethod
    def __init__(self, experiment: Experiment, plan: TuningPlan, path: Any, folder: Path): ...

    @abc.abstractmethod
    def errors(self, options: dict[str, Any], number: int) -> Float[np.ndarray, "stream cycle"]:
        """RMSE of every cycle of a round with some settings changed."""


class _SimulatedTrials(_AbstractTrials):
    """Trials on truths that the model simulates."""

    def __init__(self, experiment: Experiment, plan: TuningPlan, path: object, folder: Path):
        self.recipe, self.settings = experiment.recipe, experiment.settings
        self.registry, self.plan = experiment.registry, plan
        self.prior = prior_of(self.recipe)
        self.grid = simulated_grid(self.recipe)
        _, self.climate_sd = self.prior.rough_climate
        if self.recipe.channels:
            first = self.prior.climatology.square_root[0]
            self.climate_sd = float(np.sqrt(np.mean(np.sum(np.square(first), axis=-1))))

    def errors(self, options: dict[str, Any], number: int) -> Float[np.ndarray, "stream cycle"]:
        settings = _with(self.settings, options)
        prepared = prepare_method(self.recipe, settings, self.registry, self.grid, data=SIMULATED)
        key = cycle_key(experiment_key(settings.seed), number, Purpose.TUNING)
        streams = TwinPlan(
            streams=self.plan.streams[number],
            cycles=self.plan.cycles[number],
            spin_up=self.plan.spin_up,
            members=settings.members,
            start_sd=self.recipe.error_sd,
        )
        return np.asarray(_cycled(prepared.program, self.recipe, self.prior, streams, key))


def _cycled(
    program: CycleProgram, recipe: Recipe, prior: Any, streams: TwinPlan, key: Array
) -> Array:
    def run(program: CycleProgram, near: Array, key: Array) -> Array:
        return errors_of_cycles(program, FixedNetwork(recipe.error_sd), near, streams, key=key)

    # Arrays that are no arguments are constants, with which a compiler computes.
    compiled = eqx.filter_jit(run, **compiled_once(program.model))
    return compiled(program, prior.climatology.mean[0], key)


class _FieldTrials(_AbstractTrials):
    """Trials on the last part of a training period, with what was learned from its first part."""

    def __init__(
        self, experiment: Experiment, plan: TuningPlan, path: str | Path | None, folder: Path
    ):
        self.settings, self.folder = experiment.settings, folder
        count = usual_count(experiment.recipe)
        self.recipes = [
            trial_recipe(experiment.recipe, TrialPlan(), count, draw) for draw in (1, 2)
        ]
        self.ingested: Sequence[Ingested] = [ingest(recipe, path=path) for recipe in self.recipes]
        self.maker = Experiment(self.recipes[0], self.settings, folder)
        learn_for_trial(self.maker, self.ingested[0], lambda *_: None)
        nature = self.ingested[0].nature_run
        assert nature is not None, "trials are of recipes with a truth"
        self.grid = state_grid(nature, experiment.recipe)
        field = nature[experiment.recipe.variable.name]
        self.climate_sd = float((field - field.mean("time")).std())

    def errors(self, options: dict[str, Any], number: int) -> Float[np.ndarray, "stream cycle"]:
        settings = _with(self.settings, options)
        stores = self.folder / f"{number}-{experiment_digest(self.recipes[number], settings)[:12]}"
        made = Experiment(self.recipes[number], settings, self.folder, str(stores))
        statistics = cycle_trial(
            made, self.ingested[number], replace(self.maker, settings=settings)
        )
        return statistics["rmse"].to_numpy()[None]


def _with(settings: ExperimentSettings, options: dict[str, Any]) -> ExperimentSettings:
    plain = {"options": {**settings.options, **options}, "lag": 0, "cut_off": None}
    return ExperimentSettings.model_validate(settings.model_dump() | plain)
