"""The threads of XLA on a CPU, which several simulated devices share."""

import os
import re

COUNT = re.compile(r"xla_force_host_platform_device_count=(\d+)")


class TooFewThreadsError(ValueError):
    """Devices that would wait for each other for ever."""


def simulated_devices() -> int:
    """CPU devices that XLA_FLAGS asks for; 1 if it asks for none."""
    asked = COUNT.findall(os.environ.get("XLA_FLAGS", ""))
    return int(asked[-1]) if asked else 1


def xla_threads() -> int:
    """Threads that XLA computes with on a CPU."""
    asked = os.environ.get("PJRT_NPROC", "")
    return int(asked) if asked.isdecimal() else len(os.sched_getaffinity(0))


def require_threads(devices: int) -> None:
    """Refuse simulated devices that have too few threads.

    A batched LAPACK routine holds a thread of its device and waits for tasks that it gives to the
    threads all devices share: with no thread more than devices, all of them may wait.

    Raises:
        TooFewThreadsError: says what to set.
    """
    threads = xla_threads()
    if devices > 1 and threads <= devices:
        raise TooFewThreadsError(
            f"{devices} simulated CPU devices need at least {devices + 1} threads of XLA, got "
            f"{threads}; set PJRT_NPROC={devices + 1} before the process starts, or ask for fewer "
            "devices in XLA_FLAGS."
        )
