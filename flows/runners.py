"""Who runs the streams of a backfill: this process, a Dask cluster, or a work pool."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.parameters import BackfillParameters, ExperimentParameters, ShareParameters
from flows.shares import SUPERSEDED, fill_share
from vardax_core.experiments.backfill import Backfill
from vardax_core.experiments.stream_progress import RoundReport
from vardax_core.store import ExperimentStore, SupersededError
from vardax_core.words import counted

if TYPE_CHECKING:
    from distributed import Client

POLL = 1.0
"""Seconds between two looks at the streams."""
CONNECT = 20.0
"""Seconds that a Dask scheduler has to answer."""


class RunnerError(ValueError):
    """Those who were to run the streams are not there, or gave up."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A backfill under way.

    Attributes:
        experiment: parameters of what is assimilated.
        plan: parameters of the backfill.
        work: the backfill.
        branch: the store on its work branch.
        metadata: recorded with every commit.
    """

    experiment: ExperimentParameters
    plan: BackfillParameters
    work: Backfill
    branch: ExperimentStore
    metadata: Mapping[str, str]

    def shares(self) -> dict[int, ShareParameters]:
        """What is left to do, by the number of the group."""
        done, streams = self.work.done(self.branch), self.work.plan
        return {
            number: ShareParameters(
                first=streams[0].first,
                stop=streams[-1].stop,
                streams=len(streams),
                overlap=self.plan.overlap,
                width=self.work.width,
                group=number,
            )
            for number, group in enumerate(self.work.groups)
            if any(done[stream.number] < stream.length for stream in group)
        }

    def portable(self) -> dict:
        """The experiment's parameters for another process, in JSON; no stream reads a source."""
        root = self.experiment.root.absolute()
        stores = self.experiment.stores or str(root / "experiments")
        changes = {"root": root, "stores": stores, "source_path": None}
        return self.experiment.model_copy(update=changes).model_dump(mode="json")

    def superseded(self, group: int) -> SupersededError:
        """The error of a group that another process runs too."""
        return SupersededError(
            self.branch.location, f"branch {self.work.branch}", f"another with group {group + 1}"
        )


Runner = Callable[[Job], Iterator[None]]
"""Goes on until all streams have ended; every item is a moment to look how far they are."""


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="round-{number}")
def commit_round(reports: Iterator[RoundReport], number: int) -> RoundReport:
    """Go on until the next segment of a group is committed."""
    return next(reports)


def locally(job: Job) -> Iterator[None]:
    """One group after another in this process."""
    rounds = job.work.pending(job.branch)
    reports = job.work.run(job.branch, rounds, metadata=job.metadata)
    for number in range(len(rounds)):
        commit_round(reports, number + 1)
        yield


def on_dask(job: Job) -> Iterator[None]:
    """Every group on a worker of a Dask cluster.

    Dask gives the group of a worker that died to another, which goes on from the work branch.

    Raises:
        RunnerError: the scheduler does not answer, or the workers of a group died one by one.
    """
    from distributed import Future
    from distributed.scheduler import KilledWorker

    shares = job.shares()
    with dask_client(job.plan, len(shares)) as client:
        logger = get_run_logger()
        futures: dict[int, Future] = {
            number: client.submit(
                fill_share,
                job.portable(),
                share.model_dump(mode="json"),
                dict(job.metadata),
                key=f"{job.work.branch}-{number}-{job.metadata['flow_run']}",
                pure=False,
            )
            for number, share in shares.items()
        }
        address = client.scheduler_info(n_workers=0)["address"]
        logger.info("%s of streams on Dask at %s", counted(len(shares), "group"), address)
        warned = False
        while futures:
            for number in [n for n, future in futures.items() if future.done()]:
                try:
                    outcome = futures.pop(number).result()
                except KilledWorker as error:
                    raise RunnerError(
                        f"The Dask workers that ran group {number + 1} died one after another: "
                        f"{error}. Look for the cause in their logs (memory?) and run again; what "
                        "is committed stays."
                    ) from error
                if outcome == SUPERSEDED:
                    raise job.superseded(number)
            if not client.scheduler_info(n_workers=-1)["workers"] and not warned:
                warned = True
                logger.warning(
                    "The Dask cluster at %s has no worker for %s of streams; start one: "
                    "dask worker %s",
                    address,
                    counted(len(futures), "group"),
                    address,
                )
            yield
            if futures:
                time.sleep(POLL)


@contextmanager
def dask_client(plan: BackfillParameters, shares: int) -> Iterator["Client"]:
    """A client of the cluster that a plan names, or of processes for so many shares.

    Raises:
        RunnerError: the scheduler does not answer.
    """
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.WARNING)
    if plan.dask_address is not None:
        try:
            client = Client(plan.dask_address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise RunnerError(
                f"No Dask scheduler answers at {plan.dask_address} ({error}). Start one with "
                "`dask scheduler` and workers with `dask worker ADDRESS`, or leave the address "
                "empty to start processes on this machine."
            ) from error
        with client:
            yield client
        return
    # Dask would limit the threads of its workers, and with them the order of sums.
    unlimited: dict[str, dict] = {"distributed.nanny.pre-spawn-environ": {}}
    with (
        dask.config.set(unlimited),
        LocalCluster(
            n_workers=max(1, min(plan.workers, shares)),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
