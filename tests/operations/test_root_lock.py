"""A root serves one service at a time."""

import subprocess
import sys

import pytest

from flows.root_lock import RootBusyError, root_lock
from tests.support import ROOT

HOLD = """
import sys
from pathlib import Path
from flows.root_lock import root_lock
with root_lock(Path(sys.argv[1]), "http://127.0.0.1:4200"):
    print("held", flush=True)
    input()
"""


def test_a_root_is_one_service_s_until_its_process_is_gone(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RootBusyError) as refused, root_lock(tmp_path, "here"):
            pass
        told = f"root {tmp_path} (process {holder.pid}, http://127.0.0.1:4200): stop that one, or"
        assert told in str(refused.value)
        holder.kill()
    with root_lock(tmp_path, "here"):
        pass
