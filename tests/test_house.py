"""The order of the house: arrows run one way, and the core names no product."""

import ast
from pathlib import Path

import pytest

from vardax_core.data import list_recipes
from vardax_core.data.streams.registry import registered_sources
from vardax_core.methods.registry import registered_methods
from vardax_core.models.registry import registered_models
from vardax_core.observations.registry import registered_observed

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("state",),
    ("models", "observations"),
    ("analysis", "store"),
    ("calibration", "cycling", "data", "training"),
    ("methods",),
    ("experiments",),
    ("monitoring",),
    ("notebook",),
    ("browser",),
)
"""From the ground up; what stands in one line may use each other."""
NAMING = {"models", "methods", "kinds"}
"""Folders of models, methods, operators and sources, which name themselves."""


def modules(*folders):
    for folder in folders:
        yield from sorted((ROOT / "vardax_core" / folder).rglob("*.py"))


CORE = [
    path
    for path in modules(*(folder for layer in LAYERS for folder in layer))
    if not NAMING.intersection(path.relative_to(ROOT / "vardax_core").parts)
]


def imported(path):
    """Folders of the core from which a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "vardax_core" and len(parts) > 1:
                yield parts[1]
            elif parts[0] in {"flows", "prefect", "tests"}:
                yield parts[0]


def texts(tree):
    """Strings of a module that are no docstrings."""
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize("level", range(len(LAYERS)), ids=lambda n: "-".join(LAYERS[n]))
def test_arrows_run_one_way(level):
    above = {folder for layer in LAYERS[level + 1 :] for folder in layer}
    forbidden = above | {"flows", "prefect", "tests"}
    found = {
        f"{path.relative_to(ROOT)} uses {name}"
        for path in modules(*LAYERS[level])
        for name in imported(path)
        if name in forbidden
    }
    assert not found


def test_the_core_names_no_data_set_model_method_operator_or_source():
    products = {*registered_methods(), *registered_models(), *list_recipes()}
    products |= {*registered_observed(), *registered_sources()}
    # Words that are also names: of what is known of states, of departures that stay, of averages,
    # of places.
    products -= {"climatology", "persistence", "mean", "point"}
    found = {
        f"{path.relative_to(ROOT)}: {text!r}"
        for path in CORE
        for text in texts(ast.parse(path.read_text()))
        if text in products
    }
    assert not found


def test_nothing_branches_on_a_kind_where_the_thing_could_say_itself():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in [*CORE, *modules("methods"), *sorted((ROOT / "flows").rglob("*.py"))]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(s, ast.Attribute) and s.attr == "kind" for s in ast.walk(node))
        and "dtype.kind" not in ast.unparse(node)
    ]
    assert not found


def tree_of_imports():
    """Every module of library and flows, and those that it imports when it is loaded."""
    paths = {}
    for path in [p for top in ("vardax_core", "flows") for p in (ROOT / top).rglob("*.py")]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        paths[name.removesuffix(".__init__")] = path
    found = {}
    for name, path in paths.items():
        found[name] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & set(paths)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found[name] |= {whole if whole in paths else node.module} & set(paths)
    return found


def test_no_module_imports_itself_on_a_circle():
    with_arrows = tree_of_imports()
    while leaves := {name for name, used in with_arrows.items() if not used & set(with_arrows)}:
        with_arrows = {n: used for n, used in with_arrows.items() if n not in leaves}
    assert sorted(with_arrows) == []


LONGEST = 400
"""Lines of a file."""


def test_no_file_is_longer_than_a_reader_can_hold():
    tops = ("vardax_core", "flows", "tests", "benchmarks", "docs")
    files = [path for top in tops for path in (ROOT / top).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().split("\n")) for path in files}
    assert not {name for name, length in lengths.items() if length > LONGEST + 1}
