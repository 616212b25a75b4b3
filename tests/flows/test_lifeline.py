"""A process whose output nobody reads any more goes on."""

import subprocess
import sys

import pytest

from tests.support import ROOT

PROGRAM = """
import sys, time
from rich.console import Console
from flows.lifeline import outlive_readers

if sys.argv[1] == "guarded":
    outlive_readers()
console = Console()
console.print("begun")
sys.stdin.readline()
for _ in range(20):
    time.sleep(0.02)
    console.print("on and on")
    print("and on", flush=True)
sys.exit(7)
"""


@pytest.mark.parametrize(("how", "ends"), [("guarded", 7), ("not", 1)])
def test_a_process_outlives_its_reader_if_it_is_guarded(how, ends):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.stdout.close()  # the reader is gone, as a worker that was killed
    process.stdin.write("go on\n")
    process.stdin.close()
    assert process.wait(60) == ends
