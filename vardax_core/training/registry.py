"""Trained models on disk: one directory per version, checked before it is read."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx

from vardax_core.files import file_sha256, flush, flush_folder

Factories = Mapping[str, Callable[..., eqx.Module]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"(\d{4,})-([0-9a-f]{12})")
_LIBRARIES = ("jax", "equinox", "diffrax", "flowjax", "optax", "numpy", "vardax-core")


class RegistryError(ValueError):
    """A model cannot be stored in or taken from a registry."""


class ModelNameError(RegistryError):
    """A model's name could be read as a path or is empty."""


class ModelNotFoundError(RegistryError):
    """No such model, or no such version of it."""


class WeightsChecksumError(RegistryError):
    """A file is not the one that was stored."""


class UnknownFactoryError(RegistryError):
    """The manifest names a factory that the caller does not know."""


class ArchitectureError(RegistryError):
    """The weights do not fit the model that the factory builds."""


@dataclass(frozen=True)
class ModelVersion:
    """One stored version of a model.

    Attributes:
        name: the model's name.
        version: counts from 1 for each name.
        sha256: digest of the weights file.
        path: its directory.
    """

    name: str
    version: int
    sha256: str
    path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """What was stored beside the weights: factory, hyperparameters, metadata, libraries."""
        return json.loads((self.path / "manifest.json").read_text())


class ModelRegistry:
    """Versions of models under one directory, `<root>/<name>/<version>-<sha12>/`.

    A version is written aside, flushed and renamed, so it is there whole or not at all, and is
    never changed afterwards. Loading builds the model from a factory that the caller names,
    checks the sha256 of the weights, and only then reads them.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def save(
        self,
        name: str,
        model: eqx.Module,
        *,
        factory: str,
        hyperparameters: dict[str, Any],
        metadata: dict[str, Any],
    ) -> ModelVersion:
        """Store a new version.

        Arguments:
            name: letters, digits, '.', '_' and '-'.
            model: the model, all of whose array leaves are stored.
            factory: the key under which `load` finds the function that builds the model.
            hyperparameters: the keyword arguments of that function; JSON values.
            metadata: whatever else belongs to the version, such as the training digest, the data
                digest, metrics and the gate report; JSON values.

        Raises:
            ModelNameError: if the name is not allowed.
            RegistryError: if something is no JSON value.
        """
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{uuid.uuid4().hex}.part"
        aside.mkdir()
        try:
            weights = aside / "weights.eqx"
            with weights.open("wb") as file:
                eqx.tree_serialise_leaves(file, model)
                flush(file)
            sha256 = file_sha256(weights)
            manifest = {
                "name": name,
                "sha256": sha256,
                "factory": factory,
                "hyperparameters": hyperparameters,
                "metadata": metadata,
                "libraries": _library_versions(),
            }
            with (aside / "manifest.json").open("wb") as file:
                file.write(_to_json(manifest))
                flush(file)
            return self._publish(name, aside, sha256)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def load(
        self, name: str, version: int | None = None, *, factories: Factories
    ) -> tuple[eqx.Module, ModelVersion]:
        """Read a version, the latest by default.

        Arguments:
            name: the model's name.
            version: its number.
            factories: the functions that may be called to build a model.

        Raises:
            ModelNotFoundError: if there is no such model or version.
            WeightsChecksumError: if the weights are not those that were stored.
            UnknownFactoryError: if the manifest's factory is not among `factories`.
            ArchitectureError: if the weights do not fit what the factory builds.
        """
        found = self.latest(name) if version is None else self._version(name, version)
        manifest = found.manifest
        factory = manifest["factory"]
        if factory not in factories:
            raise UnknownFactoryError(
                f"{found.path}: the model was built by the factory {factory!r}, known are "
                f"{sorted(factories)}; pass factories with that name."
            )
        weights = found.path / "weights.eqx"
        got = file_sha256(weights)
        expected = manifest["sha256"]
        if got != expected or not found.path.name.endswith(expected[:12]):
            raise WeightsChecksumError(
                f"{weights}: expected sha256 {expected}, got {got}; the file was changed or is "
                "damaged. Restore it from a copy, load an earlier version, or train again."
            )
        hyperparameters = manifest["hyperparameters"]
        try:
            like = factories[factory](**hyperparameters)
        except TypeError as error:
            raise ArchitectureError(
                f"{found.path}: the factory {factory!r} does not take the stored hyperparameters "
                f"{sorted(hyperparameters)} ({error}); use the software of the manifest's "
                "libraries, or train again."
            ) from error
        try:
            with weights.open("rb") as file:
                model = eqx.tree_deserialise_leaves(file, like)
                surplus = file.read(1)
        except (RuntimeError, EOFError, ValueError) as error:
            raise ArchitectureError(self._misfit(found, factory, str(error))) from error
        if surplus:
            raise ArchitectureError(self._misfit(found, factory, "the file holds more leaves"))
        return model, found

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, oldest first; empty if there is none."""
        folder = self._folder(name)
        if not folder.is_dir():
            return []
        found = []
        for path in folder.iterdir():
            match = _VERSION.fullmatch(path.name)
            if match:
                sha256 = json.loads((path / "manifest.json").read_text())["sha256"]
                found.append(ModelVersion(name, int(match[1]), sha256, path))
        return sorted(found, key=lambda v: v.version)

    def latest(self, name: str) -> ModelVersion:
        """The version with the highest number.

        Raises:
            ModelNotFoundError: if there is none.
        """
        found = self.versions(name)
        if not found:
            raise ModelNotFoundError(
                f"{self.root}: there is no model {name!r}; train one first, or look in another "
                "registry."
            )
        return found[-1]

    def find(self, name: str, **metadata: Any) -> ModelVersion | None:
        """The latest version whose metadata has all the given values, or None.

        With `training_digest=...` this finds what was trained with the same settings.
        """
        for version in reversed(self.versions(name)):
            stored = version.manifest["metadata"]
            if all(k in stored and stored[k] == v for k, v in metadata.items()):
                return version
        return None

    def _version(self, name: str, version: int) -> ModelVersion:
        known = self.versions(name)
        for found in known:
            if found.version == version:
                return found
        raise ModelNotFoundError(
            f"{self.root}: model {name!r} has no version {version}; it has "
            f"{[v.version for v in known]}."
        )

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ModelNameError(
                f"A model's name is made of letters, digits, '.', '_' and '-' and starts with a "
                f"letter or digit, got {name!r}."
            )
        return self.root / name

    def _publish(self, name: str, aside: Path, sha256: str) -> ModelVersion:
        folder = self._folder(name)
        number = max((v.version for v in self.versions(name)), default=0) + 1
        while True:
            # The number alone is claimed, so that two writers never share one.
            claim = folder / f".claim-{number:04d}"
            try:
                claim.touch(exist_ok=False)
                break
            except FileExistsError:
                number += 1
        target = folder / f"{number:04d}-{sha256[:12]}"
        flush_folder(aside)
        os.rename(aside, target)
        flush_folder(folder)
        return ModelVersion(name, number, sha256, target)

    @staticmethod
    def _misfit(found: ModelVersion, factory: str, what: str) -> str:
        return (
            f"{found.path}: the weights do not fit the model that {factory!r} builds from the "
            f"stored hyperparameters ({what}); pass the factory of the architecture that was "
            "trained."
        )


def content_digest(value: Any) -> str:
    """sha256 of a JSON value in canonical form; a key for `ModelRegistry.find`."""
    return hashlib.sha256(_to_json(value)).hexdigest()


def _to_json(value: Any) -> bytes:
    try:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RegistryError(
            f"Manifests hold JSON values: finite numbers, strings, lists and dictionaries "
            f"({error})."
        ) from error
    return text.encode() + b"\n"


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
