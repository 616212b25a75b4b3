"""Deployments of a user's own data set on a service that runs."""

import re
from datetime import timedelta
from typing import Any

import httpx

from flows.environment import ServerError
from flows.service_api import Api

LIKE = {"assimilate": "operational", "monitor": "watch-operational"}
"""Deployments that those of a user's data set are like, by their flow."""
SHORTEST = timedelta(minutes=1)
KEPT = (
    "concurrency_limit",
    "concurrency_options",
    "enforce_parameter_schema",
    "parameter_openapi_schema",
    "pull_steps",
    "work_pool_name",
    "path",
    "entrypoint",
    "job_variables",
)
"""What they have from those that they are like."""


class IntervalError(ValueError):
    """A time between two runs that no schedule can have."""


def deploy(
    api: Api, name: str, experiment: dict[str, Any], every: timedelta, tags: list[str]
) -> tuple[str, ...]:
    """Make, or bring up to date, the deployments that assimilate and watch an experiment.

    Arguments:
        api: of the service.
        name: of the deployments.
        experiment: parameters of the experiment, in JSON types.
        every: time between two runs.
        tags: by which they are found.

    Returns:
        Their names, as flow/deployment.

    Raises:
        IntervalError: runs would follow each other too quickly.
        ServerError: the service has no deployment that they could be like.
        httpx.HTTPError: it does not answer.
    """
    if every < SHORTEST:
        raise IntervalError(f"--every: expected a minute or more, got {every}.")
    name = re.sub(r"[^a-z0-9-]+", "-", name.lower())
    made = []
    for flow, like in LIKE.items():
        try:
            base = api.request("GET", f"deployments/name/{flow}/{like}")
        except httpx.HTTPStatusError as error:
            raise ServerError(
                f"The server at {api.url} has no deployment {flow}/{like} to make others like: "
                "start it with `vardax serve`."
            ) from error
        schedule = {"interval": every.total_seconds(), "timezone": "UTC"}
        body = {key: base[key] for key in KEPT if base.get(key) is not None}
        body |= {
            "name": name,
            "flow_id": base["flow_id"],
            "description": base["description"],
            "tags": tags,
            "parameters": {"experiment": experiment, "target": {"follow": "schedule"}},
            "schedules": [{"active": True, "schedule": schedule}],
            "paused": False,
        }
        api.post("deployments/", body)
        made.append(f"{flow}/{name}")
    return tuple(made)
