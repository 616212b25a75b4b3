"""What kind of posterior an `AmortizedPosterior` is."""

import equinox as eqx

HEAD_TYPES = ("flow", "regression", "score")
"""The density families that a head may have."""


class UnknownHeadTypeError(ValueError):
    """The configuration names a density family that does not exist."""


class AmortizedConfig(eqx.Module):
    """Configuration of an `AmortizedPosterior`.

    Attributes:
        head_type: one of `HEAD_TYPES`; must be the type of the posterior's head.
        n_samples: number of posterior samples drawn when a call names none.

    Raises:
        UnknownHeadTypeError: if the head type is not one of `HEAD_TYPES`.
        ValueError: if `n_samples` is not positive.
    """

    head_type: str = eqx.field(static=True, default="regression")
    n_samples: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if self.head_type not in HEAD_TYPES:
            raise UnknownHeadTypeError(
                f"AmortizedConfig: head_type must be one of {list(HEAD_TYPES)}, got "
                f"{self.head_type!r}."
            )
        if self.n_samples < 1:
            raise ValueError(
                f"AmortizedConfig: n_samples must be at least 1, got {self.n_samples}."
            )
