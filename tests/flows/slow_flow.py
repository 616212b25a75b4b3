"""Run in a process of its own: an `assimilate` flow whose commits take a second each.

`python slow_flow.py ROOT` prints how the flow ended.
"""

import sys
import time
from pathlib import Path

from flows.assimilate import assimilate
from flows.parameters import ExperimentParameters
from vardax_core.experiments import assimilate as module
from vardax_core.experiments import experiment


def main(root: Path) -> None:
    experiment.segment_cycles = lambda ensemble_bytes: 3
    commit = module.Assimilation._commit

    def slow(self, started, record):
        time.sleep(1.0)
        return commit(self, started, record)

    module.Assimilation._commit = slow
    values = {"dataset": "lorenz96", "method": "etkf", "members": 6, "root": root}
    state = assimilate(ExperimentParameters.model_validate(values), return_state=True)
    print(state.message, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
