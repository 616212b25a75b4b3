"""The report on the stores of one data set: what was read, compared and drawn."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from vardax_core.calibration.dataset import calibration_dataset
from vardax_core.calibration.detail import Makers
from vardax_core.calibration.gates.report import REPORT
from vardax_core.calibration.regions import region_names
from vardax_core.calibration.report import (
    MethodResult,
    ReportInput,
    channel_scores,
    write_report,
)
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.data.recipe import ONLY_REPORTED
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.lead_scores import lead_table
from vardax_core.experiments.observed_tables import Table, observed_tables
from vardax_core.experiments.pictures import example_panels
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.experiments.validation import is_gated
from vardax_core.experiments.weighting import BY_AREA, stored_weighting
from vardax_core.files import write_atomically
from vardax_core.methods.reported_errors import ERRORS_LEARNED
from vardax_core.observations.quality import QualityCode
from vardax_core.store import ExperimentStore, groups_digest
from vardax_core.training.promotion import gates_folder

INPUTS = "inputs.json"


class IncomparableStoresError(ValueError):
    """Stores that hold different observations or different cycles."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A written report.

    Attributes:
        markdown: path of the page.
        scores: by method.
        microseconds: time of a cycle, by method.
        new: False if the report on just these cycles was there already.
        left_out: why other methods are not in it, by method.
        channels: scores by variable of the state and method; none where it has one.
    """

    markdown: Path
    scores: dict[str, Scores]
    microseconds: dict[str, float]
    new: bool
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    channels: Mapping[str, Mapping[str, Scores]] = dataclasses.field(default_factory=dict)


def compare(
    experiments: Sequence[Experiment], primary: Experiment, recent: int | None = None
) -> Comparison:
    """Write the report on some experiments, unless it is there for just these cycles.

    The scores also go to the `calibration` group of the primary experiment's store.

    Arguments:
        experiments: one of each method, on the same observations.
        primary: the one that the report is about.
        recent: cycles that are set beside as many before; half of the period by default.

    Raises:
        StoreNotFoundError: if an experiment was not run.
        IncomparableStoresError: if the stores hold different observations or cycles.
    """
    stores = [experiment.open_store() for experiment in experiments]
    names = [experiment.settings.method for experiment in experiments]
    tips = dict(zip(names, map(_last_segment, stores), strict=True))
    folder = primary.report_path
    markdown = folder / "report.md"
    inputs = {
        "primary": primary.settings.method,
        "segments": tips,
        "recent": recent,
        **primary.recipe.model_dump(mode="json", include=set(ONLY_REPORTED)),
    }
    known = folder / INPUTS
    unchanged = known.exists() and json.loads(known.read_text()) == inputs and markdown.exists()
    results = [_method_result(e, s) for e, s in zip(experiments, stores, strict=True)]
    microseconds = {r.name: r.microseconds_per_cycle or float("nan") for r in results}
    report = _report_input(experiments, stores, primary, results, recent)
    if unchanged:
        scores, channels = _scores(report), channel_scores(report)
        return Comparison(markdown, scores, microseconds, new=False, channels=channels)
    further = _further(primary, stores[list(experiments).index(primary)])
    paths = write_report(folder, dataclasses.replace(report, further=further))
    calibration = calibration_dataset(paths.scores)
    store = stores[list(experiments).index(primary)]
    with store.writer(wait=60.0) as writer:
        arrays = {str(n): calibration[n] for n in calibration.variables}
        writer.append({}, {}, replace={"calibration": arrays}, metadata={"kind": "report"})
    write_atomically(known, (json.dumps(inputs, indent=1) + "\n").encode())
    return Comparison(markdown, dict(paths.scores), microseconds, new=True, channels=paths.channels)


def _scores(report: ReportInput) -> dict[str, Scores]:
    return {
        method.name: compute_scores(
            method.statistics.isel(time=slice(report.burn_in, None)),
            key=report.key,
            units=report.units,
        )
        for method in report.methods
    }


def _last_segment(store: ExperimentStore) -> str:
    for record in store.history():
        if record.metadata.get("kind") == "segment":
            return record.snapshot_id
    return "none"


def _method_result(experiment: Experiment, store: ExperimentStore) -> MethodResult:
    diagnostics = store.dataset("diagnostics").load()
    segments = [r.metadata for r in store.history() if r.metadata.get("kind") == "segment"]
    return MethodResult(
        name=experiment.settings.method,
        statistics=stored_statistics(experiment.recipe, diagnostics),
        microseconds_per_cycle=microseconds_of(segments),
        result_codes=diagnostics["result"].to_numpy(),
        makers=_makers(diagnostics["analysis_method"]),
        channels={
            name: stored_statistics(experiment.recipe, diagnostics, name)
            for name in experiment.recipe.channels
        },
    )


def microseconds_of(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """The time of a cycle in the fastest of the long segments, or None if nothing was computed.

    The others were computed while those before them were written and those after them were read,
    which on few cores takes several times as long, whatever the method.

    Arguments:
        segments: what the commits of cycles say.
    """
    timed = [(int(s["cycles"]), float(s["compute_seconds"])) for s in segments]
    longest = max((cycles for cycles, _ in timed), default=0)
    if not longest:
        return None
    return 1e6 * min(seconds / cycles for cycles, seconds in timed if 2 * cycles >= longest)


def _makers(array: xr.DataArray) -> Makers | None:
    names = str(array.attrs["flag_meanings"]).split()
    return Makers(array.to_numpy(), names) if len(names) > 1 else None


def _validated(primary: Experiment, store: ExperimentStore) -> dict[str, float]:
    """Scores of the weights in their gates, by name; none without a report."""
    version = primary.trained_from(str(store.experiment["source_sha256"]))
    if version is None or not (gates_folder(version) / REPORT).exists():
        return {}
    held_out = json.loads((gates_folder(version) / REPORT).read_text()).get("scores", {})
    return {name: float(value) for name, value in held_out.items() if value is not None}


def _report_input(
    experiments: Sequence[Experiment],
    stores: Sequence[ExperimentStore],
    primary: Experiment,
    results: Sequence[MethodResult],
    recent: int | None,
) -> ReportInput:
    groups = ("observations",) if primary.recipe.reported else ("observations", "nature_run")
    kept = {str(store.observations.location): store for store in stores}
    digests = {groups_digest(store, groups) for store in kept.values()}
    if len(digests) > 1:
        raise IncomparableStoresError(
            f"{primary.group_name}: the stores hold different observations (digests "
            f"{sorted(d[:12] for d in digests)}); run every method on the same recipe, and those "
            "of an earlier version again, under another root."
        )
    lengths = {r.name: r.statistics.sizes["time"] for r in results}
    if len(set(lengths.values())) > 1:
        raise IncomparableStoresError(
            f"{primary.group_name}: the methods have different numbers of cycles {lengths}; "
            "assimilate all up to the same time first."
        )
    weighted = {stored_weighting(store) for store in stores}
    if len(weighted) > 1:
        raise IncomparableStoresError(
            f"{primary.group_name}: some stores count points by their area and some all points "
            "the same, as older ones do; assimilate the older ones again, under another root."
        )
    store = stores[list(experiments).index(primary)]
    recipe = primary.recipe
    codes = store.dataset("innovations")["quality_control"].to_numpy()
    return ReportInput(
        title=recipe.title,
        variable=recipe.variable.name,
        units=recipe.variable.units,
        methods=tuple(results),
        primary=primary.settings.method,
        panels=example_panels(primary, store),
        provenance=_provenance(primary, store, next(iter(digests))),
        qc_counts={code.name.lower(): int(np.sum(codes == code)) for code in QualityCode},
        burn_in=recipe.burn_in,
        recent=recent,
        regions=region_names(primary.space(store).grid, recipe.state_dims),
        by_area=weighted == {BY_AREA},
        channels={name: recipe.variable_of(name).units for name in recipe.channels},
        validated=_validated(primary, store) if is_gated(primary) else {},
        key=jax.random.key(primary.settings.seed),
    )


def _further(primary: Experiment, store: ExperimentStore) -> dict[str, Table]:
    recipe = primary.recipe
    if not recipe.reported:
        return {}
    version = primary.trained_from(str(store.experiment["source_sha256"]))
    learned = {} if version is None else version.manifest["metadata"]
    errors = learned.get(ERRORS_LEARNED, {})
    # Where windows look ahead, a background has seen what it is compared with.
    diagnosed = recipe.window.after is None
    diagnosed &= primary.settings.analysis.uses_background(prior_of(recipe))
    names = primary.platforms(store)
    tables = observed_tables(store, recipe, names, recipe.burn_in, errors, diagnosed=diagnosed)
    if recipe.leads:
        leads = lead_table(primary, store, primary.prepare(store), recipe.leads)
        tables["Forecasts from the analyses"] = leads
    return tables


def _provenance(primary: Experiment, store: ExperimentStore, digest: str) -> dict[str, str]:
    metadata: Mapping[str, Any] = store.tip().metadata
    for record in store.history():
        if record.metadata.get("kind") == "segment":
            metadata = record.metadata
            break
    leads = {
        lead
        for record in store.history()
        for lead in str(record.metadata.get("forecast_lead_hours", "")).split(", ")
        if lead
    }
    return {
        "experiment": primary.name,
        "members": str(primary.settings.members),
        **({"leads of the forecasts, hours": ", ".join(sorted(leads))} if leads else {}),
        "observations sha256": digest,
        "source sha256": str(store.experiment["source_sha256"]),
        "model version": str(metadata.get("model_version", "none")),
        "model sha256": str(metadata.get("model_sha256", "none")),
        "configuration sha256": primary.digest,
        "code version": str(metadata.get("code_version", "unknown")),
        "seed": str(primary.settings.seed),
        "attribution": primary.recipe.attribution,
    }
