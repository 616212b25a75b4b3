"""The backgrounds of cycles where files hold them, and what is said of where they come from."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.data.errors import RecipeError
from vardax_core.data.forecast_fields import GivenForecast
from vardax_core.data.forecast_members import UNKNOWN
from vardax_core.data.recipe import Recipe
from vardax_core.data.state_frame import data_folders
from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.words import counted


class ForecastInputs:
    """Gives the cycles of an experiment the backgrounds that its recipe's files hold.

    Attributes:
        forecast: as it had arrived by the experiment's cut-off.
    """

    def __init__(self, recipe: Recipe, settings: ExperimentSettings, frame: xr.Dataset):
        """Read the files.

        Arguments:
            frame: with the axes of the states.

        Raises:
            SourceError: a file cannot be used.
            RecipeError: the forecast has another number of members than the ensemble.
        """
        self.forecast = GivenForecast(recipe, data_folders(), settings.cut_off, frame)
        self._dtype = settings.dtype
        self._name = recipe.name
        if self.forecast.members not in (1, settings.members):
            raise RecipeError(
                f"Recipe '{recipe.name}': the forecast has {self.forecast.members} members "
                f"and the ensemble {settings.members}; set members to {self.forecast.members}."
            )

    def of(self, times: np.ndarray) -> Float[np.ndarray, "cycle member *state"]:
        """Give the members for analysis times, NaN where the files do not say.

        Arguments:
            times: of the analyses (datetime64).
        """
        return self.forecast.background(to_minutes(times)).astype(self._dtype)

    def record(self, times: np.ndarray) -> dict[str, Any]:
        """Say for a commit which forecasts the backgrounds of its cycles are of.

        Arguments:
            times: of the analyses (datetime64).
        """
        starts, leads = self.forecast.origins(to_minutes(times))
        known = starts != UNKNOWN
        if not known.any():
            return {}
        named = np.full(len(starts), "unknown", object)
        named[known] = np.datetime_as_string(from_minutes(starts[known]), unit="m")
        hours = [f"{lead / 60:g}" if np.isfinite(lead) else "unknown" for lead in leads]
        return {"forecast_starts": ", ".join(named), "forecast_lead_hours": ", ".join(hours)}

    def warnings(self, times: np.ndarray) -> tuple[str, ...]:
        """Say in sentences which cycles have no background from the files, or an older one, and
        which fields lack members.

        Arguments:
            times: of the analyses (datetime64).
        """
        minutes = to_minutes(times)
        given = np.array(
            [np.isfinite(one).any() for one in self.forecast.background(minutes)], bool
        )
        _, leads = self.forecast.origins(minutes)
        usual = self.forecast.usual_lead
        old = given & (leads > usual) if usual is not None else np.zeros(len(times), bool)
        lacking = self.forecast.incomplete(minutes)
        said = [f"{self._name}: {lacking}."] if lacking else []
        if not given.all():
            said.append(
                f"{self._name}: no forecast had arrived for "
                f"{counted(int((~given).sum()), 'cycle')}, the first {_shown(times[~given][0])}; "
                "the background there is what the method's "
                "own model makes of the analysis before."
            )
        if usual is not None and old.any():
            at = int(np.flatnonzero(old)[0])
            said.append(
                f"{self._name}: an older forecast is the background of "
                f"{counted(int(old.sum()), 'cycle')}, since the latest had not arrived; the first "
                f"is {_shown(times[at])} with a lead of {leads[at] / 60:g} h instead of "
                f"{usual / 60:g} h."
            )
        return tuple(said)


def _shown(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m"))
