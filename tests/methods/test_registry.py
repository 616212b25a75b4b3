"""Methods by their names: what they declare, what fits a recipe, and what is refused."""

import importlib.metadata

import pytest

from tests.experiments import small
from vardax_core.data import load_recipe
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.settings import (
    ExperimentSettings,
    available_methods,
    default_settings,
    main_method,
    require_method,
    usual_methods,
)
from vardax_core.methods.base import AbstractMethod
from vardax_core.methods.optimal_interpolation import OptimalInterpolationMethod
from vardax_core.methods.registry import MethodSettingsError, method_of, registered_methods
from vardax_core.plugins import PluginError, UnknownNameError

every_method = pytest.mark.parametrize("name", registered_methods())


class Bolder(OptimalInterpolationMethod):
    """A method of another package."""

    name = "bolder"
    title = "optimal interpolation of somebody else"
    source = "this test"
    place = 21


@every_method
def test_a_method_says_what_it_is_and_what_each_setting_is(name):
    method = registered_methods()[name]
    assert method.name == name
    assert len(method.title) > 10
    assert method.source
    for setting, field in method.model_fields.items():
        assert field.description, f"{name}: {setting}"
        assert not field.is_required(), f"{name}: {setting} has no default"
    assert method().chosen == {}


@every_method
def test_settings_come_back_from_their_digest(name):
    made = method_of(name)
    assert method_of(name, made.chosen) == made
    settings = default_settings(small.recipe(), name)
    assert ExperimentSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("dataset", ["lorenz63", "lorenz96", "era5-t2m-uk", "kuramoto-sivashinsky"])
def test_every_method_fits_a_data_set_or_says_what_it_lacks(dataset):
    recipe = load_recipe(dataset)
    prior = prior_of(recipe)
    fitting = available_methods(recipe)
    assert set(usual_methods(recipe)) <= set(fitting)
    assert main_method(recipe) in fitting
    for name in registered_methods():
        if name in fitting:
            require_method(recipe, method_of(name))
            continue
        lack = method_of(name).lacks(prior)
        assert len(lack.split()) > 4
        with pytest.raises(RecipeError, match="Methods that it can be run with"):
            require_method(recipe, method_of(name))


def test_a_setting_is_part_of_the_name_and_the_digest_only_where_it_is_not_the_usual_one(tmp_path):
    usual = small.experiment_of(tmp_path, "letkf")
    named = small.experiment_of(tmp_path, "letkf", options={"inflation": 1.05})
    other = small.experiment_of(tmp_path, "letkf", options={"inflation": 1.1, "radius": 2})
    assert (usual.digest, usual.name) == (named.digest, named.name)
    assert usual.digest != other.digest
    assert other.label == "letkf-inflation-1.1-radius-2.0"
    assert method_of("letkf", other.settings.options).radius == 2.0


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("letkf", {"radus": 2}, "did you mean 'radius'"),
        ("letkf", {"radius": -1}, "radius"),
        ("letkf", {"radius": "far"}, "radius"),
        ("climatology", {"inflation": 1.0}, "has no settings"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_name(name, settings, told):
    with pytest.raises(MethodSettingsError, match=told) as caught:
        method_of(name, settings)
    assert "pydantic" not in str(caught.value)


def test_a_method_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'letkf'") as caught:
        method_of("letfk")
    assert "vardax methods" in str(caught.value)


def test_a_recipe_names_the_methods_that_a_run_compares_with_their_settings(tmp_path):
    chosen = {"oi": {}, "letkf": {"radius": 3.0, "inflation": 1.1}}
    values = small.recipe().model_dump(mode="json")
    recipe = validate_recipe(values | {"methods": chosen}, "small")
    assert usual_methods(recipe) == ("oi", "letkf")
    assert main_method(recipe) == "letkf"
    settings = default_settings(recipe, "letkf")
    assert settings.options == {"radius": 3.0, "inflation": 1.1}
    # What a recipe names is usual with it: only what differs from that shows in names.
    assert Experiment(recipe, settings, tmp_path).label == "letkf"
    plain = ExperimentSettings(method="letkf", options={"inflation": 1.1})
    made = Experiment(recipe, plain, tmp_path)
    assert made.label == "letkf-radius-default"
    assert (
        Experiment(small.recipe(), settings, tmp_path).key == "small-letkf-inflation-1-1-radius-3-0"
    )


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ({"letfk": {}}, "did you mean 'letkf'"),
        ({"letkf": {"radus": 3}}, "did you mean 'radius'"),
        ({"4dvarnet": {}}, "cannot be run with the method 4dvarnet"),
    ],
)
def test_what_a_recipe_names_wrongly_is_not_passed_over(methods, told):
    values = small.recipe().model_dump(mode="json")
    with pytest.raises(RecipeError, match=told):
        usual_methods(validate_recipe(values | {"methods": methods}, "small"))


@pytest.fixture
def plugged(monkeypatch):
    """Entry points as if packages that offer these objects were installed."""

    def plug(*values):
        found = importlib.metadata.EntryPoints(
            importlib.metadata.EntryPoint(f"m{k}", value, "vardax.methods")
            for k, value in enumerate(values)
        )
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
        registered_methods.cache_clear()

    yield plug
    monkeypatch.undo()
    registered_methods.cache_clear()


def test_an_entry_point_adds_a_method_in_its_place(plugged):
    plugged(f"{__name__}:Bolder")
    names = list(registered_methods())
    assert names.index("bolder") == names.index("oi") + 1
    assert isinstance(method_of("bolder"), AbstractMethod)
    assert "bolder" in available_methods(small.recipe())


@pytest.mark.parametrize("value", ["no_such_package:Method", "math:sqrt"])
def test_an_entry_point_that_is_no_method_is_refused(plugged, value):
    plugged(value)
    with pytest.raises(PluginError, match=value):
        registered_methods()


def test_what_is_usual_of_fields_hangs_on_how_many_points_there_are():
    """Of a large grid nothing is compared that would need the covariances of all points."""
    recipe = load_recipe("era5-t2m-uk")
    assert usual_methods(recipe) == usual_methods(recipe, 1617)
    assert "oi" in usual_methods(recipe)
    assert "interpolation" not in usual_methods(recipe)
    assert usual_methods(recipe, 67_721) == ("climatology", "interpolation", "amortized")
