"""How the output of cycles is stored."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vardax_core.cycling.passed import CycleOutput
from vardax_core.data.channels import names_of, split_by
from vardax_core.data.masks import frame_mask
from vardax_core.data.recipe import Recipe
from vardax_core.experiments.store_layout import INCREMENT_CAUSE, STATION
from vardax_core.observations.quality import QualityCode
from vardax_core.store import ExperimentStore


@dataclasses.dataclass(frozen=True)
class StoredForm:
    """How the output of cycles is stored.

    Attributes:
        names: of the state's variables, one to a channel.
        dimensions: of the grid.
        dtype: of the fields in the store.
        width: columns of observations in the store, once it has those of what was read.
        mask: True at the points that belong to the state, or None for all; the others are NaN.
        of_records: what the store has of every observation, in the group `innovations`.
        of_cycles: what it has of every cycle, in the group `diagnostics`.
    """

    names: tuple[str, ...]
    dimensions: int
    dtype: str
    width: int
    mask: np.ndarray | None = None
    of_records: tuple[str, ...] = ()
    of_cycles: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: ExperimentStore, recipe: Recipe, dtype: str, columns: int) -> "StoredForm":
        """The form that a store has, made from so many columns of observations."""
        width = max(columns, int(store.dataset("innovations").sizes[STATION]))
        mask = frame_mask(store.dataset("analysis"), recipe.state_dims)
        names = tuple(names_of(recipe))
        kept, cycles = (
            tuple(str(name) for name in store.dataset(group).data_vars)
            for group in ("innovations", "diagnostics")
        )
        return cls(names, len(recipe.state_dims), dtype, width, mask, kept, cycles)

    @property
    def widths(self) -> dict[str, int]:
        """Dimensions to which a store is widened before anything in this form is written."""
        return {STATION: self.width}

    def groups(self, output: CycleOutput) -> dict[str, dict[str, Any]]:
        """Give the variables of the store's groups.

        Arguments:
            output: of the valid cycles, on the host.
        """
        analysis = output.analysis
        moments = {"mean": analysis.mean, "spread": analysis.spread}
        smoothed = {}
        if output.smoothed is not None:
            later = {"mean": output.smoothed.mean, "spread": output.smoothed.spread}
            smoothed["smoothed"] = self._fields(later)
        return {
            **smoothed,
            "background": self._channels(output.background),
            "analysis": {**self._channels(analysis.ensemble), **self._fields(moments)},
            "innovations": self._of_records(output),
            "diagnostics": {
                **{k: np.asarray(v, np.float64) for k, v in output.statistics.items()},
                "result": np.asarray(analysis.result, np.int8),
                "spread_factor": np.asarray(output.spread_factor, np.float64),
                "analysis_method": np.asarray(output.method, np.int8),
                "trust_score": np.asarray(output.trust_score, np.float64),
                "replaced_members": np.asarray(output.replaced_members, np.int16),
                **self._cause(output),
            },
        }

    def _cause(self, output: CycleOutput) -> dict[str, np.ndarray]:
        if INCREMENT_CAUSE not in self.of_cycles:
            return {}
        cause = output.increment_cause
        none = np.zeros(np.shape(output.method), np.int8)
        return {INCREMENT_CAUSE: none if cause is None else np.asarray(cause, np.int8)}

    def _of_records(self, output: CycleOutput) -> dict[str, np.ndarray]:
        """What the store has room for: one of an earlier version has less."""
        departures, residuals = output.departures, output.residuals
        there = np.isfinite(departures.innovation)
        found = {
            "background_departure": departures.innovation,
            "analysis_departure": residuals.residual,
            "background_equivalent_variance": departures.variance,
            "analysis_equivalent_variance": np.where(there, residuals.variance, np.nan),
            "applied_error": np.where(there, departures.error_sd, np.nan),
            "quality_control": departures.quality,
        }
        if output.correction is not None:
            found["bias_correction"] = np.where(there, output.correction, np.nan)
        return {
            name: self._columns(values) for name, values in found.items() if name in self.of_records
        }

    def _fields(self, fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {
            name: channel
            for suffix, field in fields.items()
            for name, channel in self._channels(field, f"_{suffix}").items()
        }

    def _channels(self, field: Any, suffix: str = "") -> dict[str, np.ndarray]:
        names = [name + suffix for name in self.names]
        return split_by(self._field(field), names, self.dimensions)

    def _field(self, array: Any) -> np.ndarray:
        field = np.asarray(array).astype(self.dtype, copy=False)
        if self.mask is None:
            return field
        return np.where(self.mask, field, np.asarray(np.nan, field.dtype))

    def _columns(self, array: Any) -> np.ndarray:
        """The columns of the analysis time, filled to those of the store."""
        values = np.asarray(array)[:, : self.width]
        code = values.dtype.kind in "iu"
        values = values.astype(np.int8 if code else self.dtype, copy=False)
        fill = int(QualityCode.MISSING) if code else np.nan
        rest = np.full((len(values), self.width - values.shape[1]), fill, values.dtype)
        return np.concatenate([values, rest], axis=1) if rest.size else values
