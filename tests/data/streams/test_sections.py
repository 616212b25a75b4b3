"""What a recipe may say of a stream, and how its faults are named."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from vardax_core.data.streams.sections import Stream, faults_of_names
from vardax_core.data.streams.units import UnknownUnitsError, conversion
from vardax_core.data.yamlfile import read_yaml
from vardax_core.words import faults_of

STATIONS = """
name: stations
source:
  kind: table
  files: [2019/*.csv, {name: old.csv, sha256: %s}]
  columns: {time: date, latitude: lat, longitude: lon, value: max, platform: station}
  time: {format: "%%Y-%%m-%%d", offset: 24h, zone: Europe/Dublin}
  units: degC
  missing: [-999, gone]
error_sd: 0.5
""" % ("a" * 64)
IMAGES = """
name: images
source:
  kind: gridded
  files: [images.nc]
  variable: sst
  mask: {variable: mask, accept: [1]}
  superobserve: {points: 2, correlation: 0.3}
"""
PLACE = ("latitude", "longitude")
BOUNDS = (200.0, 350.0)


def stream(text):
    return Stream.model_validate(read_yaml(text))


def faults(text):
    with pytest.raises(ValidationError) as caught:
        stream(text)
    return "\n".join(faults_of(caught.value))


@pytest.mark.parametrize("text", [STATIONS, IMAGES])
def test_a_stream_survives_the_way_through_json(text):
    made = stream(text)
    assert Stream.model_validate_json(made.model_dump_json()) == made
    assert Stream.model_validate(made.model_dump()) == made
    assert not list(made.faults_with(PLACE, "K", BOUNDS))


def test_the_columns_of_the_place_stand_beside_the_others():
    columns = stream(STATIONS).source.columns
    assert columns.places == {"latitude": "lat", "longitude": "lon"}
    assert json.loads(columns.model_dump_json())["latitude"] == "lat"
    assert columns.by_role["platform"] == "station"


def test_columns_must_fit_the_axes_of_the_recipe():
    made = stream(STATIONS.replace("latitude:", "latitdue:"))
    said = "\n".join(made.faults_with(PLACE, "K", BOUNDS))
    assert "unknown key 'latitdue'; did you mean 'latitude'?" in said
    assert "columns.latitude is needed" in said
    plane = stream(STATIONS.replace("latitude:", "y:").replace("longitude:", "x:"))
    assert not list(plane.faults_with(("y", "x"), "K", BOUNDS))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2019/*.csv", "/etc/passwd", "without a leading /"),
        ("2019/*.csv", "a/../../b.csv", "'..'"),
        ("2019/*.csv", "a.xyz", "the suffixes ['.xyz'] do not say"),
        ("name: old.csv", "name: old*.csv", "sha256 belongs to one file"),
        ("units: degC", "missing_value: 3", "unknown key 'missing_value'"),
        ("units: degC", "delay: 3h", "units are needed"),
        ("units: degC", "units: degC\n  accept: [1]", "accept and columns.quality go together"),
        ("units: degC", "units: degC\n  gap: 60s", "gap makes platforms"),
        ("value: max", "value: 3", "by name where a file has a header"),
        ("value: max", "value: lat", "column 'lat' is given for value and for latitude"),
        ("24h", "soon", "write '60s', '30min', '24h'"),
        ("Europe/Dublin", "Mars/North", "there is no time zone 'Mars/North'"),
        ('"%Y-%m-%d"', "day", "has no %"),
        ('"%Y-%m-%d"', '"%Q"', "bad directive"),
        ('format: "%Y-%m-%d"', "units: months since 1950-01-01", "no fixed length"),
        ("2019/*.csv", "a**b.csv", "not a path or pattern"),
        ("error_sd: 0.5", "error_sd: 0", "greater than 0"),
        ("error_sd: 0.5", "error_sd: true", "truth value"),
        ("error_sd: 0.5", "valid_min: 3\nvalid_max: 2", "valid_min 3.0 must be below"),
        ("kind: table", "kind: tabel", "did you mean 'table'?"),
    ],
)
def test_a_fault_is_named_by_its_key(old, new, said):
    assert said in faults(STATIONS.replace(old, new))


def test_units_that_do_not_fit_the_variable_are_refused():
    said = list(stream(STATIONS).faults_with(PLACE, "Pa", BOUNDS))
    assert said == [
        "source.units: 'degC' cannot be converted to 'Pa': [temperature] is not [mass] / [length] "
        "/ [time] ** 2; correct the units, or the column that they belong to"
    ]


def test_no_two_streams_share_a_name():
    assert not list(faults_of_names([stream(STATIONS), stream(IMAGES)]))
    assert "'stations'" in next(iter(faults_of_names([stream(STATIONS)] * 2)))


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("degC", "K", 10.0, 283.15),
        ("degree Celsius", "K", 10.0, 283.15),
        ("degF", "K", 212.0, 373.15),
        ("hPa", "Pa", 1013.25, 101325.0),
        ("mb", "hPa", 1013.25, 1013.25),
        ("knots", "m s-1", 10.0, 5.144444444444),
        ("kt", "m/s", 10.0, 5.144444444444),
        ("km h-1", "m s-1", 36.0, 10.0),
        ("kg m-2 s-1", "kg m-2 h-1", 1.0, 3600.0),
        ("m2 s-2", "m**2/s^2", 3.0, 3.0),
        ("cm", "m", 5.0, 0.05),
        ("1", "%", 0.5, 50.0),
    ],
)
def test_units_are_converted(source, target, value, expected):
    change, back = conversion(source, target), conversion(target, source)
    values = np.array([value, 0.0])
    np.testing.assert_allclose(change(values)[0], expected, rtol=1e-11)
    np.testing.assert_allclose(back(change(values)), values, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(change.scaled(back.scaled(np.ones(1))), 1.0, rtol=1e-11)


def test_an_error_does_not_move_with_the_zero_of_a_scale():
    assert conversion("degC", "K").scaled(np.array([0.5])) == 0.5
    assert conversion("degF", "K").scaled(np.array([0.9])) == pytest.approx(0.5)


@pytest.mark.parametrize("units", ["C", "F", "furlongs of doom", "m", "K K"])
def test_units_that_are_unknown_or_ambiguous_are_refused(units):
    with pytest.raises(UnknownUnitsError):
        conversion(units, "K")
