"""Run in a process of its own: the flows against the server that PREFECT_API_URL names."""

import sys
from pathlib import Path

from flows.assimilate import assimilate
from flows.parameters import ExperimentParameters
from flows.run import run
from tests.short_cli import shorten


def main(root: Path) -> None:
    """Everything once for two methods, then the cycles of one of them again."""
    shorten()
    experiment = ExperimentParameters(dataset="lorenz96", root=root, training_steps=20)
    run(experiment, ("etkf", "amortized"), override="trained for a test only")
    assimilate(experiment.of_method("etkf"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
