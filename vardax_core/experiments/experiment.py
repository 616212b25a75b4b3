"""An experiment as one object: its names, its store, its observations, its method."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vardax_core.data.account import origin_of
from vardax_core.data.ingest import SIMULATED, Ingested, ingest, source_digest
from vardax_core.data.observed_period import ObservedPeriod, observed_period
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import state_space
from vardax_core.experiments.capacity import require_memory
from vardax_core.experiments.learning import (
    find_trained,
    learned_as,
    prepare_method,
    train_method,
)
from vardax_core.experiments.made_with import keep_recipe, of_other_recipe, refuse_foreign
from vardax_core.experiments.observed import add_observations
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.problem import Learnable, operator_of
from vardax_core.experiments.settings import (
    ExperimentSettings,
    deciding_values,
    experiment_digest,
    observation_digest,
    observing_values,
    require_training,
    segment_cycles,
    smoothed_methods,
    usual_options,
)
from vardax_core.experiments.store_layout import observed_layout, store_layout
from vardax_core.experiments.stored_statistics import refuse_older_store
from vardax_core.experiments.weighting import point_weights, weighting_record
from vardax_core.methods.priors import Progress
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.placement import PlacedPoints
from vardax_core.observations.settings import Sites
from vardax_core.state.space import StateSpace
from vardax_core.store import (
    ExperimentStore,
    Location,
    StoreNotFoundError,
    location_of,
)
from vardax_core.store.experiment import GRID, OBSERVATIONS
from vardax_core.store.store import OBSERVATION_STORE
from vardax_core.training.registry import ModelRegistry, ModelVersion
from vardax_core.words import artifact_key, counted


class LagError(ValueError):
    """A lag where members of one cycle have nothing to do with those of the cycle before."""


class ForeignObservationsError(ValueError):
    """The observations of a data set are those of another recipe of its name."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One recipe, assimilated with one method into one store.

    Attributes:
        recipe: where the observations come from, with its station draw and seeds.
        settings: how they are assimilated.
        root: folder of all runs.
        stores: where stores are kept, a directory or `s3://bucket/prefix`; by default below
            `root`.
    """

    recipe: Recipe
    settings: ExperimentSettings
    root: Path
    stores: str | None = None

    def __post_init__(self):
        known = smoothed_methods(self.recipe)
        if self.settings.lag and self.settings.method not in known:
            raise LagError(
                f"{self.recipe.name}: a lag of {counted(self.settings.lag, 'cycle')} needs a "
                "method whose members are carried from cycle to cycle "
                f"({', '.join(known) or 'none here'}), got {self.settings.method}; "
                "choose one of them, or a lag of 0."
            )

    @property
    def group_name(self) -> str:
        """Name shared by the methods that are compared: the recipe and its draw."""
        draw = self.recipe.network.draw
        return self.recipe.name if draw is None else f"{self.recipe.name}-draw{draw.seed}"

    @property
    def label(self) -> str:
        """Name of the experiment among those that are compared."""
        return self.settings.label(usual_options(self.recipe, self.settings.method))

    @property
    def name(self) -> str:
        """Name of the experiment, for people."""
        return f"{self.group_name}/{self.label}"

    @property
    def key(self) -> str:
        """Name of the experiment, for keys of artifacts."""
        return artifact_key(self.name)

    @property
    def store_location(self) -> Location:
        """Where its store is.

        Raises:
            LocationError: if `stores` names no such place.
        """
        place = location_of(self.stores or self.root / "experiments")
        return place.below(self.group_name, self.label)

    @property
    def store_path(self) -> Path:
        """The directory of its store, where that is local."""
        return self.store_location.directory()

    @property
    def report_path(self) -> Path:
        """Folder of the report that compares the methods."""
        variant = self.settings.variant
        folder = f"report-{variant}" if variant else "report"
        return self.root / "experiments" / self.group_name / folder

    @property
    def registry(self) -> ModelRegistry:
        """The trained models of all experiments under `root`."""
        return ModelRegistry(self.root / "models")

    @property
    def digest(self) -> str:
        """Digest of the configuration; a store belongs to one only."""
        return experiment_digest(self.recipe, self.settings)

    def open_store(self) -> ExperimentStore:
        """Open the store.

        Raises:
            StoreNotFoundError: if nothing was ingested yet.
            ForeignExperimentError: if it was made with another configuration.
        """
        try:
            store = ExperimentStore.open(self.store_location)
        except StoreNotFoundError as error:
            command = f"vardax run {self.recipe.name} -m {self.settings.method}"
            raise StoreNotFoundError(
                self.store_location, f"Run it first, with the options asked for here: {command}."
            ) from error
        refuse_foreign(store, self.digest, self.recipe, self.settings)
        return store

    @property
    def observations_location(self) -> Location:
        """Where the observations that the methods of a data set share are kept."""
        return self.store_location.beside(OBSERVATIONS)

    def open_observations(self) -> ExperimentStore:
        """Open the store of the observations: that of all methods, or its own where an earlier
        version made that.

        Raises:
            StoreNotFoundError: if nothing was ingested yet.
            ForeignExperimentError: if the experiment's was made with another configuration.
            ForeignObservationsError: if they are those of another recipe.
        """
        store = self.open_store() if self.store_location.exists() else None
        if store is not None and store.observations is store:
            return store
        kept = ExperimentStore.open(self.observations_location)
        digest, got = observation_digest(self.recipe), kept.experiment["digest"]
        if got != digest:
            raise ForeignObservationsError(
                f"{kept.location}: these are observations of another recipe of the name "
                f"'{self.recipe.name}': {of_other_recipe(kept.location, got, self.recipe)} "
                f"(Digest of the recipe: {got[:12]} there, {digest[:12]} here.)"
            )
        return kept

    def create_observations(self, ingested: Ingested) -> ExperimentStore:
        """Make the store of the observations, for the grid and the network of ingested ones."""
        record = {
            "name": f"{self.group_name}/{OBSERVATIONS}",
            "digest": observation_digest(self.recipe),
            "dataset": self.recipe.name,
            "attribution": self.recipe.attribution,
            "observations": origin_of(self.recipe),
            "source_sha256": ingested.source_sha256,
        }
        layout = observed_layout(self.recipe, ingested)
        store = ExperimentStore.create(self.observations_location, layout, record)
        keep_recipe(store.location, record["digest"], observing_values(self.recipe))
        return store

    def create_store(self, ingested: Ingested | None = None) -> ExperimentStore:
        """Make the store for the grid and the network of its observations.

        Arguments:
            ingested: with them a store of the observations is made where there is none.

        Raises:
            StoreNotFoundError: if there are no observations.
            GridTooLargeError: if the method cannot learn about that grid on this machine.
        """
        try:
            kept = self.open_observations()
        except StoreNotFoundError:
            if ingested is None:
                raise
            kept = self.create_observations(ingested)
        frame = kept.dataset(GRID)
        grid_shape = tuple(frame.sizes[dim] for dim in self.recipe.state_dims)
        if self.recipe.training is not None:
            require_memory(self.recipe, self.settings, grid_shape)
        record = {
            "name": self.name,
            "digest": self.digest,
            "dataset": self.recipe.name,
            "method": self.settings.method,
            "settings": self.settings.model_dump(mode="json"),
            "attribution": self.recipe.attribution,
            "observations": origin_of(self.recipe),
            OBSERVATION_STORE: OBSERVATIONS,
            "source_sha256": kept.experiment["source_sha256"],
            **weighting_record(state_space(frame, self.recipe).grid),
        }
        size = math.prod(self.recipe.state_shape(grid_shape))
        layout = store_layout(self.recipe, self.settings, kept, self.segment_length(size))
        store = ExperimentStore.create(self.store_location, layout, record)
        keep_recipe(store.location, self.digest, deciding_values(self.recipe))
        return store

    def append_observations(
        self,
        store: ExperimentStore,
        ingested: Ingested,
        tell: Callable[[str], None] = lambda _: None,
    ) -> int:
        """Add observations to where a store has them; see `add_observations`."""
        return add_observations(self.recipe, store.observations, ingested, tell)

    def platforms(self, store: ExperimentStore) -> tuple[str, ...]:
        """The names of the platforms of real observations in a store, by number."""
        return tuple(str(name) for name in store.arrays("platforms").get("name", ()))

    def segment_length(self, state_size: int) -> int:
        """Cycles of a segment, for a state of so many numbers."""
        itemsize = np.dtype(self.settings.dtype).itemsize
        return segment_cycles(self.settings.members * state_size * itemsize)

    def segment_length_of(self, store: ExperimentStore) -> int:
        """Cycles of a segment, for the state of the store."""
        return self.segment_length(math.prod(self._shape(store)))

    def space(self, store: ExperimentStore) -> StateSpace:
        """What a state of the store holds, and where its points are.

        Raises:
            SourceFormatError: if its coordinates are not understood.
        """
        return state_space(store.dataset("analysis"), self.recipe)

    def _shape(self, store: ExperimentStore) -> tuple[int, ...]:
        analysis = store.dataset("analysis")
        grid_shape = tuple(analysis.sizes[dim] for dim in self.recipe.state_dims)
        return self.recipe.state_shape(grid_shape)

    def operator(self, store: ExperimentStore) -> AbstractObservationOperator:
        """The observation operator of the store's observing network."""
        stations = self._stations(store)
        shape = self._shape(store)
        if stations is None:
            return PlacedPoints.nowhere(shape)
        return operator_of(self.recipe, Sites(self.space(store).grid, stations, shape))

    @property
    def needs_training(self) -> bool:
        """Whether the method learns anything before it can be cycled."""
        return bool(learned_as(self.recipe, self.settings))

    @property
    def training_steps(self) -> int:
        """Steps that `train` reports as progress."""
        return self.settings.training.steps if self.settings.analysis.learns else 1

    def training_run(self, path: str | Path | None = None) -> Learnable | None:
        """What the recipe's methods learn from: states of its training period, or real
        observations; None for a twin, which simulates its own.

        Arguments:
            path: where the file of the nature run is; see `open_nature_run`.

        Raises:
            RecipeError: if the source is a file and there is no such period.
            SourceError: if the file cannot be used.
        """
        if self.recipe.reported:
            return observed_period(self.recipe)
        require_training(self.recipe)
        period = self.recipe.training
        if period is None:
            return None
        return ingest(self.recipe, start=period.start, end=period.end, path=path).nature_run

    def trained_version(self, training_run: Learnable | None) -> ModelVersion | None:
        """What was learned with these settings from these data, or None.

        Of real observations, those that grew or were corrected since are other data.
        """
        source = SIMULATED if training_run is None else source_digest(training_run.attrs)
        records = training_run.digest if isinstance(training_run, ObservedPeriod) else None
        return find_trained(self.recipe, self.settings, self.registry, source, records)

    def trained_from(self, source: str | None) -> ModelVersion | None:
        """What was learned with these settings from the file with that sha256, or None.

        Arguments:
            source: as stores record it; a twin's weights do not depend on it.
        """
        return find_trained(self.recipe, self.settings, self.registry, source or SIMULATED)

    def train(self, training_run: Learnable | None, progress: Progress) -> ModelVersion:
        """Learn what the method needs, and store it in the registry; see `train_method`."""
        return train_method(self.recipe, self.settings, self.registry, training_run, progress)

    def prepare(self, store: ExperimentStore) -> Prepared:
        """Assemble the method for the store's network.

        Raises:
            ModelNotFoundError: if the method was not trained yet.
            PrecisionError: if JAX does not have the experiment's precision switched on.
            StructureError: if an earlier version made the store.
        """
        refuse_older_store(store.dataset("diagnostics").data_vars)
        space = self.space(store)
        stations = self._stations(store)
        weights = np.array(
            np.broadcast_to(point_weights(store, space.grid), self._shape(store)), np.float32
        )
        apart = not self.recipe.source.scores_stations
        if stations is not None and apart and stations.size < weights.size:
            weights.reshape(-1)[stations] = 0.0
        return prepare_method(
            self.recipe,
            self.settings,
            self.registry,
            space.grid,
            data=str(store.experiment["source_sha256"]),
            stations=stations,
            weights=weights,
            platforms=self.platforms(store) if self.recipe.reported else (),
        )

    def _stations(self, store: ExperimentStore) -> np.ndarray | None:
        """Flat index in the state of each station; None where observations bring places."""
        observations = store.dataset("observations")
        return observations["grid_index"].to_numpy() if "grid_index" in observations else None
