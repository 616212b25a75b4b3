"""`.vardax` of a tree that `vardax.open` made."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from vardax_core.data import load_recipe
from vardax_core.notebook.innovations import innovation_table
from vardax_core.notebook.scores import part_scores
from vardax_core.notebook.tree import open_tree, store_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@xr.register_datatree_accessor("vardax")
class TreeAccessor:
    """What a tree of an experiment can be asked for."""

    def __init__(self, tree: xr.DataTree):
        self._tree = tree

    def plot(
        self,
        date: str | np.datetime64 | None = None,
        *,
        member: int | None = None,
        variable: str | None = None,
    ) -> "Figure":
        """Draw an analysis with its observations; see `cycle_picture`."""
        from vardax_core.notebook.picture import cycle_picture

        return cycle_picture(self._tree, date, member=member, variable=variable)

    def scores(self, by: str | None = None, *, burn_in: int | None = None) -> xr.Dataset:
        """Score the period, or each of its parts.

        Arguments:
            by: `day`, `month`, `year`, or `hour` of the day; by default the whole period.
            burn_in: cycles at the beginning that are left out; by default those of the recipe.

        Raises:
            PartError: there is no such part.
            RecipeError: the recipe is not there, and no burn-in is given.
            NotebookError: the tree was not opened by `vardax.open`.
        """
        store, snapshot = store_of(self._tree)
        if burn_in is None:
            burn_in = load_recipe(str(self._tree.attrs["dataset"])).burn_in
        groups = (store.dataset(name, as_of=snapshot) for name in ("diagnostics", "analysis"))
        return part_scores(*groups, by=by, burn_in=burn_in)

    def innovations(self, start: str | None = None, end: str | None = None) -> pd.DataFrame:
        """List the observations at analysis times with their departures; see `innovation_table`."""
        return innovation_table(self._tree, start, end)

    def as_of(self, instant: str) -> xr.DataTree:
        """Open the same experiment as readers had it.

        Arguments:
            instant: ISO 8601, UTC if it does not say, or a snapshot.

        Raises:
            SnapshotNotFoundError: there was nothing yet.
            NotebookError: the tree was not opened by `vardax.open`.
        """
        store, _ = store_of(self._tree)
        return open_tree(store.location, as_of=instant)
