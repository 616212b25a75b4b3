"""The command line, whose trainings and gates are measured on fewer twins: `python -m`."""

import functools

import flows.validate
from flows.cli import main
from tests.experiments import small


def shorten() -> None:
    small.shorten_training()
    flows.validate.run_gates = functools.partial(flows.validate.run_gates, twins=small.FEW_TWINS)


if __name__ == "__main__":
    shorten()
    main()
