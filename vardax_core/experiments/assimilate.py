"""Catching up the cycles of a store, segment by segment."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vardax_core
from vardax_core.cycling.adaptation import SpreadState
from vardax_core.cycling.cycle import CycleInput, CycleOutput, CycleState, run_segment
from vardax_core.data.errors import PeriodError
from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.data.window import cycle_times, windows
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import Prepared, experiment_key
from vardax_core.experiments.settings import segment_cycles
from vardax_core.store import ExperimentStore, Tip
from vardax_core.types import Observations


@dataclasses.dataclass(frozen=True)
class SegmentReport:
    """What one committed segment was.

    Attributes:
        first, last: analysis times of its first and last cycle.
        cycles: how many there are.
        flagged: how many ended with another code than OK.
        seconds: time of forecast, analysis and verification, without compilation.
        tip: where the store stands after it.
    """

    first: np.datetime64
    last: np.datetime64
    cycles: int
    flagged: int
    seconds: float
    tip: Tip


def pending_cycles(
    experiment: Experiment, store: ExperimentStore, target: np.datetime64 | None = None
) -> np.ndarray:
    """Analysis times (datetime64) that are not in the store, up to a target time.

    Arguments:
        target: last time to reach; by default the end of the recipe's period.

    Raises:
        PeriodError: if the target is beyond the last ingested observation's cycle.
    """
    recipe = experiment.recipe
    times = cycle_times(recipe)
    minutes = to_minutes(times)
    wanted = minutes[-1] if target is None else to_minutes(np.asarray([target]))[0]
    if wanted > minutes[-1] or wanted < minutes[0]:
        asked = from_minutes(np.asarray([wanted]))[0]
        raise PeriodError(
            f"{experiment.name}: asked for cycles up to {asked}, but the recipe's period "
            f"runs from {times[0]} to {times[-1]}; choose a time in it."
        )
    ingested = store.tip("observations").last_time
    available = minutes[0] - 1 if ingested is None else ingested
    done = store.tip().last_time
    after = minutes[0] - 1 if done is None else done
    return times[(minutes > after) & (minutes <= min(wanted, available))]


class Assimilation:
    """The cycles of one experiment, from where its store stands.

    The compiled segment and the cycle's state are kept from one segment to the next.

    Attributes:
        experiment: what is assimilated.
        store: where the cycles are committed.
        prepared: the method.
    """

    def __init__(self, experiment: Experiment, store: ExperimentStore, prepared: Prepared):
        self.experiment = experiment
        self.store = store
        self.prepared = prepared
        self._key = experiment_key(experiment.settings.seed)
        self._length = segment_cycles(experiment.recipe)
        self._observations = store.dataset("observations").load()
        self._truth = store.dataset("nature_run")[experiment.recipe.variable.name].load()
        self._state: CycleState | None = None
        self._compiled: Any = None

    def segments(self, times: np.ndarray) -> Iterator[np.ndarray]:
        """Cut analysis times into segments."""
        for start in range(0, len(times), self._length):
            yield times[start : start + self._length]

    def run(self, times: np.ndarray, *, metadata: dict[str, str] | None = None) -> SegmentReport:
        """Run the cycles of one segment and commit them, all or none.

        Arguments:
            times: analysis times that follow the store's last cycle; at most one segment.
            metadata: more to record with the commit, such as the flow run.

        Raises:
            StoreBusyError: if another process is writing.
            SupersededError: if another process has published these cycles meanwhile.
            StorageError: if the file system refuses.
        """
        state = self._state if self._state is not None else self._stored_state(times)
        given = self._inputs(times)
        program = self.prepared.program
        if self._compiled is None:
            lowered = run_segment.lower(  # type: ignore[attr-defined]
                program, state, given, key=self._key
            )
            self._compiled = lowered.compile()
        started = time.perf_counter()
        state, output = jax.block_until_ready(self._compiled(program, state, given, key=self._key))
        seconds = time.perf_counter() - started
        output = jax.tree.map(lambda x: np.asarray(x[: len(times)]), output)
        flagged = int(np.sum(output.analysis.result != 0))
        with self.store.writer(wait=60.0) as writer:
            tip = writer.append(
                self._groups(output),
                to_minutes(times),
                state=state_arrays(state),
                metadata={
                    **(metadata or {}),
                    "kind": "segment",
                    "method": self.experiment.settings.method.value,
                    **self._provenance(),
                    "first_cycle": str(times[0].astype("datetime64[m]")),
                    "last_cycle": str(times[-1].astype("datetime64[m]")),
                    "cycles": len(times),
                    "flagged": flagged,
                    "configuration": self.experiment.digest,
                    "code_version": vardax_core.__version__,
                    "seed": self.experiment.settings.seed,
                    "compute_seconds": seconds,
                },
            )
        self._state = state
        return SegmentReport(times[0], times[-1], len(times), flagged, seconds, tip)

    def _provenance(self) -> dict[str, str]:
        versions = self.prepared.versions.values()
        return {
            "model_version": ", ".join(v.path.name for v in versions) or "none",
            "model_sha256": ", ".join(v.sha256 for v in versions) or "none",
        }

    def _stored_state(self, times: np.ndarray) -> CycleState:
        arrays = self.store.state()
        if arrays is not None:
            return restore_state(arrays)
        return self.prepared.initial_state(int(to_minutes(times[:1])[0]), key=self._key)

    def _inputs(self, times: np.ndarray) -> CycleInput:
        """The inputs of a segment, padded to its full length."""
        recipe = self.experiment.recipe
        given = windows(self._observations, times, recipe)
        truth = self._truth.sel(time=times).transpose("time", *recipe.state_dims).to_numpy()

        def pad(array: np.ndarray) -> jax.Array:
            missing = self._length - len(times)
            return jnp.asarray(np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]))

        minutes = given["minutes"].astype(np.int32)
        observations = jax.vmap(Observations.from_values)(
            pad(given["values"]), pad(given["error_sd"]), pad(minutes)
        )
        return jax.vmap(CycleInput)(
            observations,
            pad(given["quality_control"][:, -1].astype(np.int8)),
            pad(truth),
            jnp.arange(self._length) < len(times),
        )

    def _groups(self, output: CycleOutput) -> dict[str, dict[str, Any]]:
        name = self.experiment.recipe.variable.name
        analysis = output.analysis
        return {
            "background": {name: output.background},
            "analysis": {
                name: analysis.ensemble,
                f"{name}_mean": analysis.mean,
                f"{name}_spread": analysis.spread,
            },
            "innovations": {
                "background_departure": output.background_departure,
                "analysis_departure": output.analysis_departure,
                "background_equivalent_variance": output.background_equivalent_variance,
                "quality_control": output.quality,
            },
            "diagnostics": {
                **{k: np.asarray(v, np.float64) for k, v in output.statistics.items()},
                "result": np.asarray(analysis.result, np.int8),
                "spread_factor": np.asarray(output.spread_factor, np.float64),
            },
        }


def state_arrays(state: CycleState) -> dict[str, np.ndarray]:
    """The cycle's state as named arrays for the store."""
    return {
        "ensemble": np.asarray(state.ensemble),
        "cycle": np.asarray(state.cycle),
        "valid_time": np.asarray(state.time),
        "spread_squared_error": np.asarray(state.spread.squared_error),
        "spread_variance": np.asarray(state.spread.variance),
        "spread_weight": np.asarray(state.spread.weight),
    }


def restore_state(arrays: dict[str, np.ndarray]) -> CycleState:
    """The cycle's state from the store's arrays, bit for bit."""
    given = {name: jnp.asarray(array) for name, array in arrays.items()}
    return CycleState(
        ensemble=given["ensemble"],
        cycle=given["cycle"],
        time=given["valid_time"],
        spread=SpreadState(
            squared_error=given["spread_squared_error"],
            variance=given["spread_variance"],
            weight=given["spread_weight"],
        ),
    )
