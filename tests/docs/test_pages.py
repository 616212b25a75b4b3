"""The pages of the documentation: complete, linked, of names that exist; their site is built."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import typer
import yaml
from typer.testing import CliRunner

from flows import answers
from flows.cli import app
from tests.support import ROOT
from vardax_core.methods.registry import registered_methods

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = re.compile(r"`((?:vardax_core|flows|deployments|benchmarks|tests)/[\w./-]+)`")
DOTTED = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
LOOKS = [
    words.split()
    for words in re.findall(
        r"^vardax ((?:datasets|methods|models|operators|sources).*)$",
        (DOCS / "index.md").read_text(),
        re.MULTILINE,
    )
]
"""Commands that need no store."""
LINKS = re.compile(r"\]\((?!https?:)([^)#]+)")


def navigation():
    class Loader(yaml.SafeLoader):
        """YAML of mkdocs."""

    def entries(node):
        if isinstance(node, str):
            yield node
        for child in node.values() if isinstance(node, dict) else ():
            yield from entries(child)
        for child in node if isinstance(node, list) else ():
            yield from entries(child)

    return set(entries(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]))


def test_every_page_is_in_the_navigation():
    assert {str(page.relative_to(DOCS)) for page in PAGES} == navigation()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_a_page_names_what_is_there(page):
    text = page.read_text()
    # Tables of failures name tests from the folder of the tests; only a wheel has a home.
    named = set(NAMES.findall(text)) - {"vardax_core/home"}
    places = (ROOT, ROOT / "tests")
    assert {one for one in named if not any((place / one).exists() for place in places)} == set()
    targets = [page.parent / link for link in LINKS.findall(text)]
    assert [str(target) for target in targets if not target.exists()] == []


@pytest.mark.parametrize("name", DOTTED.findall((DOCS / "reference.md").read_text()))
def test_the_reference_names_what_is_there_and_says_what_it_is(name):
    module, _, thing = name.rpartition(".")
    found = getattr(__import__(module, fromlist=[thing]), thing)
    assert found.__doc__
    assert found.__doc__.strip()


@pytest.mark.parametrize("name", registered_methods())
def test_every_method_has_its_mathematics(name):
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", THEORY, re.DOTALL | re.MULTILINE))
    section = sections[name]
    assert "```math" in section
    for word in ("Assumes", "Fails", "Source"):
        assert f"**{word}**" in section
    assert " ".join(registered_methods()[name].source.split()) in " ".join(section.split())


THEORY = (DOCS / "theory.md").read_text()


def test_every_command_has_its_schema_on_the_page():
    table = dict(
        re.findall(r"^\| (`.*`) \| `(\w+)\.json` \|$", (DOCS / "json.md").read_text(), re.M)
    )
    found = {
        command: schema
        for commands, schema in table.items()
        for command in re.findall(r"`(\w+)`", commands)
    }
    assert found == {name: kind.__name__.lower() for name, kind in answers.COMMANDS.items()}


@pytest.mark.parametrize("page", ["index.md", "json.md", "first-twin.md", "own-track.md"])
def test_the_command_line_takes_every_command(page):
    for block in re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        for line in block.strip().split("\n"):
            program, *words = shlex.split(line)
            if program == "vardax":
                command = typer.main.get_command(app).commands[words[0]]
                assert command.make_context(words[0], words[1:]).args == []


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_what_there_is_is_listed(words):
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert len(result.stdout.strip().split("\n")) > 2


def test_the_scoreboard_is_what_was_measured():
    done = subprocess.run(
        [sys.executable, "benchmarks/scoreboard.py", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *page, last = done.stdout.strip().split("\n")
    assert "\n".join(page).strip() == (DOCS / "scoreboard.md").read_text().strip()
    assert json.loads(last)["bars"]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    """Links and anchors are checked, nothing is fetched, and formulas are drawn by the browser."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theory = (tmp_path / "site" / "theory.html").read_text()
    assert theory.count('display="block"') == len(registered_methods())
    assert "$`" not in theory
    reference = (tmp_path / "site" / "reference.html").read_text()
    assert "open_tree" in reference
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert loaded == [], page.name
