import pytest

from tests.support import prefect_server


@pytest.fixture(scope="session")
def prefect_api():
    """Flows of this process run against an embedded server."""
    with prefect_server():
        yield
