"""What the flows are called with; the UI makes its forms of these models."""

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
from pydantic import Field, ValidationError, model_validator

from flows.environment import default_root, default_stores
from flows.fields import Form, MethodName, Root, Seed, Source, Stores, is_empty
from flows.threads import fit_threads
from vardax_core.data import Recipe, load_recipe
from vardax_core.data.errors import PeriodError, RecipeError, SourceError, SourceNotFoundError
from vardax_core.data.scalars import Duration, Instant
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import (
    ExperimentSettings,
    default_settings,
    main_method,
    require_method,
    require_training,
    smoothed_methods,
    usual_methods,
    variant_of,
)
from vardax_core.experiments.tuning import tuned_options
from vardax_core.methods.base import TrainingSettings
from vardax_core.methods.registry import method_of
from vardax_core.paths import is_url
from vardax_core.words import faults_of

DEMONSTRATION_CYCLE = timedelta(minutes=1)
"""Time between two cycles of a demonstration."""


class DatasetParameters(Form):
    """A data set, and where to find and keep its files."""

    dataset: str = Field(
        "lorenz96", description="What is assimilated; `vardax datasets` lists all."
    )
    station_draw: int | None = Field(
        None, ge=0, description="Another random draw of the stations, for recipes that draw them."
    )
    source_path: Source | None = Field(
        None,
        description="GRIB or NetCDF file, zarr or icechunk directory, or s3:// or https:// URL "
        "to read instead of the file that the recipe finds.",
    )
    root: Root = Field(
        default_factory=default_root,
        description="Folder of models, stores and reports; if empty, VARDAX_ROOT or .vardax.",
    )
    stores: Stores | None = Field(
        default_factory=default_stores,
        description="Folder or s3://bucket/prefix of the stores; empty: VARDAX_STORES, or below "
        "the root.",
    )

    def recipe(self) -> Recipe:
        """The recipe, with the draw of the stations."""
        recipe = load_recipe(self.dataset)
        return recipe if self.station_draw is None else recipe.with_draw(self.station_draw)


class ExperimentParameters(DatasetParameters):
    """A data set and how it is assimilated; what is left empty is as usual for the data set."""

    method: MethodName = Field(  # type: ignore[assignment]
        default=None,
        description="How it is assimilated; empty: the best of the data set's usual methods, which "
        "`vardax methods --dataset NAME` lists.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the method that are not the usual ones, such as "
        '{"inflation": 1.05}; `vardax methods NAME` lists them.',
    )
    members: int | None = Field(None, ge=2, le=1000, description="Ensemble members.")
    seed: Seed | None = Field(None, description="Seed of everything random in the cycle.")
    cut_off: Duration | None = Field(
        None,
        description="Use only what arrived so long after an analysis time, such as 3h; empty: "
        "all that ever arrives.",
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
    training_steps: int | None = Field(None, ge=1, description="Gradient steps of the training.")
    training_seed: Seed | None = Field(None, description="Seed of the training.")

    @model_validator(mode="before")
    @classmethod
    def _method_of_the_data_set(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not is_empty(values.get("method")):
            return values
        dataset = values.get("dataset") or cls.model_fields["dataset"].default
        try:
            return {**values, "method": main_method(load_recipe(str(dataset)))}
        except RecipeError:
            return values  # `experiment` says what is wrong with the recipe.

    @property
    def variant(self) -> str:
        """What is not as usual, for names of runs."""
        return variant_of(self.cut_off, self.lag, self.seed, self.precision)

    def experiment(self, *, tuned: bool = True) -> Experiment:
        """The experiment that these parameters describe.

        Arguments:
            tuned: whether settings of the method that were found by tuning under this root count,
                where these parameters name no others.

        Raises:
            RecipeError: if there is no such recipe, or it is not valid.
            SourceNotFoundError: if `source_path` names nothing.
            ValueError: if the recipe has not what the method needs, or nothing reads a field.
        """
        recipe = self.recipe()
        fit_threads(recipe)
        require_training(recipe)
        usual_methods(recipe)
        self._require_source(recipe)
        settings = default_settings(recipe, self.method).model_dump()
        settings["options"] = {**settings.get("options", {}), **self.options}
        require_method(recipe, method_of(self.method, settings["options"]))
        training = settings["training"]
        for key, value in (("steps", self.training_steps), ("seed", self.training_seed)):
            training[key] = training[key] if value is None else value
        for key in ("members", "seed", "cut_off", "lag", "precision"):
            value = getattr(self, key)
            settings |= {} if value is None else {key: value}
        if self.precision == "float64":
            jax.config.update("jax_enable_x64", True)
        try:
            chosen = ExperimentSettings(**{**settings, "training": TrainingSettings(**training)})
        except ValidationError as error:
            raise ValueError("; ".join(faults_of(error))) from error
        made = Experiment(recipe, chosen, self.root, self.stores)
        found = tuned_options(made) if tuned else {}
        if not found:
            return made
        options = {**chosen.options, **found, **self.options}
        return dataclasses.replace(
            made, settings=ExperimentSettings(**{**chosen.model_dump(), "options": options})
        )

    def _require_source(self, recipe: Recipe) -> None:
        if self.source_path is None:
            return
        if recipe.source.simulates:
            raise SourceError(
                f"Recipe '{recipe.name}' makes its own nature run with a model, so that nothing "
                f"would read {self.source_path}; leave the source out, or choose a data set from "
                "files (`vardax datasets`)."
            )
        if not is_url(self.source_path) and not Path(self.source_path).exists():
            raise SourceNotFoundError(
                f"{self.source_path}: there is no such file; correct the path of the source."
            )

    def of_method(self, method: str) -> "ExperimentParameters":
        """The same with another method; without lag and options where they are of the first, and
        in float32 where it has no network to be in bfloat16."""
        lag = self.lag if method in smoothed_methods(self.recipe()) else 0
        half = self.precision == "bfloat16" and not method_of(method).half_precision
        precision = "float32" if half else self.precision
        options = self.options if method == self.method else {}
        return self.model_copy(
            update={"method": method, "lag": lag, "precision": precision, "options": options}
        )

    def beside(self, methods: Iterable[str] | None) -> tuple[str, ...]:
        """Each of some methods once, and the experiment's own if it is not among them."""
        return tuple(dict.fromkeys((*(methods or ()), self.method)))


class TargetParameters(Form):
    """How far to go."""

    until: Instant | None = Field(
        None,
        description="Last analysis time to reach (UTC); None: the end of the data set's period.",
    )
    follow: Literal["period", "schedule", "demonstration"] = Field(
        "period",
        description=(
            "period: to the end of the recipe's period, or to `until`. schedule: to the last cycle "
            "whose data are due when the run was to start. demonstration: as schedule, by a clock "
            "that advances one cycle a minute since the store was made."
        ),
    )

    def check(self, recipe: Recipe) -> None:
        """Refuse a last analysis time that no cycle of a recipe can have.

        Raises:
            PeriodError: naming the period.
        """
        if self.until is None:
            return
        start, end = recipe.period.start, recipe.period.end
        if self.until < start or (self.follow == "period" and self.until > end):
            first, until, last = (f"{t:%Y-%m-%dT%H:%M}" for t in (start, self.until, end))
            raise PeriodError(
                f"Recipe '{recipe.name}': asked for cycles until {until}, but its period runs from "
                f"{first} to {last}; choose a time in it."
            )

    def instant(
        self,
        recipe: Recipe,
        scheduled: datetime,
        created: datetime,
        latency: timedelta | None = None,
    ) -> datetime:
        """The time that no analysis may pass.

        Arguments:
            recipe: with the period, the cycle interval and the latency of the data.
            scheduled: when the run was to start, however late it did.
            created: when the store was made.
            latency: time to wait after an analysis time; None for that of the recipe.
        """
        match self.follow:
            case "period":
                return recipe.period.end if self.until is None else self.until
            case "schedule":
                due = _plain(scheduled) - (recipe.latency if latency is None else latency)
            case "demonstration":
                age = timedelta(seconds=scheduled.timestamp() - created.timestamp())
                cycles = max(0, age // DEMONSTRATION_CYCLE)
                due = recipe.period.start + cycles * recipe.cycle_interval
        due = min(due, recipe.period.end)
        return due if self.until is None else min(due, self.until)


class BackfillParameters(TargetParameters):
    """How a period is cut into streams, and who runs them; only missing cycles are made."""

    dry_run: bool = Field(
        False,
        description="Only say what would be done: cycles that are missing, and what they take.",
    )
    streams: int = Field(
        8, ge=1, le=4096, description="Parts of the period that are made side by side."
    )
    overlap: int = Field(
        200, ge=0, description="Cycles of spin-up that a stream makes first and does not keep."
    )
    group: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Streams that run in one program, and that one worker takes; "
        "empty: half of them. It is part of the plan, as groups of another size round differently.",
    )
    runner: Literal["local", "dask", "pool"] = Field(
        "local",
        description="local: one group after another in the process of this run. dask: on the "
        "workers of a Dask cluster. pool: each group as a flow run in a work pool. All leave the "
        "same store.",
    )
    dask_address: str | None = Field(
        None,
        pattern=r"[a-z]+://.+",
        description="Scheduler of the Dask cluster, such as tcp://host:8786; empty: processes on "
        "this machine, started for this run.",
    )
    workers: int = Field(
        2, ge=1, le=256, description="Processes that are started where no Dask scheduler is named."
    )
    deployment: str = Field(
        "fill/streams",
        pattern=r"[^/]+/[^/]+",
        description="Deployment that the pool runner submits; its work pool does the work. "
        "fill/streams-on-gpu is the one for GPUs.",
    )

    @model_validator(mode="after")
    def _every_field_is_read(self) -> "BackfillParameters":
        on_dask, in_pool = self.runner == "dask", self.runner == "pool"
        for name, read, by in (
            ("dask_address", on_dask, "runner dask"),
            ("workers", on_dask and self.dask_address is None, "runner dask without dask_address"),
            ("deployment", in_pool, "runner pool"),
        ):
            given = getattr(self, name)
            if not read and given != type(self).model_fields[name].default:
                raise ValueError(
                    f"nothing reads {name} {given!r} with runner {self.runner}; leave it out, or "
                    f"choose {by}"
                )
        return self

    @property
    def width(self) -> int:
        """Streams of a group."""
        return self.group or -(-self.streams // 2)


MOST_CASES = 100


class StudyParameters(Form):
    """What experiments are run beside each other: every method with every seed and network."""

    methods: tuple[MethodName, ...] = Field(
        (), description="Analysis methods; empty: those that are usual for the data set."
    )
    seeds: tuple[Seed, ...] = Field((1, 2), min_length=1, description="Seeds of the cycle.")
    station_draws: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Random draws of the stations, for recipes that draw them; empty: the one of "
        "the experiment.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> "StudyParameters":
        for name in ("methods", "seeds", "station_draws"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: expected each one once, got {list(values)}")
        return self

    def cases(self, experiment: ExperimentParameters) -> tuple[ExperimentParameters, ...]:
        """The parameters of every experiment.

        Raises:
            RecipeError, ValueError: one of them is not possible, or they are too many.
        """
        for name, there in (("seed", self.seeds), ("station_draw", self.station_draws)):
            given = getattr(experiment, name)
            if given is not None and there and given not in there:
                raise ValueError(
                    f"A study runs the {name}s {', '.join(map(str, there))}, so that nothing reads "
                    f"the experiment's {name} {given}; leave it out, or put it among them."
                )
        methods = self.methods or usual_methods(experiment.recipe())
        draws = self.station_draws or (experiment.station_draw,)
        found = tuple(
            experiment.of_method(method).model_copy(update={"seed": seed, "station_draw": draw})
            for method in methods
            for draw in draws
            for seed in self.seeds
        )
        if len(found) > MOST_CASES:
            raise ValueError(
                f"A study of {len(found)} experiments is too large; choose fewer methods, seeds or "
                f"networks, {MOST_CASES} experiments at most."
            )
        for case in found:
            case.experiment()
        return found


class ShareParameters(Form):
    """One group of streams of a backfill, as its worker is told."""

    first: int = Field(ge=0, description="First cycle of the backfill, from the period's start.")
    stop: int = Field(ge=1, description="The cycle after its last.")
    streams: int = Field(ge=1, le=4096, description="Streams of the backfill.")
    overlap: int = Field(ge=0, description="Cycles of spin-up of a stream.")
    width: int = Field(ge=1, le=4096, description="Streams of a group.")
    group: int = Field(ge=0, description="Number of the group.")


class MonitorParameters(TargetParameters):
    """When an experiment is looked at, and what should be there by then."""

    as_of: Instant | None = Field(
        None, description="Judge as of this instant (UTC); empty: when the run was to start."
    )

    def moment(self, scheduled: datetime | None) -> datetime:
        """The instant of the look.

        Arguments:
            scheduled: when the run was to start; None outside of a run.
        """
        return self.as_of or (_plain(scheduled) if scheduled else datetime.now(UTC))


def _plain(instant: datetime) -> datetime:
    """The same instant without the arithmetic of Prefect's own kind of datetime."""
    return datetime.fromtimestamp(instant.timestamp(), UTC)
