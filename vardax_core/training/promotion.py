"""Which version of a model may go to work: reports beside the weights, and the champion."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vardax_core.calibration.gates.report import REPORT
from vardax_core.files import file_sha256, write_atomically
from vardax_core.training.registry import ModelRegistry, ModelVersion
from vardax_core.words import counted

GATES = "gates"
"""Folder of the gate report, beside the weights."""
CHAMPION = "champion.json"
OVERRIDE = "override.json"
WHAT_TO_DO = "run `vardax validate` with the same data set and options."
IF_IT_FAILS = (
    "train longer or on what the analysis will meet, and validate again, or accept it with "
    "`vardax validate --override REASON`."
)


class UnprovenModelError(ValueError):
    """Weights that have no passing gate report, or were taken back."""


class NoChampionError(ValueError):
    """There is no champion, or none before it."""


@dataclass(frozen=True)
class Champion:
    """An entry of the alias `champion`.

    Attributes:
        version: folder of the version.
        sha256: digest of its weights.
        report_sha256: digest of its gate report.
        since: when it was promoted, UTC.
        override: why it was promoted although a gate failed, or None.
    """

    version: str
    sha256: str
    report_sha256: str
    since: str
    override: str | None


def gates_folder(version: ModelVersion) -> Path:
    """Where the gate report of a version lies."""
    return version.path / GATES


def require_proven(registry: ModelRegistry, version: ModelVersion) -> None:
    """Refuse weights without a passing gate report, with one of other weights, or taken back.

    Raises:
        UnprovenModelError: says what is missing and what to do.
    """
    _require_passed(version)
    withdrawn = _read(registry, version.name)["withdrawn"].get(version.path.name)
    if withdrawn is not None:
        raise UnprovenModelError(
            f"{_who(version)} was rolled back at {withdrawn}: use the settings of the champion, or "
            "promote it again with `vardax validate`."
        )


def _who(version: ModelVersion) -> str:
    return f"Model {version.name!r} version {version.version} (sha256 {version.sha256[:12]})"


def _require_passed(version: ModelVersion) -> None:
    path, who = gates_folder(version) / REPORT, _who(version)
    if not path.is_file():
        raise UnprovenModelError(f"{who} has no gate report at {path}: {WHAT_TO_DO}")
    report = json.loads(path.read_text())
    tested = report["provenance"].get("weights sha256")
    if tested != version.sha256:
        raise UnprovenModelError(
            f"{who}: its gate report {path} is about the weights {str(tested)[:12]}: {WHAT_TO_DO}"
        )
    if not report["passed"] and override_reason(version) is None:
        failed = [gate["name"] for gate in report["gates"] if not gate["passed"]]
        raise UnprovenModelError(
            f"{who} did not pass: {'; '.join(failed)} (see {path.with_name('report.md')}); "
            f"{IF_IT_FAILS}"
        )


def gate_provenance(version: ModelVersion) -> dict[str, str]:
    """What the gates of a version recorded beside their results; nothing if they never ran on
    these weights."""
    path = gates_folder(version) / REPORT
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text())["provenance"]
    return kept if kept.get("weights sha256") == version.sha256 else {}


def override_reason(version: ModelVersion) -> str | None:
    """Why a version may go to work although a gate failed, or None."""
    path = gates_folder(version) / OVERRIDE
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    return kept["reason"] if kept["sha256"] == version.sha256 else None


def promote(
    registry: ModelRegistry, version: ModelVersion, *, override: str | None = None
) -> Champion:
    """Make a version the champion; the one before it is kept.

    Arguments:
        override: why, if a gate failed; kept beside the report and in the alias.

    Raises:
        UnprovenModelError: if a gate failed and there is no reason, or there is no report at all.
    """
    path = gates_folder(version) / REPORT
    if override is not None:
        if not override.strip():
            raise UnprovenModelError("promote: an override needs a reason; say why in words.")
        if not path.is_file():
            raise UnprovenModelError(
                f"{version.path}: there is no gate report to override; run the gates first."
            )
        kept = {"reason": override, "sha256": version.sha256, "at": _now()}
        _write(gates_folder(version) / OVERRIDE, kept)
    _require_passed(version)
    entry = Champion(
        version=version.path.name,
        sha256=version.sha256,
        report_sha256=file_sha256(path),
        since=_now(),
        override=override_reason(version),
    )
    state = _read(registry, version.name)
    history = [old for old in state["history"] if old["version"] != entry.version]
    withdrawn = {k: v for k, v in state["withdrawn"].items() if k != entry.version}
    content = {"history": [*history, asdict(entry)], "withdrawn": withdrawn}
    _write(_alias(registry, version.name), content)
    return entry


def champion(registry: ModelRegistry, name: str) -> Champion | None:
    """The version that was promoted last and not taken back, or None."""
    history = _read(registry, name)["history"]
    return Champion(**history[-1]) if history else None


def rollback(registry: ModelRegistry, name: str) -> Champion:
    """Take the champion back and give its place to the one before it.

    Raises:
        NoChampionError: if there is none before it.
    """
    state = _read(registry, name)
    if len(state["history"]) < 2:
        raise NoChampionError(
            f"{registry.root}: model {name!r} has {counted(len(state['history']), 'champion')} so "
            "far; there is none to go back to."
        )
    *kept, last = state["history"]
    withdrawn = {**state["withdrawn"], last["version"]: _now()}
    _write(_alias(registry, name), {"history": kept, "withdrawn": withdrawn})
    return Champion(**kept[-1])


def _alias(registry: ModelRegistry, name: str) -> Path:
    return registry.root / name / CHAMPION


def _read(registry: ModelRegistry, name: str) -> dict[str, Any]:
    path = _alias(registry, name)
    if not path.is_file():
        return {"history": [], "withdrawn": {}}
    return json.loads(path.read_text())


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
