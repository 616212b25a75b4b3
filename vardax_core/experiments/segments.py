"""Segments between the store and the engine: what goes in, what comes out."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.cycling.adaptation import SpreadState
from vardax_core.cycling.cycle import CycleOutput, CycleState
from vardax_core.cycling.smoother import SmoothingState
from vardax_core.cycling.trust import TrustState
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.data.window import windows
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.store import ExperimentStore


class SegmentReader:
    """Reads the inputs of segments from a store, no more of it than a segment needs.

    Attributes:
        recipe: of the experiment.
        settings: of the experiment; say what is in time, and the precision.
        length: cycles of a segment, padding included.
    """

    def __init__(
        self, store: ExperimentStore, recipe: Recipe, settings: ExperimentSettings, length: int
    ):
        self.recipe = recipe
        self.settings = settings
        self.length = length
        self._observations = store.dataset("observations")
        if settings.cut_off is None:
            self._observations = self._observations.drop_vars("arrival_time")
        self._truth = store.dataset("nature_run")[recipe.variable.name]
        self._minutes = to_minutes(self._observations["time"].values)

    def cut(self, cycles: range) -> list[range]:
        """Cut cycles, counted from the start of the experiment, where the store's objects end."""
        length = self.length
        bounds = range(cycles.start // length * length, cycles.stop, length) if cycles else ()
        return [range(max(low, cycles.start), min(low + length, cycles.stop)) for low in bounds]

    def segments(self, times: np.ndarray, first: int) -> list[np.ndarray]:
        """Cut analysis times into segments.

        Arguments:
            first: number of the first of them from the start of the experiment.
        """
        cut = self.cut(range(first, first + len(times)))
        return [times[span.start - first : span.stop - first] for span in cut]

    def read(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of a `SegmentInput`, padded to the full length.

        Arguments:
            times: analysis times (datetime64) of at least one cycle.
        """
        rows = self._rows(times)
        dtype = np.dtype(self.settings.dtype)
        given = windows(
            self._observations.isel(time=rows).load(),
            times,
            self.recipe,
            cut_off=self.settings.cut_off,
        )
        truth = self._truth.isel(time=rows).load()
        truth = truth.reindex(time=times).transpose("time", *self.recipe.state_dims)
        arrays = {
            "values": given["values"].astype(dtype),
            "error_sd": given["error_sd"].astype(dtype),
            "minutes": given["minutes"].astype(np.int32),
            "quality": given["quality_control"][:, -1].astype(np.int8),
            "truth": truth.to_numpy().astype(dtype),
        }
        missing = self.length - len(times)
        padded = {
            name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
            for name, array in arrays.items()
        }
        return padded | {"valid": np.arange(self.length) < len(times)}

    def _rows(self, times: np.ndarray) -> slice:
        window = self.recipe.window
        before = (window.times - 1) * duration_to_minutes(window.spacing)
        first, last = to_minutes(times[[0, -1]])
        start = int(np.searchsorted(self._minutes, first - before))
        stop = int(np.searchsorted(self._minutes, last, side="right"))
        start = min(start, len(self._minutes) - 1)
        return slice(start, max(stop, start + 1))


def stored_groups(output: CycleOutput, name: str, dtype: str) -> dict[str, dict[str, Any]]:
    """The output of cycles as the variables of the store's groups.

    Arguments:
        output: of the valid cycles, on the host.
        name: of the state's variable.
        dtype: of the fields in the store.
    """
    analysis, departures = output.analysis, output.departures

    def stored(array: Any) -> np.ndarray:
        return np.asarray(array).astype(dtype, copy=False)

    smoothed = {}
    if output.smoothed is not None:
        smoothed["smoothed"] = {
            f"{name}_mean": stored(output.smoothed.mean),
            f"{name}_spread": stored(output.smoothed.spread),
        }
    return {
        **smoothed,
        "background": {name: stored(output.background)},
        "analysis": {
            name: stored(analysis.ensemble),
            f"{name}_mean": stored(analysis.mean),
            f"{name}_spread": stored(analysis.spread),
        },
        "innovations": {
            "background_departure": stored(departures.innovation),
            "analysis_departure": stored(output.residuals.residual),
            "background_equivalent_variance": stored(departures.variance),
            "quality_control": np.asarray(departures.quality, np.int8),
        },
        "diagnostics": {
            **{k: np.asarray(v, np.float64) for k, v in output.statistics.items()},
            "result": np.asarray(analysis.result, np.int8),
            "spread_factor": np.asarray(output.spread_factor, np.float64),
            "analysis_method": np.asarray(output.method, np.int8),
            "trust_score": np.asarray(output.trust_score, np.float64),
            "replaced_members": np.asarray(output.replaced_members, np.int16),
        },
    }


def state_arrays(state: CycleState) -> dict[str, np.ndarray]:
    """The cycle's state as named arrays for the store."""
    optional = {}
    if state.trust is not None:
        optional["trust_averages"] = np.asarray(state.trust.averages)
        optional["trust_stations"] = np.asarray(state.trust.stations)
    if state.smoothing is not None:
        optional["smoothing_history"] = np.asarray(state.smoothing.history)
        optional["smoothing_truth"] = np.asarray(state.smoothing.truth)
        optional["smoothing_done"] = np.asarray(state.smoothing.done)
    if state.past is not None:
        optional["past_departures"] = np.asarray(state.past)
    return {
        "ensemble": np.asarray(state.ensemble),
        "cycle": np.asarray(state.cycle),
        "valid_time": np.asarray(state.time),
        "spread_squared_error": np.asarray(state.spread.squared_error),
        "spread_variance": np.asarray(state.spread.variance),
        "spread_weight": np.asarray(state.spread.weight),
        **optional,
    }


def restore_state(arrays: Mapping[str, np.ndarray]) -> CycleState:
    """The cycle's state from the store's arrays, bit for bit."""
    given = {name: jnp.asarray(array) for name, array in arrays.items()}
    trust = smoothing = None
    if "smoothing_history" in given:
        smoothing = SmoothingState(
            history=given["smoothing_history"],
            truth=given["smoothing_truth"],
            done=given["smoothing_done"],
        )
    if "trust_averages" in given:
        trust = TrustState(averages=given["trust_averages"], stations=given["trust_stations"])
    return CycleState(
        ensemble=given["ensemble"],
        cycle=given["cycle"],
        time=given["valid_time"],
        spread=SpreadState(
            squared_error=given["spread_squared_error"],
            variance=given["spread_variance"],
            weight=given["spread_weight"],
        ),
        trust=trust,
        smoothing=smoothing,
        past=given.get("past_departures"),
    )


def on_host(output: CycleOutput, cycles: int) -> CycleOutput:
    """The first cycles of an output as arrays of the host."""
    return jax.tree.map(lambda x: np.asarray(x)[:cycles], output)
