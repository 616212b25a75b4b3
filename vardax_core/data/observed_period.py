"""What may be learned from where observations are real: themselves, and fields beside them."""

import dataclasses
import hashlib
import pathlib

import numpy as np
import xarray as xr

from vardax_core.data.copies import copied_platforms
from vardax_core.data.ingest import Ingested, ingest
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import OBSERVED_AT, PLATFORM, SUPERSEDED_AT, seconds_of
from vardax_core.data.state_frame import data_folders, prior_fields
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

_OF_ARRIVAL = ("arrival_time", SUPERSEDED_AT)


@dataclasses.dataclass(frozen=True)
class ObservedPeriod:
    """Real observations of a training period; those that are withheld are not among them.

    Attributes:
        observations: see `read_reports`; withheld values have been taken out.
        frame: axes of the states, and their mask.
        fields: of the recipe's prior on (time, *state_dims), or None where there is none.
        platforms: names by number.
        copies: withheld platforms, others that hold the same values under their own name, and how
            many; see `copied_platforms`.
    """

    observations: xr.Dataset
    frame: xr.Dataset
    fields: xr.Dataset | None
    platforms: tuple[str, ...]
    copies: tuple[tuple[str, str, int], ...] = ()

    @property
    def attrs(self) -> dict:
        """Attributes with the identity of the prior's files."""
        return dict(self.frame.attrs)

    @property
    def digest(self) -> str:
        """SHA-256 of the records that may be learned from, whatever files they are in."""
        total = hashlib.sha256("\n".join(self.platforms).encode())
        used = self.observations[QUALITY_CONTROL].transpose("time", "station").to_numpy() == 0
        total.update(np.nonzero(used)[0].tobytes())
        total.update(self.observations["time"].to_numpy().tobytes())
        for name, column in sorted(self.observations.data_vars.items()):
            if name not in _OF_ARRIVAL:
                values = column.transpose("time", "station").to_numpy()[used]
                total.update(f"{name} {values.dtype}".encode())
                total.update(np.ascontiguousarray(values).tobytes())
        return total.hexdigest()

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of the axes of the states."""
        return {str(dim): size for dim, size in self.frame.sizes.items()}


def observed_period(recipe: Recipe, data_dir: pathlib.Path | None = None) -> ObservedPeriod:
    """Read what may be learned from: by default of all that the recipe's cycles see.

    Raises:
        SourceError: if a file cannot be used.
    """
    period = recipe.training
    ingested = ingest(
        recipe,
        start=None if period is None else period.start,
        end=None if period is None else period.end,
        data_dir=data_dir,
        partly=True,
    )
    name = recipe.observed.name
    kept = ingested.observations[QUALITY_CONTROL] == 0
    observations = ingested.observations.assign({name: ingested.observations[name].where(kept)})
    fields = None
    if recipe.prior is not None:
        fields = prior_fields(recipe, data_folders(data_dir))
    names = ingested.platforms
    copies = tuple(
        (names[one], names[other], count) for one, other, count in _copies(ingested, recipe)
    )
    return ObservedPeriod(observations, ingested.frame, fields, names, copies)


def _copies(ingested: Ingested, recipe: Recipe) -> list[tuple[int, int, int]]:
    columns = {
        str(name): array.transpose("time", "station").to_numpy().reshape(-1)
        for name, array in ingested.observations.data_vars.items()
    }
    codes = columns[QUALITY_CONTROL]
    return copied_platforms(
        columns[recipe.observed.name],
        np.stack([columns[dim] for dim in recipe.state_dims], axis=1),
        seconds_of(columns[OBSERVED_AT]),
        columns[PLATFORM],
        codes == QualityCode.WITHHELD,
        codes == QualityCode.KEPT,
    )
