"""What the tests of the most important modules would notice: python tests/mutants.py.

A mutant is a module with one operator, comparison, constant or condition changed. The module's own
tests run on a copy of the library that holds it: it is killed where one fails, and survives where
none does, which is either a gap in the tests or a change that means nothing. Mutants are drawn by
a seed; each runs in a process forked from one that has imported what they share.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "cycling/cycle.py": ("cycling/test_cycle.py", "cycling/test_possible_members.py"),
    "store/writer.py": ("store/test_store_writer.py", "store/test_store_objects.py"),
    "analysis/ensemble/letkf.py": ("analysis/test_ensemble.py", "analysis/test_bad_input.py"),
    "observations/departures.py": (
        "observations/test_departures.py",
        "observations/test_quality.py",
    ),
    "calibration/score_definitions.py": (
        "calibration/test_scores.py",
        "calibration/test_direct.py",
    ),
}
"""Which tests are a module's own."""
SHARED = ("jax", "equinox", "diffrax", "flowjax", "prefect.main", "dask.array", "xarray", "zarr")
SHARED += ("icechunk", "pandera.xarray", "scipy.stats", "matplotlib.pyplot", "hypothesis", "pytest")
LIMIT = 280
"""Seconds after which a mutant counts as killed, as one that hangs."""

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or,
    ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


def changed(node: ast.AST) -> ast.AST | None:
    """Give what a node becomes in a mutant, or None if it stays as it is."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[one, *_]) if type(one) in SWAPS:
            new.ops[0] = SWAPS[type(one)]()
        case ast.BinOp(op=one) | ast.BoolOp(op=one) | ast.UnaryOp(op=one) if type(one) in SWAPS:
            new.op = SWAPS[type(one)]()
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            return new.operand
        case ast.IfExp():
            new.body, new.orelse = new.orelse, new.body
        case ast.Constant(value=bool()):
            new.value = not new.value
        case ast.Constant(value=int() | float()):
            new.value += 1
        case _:
            return None
    return new


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Give where the expressions of the bodies of functions stand."""
    stack = [
        statement
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        if not isinstance(statement, ast.Raise)
    ]
    seen = set()
    while stack:
        parent = stack.pop()
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "args") and not isinstance(parent, ast.Call):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                    stack.append(child)
                    if id(child) not in seen and changed(child) is not None:
                        seen.add(id(child))
                        yield parent, field, index


def mutants(path: Path, count: int, seed: int) -> Iterator[tuple[int, str, str, str]]:
    """Draw mutants of a module: line, what stood there, what stands there now, the whole text."""
    tree = ast.parse(path.read_text())
    found = sorted(places(tree), key=lambda place: (place[0].lineno, place[1], place[2] or 0)
                   if hasattr(place[0], "lineno") else (0, place[1], 0))  # fmt: skip
    for parent, field, index in random.Random(seed).sample(found, min(count, len(found))):
        holder = getattr(parent, field) if index is not None else None
        old = getattr(parent, field) if holder is None else holder[index]
        new = changed(old)
        for node in (new, old):
            if holder is None:
                setattr(parent, field, node)
            else:
                holder[index] = node
            if node is new:
                yield old.lineno, ast.unparse(old), ast.unparse(new), ast.unparse(tree)


def survives(module: str, text: str, library: Path) -> bool:
    """Run the tests of a module on a copy of the library that holds a mutant of it."""
    place = library / "vardax_core" / module
    kept = place.read_text()
    place.write_text(text)
    try:
        child = os.fork()
        if child == 0:
            _run([str(library / "tests" / test) for test in TESTS[module]], library)
        _, status = os.waitpid(child, 0)
    finally:
        place.write_text(kept)
    return status == 0


def _run(tests: list[str], library: Path) -> None:
    """Run tests in this process, and end it."""
    with open(os.devnull, "w") as nowhere, contextlib.suppress(BaseException):
        signal.alarm(LIMIT)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        os.chdir(library)
        sys.path.insert(0, str(library))
        import pytest

        chosen = ["-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not slow"]
        os._exit(int(pytest.main([*chosen, *tests])))
    os._exit(1)


def main() -> None:
    """Print the table of a draw of mutants of each module, and every survivor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=15, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", choices=tuple(TESTS), help="this one alone")
    chosen = parser.parse_args()
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    for name in SHARED:
        importlib.import_module(name)
    rows, survivors = [], []
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)
        for name in ("vardax_core", "flows", "tests", "datasets", "deployments", "pyproject.toml"):
            copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copied(ROOT / name, library / name)
        for module in [chosen.module] if chosen.module else TESTS:
            if not survives(module, (library / "vardax_core" / module).read_text(), library):
                raise SystemExit(f"The tests of {module} fail on the module as it is; mend them.")
            drawn = list(mutants(ROOT / "vardax_core" / module, chosen.count, chosen.seed))
            alive = [one for one in drawn if survives(module, one[3], library)]
            rows.append(f"| {module} | {len(drawn)} | {len(drawn) - len(alive)} | {len(alive)} |")
            survivors += [f"{module}:{one[0]}: {one[1]}  ->  {one[2]}" for one in alive]
            print(rows[-1], flush=True)
    print("| module | mutants | killed | survived |\n| --- | --- | --- | --- |", *rows, sep="\n")
    print(*survivors, sep="\n")


if __name__ == "__main__":
    main()
