"""A section of a recipe, of which every fault is found in one go."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from vardax_core.data.faults import check_whole

LATER_SECTIONS = frozenset(
    {
        *("late", "screening", "binning", "members", "methods"),
        *(
            "after",
            "observation",
            "streams",
            "grid",
            "prior",
            "withheld",
            "forecast",
            "statistic",
            "bias",
            "errors",
            "heights",
            "levels",
            "regions",
            "leads",
            "implausible",
            "balance",
            "further",
            "channels",
            "operator",
            "select",
            "file_variable",
            "variable",
            "starts",
            "leads",
            "arrival_delay",
            "encoding",
        ),
    }
)
"""Optional sections that are left out of a digest where they are absent."""


class Section(BaseModel):
    """Part of a recipe: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _with_all_faults(cls, values: Any, check: Callable[[Any], Any]) -> Any:
        return check_whole(cls, cls._arranged(values), check, cls._faults, values)

    @classmethod
    def _arranged(cls, values: Any) -> Any:
        """The values as the fields of the section take them."""
        return values

    def _faults(self) -> Iterable[str]:
        """What is wrong between values that are each right."""
        return ()

    @model_serializer(mode="wrap")
    def _without_absent(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """A recipe without an optional section has the digest it had before there was one."""
        plain: dict[str, Any] = write(self)
        return {k: v for k, v in plain.items() if k not in LATER_SECTIONS or v is not None}
