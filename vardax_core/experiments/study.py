"""Several experiments of one data set beside each other: methods, seeds, networks."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vardax_core.calibration.page import short, table
from vardax_core.calibration.plots.study import study_scores
from vardax_core.calibration.plots.style import save
from vardax_core.calibration.scores import compute_scores
from vardax_core.experiments.comparison import IncomparableStoresError
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.files import write_atomically
from vardax_core.words import counted, unit_label

SCORES = ("rmse", "crps_gaussian", "spread_over_rmse", "coverage_90")
PAGE, PICTURE, NUMBERS = "report.md", "scores.png", "scores.json"


class Row(NamedTuple):
    """One experiment of a study.

    Attributes:
        name: of the experiment, for people.
        method: its method.
        circumstances: what it shares with the experiments of other methods: network and seed.
        scores: by the names of `SCORES`, NaN where nothing can be said.
    """

    name: str
    method: str
    circumstances: str
    scores: dict[str, float]


class Study(NamedTuple):
    """A written comparison.

    Attributes:
        markdown: path of the page.
        rows: every experiment's scores.
    """

    markdown: Path
    rows: tuple[Row, ...]


def compare_study(experiments: Sequence[Experiment], primary: Experiment) -> Study:
    """Write the page that sets experiments of one data set beside each other.

    Arguments:
        experiments: each run to the same cycle, with statistics in its store.
        primary: one of the method that the others are held against.

    Raises:
        StoreNotFoundError: an experiment was not run.
        IncomparableStoresError: they have not the same cycles.
    """
    rows, periods = [], {}
    for made in experiments:
        found = stored_statistics(made.recipe, made.open_store().dataset("diagnostics").load())
        times = found["time"].to_numpy()
        ends = times[[0, -1]] if len(times) else ()
        periods[made.name] = (len(times), *(str(time)[:16] for time in ends))
        scores = compute_scores(
            found.isel(time=slice(made.recipe.burn_in, None)), key=jax.random.key(0), resamples=0
        )
        rows.append(
            Row(
                made.name,
                made.settings.method,
                f"{made.group_name}, seed {made.settings.seed}",
                {name: scores[name] for name in SCORES},
            )
        )
    if len(set(periods.values())) > 1:
        raise IncomparableStoresError(
            f"{primary.recipe.name}: the experiments have different cycles {periods}; run all of "
            "them up to the same time, or release those that are held."
        )
    folder = primary.root / "experiments" / f"{primary.recipe.name}-study"
    recipe, method = primary.recipe, primary.settings.method
    by_method = {
        name: [row for row in rows if row.method == name]
        for name in dict.fromkeys(row.method for row in rows)
    }
    figure = study_scores(
        {name: [r.scores["crps_gaussian"] for r in found] for name, found in by_method.items()},
        {name: [r.scores["spread_over_rmse"] for r in found] for name, found in by_method.items()},
        primary=method,
        units=recipe.variable.units,
    )
    save(figure, folder / PICTURE)
    numbers = [row._asdict() | {"scores": _plain(row.scores)} for row in rows]
    write_atomically(folder / NUMBERS, (json.dumps(numbers, indent=1) + "\n").encode())
    page = _page(
        recipe.title, recipe.variable.units, by_method, method, next(iter(periods.values()))
    )
    write_atomically(folder / PAGE, page.encode())
    return Study(folder / PAGE, tuple(rows))


def _plain(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _page(
    title: str, units: str, by_method: dict[str, list[Row]], primary: str, period: tuple
) -> str:
    cycles, *ends = period
    labels = [
        *(unit_label(name, units) for name in ("RMSE", "CRPS (Gaussian)")),
        "spread/RMSE",
        "90 % coverage",
    ]
    means = [
        [
            name,
            str(len(found)),
            *(_mean(found, score) for score in SCORES),
            _against(found, by_method.get(primary, [])),
        ]
        for name, found in by_method.items()
    ]
    each = [
        [
            row.name,
            row.circumstances.rpartition("seed ")[2],
            *(short(row.scores[s]) for s in SCORES),
        ]
        for found in by_method.values()
        for row in found
    ]
    parts = [
        f"# {title}: a study",
        f"{counted(cycles, 'cycle')}{', ' + ' to '.join(ends) if ends else ''}, of "
        f"{counted(sum(map(len, by_method.values())), 'experiment')}.",
        table(["method", "experiments", *labels, f"CRPS against {primary}"], means),
        "Means over seeds and networks, ± their standard deviation. The last column is the mean of "
        "the ratios on the same network with the same seed, and in how many of them the method is "
        "the better one.",
        f"![CRPS and spread of every experiment]({PICTURE})",
        "*One dot is one experiment.*",
        "## Every experiment",
        table(["experiment", "seed", *labels], each),
    ]
    return "\n\n".join(parts) + "\n"


def _mean(rows: Sequence[Row], score: str) -> str:
    values = np.array([row.scores[score] for row in rows])
    if len(values) < 2:
        return short(float(values[0]))
    return f"{short(float(np.mean(values)))} ± {short(float(np.std(values, ddof=1)))}"


def _against(rows: Sequence[Row], primary: Sequence[Row]) -> str:
    """Ratio of the CRPS to the primary method's in the same circumstances."""
    there = {row.circumstances: row.scores["crps_gaussian"] for row in primary}
    ratios = [
        row.scores["crps_gaussian"] / there[row.circumstances]
        for row in rows
        if row.circumstances in there and there[row.circumstances] > 0
    ]
    if not ratios or rows[0].method == primary[0].method:
        return "-"
    return (
        f"{short(float(np.mean(ratios)))}, better in {sum(r < 1 for r in ratios)} of {len(ratios)}"
    )
