"""Every benchmark finds what it imports: what it does with it is looked at by its quick run."""

import importlib
import sys

import pytest

from tests.support import ROOT

SCRIPTS = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_what_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    try:
        assert callable(importlib.import_module(script).main)
    finally:
        # Their names are short, and could hide those of other modules.
        for name in set(sys.modules) - before:
            if str(ROOT / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
