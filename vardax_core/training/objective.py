"""What a training lowers, and where the pairs come from that it is shown."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float


class Found(NamedTuple):
    """What an objective leaves behind beside its loss.

    Attributes:
        samples: losses one by one, so that one that is not finite can be named.
        outcome: what the source of the pairs goes on from; None if it needs nothing.
        measures: further numbers for the curve, one for each of the objective's `measures`.
    """

    samples: Float[Array, " sample"]
    outcome: Any = None
    measures: tuple[Float[Array, ""], ...] = ()


class AbstractObjective(eqx.Module):
    """A loss of some weights on what a source of pairs gives. Only `loss` is differentiated.

    Attributes:
        name: what the loss is of, for messages.
        repair: what to do where it is not finite.
        measures: names of the numbers in the curve beside the loss.
    """

    name: eqx.AbstractClassVar[str]
    repair: eqx.AbstractClassVar[str]
    measures: eqx.AbstractClassVar[tuple[str, ...]]

    @abstractmethod
    def loss(self, weights: Any, given: Any) -> tuple[Float[Array, ""], Found]:
        """The loss of one gradient step.

        Arguments:
            weights: tree of the arrays that are trained.
            given: as from `AbstractPairs.given`.
        """


class AbstractPairs(eqx.Module):
    """A source of pairs of input and target, with whatever it carries from step to step.

    Cycles that are run on policy carry their ensembles, a simulator or a table nothing. All that
    is random in a step is in its row, as keys, so that step k is the same however a training is
    cut into chunks.
    """

    @abstractmethod
    def deal(self, state: Any, first: int, count: int) -> tuple[Any, Any]:
        """Make ready for some steps, outside of the compiled chunk.

        Arguments:
            state: what is carried; a source may replace it by a new start.
            first: number of the first step.
            count: steps of the chunk.

        Returns:
            What is carried into the chunk, and a tree of arrays with one row for each step.
        """

    @abstractmethod
    def given(self, state: Any, row: Any) -> Any:
        """What the objective is given in one step; traced."""

    @abstractmethod
    def follow(self, given: Any, outcome: Any) -> Any:
        """What is carried on from a step, by its `Found.outcome`; traced."""
