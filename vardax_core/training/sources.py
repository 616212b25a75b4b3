"""Where training batches come from: arrays, a simulator, a zarr store."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import zarr
from jaxtyping import Array, Int, PRNGKeyArray

from vardax_core.analysis.amortized.checks import check_batch
from vardax_core.types import Batch


class TrainingDataError(ValueError):
    """Training data that cannot be used."""


class AbstractTrainingSource(eqx.Module):
    """A sequence of batches in which step k always gives the same batch.

    What a step needs is split in two: `recipe`, made on the host for many steps at once, and
    `batch`, traced inside the training step.
    """

    @abstractmethod
    def recipe(self, first_step: int, n_steps: int) -> Any:
        """A tree of arrays, one row for each of the steps from `first_step` on."""

    @abstractmethod
    def batch(self, row: Any) -> Batch:
        """The batch of one row of a recipe."""


def _rows(batch: Batch, index: Array) -> Batch:
    return jax.tree.map(lambda a: a[index], batch)


def _shuffled(size: int, batch_size: int, first_step: int, n_steps: int, seed: int) -> np.ndarray:
    """Indices (step, batch): every epoch is a permutation drawn from its number alone."""
    per_epoch = size // batch_size
    rows: list[np.ndarray] = []
    order, known = np.empty(0, np.int64), -1
    for step in range(first_step, first_step + n_steps):
        epoch, part = divmod(step, per_epoch)
        if epoch != known:
            order, known = np.random.default_rng([seed, epoch]).permutation(size), epoch
        rows.append(order[part * batch_size : (part + 1) * batch_size])
    return np.stack(rows)


class ArraySource(AbstractTrainingSource):
    """Shuffled batches of samples held in memory.

    Attributes:
        samples: all samples, with targets.
        batch_size: samples of one batch; the rest of an epoch is left out.
        seed: of the permutations.
    """

    samples: Batch
    batch_size: int = eqx.field(static=True, default=256)
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_batch(self.samples, needs_target=True)
        size = self.samples.input.shape[0]
        if not 1 <= self.batch_size <= size:
            raise TrainingDataError(
                f"ArraySource: batch_size is {self.batch_size} with {size} samples; choose one "
                f"from 1 to {size}."
            )

    def recipe(self, first_step: int, n_steps: int) -> Int[Array, "step batch"]:
        size = self.samples.input.shape[0]
        return jnp.asarray(_shuffled(size, self.batch_size, first_step, n_steps, self.seed))

    def batch(self, row: Int[Array, " batch"]) -> Batch:
        return _rows(self.samples, row)


class SimulatorSource(AbstractTrainingSource):
    """A new batch from a simulator at every step.

    Attributes:
        simulate: key -> batch with targets; traced.
        key: folded with the step.
    """

    simulate: Callable[[PRNGKeyArray], Batch]
    key: PRNGKeyArray

    def recipe(self, first_step: int, n_steps: int) -> Int[Array, " step"]:
        return jnp.arange(first_step, first_step + n_steps)

    def batch(self, row: Int[Array, ""]) -> Batch:
        return self.simulate(jax.random.fold_in(self.key, row))


class ZarrSource(AbstractTrainingSource):
    """Shuffled batches read from a zarr group, a chunk of steps at a time.

    Attributes:
        group: folder of the group.
        arrays: name of the array in the group for each field of the batch.
        kind: class of the batch.
        index: samples that may be used, such as the training part of a `block_split`.
        batch_size: samples of one batch.
        seed: of the permutations.
    """

    group: Path = eqx.field(static=True)
    arrays: tuple[tuple[str, str], ...] = eqx.field(static=True)
    kind: Callable[..., Batch] = eqx.field(static=True)
    index: tuple[int, ...] = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    seed: int = eqx.field(static=True)

    def __init__(
        self,
        group: str | Path,
        arrays: Mapping[str, str],
        *,
        kind: Callable[..., Batch],
        index: np.ndarray,
        batch_size: int = 256,
        seed: int = 0,
    ):
        """Check the group and remember what to read.

        Raises:
            TrainingDataError: if an array is missing, or the batch is larger than the index.
        """
        self.group = Path(group)
        self.arrays = tuple(sorted(arrays.items()))
        self.kind = kind
        self.index = tuple(int(i) for i in index)
        self.batch_size = batch_size
        self.seed = seed
        opened = zarr.open_group(str(self.group), mode="r")
        missing = [name for name in arrays.values() if name not in opened]
        if missing or not {"input", "mask", "target"} <= set(arrays):
            raise TrainingDataError(
                f"{self.group}: arrays {missing} are missing; it holds {sorted(opened)}, and "
                "training needs input, mask and target."
            )
        if not 1 <= batch_size <= len(self.index):
            raise TrainingDataError(
                f"ZarrSource: batch_size is {batch_size} with {len(self.index)} samples; choose "
                f"one from 1 to {len(self.index)}."
            )

    def read(self, index: np.ndarray) -> Batch:
        """The samples of the given positions in the arrays, checked."""
        order = np.argsort(index)
        fields = {}
        for field, name in self.arrays:
            array = zarr.open_array(str(self.group / name), mode="r")
            values = np.asarray(array.oindex[np.asarray(index)[order]])
            back = np.empty_like(values)
            back[order] = values
            fields[field] = jnp.asarray(back, jnp.result_type(float))
        batch = self.kind(**fields)
        check_batch(batch, needs_target=True)
        return batch

    def recipe(self, first_step: int, n_steps: int) -> Batch:
        size = len(self.index)
        chosen = _shuffled(size, self.batch_size, first_step, n_steps, self.seed)
        flat = self.read(np.asarray(self.index)[chosen.reshape(-1)])
        return jax.tree.map(lambda a: a.reshape(n_steps, self.batch_size, *a.shape[1:]), flat)

    def batch(self, row: Batch) -> Batch:
        return row


def block_split(
    size: int, fractions: Mapping[str, float], *, block: int, gap: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Split a time series into parts made of whole blocks of time.

    Neighbouring samples of a time series resemble each other, so a split sample by sample lets a
    network see its test set. Here every part is made of blocks of consecutive samples, and the
    first `gap` samples of a block whose predecessor went to another part are left out.

    Arguments:
        size: number of samples, in order of time.
        fractions: share of the blocks that each part gets; they sum to 1.
        block: samples of one block.
        gap: samples left out between parts.
        seed: of the draw of the blocks.

    Returns:
        Sorted sample positions for every part.

    Raises:
        TrainingDataError: if the fractions do not sum to 1, the gap is as long as a block, or
            there are too few blocks to give every part one.
    """
    n_blocks = math.ceil(size / block)
    if abs(sum(fractions.values()) - 1) > 1e-9 or not 0 <= gap < block:
        raise TrainingDataError(
            f"block_split: fractions sum to {sum(fractions.values())} (1 is needed), block is "
            f"{block} and gap {gap} (0 <= gap < block is needed)."
        )
    if n_blocks < len(fractions):
        raise TrainingDataError(
            f"block_split: {size} samples are {n_blocks} blocks of {block}, fewer than the "
            f"{len(fractions)} parts; use shorter blocks or more data."
        )
    counts = [max(1, int(f * n_blocks)) for f in fractions.values()]
    counts[int(np.argmax(counts))] += n_blocks - sum(counts)
    owner = np.empty(n_blocks, np.int64)
    owner[np.random.default_rng(seed).permutation(n_blocks)] = np.repeat(
        np.arange(len(counts)), counts
    )
    position = np.arange(size)
    mine = owner[position // block]
    before = owner[np.maximum(position // block - 1, 0)]
    kept = (mine == before) | (position % block >= gap)
    return {name: position[(mine == i) & kept] for i, name in enumerate(fractions)}
