"""How long a visitor of the browser of analyses waits: for the first view, and for another date.

Stores of random smooth fields are written, `vardax browse` is started on them, and Chromium opens
the page and changes the date. A wait ends when the titles of both maps, the analysis and the
increment, name the date, and the page has drawn twice since; it is wall-clock, and the machine may
be shared. The increment needs the mean over all members of the background.

    python benchmarks/browser.py --quick    # 64 x 64, 3 cycles
    python benchmarks/browser.py            # 256 x 256 and 721 x 1440
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from scipy.ndimage import zoom

from vardax_core.observations.quality import QualityCode
from vardax_core.store import (
    ChunkPlan,
    Coordinate,
    Diagnostic,
    ExperimentStore,
    ObservedDescription,
    StateDescription,
    experiment_layout,
    location_of,
    observation_layout,
)

MEMBERS, STATIONS, CYCLES, STEP = 20, 200, 12, 360
FIRST_VIEW = 2.0
"""Seconds, of a visitor's first view."""
DATES = {(256, 256): 0.5, (721, 1440): 2.0}
"""Seconds, of another date, by the size of the grid."""
QUICK = {(64, 64): 0.5}
ROUGH = 16
"""Points of a grid between two random numbers."""
PATIENCE = 120.0
START = np.datetime64("2019-03-01T00:00", "m")
EPOCH = np.datetime64("2000-01-01T00:00", "m")
TITLED = """date => {
  const there = (window.Bokeh?.documents ?? []).flatMap(d => [...d._all_models.values()])
  const titles = there.filter(m => m.type == "Title").map(m => m.text)
  return titles.filter(text => text.includes(date)).length >= 2
}"""
DRAWN = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"""


def fields(shape, count, rng):
    """Smooth fields of unit variance, float32."""
    size = [n // ROUGH + 3 for n in shape]
    rough = rng.normal(size=(count, *size)).astype(np.float32)
    factor = [1, *(n / (s - 2) for n, s in zip(shape, size, strict=True))]
    return zoom(rough, factor, order=1)[:, : shape[0], : shape[1]]


def write(root, dataset, shape, cycles):
    """A store of an experiment and that of its observations."""
    rng = np.random.default_rng(0)
    axes = {
        "latitude": (np.linspace(90.0, -90.0, shape[0]), "degrees_north"),
        "longitude": (np.arange(shape[1]) * 360.0 / shape[1], "degrees_east"),
    }
    coords = tuple(
        Coordinate(name, (name,), values, {"standard_name": name, "units": units})
        for name, (values, units) in axes.items()
    )
    state = StateDescription("t2m", coords, {"standard_name": "air_temperature", "units": "K"})
    points = rng.choice(int(np.prod(shape)), STATIONS, replace=False).astype(np.int32)
    places = [
        one.values[at] for one, at in zip(coords, np.unravel_index(points, shape), strict=True)
    ]
    station = Coordinate("station", ("station",), np.arange(STATIONS, dtype=np.int32))
    own = Coordinate("grid_index", ("station",), points)
    placed = [Coordinate(c.name, ("station",), x) for c, x in zip(coords, places, strict=True)]
    flags = {code.name.lower(): int(code) for code in QualityCode}
    observed = ObservedDescription(state, (station, own, *placed), flags)
    folder = location_of(root / "experiments").below(dataset)
    times = np.arange(cycles) * STEP + int((START - EPOCH).astype(int))
    kept = ExperimentStore.create(
        folder.below("observations"),
        observation_layout(
            observed=observed, states=(state,), chunks=ChunkPlan(), nature_run=False
        ),
        {"name": f"{dataset}/observations", "digest": "o"},
    )
    codes = np.full((cycles, STATIONS), int(QualityCode.KEPT), np.int8)
    values = rng.normal(280, 1, (cycles, STATIONS)).astype(np.float32)
    groups = {
        "observations": {
            "t2m": values,
            "t2m_error": np.full_like(values, 0.5),
            "quality_control": codes,
            "arrival_time": np.repeat(times[:, None], STATIONS, 1).astype(np.int64),
        }
    }
    with kept.writer() as writer:
        writer.append(groups, times, metadata={})
    layout = experiment_layout(
        states=(state,), observed=observed, n_members=MEMBERS,
        diagnostics={"chi2": Diagnostic(attrs={"units": "1"})}, chunks=ChunkPlan(segment_length=1),
    )  # fmt: skip
    record = {"name": f"{dataset}/one", "dataset": dataset, "method": "one", "digest": "one"}
    store = ExperimentStore.create(
        folder.below("one"), layout, {**record, "observation_store": "observations"}
    )
    with store.writer() as writer:
        for number in range(cycles):
            members = 280 + fields(shape, MEMBERS, rng)
            moved = members + fields(shape, 1, rng)
            row = {
                "background": {"t2m": members},
                "analysis": {
                    "t2m": moved,
                    "t2m_mean": moved.mean(axis=0),
                    "t2m_spread": moved.std(axis=0),
                },
                "innovations": {
                    "background_departure": rng.normal(size=STATIONS).astype(np.float32),
                    "analysis_departure": rng.normal(size=STATIONS).astype(np.float32),
                    "background_equivalent_variance": np.ones(STATIONS, np.float32),
                    "quality_control": codes[0],
                },
                "diagnostics": {"chi2": 1.0},
            }
            stacked = {g: {k: np.asarray(v)[None] for k, v in a.items()} for g, a in row.items()}
            writer.append(stacked, times[number : number + 1], metadata={})


def serve(root, log):
    """`vardax browse` on a root; the process and its address, once it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.cli", "browse", "--root", str(root)]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.1)
    sys.exit(
        f"browser: `vardax browse` does not listen; see what it said:\n{Path(log.name).read_text()}"
    )


def said(number):
    """How titles name the date of a cycle."""
    return str(START + number * STEP).replace("T", " ")


def wait(page, number):
    """Until both maps show a cycle."""
    page.wait_for_function(TITLED, arg=said(number), timeout=1e3 * PATIENCE, polling=20)
    page.evaluate(DRAWN)


def visit(browser, address, cycles):
    """Seconds of the first view, and of changes to other dates, with a list of what was slow."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    begin = time.perf_counter()
    page.goto(address)
    wait(page, cycles - 1)
    first = time.perf_counter() - begin
    changes = []
    box = page.get_by_label("Date (UTC)", exact=True)
    for number in range(cycles - 2, -1, -1):
        box.fill(str(START + number * STEP))
        begin = time.perf_counter()
        page.keyboard.press("Enter")
        wait(page, number)
        changes.append(time.perf_counter() - begin)
    page.close()
    return first, changes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 x 64, 3 cycles")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("browser: expected Chromium, found none; sudo apt-get install chromium")
    sizes, cycles = (QUICK, 3) if options.quick else (DATES, CYCLES)
    bars, figures = [], {}
    print(f"{'grid':>12}{'first visitor':>15}{'the next':>10}{'another date':>14}{'slowest':>9}")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        root = Path(name)
        for (rows, columns), limit in sizes.items():
            dataset = f"grid-{rows}x{columns}"
            write(root / dataset, dataset, (rows, columns), cycles)
            with (root / f"{dataset}.log").open("w") as log:
                process, address = serve(root / dataset, log)
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                try:
                    first, changes = visit(browser, address, cycles)
                    second, _ = visit(browser, address, cycles)
                finally:
                    browser.close()
                    process.send_signal(signal.SIGINT)
                    process.wait(30)
            usual, worst = float(np.median(changes)), max(changes)
            print(
                f"{rows:>6} x{columns:>4}{first:>13.2f} s{second:>8.2f} s{usual:>12.2f} s"
                f"{worst:>7.2f} s"
            )
            figures[dataset] = {"first_s": first, "next_s": second, "dates_s": changes}
            for what, value, most in (
                ("s to the first view of the first visitor", first, FIRST_VIEW),
                ("s to the first view of the next visitor", second, FIRST_VIEW),
                ("s to another date, median", usual, limit),
            ):
                passed = bool(value < most)
                bars.append(
                    {
                        "name": f"{rows} x {columns}: {what}",
                        "value": value,
                        "bar": most,
                        "pass": passed,
                    }
                )
    for bar in bars:
        met = "ok  " if bar["pass"] else "MISS"
        print(f"{met} {bar['name']}: {bar['value']:.2f} ({bar['bar']:g})")
    figures |= {"load": os.getloadavg()[0], "members": MEMBERS}
    print(json.dumps({"name": "browser", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
