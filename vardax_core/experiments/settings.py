"""What defines an experiment, as validated settings with a digest."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_serializer,
    model_validator,
)

from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import ONLY_REPORTED, OPERATIONAL, Recipe
from vardax_core.data.scalars import Duration
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.experiments.problem import prior_of
from vardax_core.methods.base import AbstractMethod, TrainingSettings
from vardax_core.methods.registry import method_of, registered_methods

TRAINING_REVISION = 11
"""Part of the digest of trained weights; raised when a change of code changes what all of them
mean. A method has a number of its own beside it, see `AbstractMethod.revision`."""

DEFAULT_SEED = 1
"""Stores of cycles with another seed have it in their names."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExperimentSettings(_Settings):
    """How the observations of a recipe are assimilated; part of the identity of a store."""

    method: str = Field(description="Name of the analysis method.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the method that are not the usual ones."
    )
    members: int = Field(24, ge=2, le=1000, description="Ensemble members.")
    seed: int = Field(DEFAULT_SEED, ge=0, description="Seed of everything random in the cycle.")
    training: TrainingSettings = Field(
        default_factory=TrainingSettings, description="Training of a method that learns."
    )
    cut_off: Duration | None = Field(
        None,
        description="Time after an analysis time up to which observations are waited for; by "
        "default all that ever arrive are used.",
    )
    lag: int = Field(
        0,
        ge=0,
        le=48,
        description="Later analyses that a smoothed analysis waits for; 0 for no smoothing.",
    )
    precision: Literal["bfloat16", "float32", "float64"] = Field(
        "float32",
        description="Floating-point type of the cycle and of the store; bfloat16 is that of the "
        "network alone, beside float32.",
    )

    @model_validator(mode="after")
    def _of_the_method(self) -> "ExperimentSettings":
        if self.precision == "bfloat16" and not self.analysis.half_precision:
            raise ValueError(
                f"precision bfloat16 is for the network of a method that can compute in it, and "
                f"method {self.method} has none; choose float32 or float64."
            )
        return self

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        method_of(name)
        return name

    @field_validator("options")
    @classmethod
    def _canonical(cls, options: dict[str, Any], info: Any) -> dict[str, Any]:
        """The options as the method takes them, without those that have their default."""
        return method_of(info.data["method"], options).chosen if "method" in info.data else options

    @property
    def analysis(self) -> AbstractMethod:
        """The method with its options."""
        return method_of(self.method, self.options)

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Later settings show only where they are chosen, so that older digests stay."""
        later: dict[str, Any] = {"options": {}, "cut_off": None, "lag": 0, "precision": "float32"}
        return {k: v for k, v in write(self).items() if k not in later or v != later[k]}

    @property
    def dtype(self) -> str:
        """Type of states, observations and everything stored, by NumPy's name."""
        return "float32" if self.precision == "bfloat16" else self.precision

    @property
    def variant(self) -> str:
        """What else than the method tells the experiment's stores apart; empty for the usual."""
        return variant_of(self.cut_off, self.lag, self.seed, self.precision)

    def label(self, usual: Mapping[str, Any]) -> str:
        """The method, what is not usual about its settings, and the variant: for names and paths.

        Arguments:
            usual: settings of the method that the recipe names.
        """
        own = method_of(self.method, usual).chosen
        changed = sorted(k for k in own.keys() | self.options if own.get(k) != self.options.get(k))
        parts = (f"{key}-{self.options.get(key, 'default')}" for key in changed)
        text = "-".join(part for part in (self.method, *parts, self.variant) if part)
        return re.sub(r"[^A-Za-z0-9.-]+", "-", text)

    def latency(self, recipe: Recipe) -> timedelta:
        """Real time to wait after an analysis time: for the data, and for the cut-off."""
        return max(recipe.latency, self.cut_off or timedelta(0))


def variant_of(cut_off: timedelta | None, lag: int, seed: int | None, precision: str) -> str:
    """The settings that are not the usual ones, for names and paths."""
    parts = []
    if cut_off is not None:
        parts.append(f"cut-off-{duration_to_minutes(cut_off)}min")
    if lag:
        parts.append(f"lag-{lag}")
    if seed not in (None, DEFAULT_SEED):
        parts.append(f"seed-{seed}")
    if precision != "float32":
        parts.append(precision)
    return "-".join(parts)


def default_settings(recipe: Recipe, method: str) -> ExperimentSettings:
    """The settings that a recipe's experiments start from.

    Raises:
        UnknownNameError: if there is no such method.
    """
    options = usual_options(recipe, method)
    steps = method_of(method, options).usual_steps(prior_of(recipe))
    return ExperimentSettings(
        method=method,
        options=options,
        members=recipe.members or recipe.source.usual_members,
        training=TrainingSettings(steps=steps),
    )


def available_methods(recipe: Recipe) -> tuple[str, ...]:
    """The methods for which a recipe has all that is needed, from low to high skill."""
    return tuple(name for name in registered_methods() if lack_of(recipe, name) is None)


def usual_methods(recipe: Recipe, points: int | None = None) -> tuple[str, ...]:
    """The methods that a run compares where none is named: those that the recipe names, or those
    that are usual.

    Arguments:
        points: of the grid; None where that is not known yet.

    Raises:
        RecipeError: if the recipe names a method or a setting that there is not, or one that it
            cannot be run with.
    """
    if recipe.methods:
        for name, options in recipe.methods.items():
            try:
                method = method_of(name, options)
            except ValueError as error:
                raise RecipeError(f"Recipe '{recipe.name}', methods: {error}") from error
            require_method(recipe, method)
        return tuple(name for name in registered_methods() if name in recipe.methods)
    prior = prior_of(recipe)
    return tuple(n for n in available_methods(recipe) if method_of(n).usual(prior, points))


def main_method(recipe: Recipe) -> str:
    """The method that a recipe is run with where none is named: the usual one of highest skill."""
    return usual_methods(recipe)[-1]


def usual_options(recipe: Recipe, method: str) -> dict[str, Any]:
    """The settings of a method that a recipe names."""
    return dict((recipe.methods or {}).get(method, {}))


def lack_of(recipe: Recipe, method: str) -> str | None:
    """What a recipe lacks for a method, in a sentence; None if nothing.

    Raises:
        UnknownNameError: if there is no such method.
    """
    return method_of(method, usual_options(recipe, method)).lack_with(prior_of(recipe))


def require_method(recipe: Recipe, method: AbstractMethod) -> None:
    """Refuse a method for which a recipe has not all that is needed.

    Raises:
        RecipeError: saying what it lacks, and which methods there are.
    """
    lack = method.lack_with(prior_of(recipe))
    if lack is not None:
        known = ", ".join(available_methods(recipe))
        raise RecipeError(
            f"Recipe '{recipe.name}' cannot be run with the method {method.name}: {lack}. Methods "
            f"that it can be run with: {known}."
        )


def require_training(recipe: Recipe) -> None:
    """Refuse a recipe that gives no method anything to learn from.

    Raises:
        RecipeError: its source is a file, and it has neither a training period nor forecasts.
    """
    known = recipe.source.simulates or recipe.reported or recipe.forecast_files is not None
    if not known and recipe.training is None:
        raise RecipeError(
            f"Recipe '{recipe.name}' has no period 'training', from which every method learns "
            "before it can be run; add one to the recipe, with a start and an end before "
            f"{recipe.period.start:%Y-%m-%dT%H:%M}, where its period begins."
        )


def smoothed_methods(recipe: Recipe) -> tuple[str, ...]:
    """The methods whose members are carried from cycle to cycle, so that a lag means something;
    none where each cycle has those of a forecast from files."""
    if recipe.forecast_files is not None:
        return ()
    prior = prior_of(recipe)
    return tuple(n for n in available_methods(recipe) if method_of(n).carries_members(prior))


def analysis_chain(recipe: Recipe, method: AbstractMethod) -> tuple[str, ...]:
    """The methods that may make an analysis, by their number in the store: the chosen one, those
    that step in for it, the background, and members drawn from the climate."""
    return (method.name, *method.fallbacks(prior_of(recipe)), "background", "climate")


SEGMENT_BYTES = 4 * 2**20
"""Size aimed at for one segment of one ensemble."""
LONGEST_SEGMENT = 500
SHORTEST_SEGMENT = 4
LARGEST_SEGMENT_BYTES = 128 * 2**20
"""Of one ensemble in one segment of more than one cycle; some segments are in memory at a time."""


def segment_cycles(ensemble_bytes: int) -> int:
    """Cycles in one commit, so that its objects are of 1 to 16 MB and a crash costs little.

    Arguments:
        ensemble_bytes: size of one ensemble.
    """
    fitting = max(1, LARGEST_SEGMENT_BYTES // ensemble_bytes)
    usual = max(SHORTEST_SEGMENT, SEGMENT_BYTES // ensemble_bytes)
    return min(LONGEST_SEGMENT, usual, fitting)


def digest_of(**parts: object) -> str:
    """sha256 of settings in canonical JSON."""
    plain = {
        name: part.model_dump(mode="json") if isinstance(part, BaseModel) else part
        for name, part in parts.items()
    }
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def experiment_digest(recipe: Recipe, settings: ExperimentSettings) -> str:
    """Digest of all that decides the content of a store.

    The end of the period is left out, so that a store can be carried on, and so is what only
    people read.
    """
    return digest_of(recipe=deciding_values(recipe), settings=settings)


def deciding_values(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe that `experiment_digest` covers, in JSON types."""
    return recipe.model_dump(
        mode="json",
        exclude={
            "title": True,
            "attribution": True,
            "period": {"end"},
            "forecast": {"timeout", "parallel"},
            "members": True,
            "methods": True,
            **dict.fromkeys((*ONLY_REPORTED, *OPERATIONAL), True),
        },
    )


def observation_digest(recipe: Recipe) -> str:
    """Digest of all that decides the observations of a recipe, whatever is done with them."""
    return digest_of(recipe=observing_values(recipe))


def observing_values(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe that `observation_digest` covers, in JSON types."""
    people = ("title", "attribution", "burn_in", "latency", "members", "methods", *OPERATIONAL)
    apart: dict[str, Any] = dict.fromkeys((*people, "training", "cycle_interval", "balance"), True)
    if recipe.forecast_files is None:
        apart["forecast"] = True
    return recipe.model_dump(mode="json", exclude=apart | {"period": {"end"}})


def training_digest(recipe: Recipe, settings: ExperimentSettings, data: str) -> str:
    """Digest of all that decides trained weights.

    Arguments:
        recipe: the noise does not matter, nor, where fields are learned from, which stations were
            drawn; how many there are, does.
        settings: the experiment's.
        data: digest of the training data.
    """
    plain = recipe.model_dump(mode="json")
    kept = {
        name: plain[name] for name in ("variable", "training", "cycle_interval", "window", "source")
    }
    kept["network"] = {"kind": recipe.network.kind}
    if recipe.source.simulates:
        kept["network"] = plain["network"]
    if "further" in plain:
        kept["further"] = plain["further"]
    if recipe.training is not None:
        kept["network"] = {k: v for k, v in plain["network"].items() if k != "seed"}
        kept |= {name: plain[name] for name in ("binning", "screening") if name in plain}
    if recipe.reported:
        own = ("streams", "grid", "prior", "withheld", "state_dims", "period")
        kept |= {name: plain[name] for name in own if name in plain}
        if any(stream.bias is not None for stream in recipe.streams or ()):
            # Earlier versions kept biases by the numbers that platforms had in their period.
            kept["biases"] = "by name"
    kept["error_sd"] = recipe.error_sd
    revision = settings.analysis.revision(prior_of(recipe))
    kept["revision"] = [TRAINING_REVISION, revision] if revision else TRAINING_REVISION
    if settings.precision == "bfloat16":
        # Weights that work in another type than their gates were checked in are not proven.
        kept["network"]["precision"] = settings.precision
    if settings.analysis.learns and settings.options:
        kept["options"] = settings.options
    return digest_of(recipe=kept, training=settings.training, members=settings.members, data=data)
