"""Progress is for people: without a server to show it, the work goes on."""

import logging
import socket

from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.progress import track


def test_a_server_that_does_not_answer_costs_the_artifact_alone(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        settings = {PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}
        with (
            caplog.at_level(logging.WARNING, "flows.progress"),
            temporary_settings(settings),
            track("work", 4) as tracker,
        ):
            for done in range(1, 5):
                tracker(done, 4, {})
    assert [r.message for r in caplog.records if "no longer shown" in r.message][1:] == []
    assert "no longer shown" in caplog.text
