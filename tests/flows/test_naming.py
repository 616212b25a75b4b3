"""The value of a flow run gets through although its state comes back without it."""

import uuid

import pytest
from prefect.exceptions import MissingResult
from prefect.states import Completed

from flows import naming


class Lost:
    """A flow that ends well, but whose state is the server's, which holds no values."""

    def __init__(self, known: bool):
        self.run = uuid.uuid4()
        if known:
            naming._values[str(self.run)] = 42

    def __call__(self, *arguments, return_state):
        assert return_state
        state = Completed(message="done")
        state.state_details.flow_run_id = self.run
        return state


def test_a_value_that_the_server_lost_is_not_lost():
    flow = Lost(known=True)
    assert naming.called(flow, "argument") == 42
    assert str(flow.run) not in naming._values


def test_a_value_that_nobody_has_is_missed():
    with pytest.raises(MissingResult):
        naming.called(Lost(known=False))
