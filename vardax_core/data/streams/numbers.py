"""Numbers as files write them: text, blanks, marks of missing values."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

BLANK = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "--", "---", "masked"})
"""Texts, in small letters, that stand for no value in any file."""


def numbers_of(
    column: np.ndarray, *, missing: Sequence[float | str] = (), decimal: str = "."
) -> tuple[Float[np.ndarray, " row"], Bool[np.ndarray, " row"]]:
    """Read a column of numbers.

    Arguments:
        column: of numbers, or of text.
        missing: further marks of a missing value, as numbers or as text.
        decimal: mark of decimals in text.

    Returns:
        float64 values, NaN where there is none; and where something stands that is no number.
    """
    if column.dtype.kind in "fiu":
        values = column.astype(np.float64)
        wrong = np.isinf(values)
    elif column.dtype.kind == "b":
        values, wrong = np.full(column.shape, np.nan), np.ones(column.shape, bool)
    else:
        plain = pd.Series(column if column.dtype == object else texts_of(column), dtype=object)
        if decimal != ".":
            plain = plain.str.replace(decimal, ".", regex=False)
        values = np.array(pd.to_numeric(plain, errors="coerce"), np.float64)
        odd = np.flatnonzero(~np.isfinite(values))
        text = texts_of(column[odd])
        absent = are_blank(text) | np.isin(text, [m for m in missing if isinstance(m, str)])
        wrong = np.zeros(values.shape, bool)
        wrong[odd[~absent]] = True
    marks = [float(mark) for mark in missing if not isinstance(mark, str)]
    # Marks in a file of single precision are those of the recipe to seven digits.
    marked = np.zeros(values.shape, bool)
    for mark in marks:
        marked |= np.abs(values - mark) <= 1e-6 * max(abs(mark), 1e-30)
    values[marked | wrong] = np.nan
    return values, wrong & ~marked


def texts_of(column: np.ndarray) -> np.ndarray:
    """Write a column as text without blanks around it; what is absent becomes empty."""
    if column.dtype.kind in "fiu":
        whole = np.isfinite(column) & (np.floor(column) == column) & (np.abs(column) < 2**53)
        return np.array(
            [
                str(int(value)) if is_whole else ("" if value != value else str(value))
                for value, is_whole in zip(column.tolist(), whole.tolist(), strict=True)
            ],
            object,
        )
    return np.array(
        [
            ""
            if value is None or value != value
            else (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
            .replace("\0", "")
            .strip()
            for value in column.tolist()
        ],
        object,
    )


def are_blank(text: np.ndarray) -> Bool[np.ndarray, " row"]:
    """Say which texts stand for no value."""
    return np.array([value.lower() in BLANK for value in text.tolist()], bool)


def flags_meant(flags: Sequence[int | str], attrs: Mapping[str, object]) -> tuple[int | str, ...]:
    """Add the values of flags that are given by their meaning.

    Source: CF conventions 1.11, section 3.5.
    """
    meanings = str(attrs.get("flag_meanings", "")).split()
    values = np.ravel(np.asarray(attrs.get("flag_values", ()))).tolist()
    known = dict(zip(meanings, values, strict=False))
    return (*flags, *(int(known[str(flag)]) for flag in flags if str(flag) in known))


def flagged_as(column: np.ndarray, accepted: Sequence[int | str]) -> Bool[np.ndarray, "*any"]:
    """Say which flags are among those accepted; 1, 1.0 and '1' are one flag."""
    wanted = {str(flag) for flag in accepted}
    flat = np.ravel(column)
    unique, inverse = np.unique(
        flat.astype(str) if flat.dtype == object else flat, return_inverse=True
    )
    good = np.array([flag in wanted for flag in texts_of(unique)], bool)
    return (good[inverse] if unique.size else np.zeros(0, bool)).reshape(column.shape)
