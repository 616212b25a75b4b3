"""What the page on real observations says of recipes is what recipes are."""

import re

import pytest

from tests.support import ROOT
from vardax_core.data import validate_recipe
from vardax_core.data.recipe import Recipe
from vardax_core.data.recipe_sections import Period, Variable, Window
from vardax_core.data.reported import (
    AxisRange,
    FieldFiles,
    ForecastFields,
    GridMask,
    Orography,
    PriorFields,
    StateGrid,
    WithheldPlatforms,
)
from vardax_core.data.streams.account import Reason
from vardax_core.data.streams.columns import Columns, TimeReading
from vardax_core.data.streams.kinds.gridded import GriddedSource
from vardax_core.data.streams.kinds.table import TableSource
from vardax_core.data.streams.quality import Bias, Heights
from vardax_core.data.streams.sections import Stream
from vardax_core.data.streams.source import Selection, Superobservation
from vardax_core.data.streams.stream_file import StreamFile
from vardax_core.data.yamlfile import read_yaml
from vardax_core.observations.settings import AbstractTimeStatistic

PAGE = (ROOT / "docs" / "real-observations.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SECTIONS = (
    *(Variable, Period, Window, StateGrid, AxisRange, FieldFiles, GridMask, PriorFields),
    *(
        ForecastFields,
        AbstractTimeStatistic,
        Stream,
        TableSource,
        GriddedSource,
        Columns,
        TimeReading,
    ),
    *(StreamFile, Selection, Superobservation, WithheldPlatforms, Bias, Heights, Orography),
)
BESIDE = {("StateGrid", "axes"), ("Columns", "places")}
"""Fields that are written as the names of the dimensions."""
SCHEMA_2 = (
    *("schema", "name", "title", "attribution", "variables", "grid", "prior", "forecast"),
    *("observations", "cycle", "verification", "members", "methods", "dims", "fields"),
    *("interval", "latency", "withheld", "burn_in", "regions", "leads"),
)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_is_a_recipe_or_replaces_sections_of_the_first(number):
    block = read_yaml(BLOCKS[number])
    assert set(block) <= {*SCHEMA_2}
    recipe = validate_recipe(read_yaml(BLOCKS[0]) | block, f"block {number}")
    assert recipe.reported


def test_the_blocks_use_every_section():
    """So that none of them stands on the page unchecked."""
    written = "\n".join(BLOCKS)
    unused = {
        key
        for section in (*SECTIONS, None)
        for key in (SCHEMA_2 if section is None else section.model_fields)
        if section is None or (section.__name__, key) not in BESIDE
        if not re.search(rf"\b{key}:", written)
    }
    assert unused == {"latency", "methods"}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_named(section):
    for key in section.model_fields:
        if (section.__name__, key) not in BESIDE:
            assert f"`{key}`" in PAGE, f"{section.__name__}.{key} is not on the page"


def test_the_sections_of_a_recipe_are_named():
    for key in SCHEMA_2:
        named = (f"`{key}`", f"`{key}: ", f"### {key}\n")
        assert any(name in PAGE for name in named), f"{key} is not on the page"
    real = {"streams", "grid", "prior", "forecast", "withheld"}
    assert real <= set(Recipe.model_fields)


def test_every_reason_for_leaving_a_row_out_has_a_line():
    """The table has as many reasons as there are; two share a line where it names both."""
    table = PAGE.partition("| row | what is done |")[2].partition("\n\n")[0]
    words = {
        Reason.MISSING: "without a value",
        Reason.NOT_A_NUMBER: "text where a number",
        Reason.ODD_ROW: "another number of columns",
        Reason.NO_TIME: "without a time,",
        Reason.BAD_TIME: "not understood",
        Reason.AMBIGUOUS_TIME: "two instants",
        Reason.NO_PLACE: "without a place",
        Reason.BAD_PLACE: "does not exist",
        Reason.OUTSIDE_PERIOD: "outside of the period",
        Reason.OTHER_LEVEL: "outside of the `levels`",
        Reason.MASKED: "outside of the `mask`",
        Reason.FLAGGED: "a flag not in `accept`",
        Reason.REPEATED: "repeats another",
        Reason.SUPERSEDED: "SUPERSEDED",
        Reason.OUT_OF_BOUNDS: "out of bounds",
        Reason.OUTSIDE_GRID: "outside of the grid",
        Reason.ON_LAND: "on land",
        Reason.CONFLICTING: "contradicts another",
    }
    assert set(words) == set(Reason)
    for text in words.values():
        assert text in table


def test_the_page_names_the_data_sets_of_real_observations():
    for path in sorted((ROOT / "datasets").glob("*/recipe.yaml")):
        recipe = read_yaml(path.read_text())
        if recipe.get("schema") == 2:
            assert (f"`{path.parent.name}`" in PAGE) == (
                recipe["observations"][0]["source"]["kind"] != "simulated"
            )
