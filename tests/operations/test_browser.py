"""A forecaster's way through the service, in Debian's Chromium: from the start page to the form of
a backfill, to its progress, its report, and the analyses cycle by cycle. Screenshots go to
build/browser."""

import os
import shutil
import signal
import subprocess
import sys

import httpx
import pytest
import yaml
from playwright.sync_api import Locator, Page, sync_playwright

from tests.flows.test_server import free_port, wait_for
from tests.support import ROOT
from vardax_core.data.catalogue import datasets_dir

pytestmark = [pytest.mark.flows, pytest.mark.ladder, pytest.mark.timeout(1500)]

PATIENCE = 600.0
"""Seconds for anything that a worker does; it takes some twenty on two quiet cores."""
SHOTS = ROOT / "build" / "browser"
STREAMS = 3
DATASET = "ring"
OTHER = "oi"
"""Method beside which the first one is looked at."""
PICTURE = "img[src^='data:image/png']"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """`vardax serve` with a Lorenz-96 twin of two months; the address of its server."""
    folder = tmp_path_factory.mktemp("service")
    recipe = yaml.safe_load((datasets_dir() / "lorenz96" / "recipe.yaml").read_text())
    recipe |= {"burn_in": 20, "period": recipe["period"] | {"end": "2000-03-01T00:00:00Z"}}
    for name in ("demonstration", "lorenz96", DATASET):
        (folder / "datasets" / name).mkdir(parents=True)
        text = yaml.safe_dump(recipe | {"name": name})
        (folder / "datasets" / name / "recipe.yaml").write_text(text)
    (folder / "datasets" / "era5-t2m-uk").symlink_to(datasets_dir() / "era5-t2m-uk")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VARDAX_"))}
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port)]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--root", str(folder / "root")],
            env=kept | {"VARDAX_DATASETS_DIR": str(folder / "datasets")},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def said() -> str:
        assert process.poll() is None, (folder / "serve.log").read_text()
        return (folder / "serve.log").read_text()

    try:
        wait_for(lambda: "stop:    Ctrl-C" in said(), seconds=PATIENCE, what="the service")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(120)
        finally:
            process.kill()


def install(package: str) -> str:
    """The path of a Debian program, which is installed if it is missing and that is allowed."""
    if shutil.which(package) is None and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "--quiet", *command], check=False, timeout=600)
    found = shutil.which(package)
    assert found, f"this test drives a browser; install it: sudo apt-get install {package}"
    return found


@pytest.fixture(scope="module")
def chromium():
    return install("chromium")


@pytest.fixture
def page(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1400, "height": 1000})
        made.set_default_timeout(60_000)
        yield made
        browser.close()


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def field(page: Page, label: str) -> Locator:
    """One property of the form."""
    header = f'> .p-label__header:has-text("{label} (Optional)")'
    return page.locator(f".schema-form-property:has({header})").last


def choose(page: Page, label: str, value: str) -> None:
    """Take one of the values that a property of the form offers, by the keyboard."""
    field(page, label).locator(".p-select-button__control").focus()
    page.keyboard.press("Space")
    page.get_by_role("option", name=value, exact=True).click()


def open_form(page: Page, url: str, flow: str, name: str) -> None:
    """Open the form of a deployment and choose the data set of the test."""
    found = httpx.get(f"{url}/api/deployments/name/{flow}/{name}", timeout=60)
    page.goto(f"{url}/deployments/deployment/{found.json()['id']}/run")
    choose(page, "Dataset", DATASET)


def submit(page: Page, url: str, flow: str) -> str:
    """Submit the form that is open; the identifier of the run."""
    wanted = {"flows": {"name": {"any_": [flow]}}}
    before = {run["id"] for run in post(url, "flow_runs/filter", wanted)}
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**tab=Runs**")
    return wait_for(
        lambda: [r["id"] for r in post(url, "flow_runs/filter", wanted) if r["id"] not in before],
        seconds=PATIENCE,
        what=f"a run of {flow}",
    )[0]


def start_by_hand(url: str, flow: str, name: str, method: str = "etkf", **more: dict) -> str:
    """Start a deployment on the data set of the test without its form."""
    found = httpx.get(f"{url}/api/deployments/name/{flow}/{name}", timeout=60).json()
    given = {"parameters": {"experiment": {"dataset": DATASET, "method": method}, **more}}
    answer = httpx.post(
        f"{url}/api/deployments/{found['id']}/create_flow_run", json=given, timeout=60
    )
    answer.raise_for_status()
    return answer.json()["id"]


def post(url: str, path: str, body: dict) -> list[dict]:
    answer = httpx.post(f"{url}/api/{path}", json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()


def wait_for_end(url: str, run: str) -> dict:
    """The state in which a run ends."""
    ends = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def ended() -> dict | None:
        state = httpx.get(f"{url}/api/flow_runs/{run}", timeout=60).json()["state"]
        return state if state["type"] in ends else None

    return wait_for(ended, seconds=PATIENCE, what="the end of the run")


DECODED = """found => Promise.all(found.map(async picture => {
    picture.loading = "eager"
    await picture.decode()
    return [picture.naturalWidth, picture.naturalHeight]
}))"""
"""Sizes of pictures once they are drawn, those below the fold too."""


def artifact(page: Page, url: str, key: str) -> None:
    """Open the newest artifact of a key."""
    page.goto(f"{url}/artifacts/key/{key}")
    page.locator("a[href*='/artifacts/artifact/']").first.click()


def pictures(page: Page, url: str, key: str) -> list[list[int]]:
    """Open the newest artifact of a key; width and height of its pictures, as they were drawn."""
    artifact(page, url, key)
    page.locator(PICTURE).first.wait_for()
    return page.eval_on_selector_all(PICTURE, DECODED)


def test_a_forecaster_s_day(service, page):
    artifact(page, service, "start")
    startable = page.get_by_role("link", name="What can be started")
    startable.wait_for()
    shot(page, "start")
    page.goto(startable.get_attribute("href"))
    page.get_by_text("backfill").first.wait_for()
    shot(page, "deployments")

    open_form(page, service, "backfill", "backfill")
    field(page, "Streams").locator("input").fill("0")
    page.get_by_role("button", name="Submit").click()
    refused = "0 is less than the minimum of 1"
    field(page, "Streams").get_by_text(refused).first.wait_for()
    shot(page, "backfill-refused")
    field(page, "Streams").locator("input").fill(str(STREAMS))
    field(page, "Dry Run").locator(".p-toggle__control").click()
    shot(page, "backfill-form")
    state = wait_for_end(service, submit(page, service, "backfill"))
    assert state["message"].startswith("dry run: 241 cycles from 2000-01-01 00:00"), state
    artifact(page, service, f"dry-run-{DATASET}-etkf")
    page.get_by_text("241 cycles").first.wait_for()
    shot(page, "dry-run")

    open_form(page, service, "backfill", "backfill")
    field(page, "Streams").locator("input").fill(str(STREAMS))
    run = submit(page, service, "backfill")
    page.goto(f"{service}/runs/flow-run/{run}")
    page.get_by_text("Beginning flow run 'backfill-ring-etkf'").wait_for(timeout=1e3 * PATIENCE)
    shot(page, "backfill-run")
    state = wait_for_end(service, run)
    assert (state["name"], state["message"]) == ("Completed", "241 cycles in 3 streams")
    progress = post(service, "artifacts/filter", {"artifacts": {"type": {"any_": ["progress"]}}})
    assert 100.0 in [a["data"] for a in progress if a["flow_run_id"] == run]
    page.reload()
    page.get_by_text("Completed").first.wait_for()
    shot(page, "backfill-completed")
    other = start_by_hand(service, "backfill", "backfill", OTHER, plan={"streams": STREAMS})
    assert wait_for_end(service, other)["name"] == "Completed"

    state = wait_for_end(service, start_by_hand(service, "monitor", "watch"))
    assert state["name"] == "Completed", state
    ((width, height),) = pictures(page, service, "dashboard-ring-etkf")
    assert width > 300
    assert height > 200
    shot(page, "dashboard")

    state = wait_for_end(service, start_by_hand(service, "report", "daily"))
    assert state["name"] == "Completed", state
    drawn = pictures(page, service, "calibration-ring")
    shot(page, "report")
    assert len(drawn) >= 5
    assert all(width > 300 and height > 100 for width, height in drawn), drawn
    look_at_the_analyses(page)


def look_at_the_analyses(page: Page) -> None:
    """From the report to a date, a point's series, and another method beside it."""
    page.goto(page.get_by_role("link", name="Look at the analyses").first.get_attribute("href"))
    page.get_by_text("cycle 241 of 241").wait_for()
    page.get_by_label("Date (UTC)", exact=True).fill("2000-01-20T07:00")
    page.keyboard.press("Enter")
    page.get_by_text("cycle 78 of 241").wait_for()
    box = page.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**point=**")
    page.get_by_label("Its method").select_option(OTHER)
    page.get_by_label("Second picture").select_option(label="analysis mean")
    page.wait_for_url(f"**other=analysis&other_method={OTHER}**")
    for theme in ("default", "dark"):
        for width in (1400, 850):
            page.set_viewport_size({"width": width, "height": 1400})
            page.goto(page.url.partition("&theme=")[0] + f"&theme={theme}")
            page.get_by_text("cycle 78 of 241").wait_for()
            page.locator("canvas").nth(3).wait_for()
            page.wait_for_load_state("networkidle")
            shot(page, f"analyses-of-the-service-{theme}-{width}")
