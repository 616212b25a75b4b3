"""Laws of every model that a recipe can name, and what happens to a name that none has."""

import importlib.metadata
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from tests.experiments import small
from vardax_core.data.errors import RecipeError
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.problem import prior_of
from vardax_core.models.registry import model_settings, registered_models
from vardax_core.models.settings import AbstractModelSettings
from vardax_core.plugins import PluginError, UnknownNameError

every_model = pytest.mark.parametrize("name", registered_models())


def test_the_models_of_the_library_are_there():
    assert {"lorenz63", "lorenz96", "lorenz96-two-scale", "kuramoto-sivashinsky", "qg"} <= set(
        registered_models()
    )


@every_model
def test_default_settings_build_a_model_that_steps_its_own_start(name, key):
    settings = model_settings(name)()
    model = settings.build(360)
    assert model.interval == 360
    assert model.state_shape == settings.state_shape
    start = settings.start("float64", key=key)
    assert start.shape == model.state_shape
    ahead = model.step(start, jnp.zeros((), jnp.int32), key=key)
    assert bool(jnp.all(jnp.isfinite(ahead)))
    assert float(jnp.max(jnp.abs(ahead - start))) > 0


@every_model
def test_axes_are_those_of_a_state(name):
    settings = model_settings(name)()
    axes = settings.axes()
    assert tuple(len(values) for values, _ in axes) == settings.state_shape
    for values, attributes in axes:
        assert (np.diff(values) > 0).all()
        assert attributes["long_name"]


@every_model
def test_every_setting_is_described_and_a_misspelt_one_refused(name):
    settings = model_settings(name)
    assert settings.title
    assert settings.source
    assert all(field.description for field in settings.model_fields.values())
    with pytest.raises(ValidationError, match="sise"):
        settings(sise=3)


@every_model
def test_settings_come_back_from_what_they_write(name):
    settings = model_settings(name)()
    assert type(settings).model_validate(settings.model_dump()) == settings


def recipe_of(model, dims, **source):
    values = small.recipe().model_dump(mode="json")
    old = values["source"]
    kept = {k: old[k] for k in ("kind", "step_interval", "spin_up_steps", "seed")}
    values["source"] = {**kept, "model": model, **source}
    values["state_dims"] = dims
    return values


def test_a_recipe_names_its_model_and_the_models_own_settings():
    made = validate_recipe(recipe_of("lorenz63", ["component"], rho=30.0), "here")
    assert made.source.settings.rho == 30.0
    assert made.model_dump()["source"]["rho"] == 30.0
    assert validate_recipe(made.model_dump(mode="json"), "again") == made


def test_truth_and_forecast_may_differ():
    values = recipe_of("lorenz96", ["location"], size=12, forecast={"forcing": 9.0})
    made = validate_recipe(values, "here")
    assert made.source.settings.forcing == 8.0
    assert prior_of(made).model.forcing == 9.0
    assert validate_recipe(made.model_dump(mode="json"), "again") == made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (recipe_of("lorenz69", ["location"]), "no model 'lorenz69'; did you mean 'lorenz96'"),
        (recipe_of("lorenz63", ["location"], rha=3), "unknown key 'rha'; did you mean 'rho'"),
        (recipe_of("lorenz96", ["location"], size=2), "greater than or equal to 4, got 2"),
        (recipe_of("lorenz96", ["location"], size=True), "truth value"),
        (recipe_of("lorenz96", ["location"], spinup=2), "did you mean 'spin_up_steps'"),
        (recipe_of("lorenz96", ["y", "x"]), "has 1 dimension"),
        (recipe_of("qg", ["layer", "y", "x"], step_size=7000.0), "whole number of step_size"),
        (recipe_of("qg", ["layer", "y", "x"]), "has 2 dimensions"),
        (recipe_of("lorenz96", ["location"], forecast={"size": 8}), "change the shape"),
        (recipe_of("lorenz96", ["location"], forecast={"forsing": 8}), "did you mean 'forcing'"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(values, words):
    with pytest.raises(RecipeError) as caught:
        validate_recipe(values, "here")
    assert words in str(caught.value)


class PluginSettings(AbstractModelSettings):
    """The linear decay of one number, as another package might add it."""

    name = "decay"
    title = "decay"
    source = "none"

    @property
    def state_shape(self):
        return (1,)

    def build(self, interval):
        return model_settings("lorenz96")(size=4).build(interval)

    def start(self, dtype, *, key):
        return jax.random.normal(key, (1,), dtype)

    def axes(self):
        return ((np.arange(1), {"long_name": "the number"}),)


@pytest.fixture
def plugged(monkeypatch):
    """Entry points as if packages that offer these objects were installed."""

    def plug(*values):
        found = importlib.metadata.EntryPoints(
            importlib.metadata.EntryPoint(f"m{k}", value, "vardax.models")
            for k, value in enumerate(values)
        )
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
        registered_models.cache_clear()

    yield plug
    monkeypatch.undo()
    registered_models.cache_clear()


def test_an_entry_point_adds_a_model(plugged):
    plugged(f"{__name__}:PluginSettings")
    assert model_settings("decay") is PluginSettings
    assert math.prod(model_settings("decay")().state_shape) == 1


@pytest.mark.parametrize("value", ["no_such_package:Settings", "math:no_such_settings"])
def test_an_entry_point_that_does_not_load_is_named(plugged, value):
    plugged(value)
    with pytest.raises(PluginError, match=value):
        registered_models()


def test_an_entry_point_that_is_no_model_is_refused(plugged):
    plugged("math:sqrt")
    with pytest.raises(PluginError, match="AbstractModelSettings"):
        registered_models()


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(UnknownNameError, match="qg"):
        model_settings("weather")
