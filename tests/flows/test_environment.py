"""Paths and addresses in variables and options mean what people mean by them."""

import os
from pathlib import Path
from unittest import mock

import jax
import pytest
from prefect import context
from rich.console import Console
from rich.table import Table

from flows import environment, terminal
from flows.environment import chosen_root, configure, default_root, default_stores
from flows.parameters import ExperimentParameters
from vardax_core.data import list_recipes
from vardax_core.paths import PathError, default_cache_dir, local_path, path_or_url
from vardax_core.store import LocationError, location_of


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    with mock.patch.dict(os.environ):
        for name in [n for n in os.environ if n.startswith(("VARDAX_", "PREFECT_"))]:
            del os.environ[name]
        os.environ["HOME"] = str(tmp_path / "home")
        monkeypatch.chdir(tmp_path)
        yield


PLACES = {
    "VARDAX_ROOT": (default_root, Path(".vardax")),
    "VARDAX_STORES": (lambda: default_stores() and Path(default_stores()), None),
    "VARDAX_CACHE_DIR": (default_cache_dir, "~/.cache/vardax"),
}


@pytest.mark.parametrize("variable", PLACES)
@pytest.mark.parametrize("value", ["", "  ", "~/x", "~", "/x", "x/y", "~nobody-at-all/x"])
def test_a_variable_names_the_folder_that_is_meant(variable, value, tmp_path, monkeypatch):
    found, unset = PLACES[variable]
    monkeypatch.setenv(variable, value)
    if value.startswith("~nobody"):
        with pytest.raises(PathError, match=f"{variable}: there is no home folder"):
            found()
        return
    meant = Path(value.strip()) if value.strip() else unset
    home = str(tmp_path / "home")
    assert str(found()) == str(meant).replace("~", home)


@pytest.mark.parametrize(
    "variable", ["VARDAX_ROOT", "VARDAX_CACHE_DIR", "VARDAX_DATASETS_DIR", "VARDAX_DATA_DIR"]
)
def test_a_url_is_no_folder(variable, monkeypatch):
    monkeypatch.setenv(variable, "s3://bucket/x")
    with pytest.raises(PathError, match=f"{variable}: expected a path on this machine, got the"):
        chosen_root(None)


def test_processes_that_start_elsewhere_find_the_same_places(tmp_path, monkeypatch):
    for variable in (*environment.FOLDER_VARIABLES, "VARDAX_STORES", "VARDAX_DATASETS_DIR"):
        monkeypatch.setenv(variable, "here")
    assert chosen_root(None) == tmp_path / "here"
    monkeypatch.chdir("/")
    assert default_root() == Path(default_stores()) == default_cache_dir() == tmp_path / "here"
    with pytest.raises(ValueError, match=f"got {tmp_path / 'here'}"):
        list_recipes()
    monkeypatch.setenv("VARDAX_STORES", "s3://bucket/prefix")
    chosen_root(None)
    assert default_stores() == "s3://bucket/prefix"


def test_an_option_goes_before_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_ROOT", "/elsewhere")
    assert chosen_root("~/x") == tmp_path / "home" / "x"
    # Path has dropped a slash of the URL.
    for url in ("s3://bucket/x", Path("s3://bucket/x"), "file:///x"):
        with pytest.raises(PathError, match="VARDAX_STORES"):
            chosen_root(url)


def test_a_store_is_where_its_name_says(tmp_path):
    home = tmp_path / "home"
    assert location_of("~/x").directory() == home / "x"
    assert str(location_of(location_of("~/x"))) == str(home / "x")
    for other in ("gs://bucket/x", "s3://bucket", Path("s3://bucket/x")):
        with pytest.raises(LocationError, match="is no place for a store"):
            location_of(other)
    with pytest.raises(PathError, match="expected a path"):
        local_path("a\0b", "store")
    assert path_or_url("https://host/a", "source") == "https://host/a"


def test_a_form_s_places_are_meant_as_options_are(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_STORES", "~/stores")
    home = tmp_path / "home"
    for empty in ("", " ", None):
        made = ExperimentParameters(
            method="etkf", root=empty, stores=empty, source_path=empty
        ).experiment()
        assert made.root == Path(".vardax")
        assert made.store_path == home / "stores" / "lorenz96" / "etkf"
    made = ExperimentParameters(method="etkf", root="~/r", stores="~/s").experiment()
    assert (made.root, made.store_path.parents[1]) == (home / "r", home / "s")
    for field in ({"root": "s3://bucket/x"}, {"stores": "gs://bucket/x"}, {"stores": "s3://b"}):
        with pytest.raises(ValueError, match=r"expected a path|is no place for a store"):
            ExperimentParameters(**field)


@pytest.mark.parametrize("url", ["", " ", None])
def test_an_empty_address_of_a_server_is_none(tmp_path, monkeypatch, url):
    if url is not None:
        monkeypatch.setenv("PREFECT_API_URL", url)
        monkeypatch.setenv("PREFECT_HOME", url)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ["JAX_COMPILATION_CACHE_DIR"])
    configure(tmp_path / "root")
    assert "PREFECT_API_URL" not in os.environ
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "root" / "prefect")
    assert os.environ["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "true"


def test_settings_hold_although_prefect_was_imported_before(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ["JAX_COMPILATION_CACHE_DIR"])
    before = context.GLOBAL_SETTINGS_CONTEXT
    try:
        configure(tmp_path / "root")
        held = context.GLOBAL_SETTINGS_CONTEXT.settings
        assert held.server.ephemeral.startup_timeout_seconds == 300
        assert held.home == tmp_path / "root" / "prefect"
    finally:
        context.GLOBAL_SETTINGS_CONTEXT = before


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_word_of_a_table_is_cut_off(width, monkeypatch, capsys):
    drawn = Console(width=width, markup=False, force_terminal=True)
    monkeypatch.setattr(terminal, "console", drawn)
    words = ["rmse.a", "[m]", "coverage", "µs", "amortized", "1234567", "climatology"]
    table = Table("method", "rmse.a [m]", "90 % coverage", "µs per cycle")
    table.add_row("amortized", "0.123", "89.3 %", "1234567")
    table.add_row("climatology", "0.123", "89.3 %", "12")
    terminal.show(table)
    printed = capsys.readouterr().out
    assert [word for word in words if word not in printed] == []


def test_programs_are_kept_below_the_root_although_jax_was_imported_before(tmp_path, monkeypatch):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name in names:
        monkeypatch.delenv(name.upper(), raising=False)
    try:
        configure(tmp_path / "root")
        assert getattr(jax.config, names[0]) == str(tmp_path / "root" / "compiled")
        assert getattr(jax.config, names[1]) == 0.0
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
