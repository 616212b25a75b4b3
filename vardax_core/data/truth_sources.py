"""The sections of a recipe that say where its truth comes from: a model, or a file of fields."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_serializer,
)

from vardax_core.data.scalars import FileName, FilePath, Integer, Interval, Number, Seed
from vardax_core.data.section import Section
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.models.registry import model_settings, registered_models
from vardax_core.models.settings import AbstractModelSettings
from vardax_core.words import did_you_mean, faults_of


class TwinSource(Section):
    """A nature run made by a forecast model; the model's own settings stand beside these keys.

    With `forecast`, the forecasts are made by the same model with these settings changed.

    Class attributes, of every source:
        simulates: whether a model of the truth is known, so that learning needs no data.
        origin: of the truth, for people.
        usual_members: ensemble size that experiments start from.
        scores_stations: whether analyses are scored at the points of the stations, too.
    """

    simulates: ClassVar[bool] = True
    origin: ClassVar[str] = "a run of its model"
    usual_members: ClassVar[int] = 24
    scores_stations: ClassVar[bool] = True

    kind: Literal["twin"]
    model: str = Field(description="name of the model that makes the nature run")
    settings: SerializeAsAny[AbstractModelSettings] = Field(  # type: ignore[assignment]
        default=None, description="of that model; there whenever the model is"
    )
    step_interval: Interval = Field(description="valid time that one step stands for")
    spin_up_steps: Integer = Field(ge=0, description="steps before the first state that is kept")
    seed: Seed = Field(description="of the initial state")
    forecast: dict[str, JsonValue] | None = Field(
        default=None, description="settings in which the forecast model differs from the truth's"
    )

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        if not isinstance(values, dict) or isinstance(values.get("settings"), BaseModel):
            return values
        own = {key: value for key, value in values.items() if key in OWN}
        if own.get("model") not in list(registered_models()):
            return own
        return {**own, "settings": {k: v for k, v in values.items() if k not in OWN}}

    @field_validator("model")
    @classmethod
    def _known(cls, name: str) -> str:
        model_settings(name)
        return name

    @field_validator("settings", mode="before")
    @classmethod
    def _of_the_model(cls, values: Any, info: Any) -> Any:
        if isinstance(values, BaseModel):
            return values
        return settings_of(info.data["model"], values, OWN)

    def _faults(self) -> Iterator[str]:
        minutes = duration_to_minutes(self.step_interval)
        try:
            truth = self.settings.build(minutes)
        except ValueError as error:
            yield str(error)
            return
        try:
            forecast = self.forecast_settings.build(minutes)
        except ValueError as error:
            yield f"forecast: {error}"
            return
        if forecast.state_shape != truth.state_shape:
            yield (
                "forecast: the settings of the forecast model change the shape of the state; leave "
                "out those that do"
            )

    @model_serializer(mode="wrap")
    def _beside_each_other(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in write(self).items():
            if key == "settings":
                flat |= value
            elif key != "forecast" or value is not None:
                flat[key] = value
        return flat

    @property
    def forecast_settings(self) -> AbstractModelSettings:
        """The settings of the model that makes the forecasts.

        Raises:
            ValueError: if `forecast` holds what the model does not know.
        """
        return settings_of(self.model, self.settings.model_dump() | (self.forecast or {}), ())


OWN = tuple(key for key in TwinSource.model_fields if key != "settings")
"""The keys of a twin's source that are no settings of its model."""


def settings_of(model: str, values: dict[str, Any], beside: Iterable[str]) -> AbstractModelSettings:
    """Check the settings of a model.

    Arguments:
        model: its name.
        values: the settings as they were read.
        beside: keys that may stand beside them, for the message.

    Raises:
        ValueError: naming every setting at fault.
    """
    kind = model_settings(model)
    known = [*kind.model_fields, *beside]
    unknown = [key for key in values if key not in kind.model_fields]
    said = [f"unknown key '{key}'{did_you_mean(str(key), known)}" for key in unknown]
    if said:
        said.append(f"Valid keys: {', '.join(known)}.")
    try:
        made = kind.model_validate({k: v for k, v in values.items() if k not in unknown})
    except ValidationError as error:
        said += faults_of(error)
    if said:
        raise ValueError(" ".join(said))
    return made


class SourceFile(Section):
    """A file that may hold the nature run."""

    name: FilePath = Field(description="path below the folders of data")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="its SHA-256 in hexadecimal")


class FileSource(Section):
    """A nature run in a file: gridded fields that are taken for the truth, from which observations
    are simulated. Real observations cannot enter by it."""

    simulates: ClassVar[bool] = False
    origin: ClassVar[str] = "the fields of a file"
    usual_members: ClassVar[int] = 40
    scores_stations: ClassVar[bool] = False

    kind: Literal["file"]
    variable: str | None = Field(
        default=None,
        description="name of the variable in the file; by default its own file_variable or name",
    )
    files: tuple[SourceFile, ...] = Field(
        min_length=1, description="files that hold the data, the preferred one first"
    )
    tutorial: FileName | None = Field(
        default=None, description="one of `files` that the xarray tutorial data offer for download"
    )
    select: dict[str, Number] | None = Field(
        default=None, description="one coordinate of each further dimension, of every variable"
    )

    def _faults(self) -> Iterator[str]:
        names = [file.name for file in self.files]
        if self.tutorial is not None and self.tutorial not in names:
            yield f"tutorial '{self.tutorial}' must be one of the files {names}"
