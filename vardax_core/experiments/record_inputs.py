"""Windows of real observations as arrays: every record a column, in the row of its time."""

from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Int

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.data.heights import HEIGHT_SHIFT
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import CHANNEL
from vardax_core.data.reports import (
    OBSERVED_AT,
    OWN_CODE,
    PLATFORM,
    SHIFT,
    STREAM,
    SUPERSEDED_AT,
    seconds_of,
)
from vardax_core.data.timeaxis import duration_to_minutes, to_minutes
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.observations.placement import Placement, ReportedErrors, place, search_of
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.observations.stencils import StreamStencils
from vardax_core.state.grids import AbstractGrid

CAPACITIES = (64, 16, 4, 1)
"""A program is compiled for these parts of the store's columns, whichever holds a segment."""


class RecordInputs:
    """Makes the inputs of cycles from the columns of a store of real observations.

    The columns of a window are those of the analysis time, as the store has them, and then all
    records that are used of its other times, each in the row of its own time. The analysis time is
    the last row, whether others are before or after it.

    Attributes:
        recipe: of the experiment.
        settings: of the experiment.
        grid: of the state.
        search: which records the program wants around every point, or None.
        width: columns of the store.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: ExperimentSettings,
        grid: AbstractGrid,
        program: CycleProgram,
        width: int,
        *,
        even: bool = False,
    ):
        self.recipe = recipe
        self.settings = settings
        self.grid = grid
        self.search = search_of(program)
        self._stencils = StreamStencils(grid, [one.seen_as for one in recipe.streams or ()])
        self._errors = program.errors or ReportedErrors()
        self.width = width
        self._capacities = CAPACITIES[-1:] if even else CAPACITIES
        window, spacing = recipe.window, duration_to_minutes(recipe.window.spacing)
        before = np.arange(1 - window.times, 0, dtype=np.int64)
        after = np.arange(1, 1 + (window.after or 0), dtype=np.int64)
        self.offsets = np.concatenate([before, after, [0]]) * spacing

    def of(self, observations: xr.Dataset, times: np.ndarray) -> dict[str, Any]:
        """Make the observations of a segment.

        Arguments:
            observations: of all times of the windows, in memory.
            times: analysis times.
        """
        columns = {
            str(name): array.transpose("time", "station").to_numpy()
            for name, array in observations.data_vars.items()
        }
        columns[OBSERVED_AT] = seconds_of(columns[OBSERVED_AT])
        columns[QUALITY_CONTROL] = self._codes(columns, to_minutes(observations["time"].values))
        rows = self._rows(to_minutes(observations["time"].values), times)
        usable = columns[QUALITY_CONTROL] == QualityCode.KEPT
        there = columns[QUALITY_CONTROL] != QualityCode.MISSING
        now, others = self._capacity(usable, there, rows)
        cycles = [
            self._cycle(columns, usable, row, now, others, t)
            for row, t in zip(rows, times, strict=True)
        ]
        return jax.tree.map(lambda *parts: np.stack(parts), *cycles)

    def origins(
        self, observations: xr.Dataset, time: np.datetime64
    ) -> tuple[Int[np.ndarray, " column"], Int[np.ndarray, " column"]]:
        """Where the columns of a window come from, as `of` makes them.

        Arguments:
            observations: of all times of the window, in memory.
            time: analysis time.

        Returns:
            Row of the observations and column of the store, -1 where there is nothing.
        """
        columns = {
            name: observations[name].transpose("time", "station").to_numpy()
            for name in (QUALITY_CONTROL, OWN_CODE, SUPERSEDED_AT, "arrival_time")
            if name in observations
        }
        minutes = to_minutes(observations["time"].values)
        codes = self._codes(columns, minutes)
        rows = self._rows(minutes, np.asarray([time]))
        usable, there = codes == QualityCode.KEPT, codes != QualityCode.MISSING
        now, others = self._capacity(usable, there, rows)
        at, column, _ = self._columns(usable, rows[0], now, others)
        return at, np.where(at >= 0, column, -1)

    def _codes(
        self, columns: dict[str, np.ndarray], minutes: Int[np.ndarray, " time"]
    ) -> Int[np.ndarray, "time column"]:
        """Quality codes as they were at the cut-off: without what came later, and with the versions
        that were superseded later."""
        codes = columns[QUALITY_CONTROL].copy()
        if self.settings.cut_off is not None:
            latest = minutes + duration_to_minutes(self.settings.cut_off)
            if SUPERSEDED_AT in columns:
                # For verification a withheld value is the last one, whenever that came.
                still = to_minutes(columns[SUPERSEDED_AT]) > latest[:, None]
                still &= columns[OWN_CODE] == QualityCode.KEPT
                codes[still] = QualityCode.KEPT
            arrival = to_minutes(columns["arrival_time"])
            late = (arrival > latest[:, None]) | (arrival == np.iinfo(np.int64).min)
            codes[late & (codes == QualityCode.KEPT)] = QualityCode.NOT_ARRIVED
        return codes

    def _rows(
        self, minutes: Int[np.ndarray, " time"], times: np.ndarray
    ) -> Int[np.ndarray, "cycle window"]:
        """Row of the observations for every time of the windows; -1 for none."""
        wanted = to_minutes(times)[:, None] + self.offsets
        row = np.searchsorted(minutes, wanted).clip(max=len(minutes) - 1)
        return np.where(minutes[row] == wanted, row, -1)

    def _capacity(
        self,
        usable: np.ndarray,
        there: np.ndarray,
        rows: Int[np.ndarray, "cycle window"],
    ) -> tuple[int, int]:
        """Columns for the analysis time and for the other times of a segment's windows."""
        counts = np.append(usable.sum(axis=1), 0)
        ends = np.append(np.where(there, np.arange(1, there.shape[1] + 1), 0).max(axis=1), 0)
        others = int(counts[rows[:, :-1]].sum(axis=1).max(initial=0))
        own, more = int(ends[rows[:, -1]].max(initial=0)), len(self.offsets) - 1
        for part in self._capacities:
            now = max(1, -(-self.width // part))
            if own <= now and others <= more * now:
                return now, more * now
        return self.width, more * self.width

    def _columns(
        self, usable: np.ndarray, rows: Int[np.ndarray, " window"], now: int, others: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row of the observations (-1 for none), column of the store, and row of the window, of
        every column of a window."""
        size, window = now + others, len(rows)
        at, column = np.full(size, -1), np.full(size, 0)
        row_of = np.full(size, window - 1)
        if rows[-1] >= 0:
            at[:now], column[:now] = rows[-1], np.arange(now)
        filled = now
        for number, row in enumerate(rows[:-1]):
            found = np.flatnonzero(usable[row]) if row >= 0 else np.empty(0, int)
            part = slice(filled, filled + found.size)
            at[part], column[part], row_of[part] = row, found, number
            filled += found.size
        return at, column, row_of

    def _cycle(
        self,
        columns: dict[str, np.ndarray],
        usable: np.ndarray,
        rows: Int[np.ndarray, " window"],
        now: int,
        others: int,
        time: np.datetime64,
    ) -> dict[str, Any]:
        name, dtype = self.recipe.observed.name, np.dtype(self.settings.dtype)
        size, window = now + others, len(rows)
        at, place_of, row_of = self._columns(usable, rows, now, others)
        known = at >= 0

        def taken(key: str, missing: Any) -> np.ndarray:
            values = columns[key][at, place_of]
            return np.where(known, values, np.asarray(missing, values.dtype))

        codes = taken(QUALITY_CONTROL, QualityCode.MISSING)
        values, errors = np.full((2, window, size), np.nan, dtype)
        shown = known & ((codes == QualityCode.KEPT) | (codes == QualityCode.WITHHELD))
        column = np.flatnonzero(shown)
        observed = taken(name, np.nan)
        if SHIFT in columns:
            # What the forecast says of its own hours stands for what it says of the analysis'.
            observed = observed - np.nan_to_num(taken(SHIFT, 0.0))
        if HEIGHT_SHIFT in columns:
            observed = observed - np.nan_to_num(taken(HEIGHT_SHIFT, 0.0))
        values[row_of[column], column] = observed[column]
        channels = taken(CHANNEL, 0) if CHANNEL in columns else None
        factor, nugget, shared = self._errors.of(
            np.zeros(size, int) if channels is None else channels
        )
        spread = np.hypot(factor * taken(f"{name}_error", 1.0), nugget)
        if self._errors.streams:
            spread = np.append(self._errors.streams, 1.0)[taken(STREAM, -1)] * spread
        # What a withheld platform's records share is part of how well they can be predicted.
        alone = np.hypot(spread, shared)
        spread = np.where(codes == QualityCode.WITHHELD, alone, spread)
        errors[:] = np.where(shown, spread, 1.0)
        seconds = taken(OBSERVED_AT, 0)
        analysis = int(to_minutes(np.asarray([time]))[0])
        coordinates = np.stack([taken(dim, np.nan) for dim in self.recipe.state_dims], axis=1)
        coordinates = np.where(shown[:, None], coordinates, np.nan)
        placement: Placement = place(
            self.grid,
            coordinates,
            seconds / 60 - analysis,
            taken(PLATFORM, -1),
            codes == QualityCode.KEPT,
            np.arange(size) < now,
            self.search,
            self.settings.dtype,
            self._stencils.of(coordinates, taken(STREAM, -1)),
            channels=channels,
        )
        codes[now:] = QualityCode.MISSING
        return {
            "values": values,
            "error_sd": errors,
            "minutes": (analysis + self.offsets).astype(np.int32),
            "quality": codes.astype(np.int8),
            "placement": placement,
        }
