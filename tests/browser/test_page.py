"""A forecaster's way through the browser of analyses, in Debian's Chromium.

Screenshots go to build/browser.
"""

import os
import signal
import subprocess
import sys

import pytest
from playwright.sync_api import sync_playwright

from tests.browser import made
from tests.flows.test_server import free_port, wait_for
from tests.operations.test_browser import SHOTS, install

pytestmark = [pytest.mark.ladder, pytest.mark.timeout(900)]

PATIENCE = 300.0
"""Seconds for anything; it takes three on two quiet cores."""


@pytest.fixture(scope="module")
def chromium():
    return install("chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """`vardax browse` on two methods; where it listens."""
    root = tmp_path_factory.mktemp("root")
    made.make(root)
    made.make(root, "two", off=-0.5)
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "browse", "made/one", "--port", str(port)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VARDAX_")}
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--root", str(root)], stdout=log, stderr=subprocess.STDOUT, env=kept
        )

    def listens() -> bool:
        said = (root / "log").read_text()
        assert process.poll() is None, said
        return "Ctrl-C" in said

    try:
        wait_for(listens, seconds=PATIENCE, what="the browser of analyses")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_a_date_a_click_and_another_method(address, chromium):
    asked: list[str] = []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(1e3 * PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator("canvas").first.wait_for()
        page.get_by_text("cycle 5 of 5").wait_for()
        page.get_by_label("Date (UTC)", exact=True).fill("2019-03-01T07:00")
        page.keyboard.press("Enter")
        page.get_by_text("cycle 2 of 5").wait_for()
        page.wait_for_url("**time=2019-03-01T07:00**")
        box = page.locator("canvas").first.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_url("**point=**")
        page.get_by_label("Its method").select_option("two")
        page.get_by_label("Second picture").select_option(label="analysis mean")
        page.wait_for_url("**other=analysis&other_method=two**")
        said = page.url
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / "analyses.png")
        again = started.new_page(viewport={"width": 850, "height": 1200}, color_scheme="dark")
        again.set_default_timeout(1e3 * PATIENCE)
        again.goto(said)
        again.wait_for_url("**theme=dark**")
        again.get_by_text("cycle 2 of 5").wait_for()
        again.screenshot(path=SHOTS / "analyses-dark.png")
        started.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
