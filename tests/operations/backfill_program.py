"""Run in a process of its own: a backfill with a runner, against the server of PREFECT_API_URL.

`python -m tests.operations.backfill_program ROOT RUNNER` prints how it ended and, if all cycles are
there, the digest of its store.
"""

import sys
from pathlib import Path

from flows.backfill import backfill
from flows.parameters import BackfillParameters, ExperimentParameters
from vardax_core.store import content_digest

GROUPS = 2


def main(root: Path, runner: str) -> None:
    experiment = ExperimentParameters.model_validate(
        {"dataset": "small", "method": "etkf", "root": root}
    )
    plan = {"streams": 4, "overlap": 20, "runner": runner}
    state = backfill(experiment, BackfillParameters.model_validate(plan), return_state=True)
    print(state.name, state.message, flush=True)
    store = experiment.experiment().open_store()
    if store.tip().cycles:
        print(content_digest(store), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
