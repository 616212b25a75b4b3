import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_api():
    """Flows of this process run against an embedded server."""
    with prefect_test_harness(server_startup_timeout=150):
        yield
