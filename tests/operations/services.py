"""A Prefect server with work pools and deployments, and the processes that work for it."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

from flows.serve import DEPLOYMENTS, HOME
from tests.experiments import small
from tests.flows.test_server import environment, server
from vardax_core.data import Recipe


@dataclass(frozen=True)
class Deployed:
    """A server, its client, and the environment of all who work with it."""

    client: SyncPrefectClient
    variables: dict[str, str]


@contextmanager
def deployed(folder: Path, pool: str, deployment: str, recipe: Recipe) -> Iterator[Deployed]:
    """A server with a pool and one of the deployments of the repository; `small` is a recipe."""
    small.write_recipe(folder / "datasets", recipe)
    with server(folder) as url, SyncPrefectClient(url) as client:
        variables = environment(
            folder,
            PREFECT_API_URL=url,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
            VARDAX_DATASETS_DIR=str(folder / "datasets"),
            VARDAX_HOME=str(HOME),
            PYTHONPATH=str(HOME),
        )
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        deploy = ["--no-prompt", "deploy", "--name", deployment]
        file = ["--prefect-file", str(DEPLOYMENTS / "prefect.yaml")]
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *deploy, *file],
            cwd=HOME,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield Deployed(client, variables)


@contextmanager
def started(
    log: Path, arguments: Sequence[str], variables: dict[str, str]
) -> Iterator[subprocess.Popen]:
    """A Python module as a process with a log, ended at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=HOME,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def two_workers(folder: Path, pool: str, service: Deployed) -> Iterator[None]:
    """Two workers of a pool, each with one run at a time."""
    worker = ["prefect", "worker", "start", "--type", "process", "--pool", pool, "--limit", "1"]
    with ExitStack() as stack:
        for name in ("one", "two"):
            arguments = [*worker, "--name", name]
            stack.enter_context(started(folder / f"{name}.log", arguments, service.variables))
        yield
