"""The streams of a backfill as flow runs in a work pool."""

import hashlib
import time
from collections.abc import Iterator
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.states import Cancelling

from flows.naming import tags_of
from flows.parameters import ShareParameters
from flows.runners import Job, RunnerError
from flows.shares import SUPERSEDED
from vardax_core.words import counted

POLL = 2.0
"""Seconds between two looks at the runs."""
REMIND = 60.0
"""Seconds between two lines about a pool without a worker."""
CRASHES = 3
"""How many runs of a group may crash under one backfill."""
SILENCE = 300.0
"""Seconds that a server may leave a backfill without an answer."""


def in_pool(job: Job) -> Iterator[None]:
    """Every group as a flow run of a deployment, which goes on from the work branch.

    A run is asked for with an idempotency key of the branch, the group and the attempt, so that a
    backfill that was stopped and started again finds the runs that are still at work. The server is
    only needed to start runs: that a group has ended is known from the store.

    Raises:
        RunnerError: there is no such deployment, a run failed or was cancelled, runs crash again
            and again, or the server stays silent while there is work left.
        SupersededError: another process works on the same streams.
    """
    with get_client(sync_client=True) as client:
        pool = _Pool(job, client)
        try:
            heard = time.monotonic()
            while shares := job.shares():
                try:
                    pool.look(shares)
                    heard = time.monotonic()
                except httpx.HTTPError as error:
                    pool.wait_for_server(error, time.monotonic() - heard)
                yield
                time.sleep(POLL)
        except TerminationSignal:
            pool.cancel()
            raise


class _Pool:
    """The runs of one backfill."""

    def __init__(self, job: Job, client: SyncPrefectClient):
        self._job = job
        self._client = client
        self._logger = get_run_logger()
        self._runs: dict[int, UUID] = {}
        self._crashes: dict[int, int] = {}
        self._reminded = -REMIND
        self._silent = False
        self._deployment = self._find()
        where = f"{job.branch.location} {job.work.branch} {job.experiment.model_dump_json()}"
        self._key = hashlib.sha256(where.encode()).hexdigest()[:16]

    def _find(self) -> DeploymentResponse:
        name = self._job.plan.deployment
        try:
            return self._client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise RunnerError(
                f"The server at {self._client.api_url} has no deployment {name!r}. `vardax serve` "
                "deploys fill/streams and fill/streams-on-gpu and starts a worker; then "
                "`export PREFECT_API_URL=...` with its address, or correct the name."
            ) from error

    def look(self, shares: dict[int, ShareParameters]) -> None:
        """Start the runs that are missing, and see how the others are."""
        waiting = 0
        for number, share in shares.items():
            if number not in self._runs:
                self._runs[number] = self._start(number, share)
            run = self._client.read_flow_run(self._runs[number])
            if run.state is not None and run.state.is_final():
                # The group may have been committed after the shares were read.
                if number in self._job.shares():
                    self._judge(number, run)
            elif run.state is None or run.state.type == StateType.SCHEDULED:
                waiting += 1
        if waiting:
            self._remind(waiting)
        if self._silent:
            self._silent = False
            self._logger.info("The server answers again.")

    def _start(self, number: int, share: ShareParameters) -> UUID:
        """A run of a group: one that is at work or waits, or a new one."""
        attempt = 0
        while True:
            run: FlowRun = run_deployment(  # type: ignore[assignment]
                self._deployment.id,
                parameters={
                    "experiment": self._job.portable(),
                    "share": share.model_dump(mode="json"),
                },
                timeout=0,
                tags=[*tags_of(self._job.experiment), "backfill"],
                idempotency_key=f"{self._key}-{number}-{attempt}",
            )
            if run.state is None or not run.state.is_final():
                self._logger.info("group %d: run %s", number + 1, run.name)
                return run.id
            attempt += 1

    def _judge(self, number: int, run: FlowRun) -> None:
        """What a run whose group has not ended means."""
        assert run.state is not None
        said = f"run {run.name!r} of group {number + 1}"
        del self._runs[number]
        match run.state.type:
            case StateType.COMPLETED if run.state.message == SUPERSEDED:
                raise self._job.superseded(number)
            case StateType.COMPLETED | StateType.CRASHED:
                self._crashes[number] = self._crashes.get(number, 0) + 1
                if self._crashes[number] > CRASHES:
                    raise RunnerError(
                        f"{said} crashed, as {CRASHES} before it ({run.state.message}). See the "
                        "worker's log (memory?), then run again; what is committed stays."
                    )
                self._logger.warning(
                    "%s ended too early (%s); started again", said, run.state.message
                )
            case _:
                raise RunnerError(
                    f"{said} ended {run.state.name}: {run.state.message}. Mend that, then run "
                    "again; what is committed stays."
                )

    def _remind(self, waiting: int) -> None:
        """Say what the runs wait for if nobody serves their pool."""
        pool = self._deployment.work_pool_name
        if pool is None or time.monotonic() - self._reminded < REMIND:
            return
        if self._client.read_work_pool(pool).is_paused:
            self._say(
                "work pool %r is paused, and %s for it; resume it: prefect work-pool resume %s",
                pool,
                _waits(waiting),
                pool,
            )
            return
        workers = self._client.read_workers_for_work_pool(pool)
        if not any(worker.status == "ONLINE" for worker in workers):
            self._say(
                "work pool %r has no worker, and %s for one; start one: "
                "PREFECT_API_URL=%s prefect worker start --pool %s",
                pool,
                _waits(waiting),
                self._client.api_url,
                pool,
            )

    def _say(self, line: str, *facts: object) -> None:
        self._reminded = time.monotonic()
        self._logger.warning(line, *facts)

    def wait_for_server(self, error: httpx.HTTPError, seconds: float) -> None:
        """Go on without the server for a while: runs at work do not need it."""
        if seconds > SILENCE:
            raise RunnerError(
                f"The server at {self._client.api_url} has not answered for {seconds:.0f} s "
                f"({error!r}). Runs at work go on; run the backfill again when it is back."
            ) from error
        if not self._silent:
            self._silent = True
            self._logger.warning("The server does not answer (%r); runs at work go on.", error)

    def cancel(self) -> None:
        """Cancel the runs of a backfill that is cancelled itself."""
        for run in self._runs.values():
            self._client.set_flow_run_state(run, Cancelling())


def _waits(runs: int) -> str:
    return f"{counted(runs, 'run')} {'waits' if runs == 1 else 'wait'}"
