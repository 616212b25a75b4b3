"""An experiment as one object: its names, its store, its observations, its method."""

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from vardax_core.calibration.statistics import SMOOTHED_STATISTICS, STATISTICS, declared_sums
from vardax_core.data.account import origin_of
from vardax_core.data.ingest import Ingested, ingest
from vardax_core.data.recipe import Recipe
from vardax_core.data.space import state_space
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.capacity import require_memory
from vardax_core.experiments.continuity import overlap_with, source_digest
from vardax_core.experiments.learning import (
    find_trained,
    learned_as,
    prepare_method,
    train_method,
)
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.settings import (
    ExperimentSettings,
    analysis_chain,
    experiment_digest,
    require_training,
    segment_cycles,
    smoothed_methods,
    usual_options,
)
from vardax_core.experiments.stored_statistics import refuse_older_store
from vardax_core.experiments.weighting import point_weights, weighting_record
from vardax_core.methods.priors import SIMULATED, Progress
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import sampling
from vardax_core.observations.quality import QualityCode
from vardax_core.state.space import StateSpace
from vardax_core.store import (
    ChunkPlan,
    Coordinate,
    Diagnostic,
    ExperimentStore,
    Layout,
    Location,
    StateDescription,
    experiment_layout,
    location_of,
)
from vardax_core.training.registry import ModelRegistry, ModelVersion
from vardax_core.types import ResultCode
from vardax_core.words import counted


class LagError(ValueError):
    """A lag where members of one cycle have nothing to do with those of the cycle before."""


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
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())

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
        return ExperimentStore.open(self.store_location, expected_digest=self.digest)

    def create_store(self, ingested: Ingested) -> ExperimentStore:
        """Make the store for the grid and the network of ingested observations.

        Raises:
            GridTooLargeError: if the method cannot learn about that grid on this machine.
        """
        if self.recipe.training is not None:
            shape = tuple(ingested.nature_run.sizes[dim] for dim in self.recipe.state_dims)
            require_memory(self.recipe, self.settings, shape)
        record = {
            "name": self.name,
            "digest": self.digest,
            "dataset": self.recipe.name,
            "method": self.settings.method,
            "settings": self.settings.model_dump(mode="json"),
            "attribution": self.recipe.attribution,
            "observations": origin_of(self.recipe),
            "source_sha256": source_digest(ingested.nature_run),
            **weighting_record(state_space(ingested.nature_run, self.recipe).grid),
        }
        return ExperimentStore.create(self.store_location, self._layout(ingested), record)

    def append_observations(
        self,
        store: ExperimentStore,
        ingested: Ingested,
        tell: Callable[[str], None] = lambda _: None,
    ) -> int:
        """Add the observations and truths that the store lacks; the number of new times.

        The source may have grown since: it is then another one as a whole, and must agree with
        the store at every time that both have; see `overlap_with`.

        Arguments:
            tell: called with what somebody who runs this should see.

        Raises:
            SourceChangedError: if they come from another source than those in the store.
        """
        last = store.tip("observations").last_time
        minutes = to_minutes(ingested.observations["time"].values)
        new = minutes > (np.iinfo(np.int64).min if last is None else last)
        overlap = overlap_with(store, ingested)
        for warning in overlap.warnings() if overlap else ():
            tell(warning)
        if not new.any():
            return 0
        observations = ingested.observations.isel(time=new)
        truth = ingested.nature_run.sel(time=observations["time"])
        groups = {
            "observations": {
                str(name): self._stored(array.transpose("time", "station").to_numpy())
                for name, array in observations.data_vars.items()
            },
            "nature_run": {
                self.recipe.variable.name: self._stored(
                    truth[self.recipe.variable.name]
                    .transpose("time", *self.recipe.state_dims)
                    .to_numpy()
                )
            },
        }
        record = {"kind": "ingest", "source_sha256": source_digest(ingested.nature_run)}
        with store.writer(wait=60.0) as writer:
            writer.append(groups, minutes[new], metadata=record)
        return int(new.sum())

    def _stored(self, values: np.ndarray) -> np.ndarray:
        """Values as they are stored: floats in the precision of the experiment."""
        dtype = self.settings.dtype if values.dtype.kind == "f" else values.dtype
        return np.ascontiguousarray(values, dtype)

    def segment_length(self, state_size: int) -> int:
        """Cycles of a segment, for a state of so many numbers."""
        itemsize = np.dtype(self.settings.dtype).itemsize
        return segment_cycles(self.settings.members * state_size * itemsize)

    def segment_length_of(self, store: ExperimentStore) -> int:
        """Cycles of a segment, for the state of the store."""
        truth = store.dataset("nature_run")
        return self.segment_length(math.prod(truth.sizes[dim] for dim in self.recipe.state_dims))

    def space(self, store: ExperimentStore) -> StateSpace:
        """What a state of the store holds, and where its points are.

        Raises:
            SourceFormatError: if its coordinates are not understood.
        """
        return state_space(store.dataset("nature_run"), self.recipe)

    def operator(self, store: ExperimentStore) -> AbstractObservationOperator:
        """The observation operator of the store's network."""
        truth = store.dataset("nature_run")
        shape = tuple(truth.sizes[dim] for dim in self.recipe.state_dims)
        return sampling(self._stations(store), shape)

    @property
    def needs_training(self) -> bool:
        """Whether the method learns anything before it can be cycled."""
        return learned_as(self.recipe, self.settings) is not None

    @property
    def training_steps(self) -> int:
        """Steps that `train` reports as progress."""
        return self.settings.training.steps if self.settings.analysis.learns else 1

    def training_run(self, path: str | Path | None = None) -> xr.Dataset | None:
        """States of the recipe's training period; None for a twin, which simulates its own.

        Arguments:
            path: where the file of the nature run is; see `open_nature_run`.

        Raises:
            RecipeError: if the source is a file and there is no such period.
            SourceError: if the file cannot be used.
        """
        require_training(self.recipe)
        period = self.recipe.training
        if period is None:
            return None
        return ingest(self.recipe, start=period.start, end=period.end, path=path).nature_run

    def trained_version(self, training_run: xr.Dataset | None) -> ModelVersion | None:
        """What was learned with these settings from these data, or None."""
        return self.trained_from(None if training_run is None else source_digest(training_run))

    def trained_from(self, source: str | None) -> ModelVersion | None:
        """What was learned with these settings from the file with that sha256, or None.

        Arguments:
            source: as stores record it; a twin's weights do not depend on it.
        """
        return find_trained(self.recipe, self.settings, self.registry, source or SIMULATED)

    def train(self, training_run: xr.Dataset | None, progress: Progress) -> ModelVersion:
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
        weights = np.array(point_weights(store, space.grid), np.float32)
        if not self.recipe.source.scores_stations and stations.size < weights.size:
            weights.reshape(-1)[stations] = 0.0
        return prepare_method(
            self.recipe,
            self.settings,
            self.registry,
            space.grid,
            data=str(store.experiment["source_sha256"]),
            stations=stations,
            weights=weights,
        )

    def _stations(self, store: ExperimentStore) -> np.ndarray:
        return store.dataset("observations")["grid_index"].to_numpy()

    def _layout(self, ingested: Ingested) -> Layout:
        variable = self.recipe.variable
        truth, observations = ingested.nature_run, ingested.observations
        shape = tuple(truth.sizes[dim] for dim in self.recipe.state_dims)
        station = Coordinate(
            "station",
            ("station",),
            np.arange(observations.sizes["station"], dtype=np.int32),
            {"long_name": "observing station", "units": "1"},
        )
        return experiment_layout(
            state=StateDescription(
                name=variable.name,
                coords=tuple(_coordinate(truth, dim) for dim in self.recipe.state_dims),
                attrs=dict(truth[variable.name].attrs),
                dtype=self.settings.dtype,
            ),
            n_members=self.settings.members,
            observation_coords=(
                station,
                *(_coordinate(observations, str(c)) for c in observations.coords if c != "time"),
            ),
            quality_flags={code.name.lower(): int(code) for code in QualityCode},
            diagnostics=_diagnostics(
                self.settings.members,
                variable.units,
                analysis_chain(self.recipe, self.settings.analysis),
                smoothed=self.settings.lag > 0,
            ),
            lag=self.settings.lag,
            chunks=ChunkPlan(segment_length=self.segment_length(math.prod(shape))),
        )


def _coordinate(dataset: xr.Dataset, name: str) -> Coordinate:
    array = dataset[name]
    return Coordinate(name, tuple(str(d) for d in array.dims), array.to_numpy(), dict(array.attrs))


def _diagnostics(
    members: int, units: str, chain: tuple[str, ...], *, smoothed: bool
) -> dict[str, Diagnostic]:
    statistics = (*STATISTICS, *(SMOOTHED_STATISTICS if smoothed else ()))
    found = {
        name: Diagnostic(sizes=one.sizes(members), attrs=one.attributes(units))
        for name, one in declared_sums(statistics).items()
    }
    results = {
        "long_name": "how the analysis ended",
        "flag_values": [int(code) for code in ResultCode],
        "flag_meanings": " ".join(code.name.lower() for code in ResultCode),
    }
    found["result"] = Diagnostic(dtype="int8", attrs=results)
    found["spread_factor"] = Diagnostic(
        attrs={"long_name": "factor that past innovations put on the spread", "units": "1"}
    )
    found["analysis_method"] = Diagnostic(
        dtype="int8",
        attrs={
            "long_name": "method that made the analysis; result says why it was not the first",
            "flag_values": list(range(len(chain))),
            "flag_meanings": " ".join(chain),
        },
    )
    found["trust_score"] = Diagnostic(
        attrs={"long_name": "distance of past departures from the usual", "units": "1"}
    )
    found["replaced_members"] = Diagnostic(
        dtype="int16",
        attrs={"long_name": "members whose forecast was impossible and was replaced", "units": "1"},
    )
    return found
