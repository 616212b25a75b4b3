"""What a training needs to go on where it was killed, written whole or not at all."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx

from vardax_core.files import write_atomically

T = TypeVar("T")


class CheckpointError(ValueError):
    """A checkpoint that belongs to another training, or is damaged."""


def save_checkpoint(path: Path, tree: Any, identity: dict[str, Any]) -> None:
    """Write the leaves of a tree and the identity of the training; the old file stays until then.

    The first line of the file is JSON: the identity and the sha256 of what follows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    body = path.with_name(path.name + ".body")
    with body.open("wb") as file:
        eqx.tree_serialise_leaves(file, tree)
    content = body.read_bytes()
    header = {"identity": identity, "sha256": hashlib.sha256(content).hexdigest()}
    write_atomically(path, json.dumps(header, sort_keys=True).encode() + b"\n" + content)
    body.unlink()


def load_checkpoint(path: Path, like: T, identity: dict[str, Any]) -> T:
    """Read a checkpoint into a tree like the given one.

    Raises:
        CheckpointError: if the file is damaged or of a training with another identity.
    """
    with path.open("rb") as file:
        header = json.loads(file.readline())
        start = file.tell()
        digest = hashlib.sha256(file.read()).hexdigest()
        if digest != header["sha256"]:
            raise CheckpointError(
                f"{path}: expected sha256 {header['sha256']}, got {digest}; the file is damaged. "
                "Delete it to train from the start."
            )
        if header["identity"] != json.loads(json.dumps(identity)):
            raise CheckpointError(
                f"{path}: the checkpoint is of a training with {header['identity']}, this one has "
                f"{identity}; delete it, or give this training its own path."
            )
        file.seek(start)
        return eqx.tree_deserialise_leaves(file, like)
