"""A twin whose forecasts a command makes over NetCDF files, in ways that a test chooses.

It is also a program: `python hosted.py ROOT FOLDER METHOD` catches up the experiment under ROOT,
whose model is in FOLDER and whose weights, if the method has any, are there.
"""

import json
import sys
from pathlib import Path

from tests.experiments import small
from tests.extending import Page
from vardax_core.data import Recipe
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, TrainingSettings

MEMBERS = 12
PAGE = Page("host-model")
SCRIPT = PAGE.block("python")

BEFORE = """
import json, os, sys, time
from pathlib import Path
folder, member, start = Path(sys.argv[3]), sys.argv[4], sys.argv[5]
with (folder / "runs.txt").open("a") as runs:
    runs.write(f"{start} {member}\\n")
how = json.loads((folder / "how.json").read_text()).get(member, "")
if how == "once" and not (folder / "failed").exists():
    (folder / "failed").touch()
    sys.exit("out of luck")
if how == "always":
    sys.exit("out of memory")
if how == "hang":
    os.system("sleep 60")
if how == "pause" and start == "2000-01-01T00:00Z" and not (folder / "paused").exists():
    (folder / "paused").touch()
    time.sleep(20)
"""
AFTER = """
if how == "narrow":
    with netCDF4.Dataset(sys.argv[2], "w") as made:
        made.createDimension("location", 3)
        made.createVariable("x", "f4", ("location",))[:] = 0
        made.createVariable("time", "i8")[...] = 0
if how == "silent":
    os.remove(sys.argv[2])
if how == "garbled":
    Path(sys.argv[2]).write_bytes(b"no NetCDF")
"""


def write_model(folder: Path, how: dict[str, str] | None = None) -> Path:
    """Put the script of the page, and what becomes of which member, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "advance.py").write_text(BEFORE + SCRIPT + AFTER)
    (folder / "how.json").write_text(json.dumps(how or {}))
    return folder


def runs(folder: Path) -> list[str]:
    """Start time and member of each run of the model, in the order of their starts."""
    return (folder / "runs.txt").read_text().splitlines()


def command(folder: Path) -> list[str]:
    """What runs it."""
    script = str(folder / "advance.py")
    return ["python", script, "{input}", "{output}", str(folder), "{member}", "{start}"]


def recipe(folder: Path | None, cycles: int = 3, **changes: object) -> Recipe:
    """A twin of a few cycles; without a folder with the built-in model."""
    values = small.recipe().model_dump(mode="json")
    hours = 6 * (cycles - 1)
    values["period"]["end"] = f"2000-01-{1 + hours // 24:02d}T{hours % 24:02d}:00Z"
    values |= {"name": "hosted", "burn_in": 0}
    if folder is not None:
        values["forecast"] = {"kind": "command", "command": command(folder), "parallel": 2}
    return validate_recipe(values | changes, "hosted")


def experiment_of(root: Path, made: Recipe, method: str = "letkf") -> Experiment:
    settings = ExperimentSettings(
        method=method, members=MEMBERS, training=TrainingSettings(steps=20)
    )
    return Experiment(made, settings, root)


def main(root: str, folder: str, method: str) -> None:
    made = experiment_of(Path(root), recipe(Path(folder)), method)
    small.catch_up(made, small.ingested_store(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
