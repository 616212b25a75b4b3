"""Programs of methods that are cycled later, compiled while earlier ones are at work."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment

logger = logging.getLogger(__name__)


class ProgramsAhead:
    """Compiles in a thread what the cycles of experiments will run, in the order in which it is
    asked for.

    A program that is compiled is found again by whoever runs these cycles in this process. It only
    reads: the stores are there before. What goes wrong is left to those cycles, which meet it
    themselves.

    It is for states so small that a program runs on one thread. Where several share the threads,
    two programs with linear algebra may wait for each other for ever.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "compile-ahead")
        self._begun: dict[str, Future[None]] = {}

    def __enter__(self) -> "ProgramsAhead":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def begin(self, experiment: Experiment) -> None:
        """Compile the first segment of an experiment, once those before it are."""
        self._begun[experiment.name] = self._thread.submit(_compile, experiment)

    def wait(self, experiment: Experiment) -> None:
        """Wait for what was begun for an experiment, so that nothing is compiled twice."""
        begun = self._begun.pop(experiment.name, None)
        if begun is not None and (error := begun.exception()) is not None:
            logger.info("%s: not compiled ahead: %r", experiment.name, error)


def _compile(experiment: Experiment) -> None:
    store = experiment.open_store()
    times = pending_cycles(experiment, store)
    prepared = experiment.prepare(store)
    if len(times) and not prepared.hosted:
        assimilation = Assimilation(experiment, store, prepared)
        state, given, _ = assimilation.first_inputs(times)
        assimilation.engine.compile(state, given)
