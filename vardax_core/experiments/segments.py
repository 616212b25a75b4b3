"""Segments between the store and the engine: what goes in, what comes out."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Int, Shaped

from vardax_core.cycling.adaptation import SpreadState
from vardax_core.cycling.biases import BiasState
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.increments import IncrementState
from vardax_core.cycling.passed import CycleOutput, CycleState
from vardax_core.cycling.smoother import SmoothingState
from vardax_core.cycling.trust import TrustState
from vardax_core.data.availability import as_known_at
from vardax_core.data.channels import names_of, stacked
from vardax_core.data.recipe import Recipe
from vardax_core.data.rejected import with_rejected
from vardax_core.data.reports import OWN_CODE, PLATFORM
from vardax_core.data.space import state_grid
from vardax_core.data.timeaxis import duration_to_minutes, from_minutes, to_minutes
from vardax_core.data.window import windows
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.forecast_inputs import ForecastInputs
from vardax_core.experiments.record_inputs import RecordInputs
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.experiments.store_layout import STATION
from vardax_core.observations.quality import QUALITY_CONTROL
from vardax_core.store import ExperimentStore
from vardax_core.store.experiment import NATURE_RUN, OBSERVATIONS

BIAS, INCREMENTS = "bias_", "increments_"
"""Begin the names of what a store knows of biases, and of increments."""


class SegmentReader:
    """Reads the inputs of segments from a store, no more of it than a segment needs.

    Attributes:
        recipe: of the experiment.
        settings: of the experiment; say what is in time, and the precision.
        length: cycles of a segment, padding included.
        snapshot: of the observations that are read, whatever is added to them meanwhile.
        circumstances: the reject list as it was when the reader was made, and what was known.
        width: columns of the observations.
        forecast: gives the backgrounds where files hold them, or None.

    Of real observations it also finds those that the program wants around every point of the grid;
    `even` makes all segments of one shape, as those must be that run side by side.
    """

    def __init__(
        self,
        store: ExperimentStore,
        recipe: Recipe,
        settings: ExperimentSettings,
        length: int,
        program: CycleProgram,
        *,
        even: bool = False,
        as_of: str | None = None,
        circumstances: Circumstances | None = None,
    ):
        """Arguments:
        even: whether all segments are to have one shape.
        as_of: snapshot of the observations; None for the last one.
        circumstances: None for the usual ones.
        """
        self.recipe = recipe
        self.circumstances = circumstances or Circumstances.usual(recipe, settings)
        settings = settings.model_copy(update={"cut_off": self.circumstances.cut_off})
        self.settings = settings
        self.length = length
        kept = store.observations
        self.snapshot = as_of or kept.tip(OBSERVATIONS).snapshot_id
        self._observations = kept.dataset(OBSERVATIONS, as_of=self.snapshot)
        self.width = int(self._observations.sizes[STATION])
        if settings.cut_off is None and self.circumstances.moment is None:
            self._observations = self._observations.drop_vars("arrival_time")
        self._platforms = tuple(str(n) for n in store.arrays("platforms").get("name", ()))
        self._truth = self._records = None
        analysis = store.dataset("analysis")
        self.forecast = None
        if recipe.forecast_files is not None:
            self.forecast = ForecastInputs(recipe, settings, analysis)
        grid_shape = tuple(analysis.sizes[dim] for dim in recipe.state_dims)
        self._shape = recipe.state_shape(grid_shape)
        if recipe.reported:
            grid = state_grid(analysis, recipe)
            self._records = RecordInputs(recipe, settings, grid, program, self.width, even=even)
        else:
            self._truth = kept.dataset(NATURE_RUN, as_of=self.snapshot)[names_of(recipe)]
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

    def read(self, times: np.ndarray) -> dict[str, Any]:
        """The arrays of a `SegmentInput`, padded to the full length.

        Arguments:
            times: analysis times (datetime64) of at least one cycle.
        """
        rows = self._rows(times)
        dtype = np.dtype(self.settings.dtype)
        observations = self._known(rows)
        if self._records is not None:
            arrays = self._records.of(observations, times)
        else:
            given = windows(observations, times, self.recipe, cut_off=self.settings.cut_off)
            arrays = {
                "values": given["values"].astype(dtype),
                "error_sd": given["error_sd"].astype(dtype),
                "minutes": given["minutes"].astype(np.int32),
                "quality": given["quality_control"][:, -1].astype(np.int8),
            }
        if self.forecast is not None:
            arrays["background"] = self.forecast.of(times)
        arrays["truth"] = self._truths(rows, times).astype(dtype)
        missing = self.length - len(times)
        padded: dict[str, Any] = jax.tree.map(
            lambda array: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]), arrays
        )
        return padded | {"valid": np.arange(self.length) < len(times)}

    def origins(
        self, time: np.datetime64
    ) -> tuple[Shaped[np.ndarray, "#window obs"], Int[np.ndarray, "#window obs"]]:
        """Where the observations of a window come from: the time and the column of each in the
        store, a column of -1 where there is none.

        Arguments:
            time: analysis time.
        """
        observations = self._known(self._rows(np.asarray([time])))
        if self._records is not None:
            row, column = self._records.origins(observations, time)
            return observations["time"].values[row][None], column[None]
        given = windows(
            observations, np.asarray([time]), self.recipe, cut_off=self.settings.cut_off
        )
        times = from_minutes(given["minutes"][0])[:, None]
        columns = np.arange(given["values"].shape[-1])[None]
        return tuple(np.broadcast_arrays(times, columns))  # type: ignore[return-value]

    def _known(self, rows: slice) -> xr.Dataset:
        """The observations of some times as they were known, with their codes."""
        observations = self._in_precision(self._observations.isel(time=rows).load())
        made_with = self.circumstances
        if made_with.moment is not None:
            observations = as_known_at(observations, made_with.moment)
        if made_with.rejected or made_with.withheld:
            observations = self._with_codes(observations)
        return observations

    def _with_codes(self, observations: xr.Dataset) -> xr.Dataset:
        """The same with the codes of what is rejected and of what is withheld."""
        numbers = np.arange(observations.sizes[STATION])
        names: tuple[str, ...] = tuple(map(str, numbers))
        platforms = np.broadcast_to(numbers, (observations.sizes["time"], numbers.size))
        if self.recipe.reported:
            names = self._platforms
            platforms = observations[PLATFORM].transpose("time", STATION).to_numpy()
        minutes = to_minutes(observations["time"].values)
        changed = {}
        for key in {QUALITY_CONTROL, OWN_CODE} & set(observations):
            before = observations[key].transpose("time", STATION)
            place = minutes, platforms, names
            found = with_rejected(before.to_numpy(), *place, self.circumstances.rejected)
            hidden = self.circumstances.withheld
            changed[key] = before.copy(data=with_rejected(found, *place, hidden, withheld=True))
        return observations.assign(changed)

    def _in_precision(self, observations: xr.Dataset) -> xr.Dataset:
        name = self.recipe.observed.name
        both = (name, f"{name}_error")
        return observations.assign({n: observations[n].astype(self.settings.dtype) for n in both})

    def truth_of(self, times: np.ndarray) -> np.ndarray:
        """The true states at some analysis times; NaN where they are not known."""
        return self._truths(self._rows(times), times)

    def _truths(self, rows: slice, times: np.ndarray) -> np.ndarray:
        if self._truth is None:
            return np.full((len(times), *self._shape), np.nan, np.float32)
        truth = self._truth.isel(time=rows).load().reindex(time=times)
        return stacked(truth, self.recipe).transpose("time", ...).to_numpy()

    def _rows(self, times: np.ndarray) -> slice:
        window = self.recipe.window
        spacing = duration_to_minutes(window.spacing)
        before, after = (window.times - 1) * spacing, (window.after or 0) * spacing
        first, last = to_minutes(times[[0, -1]])
        start = int(np.searchsorted(self._minutes, first - before))
        stop = int(np.searchsorted(self._minutes, last + after, side="right"))
        start = min(start, len(self._minutes) - 1)
        return slice(start, max(stop, start + 1))


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
    if state.bias is not None:
        optional |= {f"{BIAS}{k}": np.asarray(v) for k, v in vars(state.bias).items()}
    if state.increments is not None:
        optional |= {f"{INCREMENTS}{k}": np.asarray(v) for k, v in vars(state.increments).items()}
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
        bias=bias_of(given),
        increments=increments_of(given),
    )


def increments_of(arrays: Mapping[str, Any]) -> IncrementState | None:
    """What the arrays of a state say of increments; None where an earlier version made them."""
    names = IncrementState.__dataclass_fields__
    if f"{INCREMENTS}count" not in arrays:
        return None
    return IncrementState(**{name: jnp.asarray(arrays[f"{INCREMENTS}{name}"]) for name in names})


def bias_of(arrays: Mapping[str, Any]) -> BiasState | None:
    """What the arrays of a state say of biases; None where none are carried."""
    names = BiasState.__dataclass_fields__
    if f"{BIAS}mean" not in arrays:
        return None
    return BiasState(**{name: jnp.asarray(arrays[f"{BIAS}{name}"]) for name in names})


def on_host(output: CycleOutput, cycles: int) -> CycleOutput:
    """The first cycles of an output as arrays of the host."""
    return jax.tree.map(lambda x: np.asarray(x)[:cycles], output)
