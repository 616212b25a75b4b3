"""The report and its pictures: what they say, that they are there, and equal bytes."""

import dataclasses
import re
import warnings

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from vardax_core.calibration import plots
from vardax_core.calibration.report import (
    MAX_EMBEDDED_BYTES,
    MethodResult,
    Panel,
    ReportInput,
    markdown_with_embedded_pictures,
    write_report,
)
from vardax_core.calibration.scores import compute_scores
from vardax_core.calibration.verdict import calibration_verdict
from vardax_core.state.grids import LatLon

from .samples import dates, sample


def field_panel(truth=None):
    truth = np.random.default_rng(0).normal(280, 2, (9, 13)) if truth is None else truth
    return plots.FieldPanel(
        truth=truth,
        background=truth + 1,
        analysis=truth + 0.1,
        spread=np.full((9, 13), 0.3),
        grid=LatLon.from_degrees(np.linspace(58, 50, 9), np.linspace(-10, 2, 13)),
        stations=np.array([[55.0, -3.0], [52.0, 0.0]]),
        title="2 m temperature, 2019-03-21T00",
    )


def point_series(times):
    n = len(times)
    truth = np.sin(np.arange(n) / 5)
    return plots.PointSeries(
        times=times,
        truth=truth,
        background=truth + 0.4,
        analysis=truth + 0.1,
        spread=np.full(n, 0.2),
        observations=np.full(n, np.nan),
        title="point",
    )


def section_panel():
    truth = np.sin(np.arange(40) / 3)
    return plots.SectionPanel(
        position=np.arange(40.0),
        truth=truth,
        background=truth + 0.3,
        observations=np.where(np.arange(40) % 2 == 0, truth, np.nan),
        ensemble=truth + 0.1 * np.random.default_rng(1).normal(size=(8, 40)),
        title="Lorenz-96",
    )


def report_input(key, **changes):
    settings = {"climatology": {"sd": 3.0}, "amortized": {"sd": 0.2}}
    methods = tuple(
        MethodResult(name, sample(key, cycles=60, **options), 12.5, np.array([0] * 57 + [1, 1, 3]))
        for name, options in settings.items()
    )
    values = {
        "title": "Twin",
        "variable": "x",
        "units": "K",
        "methods": methods,
        "primary": "amortized",
        "panels": (Panel("map", "One cycle.", plots.maps(field_panel(), units="K")),),
        "provenance": {"experiment": "lorenz96", "seed": "7"},
        "qc_counts": {"kept": 2100, "gross error": 3},
        "burn_in": 10,
        "key": key,
    }
    return ReportInput(**{**values, **changes})


def pictures(key):
    data = {name: sample(key, cycles=40, sd=sd) for name, sd in (("a", 0.2), ("b", 2.0))}
    scores = {name: compute_scores(value, key=key, resamples=50) for name, value in data.items()}
    return {
        "comparison": plots.comparison(data, scores, primary="a"),
        "crps": plots.crps_bars(scores, primary="a"),
        "rank": plots.rank_histogram(scores["a"], name="a"),
        "coverage": plots.coverage_curve(scores, primary="a"),
        "spread": plots.spread_error(scores, primary="a"),
        "innovation": plots.innovation_series(data["a"], name="a"),
        **examples(),
    }


def examples():
    return {
        "maps": plots.maps(field_panel(np.ones((9, 13)))),
        "series": plots.point_series(point_series(dates(30))),
        "section": plots.section(section_panel(), point_series(np.arange(30))),
    }


@pytest.mark.slow
def test_pictures_show_something_are_small_and_have_equal_bytes(key, tmp_path):
    figures = pictures(key)
    for name, figure in figures.items():
        path = plots.save(figure, tmp_path / f"{name}.png")
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 300_000
        assert b"Software" not in content
        image = imread(path)[..., :3]
        assert 0.01 < np.mean(np.any(image < 0.9, axis=-1)) < 0.9, name
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png"] * len(figures)
    for name, figure in examples().items():
        assert plots.png_bytes(figure) == (tmp_path / f"{name}.png").read_bytes(), name


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report with all that it can have."""
    return write_report(tmp_path_factory.mktemp("report"), report_input(jax.random.key(0)))


def test_report_says_what_happened(written):
    paths = written
    text = paths.markdown.read_text()
    lines = text.splitlines()
    assert lines[2].startswith("**amortized** over **climatology**: CRPS ")
    assert lines[4].startswith("**Calibrated**: amortized has spread/RMSE ")
    scores = paths.scores["amortized"]
    assert f"| **amortized** | {scores['rmse']:.3f} |" in text
    assert "| amortized | 57 | 2 | 0 | 1 | 0 |" in text
    assert "| gross error | 3 |" in text
    assert "experiment: `lorenz96`" in text
    assert "50, of which 50 scored" in text
    assert scores.cycles == 50
    order = (
        "**Calibrated**",
        "| last 25 cycles |",
        "![",
        "# Detail",
        "| method |",
        "## All scores",
    )
    places = [text.index(part) for part in (*order, "## Provenance")]
    assert places == sorted(places)
    assert text[: text.index("# Detail")].count("![") == 3
    assert all(path.stat().st_size > 5000 for path in paths.pictures)
    assert set(re.findall(r"\((\S+\.png)\)", text)) == {path.name for path in paths.pictures}


@pytest.mark.slow
def test_report_is_reproducible_and_leaves_no_temporary_file(key, tmp_path):
    for folder in ("a", "b"):
        write_report(tmp_path / folder, report_input(key, panels=()))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert all(name.endswith((".png", ".md")) and not name.startswith(".") for name in files)
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_embedded_page_needs_no_files(written):
    text = markdown_with_embedded_pictures(written.markdown)
    assert text.count("data:image/png;base64,") == len(written.pictures)
    assert ".png)" not in text
    assert len(text) < MAX_EMBEDDED_BYTES + 50_000


def test_embedded_page_stays_under_its_limit(tmp_path):
    (tmp_path / "big.png").write_bytes(b"x" * MAX_EMBEDDED_BYTES)
    (tmp_path / "report.md").write_text("![big](big.png)")
    text = markdown_with_embedded_pictures(tmp_path / "report.md")
    assert "`big.png` is beside the report" in text
    assert len(text) < 200


@pytest.mark.parametrize(
    ("claimed", "word"),
    [(1.0, "Calibrated"), (0.7, "Overconfident"), (1.4, "Underconfident")],
)
def test_verdict_follows_the_numbers(key, claimed, word):
    scores = compute_scores(sample(key, cycles=100, claimed=claimed), key=key, resamples=0)
    assert str(calibration_verdict(scores, "x")).startswith(f"**{word}**")


def test_what_chance_explains_is_no_verdict(key):
    """Spread/RMSE of .85 with an interval that reaches to 1 does not say overconfident."""
    data = sample(key, cycles=100, claimed=0.85)
    scores = compute_scores(data, key=key)
    assert calibration_verdict(scores, "x").word == "Overconfident"
    wide = dataclasses.replace(scores.values["spread_over_rmse"], lower=0.7, upper=1.0)
    unsure = dataclasses.replace(scores, values={**scores.values, "spread_over_rmse": wide})
    found = calibration_verdict(unsure, "x")
    assert found.calibrated is None
    assert "0.85 (0.70 to 1.00)" in str(found)
    few = compute_scores(data.isel(time=slice(0, 19)), key=key, resamples=0)
    assert calibration_verdict(few, "x").calibrated is None


def _without_truth(data):
    names = [n for n in data if data[n].dims[0] == "time" and "innov" not in n and "resid" not in n]
    kept = {"observations", "chi2", "error_variance", "observed_background_variance"}
    return data.assign({name: 0.0 * data[name] for name in names if name not in kept})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data.isel(time=slice(0, 0)), "No verdict"),
        (_without_truth, "Innovations consistent with"),
        (lambda data: 0.0 * data, "No verdict"),
    ],
)
def test_a_period_that_cannot_be_scored_still_gives_a_page(key, tmp_path, spoil, words):
    report = report_input(key, panels=(), burn_in=0)
    methods = tuple(
        dataclasses.replace(
            method,
            statistics=spoil(method.statistics),
            microseconds_per_cycle=None,
            result_codes=np.array([], int),
        )
        for method in report.methods
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = write_report(tmp_path, dataclasses.replace(report, methods=methods))
    text = paths.markdown.read_text()
    assert words in text.splitlines()[2]
    assert "What cannot be said" in text
    assert not re.search(r"\bnan\b", text.lower())


def test_panels_of_nothing_are_drawn_without_a_warning():
    nothing = np.full((9, 13), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.png_bytes(plots.maps(field_panel(nothing)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"primary": "etkf"}, "not among the methods"), ({"burn_in": -1}, "burn_in must be 0")],
)
def test_report_input_refuses_what_it_cannot_use(key, changes, words):
    with pytest.raises(ValueError, match=words):
        report_input(jax.random.key(0), panels=(), **changes)
