"""One context of MLIR for many programs.

JAX makes one for every program that it lowers, which takes a quarter of the time in which a small
program is compiled, and nearly all programs of tests are small.
"""

import threading

from jax._src.interpreters import mlir

PROGRAMS = 200
"""So many are lowered in a context, since it keeps their constants for as long as it lives."""


class _Held(threading.local):
    context = None
    left = 0


def share() -> None:
    """Let each thread lower its programs in a context of its own, which is renewed at times."""
    make, held = mlir.make_ir_context, _Held()

    def shared():
        if held.left == 0:
            held.context, held.left = make(), PROGRAMS
        held.left -= 1
        return held.context

    mlir.make_ir_context = shared
