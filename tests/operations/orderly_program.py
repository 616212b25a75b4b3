"""Run in a process of its own, without a server: an experiment whose runs all came in order.

`python -m tests.operations.orderly_program ROOT TIME...` goes to each time (ISO, UTC) in turn, and
prints the digest of the store.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from flows.ingest import ingest_observations
from flows.parameters import ExperimentParameters
from tests.experiments import small
from vardax_core.store import content_digest


def main(root: Path, times: list[str]) -> None:
    parameters = ExperimentParameters.model_validate(
        {"dataset": "small", "method": "etkf", "root": root}
    )
    made = parameters.experiment()
    for time in times:
        instant = datetime.fromisoformat(time).replace(tzinfo=UTC)
        ingest_observations.fn(made, parameters, instant)
        store = made.open_store()
        small.catch_up(made, store, time)
    print(content_digest(store), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
