"""Run in a process of its own: a healthy flow run of some minutes.

`python -m tests.operations.patient_flow SECONDS` prints the identifier of its run.
"""

import sys
import time

from prefect import flow, runtime


@flow(name="patient")
def patient(seconds: float) -> None:
    """Do nothing, in good health."""
    print(runtime.flow_run.id, flush=True)
    time.sleep(seconds)


if __name__ == "__main__":
    patient(float(sys.argv[1]))
