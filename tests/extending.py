"""Packages of plug-ins, installed for the length of a test: a module and its entry points."""

import contextlib
import importlib
import re
import sys
import tomllib
from unittest import mock

from tests.support import ROOT
from vardax_core.data.streams.registry import registered_sources
from vardax_core.methods.registry import registered_methods
from vardax_core.models.registry import registered_models
from vardax_core.observations.registry import registered_observed

REGISTRIES = (registered_methods, registered_models, registered_observed, registered_sources)


class Page:
    """A page of `docs/extending`, with the blocks of code that are on it."""

    def __init__(self, name):
        self.text = (ROOT / "docs" / "extending" / f"{name}.md").read_text()

    def block(self, language):
        """Give the first block in a language."""
        found = re.search(rf"```{language}(?: title=\S+)?\n(.*?)```", self.text, flags=re.DOTALL)
        return found[1]


@contextlib.contextmanager
def installed(folder, code, project):
    """Install a package of one module, as pip would.

    Arguments:
        folder: where; it is on the path for as long as this lasts.
        code: of the module, which the entry points name.
        project: text of its `pyproject.toml`.
    """
    groups = tomllib.loads(project)["project"]["entry-points"]
    names = {value.partition(":")[0] for group in groups.values() for value in group.values()}
    (module,) = names
    (folder / f"{module}.py").write_text(code)
    described = folder / f"{module}-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (described / "entry_points.txt").write_text("\n".join(lines))
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        _forget()
        try:
            yield
        finally:
            sys.modules.pop(module, None)
    _forget()


def _forget():
    importlib.invalidate_caches()
    for registry in REGISTRIES:
        registry.cache_clear()
