"""Bad input, found before it reaches a network."""

import numpy as np
from jaxtyping import Array

from vardax_core.types import Batch, visible


class BatchValueError(ValueError):
    """A batch holds values that no posterior may see."""


class MissingFieldError(ValueError):
    """A batch lacks a field that is needed."""


def _first(bad: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])


def target_of(batch: Batch) -> Array:
    """The true states of a batch.

    Raises:
        MissingFieldError: if there are none.
    """
    if batch.target is None:
        raise MissingFieldError(
            f"{type(batch).__name__}: batch.target is None, and training needs the true states; "
            "pass target=(batch, *state)."
        )
    return batch.target


def check_batch(batch: Batch, *, needs_target: bool = False) -> None:
    """Refuse a batch that is empty or holds values that mean nothing.

    Values are looked at outside of jit only; shapes always.

    Raises:
        BatchValueError: if the batch is empty, the mask is not the input's shape or not 0 or 1,
            an observed input or a target is not finite.
        MissingFieldError: if a target is needed and there is none.
    """
    where = type(batch).__name__
    if batch.input.size == 0:
        raise BatchValueError(
            f"{where}: the input of shape {batch.input.shape} is empty; leave the batch out, or "
            "pass at least one sample with one observation slot."
        )
    if batch.mask.shape != batch.input.shape:
        raise BatchValueError(
            f"{where}: the mask has shape {batch.mask.shape} and the input {batch.input.shape}; "
            "give every input element its own 0 or 1."
        )
    mask, values = visible(batch.mask), visible(batch.input)
    target = visible(target_of(batch)) if needs_target else None
    if mask is not None:
        bad = (mask != 0) & (mask != 1)
        if bad.any():
            index = _first(bad)
            raise BatchValueError(
                f"{where}: masks are 1 (observed) or 0 (missing), got {mask[index]} at {index}; "
                "use (mask > threshold).astype(float), and give uncertain observations a larger "
                "error_sd instead."
            )
    if mask is not None and values is not None:
        bad = (mask > 0) & ~np.isfinite(values)
        if bad.any():
            index = _first(bad)
            raise BatchValueError(
                f"{where}: the input at {index} is {values[index]} but its mask says observed; "
                "set the mask to 0 there: mask * isfinite(input)."
            )
    if target is not None and not np.isfinite(target).all():
        index = _first(~np.isfinite(target))
        raise BatchValueError(
            f"{where}: the target at {index} is {target[index]}; drop that sample or mend the "
            "simulator."
        )
