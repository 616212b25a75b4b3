"""A setting holds inside, and costs what a context costs."""

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
)

from flows.prefect_settings import setting


def test_it_holds_inside_and_nothing_else_changes():
    before = get_current_settings()
    retries, url = PREFECT_CLIENT_MAX_RETRIES.value(), PREFECT_API_URL.value()
    with setting("client", "max_retries", retries + 3):
        assert PREFECT_CLIENT_MAX_RETRIES.value() == retries + 3
        with setting("flows", "heartbeat_frequency", None):
            assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
            assert PREFECT_CLIENT_MAX_RETRIES.value() == retries + 3
            assert PREFECT_API_URL.value() == url
    assert get_current_settings() is before
    assert PREFECT_CLIENT_MAX_RETRIES.value() == retries


def test_what_was_set_is_what_a_process_that_is_started_is_given():
    with setting("client", "max_retries", 7):
        given = get_current_settings().to_environment_variables(exclude_unset=True)
    assert given["PREFECT_CLIENT_MAX_RETRIES"] == "7"
