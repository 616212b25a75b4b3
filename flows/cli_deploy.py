"""The command of `vardax` that puts a data set on the schedule of a service: deploy."""

import os
from typing import Annotated

import typer

from flows import answers
from flows.cli_asked import NAMED, Asked, about_experiment
from flows.cli_common import ExitCode, OptionError, fail
from flows.terminal import answer, reporting, say

app = typer.Typer()


@app.command()
@reporting
@about_experiment(*NAMED, "members", "seed", verbose=False)
def deploy(
    asked: Asked,
    every: Annotated[
        str, typer.Option("--every", help="Time between two runs, such as 6h, 30min or 1d.")
    ],
) -> None:
    """Have a running service assimilate a data set regularly, and watch it.

    The service is the one that `PREFECT_API_URL` names.
    """
    import httpx
    from pydantic import TypeAdapter, ValidationError

    from flows.deploying import deploy as deploy_experiment
    from flows.environment import AUTH_VARIABLE, require_server
    from flows.service_api import Api
    from vardax_core.data.scalars import Duration

    try:
        between = TypeAdapter(Duration).validate_python(every)
    except ValidationError as error:
        raise OptionError(
            f"--every: expected a time such as 6h, 30min or 1d, got {every!r}."
        ) from error
    parameters = asked.parameters()
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        raise OptionError(
            "deploy: expected a running service, got none; start it with `vardax serve` and "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    require_server()
    made = parameters.experiment()
    given = parameters.model_dump(mode="json", exclude_defaults=True)
    if asked.root_option is None:  # that of the service
        given.pop("root", None)
    given |= {"dataset": parameters.dataset, "method": parameters.method}
    api = Api(url.rstrip("/"), os.environ.get(AUTH_VARIABLE, ""))
    tags = ["operational", f"dataset:{parameters.dataset}", f"method:{parameters.method}"]
    try:
        names = deploy_experiment(api, made.key, given, between, tags)
    except httpx.HTTPError as error:
        fail(error, ExitCode.FAILED)
    for name in names:
        say(f"{name}: every {every}")
    answer(
        answers.Deployed(experiment=made.name, deployments=names, seconds=between.total_seconds())
    )
