"""What defines an experiment, as validated settings with a digest."""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_serializer,
    model_validator,
)

from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import Duration, Recipe
from vardax_core.data.timeaxis import duration_to_minutes


class Method(StrEnum):
    """The analysis methods that an experiment can cycle."""

    CLIMATOLOGY = "climatology"
    OPTIMAL_INTERPOLATION = "oi"
    ETKF = "etkf"
    AMORTIZED = "amortized"


SMALLEST_RING = 11
"""Points of a ring on which the local analysis of a twin can be learned."""

FALLBACKS = (Method.ETKF, Method.OPTIMAL_INTERPOLATION)
"""What may step in for the amortized analysis of a twin, in this order."""

TRAINING_REVISION = 8
"""Part of the digest of trained weights; raised when a change of code changes what they mean."""

DEFAULT_SEED = 1
"""Stores of cycles with another seed have it in their names."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingSettings(_Settings):
    """How the amortized analysis is trained."""

    steps: int = Field(3600, ge=1, description="Gradient steps.")
    seed: int = Field(0, ge=0, description="Seed of weights, simulations and noise.")


class ExperimentSettings(_Settings):
    """How the observations of a recipe are assimilated; part of the identity of a store."""

    method: Method = Field(Method.AMORTIZED, description="Analysis method.")
    members: int = Field(24, ge=2, le=1000, description="Ensemble members.")
    inflation: float | None = Field(
        None,
        gt=0,
        le=2,
        description="Factor on the analysis anomalies of the ETKF; by default each analysis finds "
        "its own from the innovation and the ensemble's size.",
    )
    seed: int = Field(DEFAULT_SEED, ge=0, description="Seed of everything random in the cycle.")
    training: TrainingSettings = Field(
        default_factory=TrainingSettings, description="Training of the amortized analysis."
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
    def _network_in_half_precision(self) -> "ExperimentSettings":
        if self.precision == "bfloat16" and self.method is not Method.AMORTIZED:
            raise ValueError(
                f"precision bfloat16 is for the network of the amortized method, and method "
                f"{self.method.value} has none; choose float32 or float64."
            )
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Later settings show only where they are chosen, so that older digests stay."""
        later = {"cut_off": None, "lag": 0, "precision": "float32"}
        return {k: v for k, v in write(self).items() if k not in later or v != later[k]}

    @property
    def dtype(self) -> str:
        """Type of states, observations and everything stored, by NumPy's name."""
        return "float32" if self.precision == "bfloat16" else self.precision

    @property
    def variant(self) -> str:
        """What else than the method tells the experiment's stores apart; empty for the usual."""
        return variant_of(self.cut_off, self.lag, self.seed, self.precision)

    @property
    def label(self) -> str:
        """The method and its variant, for names and paths."""
        return "-".join(part for part in (self.method.value, self.variant) if part)

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


def default_settings(recipe: Recipe, method: Method) -> ExperimentSettings:
    """The settings that a recipe's experiments start from."""
    if recipe.source.kind == "twin":
        return ExperimentSettings(method=method)
    return ExperimentSettings(method=method, members=40, training=TrainingSettings(steps=300))


def available_methods(recipe: Recipe) -> tuple[Method, ...]:
    """The methods for which a recipe has all that is needed, in order of rising skill."""
    if recipe.source.kind == "twin":
        model = recipe.source.settings
        local = model.ring and math.prod(model.state_shape) >= SMALLEST_RING
        return tuple(m for m in Method if local or m is not Method.AMORTIZED)
    return (Method.CLIMATOLOGY, Method.OPTIMAL_INTERPOLATION, Method.AMORTIZED)


def require_training(recipe: Recipe) -> None:
    """Refuse a recipe that gives no method anything to learn from.

    Raises:
        RecipeError: its source is a file, and it has no training period.
    """
    if recipe.source.kind != "twin" and recipe.training is None:
        raise RecipeError(
            f"Recipe '{recipe.name}' has no period 'training', from which every method learns "
            "before it can be run; add one to the recipe, with a start and an end before "
            f"{recipe.period.start:%Y-%m-%dT%H:%M}, where its period begins."
        )


def smoothed_methods(recipe: Recipe) -> tuple[Method, ...]:
    """The methods whose members are carried from cycle to cycle, so that a lag means something."""
    return (Method.ETKF, Method.AMORTIZED) if recipe.source.kind == "twin" else ()


def analysis_chain(recipe: Recipe, method: Method) -> tuple[str, ...]:
    """The methods that may make an analysis, by their number in the store: the chosen one, those
    that step in for it, the background, and members drawn from the climate."""
    guarded = method is Method.AMORTIZED and recipe.source.kind == "twin"
    fallbacks = tuple(fallback.value for fallback in FALLBACKS) if guarded else ()
    return (method.value, *fallbacks, "background", "climate")


SEGMENT_BYTES = 4 * 2**20
"""Size aimed at for one segment of one ensemble."""
LONGEST_SEGMENT = 500
SHORTEST_SEGMENT = 4


def segment_cycles(ensemble_bytes: int) -> int:
    """Cycles in one commit, so that its objects are of 1 to 16 MB and a crash costs little.

    Arguments:
        ensemble_bytes: size of one ensemble.
    """
    return min(LONGEST_SEGMENT, max(SHORTEST_SEGMENT, SEGMENT_BYTES // ensemble_bytes))


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
    plain = recipe.model_dump(
        mode="json", exclude={"title": True, "attribution": True, "period": {"end"}}
    )
    return digest_of(recipe=plain, settings=settings)


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
    if recipe.source.kind == "twin":
        kept["network"] = plain["network"]
    if recipe.training is not None:
        kept["network"] = {k: v for k, v in plain["network"].items() if k != "seed"}
        kept |= {name: plain[name] for name in ("binning", "screening") if name in plain}
    kept["error_sd"] = recipe.observation.error_sd
    kept["revision"] = TRAINING_REVISION
    if settings.precision == "bfloat16":
        # Weights that work in another type than their gates were checked in are not proven.
        kept["network"]["precision"] = settings.precision
    return digest_of(recipe=kept, training=settings.training, members=settings.members, data=data)
