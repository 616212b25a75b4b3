"""Run in a process of its own: an `assimilate` flow that another run overtakes after its first
commit. `python rival_flow.py ROOT` prints how the flow ended.
"""

import sys
import threading
from pathlib import Path

from flows.assimilate import assimilate
from flows.ingest import ingest
from flows.parameters import ExperimentParameters
from vardax_core.experiments import assimilate as module
from vardax_core.experiments import experiment
from vardax_core.experiments.assimilate import pending_cycles

SEGMENT = 6


def main(root: Path) -> None:
    experiment.segment_cycles = lambda ensemble_bytes: SEGMENT
    parameters = ExperimentParameters(dataset="lorenz96", root=root, method="etkf", members=6)
    ingest(parameters)
    made = parameters.experiment()
    commit = module.Assimilation._commit

    def disturbed(self, started, record):
        module.Assimilation._commit = commit
        report = commit(self, started, record)
        store = made.open_store()
        work = module.Assimilation(made, store, made.prepare(store))
        rival = threading.Thread(target=lambda: list(work.run(pending_cycles(made, store))))
        rival.start()
        rival.join()
        return report

    module.Assimilation._commit = disturbed
    state = assimilate(parameters, return_state=True)
    print(state.message, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
