"""What forms and pages of deployments show beside their fields: the data sets that are there, and
the manual.

`python -m flows.forms` brings those of the server that `PREFECT_API_URL` names up to date.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.environment import AUTH_VARIABLE
from flows.form_guard import ADVANCED, PERIODS
from flows.service_api import Api
from vardax_core.data import RecipeError
from vardax_core.data.catalogue import list_recipes, load_recipe
from vardax_core.data.yamlfile import read_yaml
from vardax_core.paths import home

MANUAL = home() / "deployments" / "manual.yaml"
PARTS = ("What it does", "When", "Reads", "Writes", "If it fails")
"""Of every page of the manual."""
DATASET = "dataset"
BASIC: Mapping[str, tuple[str, ...]] = {
    "ExperimentParameters": (DATASET, "method"),
    "TargetParameters": ("until",),
    "BackfillParameters": ("until", "dry_run", "streams"),
    "MonitorParameters": ("as_of",),
}
"""Fields that a form begins with, by the name of the model; the others stand under advanced."""
MORE = "What is seldom changed; leave None for what is usual, or choose 'more fields'."
BY_HAND = "By hand: fill in the form of a custom run."


def manual(path: Path = MANUAL) -> Mapping[str, Any]:
    """What the manual says, by flow, and when deployments are run."""
    found: Mapping[str, Any] = read_yaml(path.read_text(encoding="utf-8"))
    return found


def page(
    description: str,
    flow: str,
    name: str,
    said: Mapping[str, Any],
    schedules: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The manual page of a deployment, in Markdown.

    Arguments:
        description: what it does.
        flow, name: of the deployment.
        said: what `manual` gives.
        schedules: of the deployment, as the server gives them.
    """
    about = said["flows"][flow]
    failures = "\n".join(f"- *{seen}*: {repair}" for seen, repair in about["failures"].items())
    texts = (
        description.split(f"\n\n**{PARTS[1]}**")[0].strip(),
        said["when"].get(name) or _when(schedules),
        about["reads"],
        about["writes"],
        f"\n{failures}",
    )
    first, *others = texts
    rest = [f"**{part}** {text}" for part, text in zip(PARTS[1:], others, strict=True)]
    return "\n\n".join([first, *rest])


def _when(schedules: Sequence[Mapping[str, Any]]) -> str:
    intervals = [one["schedule"].get("interval") for one in schedules if one["active"]]
    found = [f"Every {timedelta(seconds=float(one))} hours." for one in intervals if one]
    return " ".join(found) or BY_HAND


def periods(names: Sequence[str]) -> dict[str, list[str]]:
    """First and last analysis time of data sets; a recipe that is not valid has none."""
    found = {}
    for name in names:
        try:
            period = load_recipe(name).period
        except RecipeError:  # every run says so
            continue
        found[name] = [f"{time:%Y-%m-%dT%H:%M}" for time in (period.start, period.end)]
    return found


def with_data_sets(
    schema: Mapping[str, Any],
    names: Sequence[str],
    known: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """A form's schema whose fields of data sets are choices of those that are there.

    Arguments:
        schema: of the parameters of a flow.
        names: of all recipes.
        known: what `periods` gives.
    """
    found = copy.deepcopy(dict(schema))
    if known:
        found[PERIODS] = {name: [*period] for name, period in known.items()}
    for one in [found, *found.get("definitions", {}).values()]:
        field = one.get("properties", {}).get(DATASET)
        if field is not None:
            field["enum"] = list(names)
    return found


def with_advanced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A form's schema whose fields that few fill in stand under `advanced`, closed at first.

    They may still be given beside the others, as those who call the server do; what is no field
    of the form is refused.

    Arguments:
        schema: of the parameters of a flow.
    """
    found = copy.deepcopy(dict(schema))
    found["additionalProperties"] = False
    models = found.get("definitions", {})
    for name in BASIC.keys() & models.keys():
        fields = models[name]["properties"]
        few = {key: fields.pop(key) for key in [*fields] if key not in (*BASIC[name], ADVANCED)}
        if not few:
            continue
        models[f"{name}Advanced"] = {
            "title": "more fields",
            "type": "object",
            "additionalProperties": False,
            "properties": few,
        }
        fields[ADVANCED] = {
            "title": ADVANCED.capitalize(),
            "description": MORE,
            "anyOf": [{"$ref": f"#/definitions/{name}Advanced"}, {"type": "null"}],
            "default": None,
        }
        models[name]["patternProperties"] = {f"^{key}$": value for key, value in few.items()}
    for field in found.get("properties", {}).values():
        if isinstance(field.get("default"), dict):
            field["default"] = _apart(field["default"], _few(field, models))
    return found


def as_in_form(parameters: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a deployment, laid out as its form has them.

    Arguments:
        parameters: in JSON types.
        schema: what `with_advanced` gives.
    """
    fields, models = schema.get("properties", {}), schema.get("definitions", {})
    return {
        name: _apart(value, _few(fields.get(name, {}), models), keep=True)
        if isinstance(value, dict)
        else value
        for name, value in parameters.items()
    }


def _few(field: Mapping[str, Any], models: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields under `advanced` of a parameter."""
    name = field.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = models.get(f"{name}Advanced", {}).get("properties", {})
    return found


def _apart(
    values: Mapping[str, Any], few: Mapping[str, Any], *, keep: bool = False
) -> dict[str, Any]:
    """Values without those of a few fields, which are kept under `advanced` if that is asked."""
    others = {key: value for key, value in values.items() if key not in few}
    moved = {key: value for key, value in values.items() if key in few}
    if not (keep and moved):
        return others
    return {**others, ADVANCED: {**(values.get(ADVANCED) or {}), **moved}}


def bring_up_to_date(api: Api) -> tuple[str, ...]:
    """Write the manual and the data sets into every deployment; the names of the data sets.

    Raises:
        httpx.HTTPError: the server does not answer, or refuses.
    """
    said, names = manual(), list_recipes()
    known = periods(names)
    flows = {flow["id"]: flow["name"] for flow in api.all("flows/filter", {})}
    for made in api.all("deployments/filter", {}):
        flow = flows.get(made["flow_id"], "")
        if flow not in said["flows"]:
            continue
        schema = with_data_sets(
            made["parameter_openapi_schema"],
            sorted({*names, *_own(made["parameters"])}),
            known,
        )
        schema = with_advanced(schema)
        changed = {
            "description": page(
                made["description"] or "", flow, made["name"], said, made["schedules"]
            ),
            "parameter_openapi_schema": schema,
            "parameters": as_in_form(made["parameters"], schema),
        }
        if any(made[key] != value for key, value in changed.items()):
            api.request("PATCH", f"deployments/{made['id']}", changed)
    return tuple(names)


def _own(parameters: Mapping[str, Any]) -> set[str]:
    """Data sets that a deployment is made for, whether there is a recipe or not."""
    forms = [form for form in parameters.values() if isinstance(form, dict)]
    return {form[DATASET] for form in forms if DATASET in form}


def main() -> None:
    """Bring the deployments of the server up to date."""
    bring_up_to_date(Api(os.environ["PREFECT_API_URL"], os.environ.get(AUTH_VARIABLE, "")))


if __name__ == "__main__":
    main()
