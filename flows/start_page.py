"""The page that a day begins with: what there is, and where everything else is."""

from pathlib import Path
from typing import Any

from vardax_core.browser.catalogue import catalogue_of
from vardax_core.browser.view import View
from vardax_core.store import StoreError
from vardax_core.words import artifact_key

KEY = "start"
"""Of the artifact."""


def start_page(service: str, browser: str | None, root: Path) -> dict[str, Any]:
    """The artifact, as the server takes it.

    Arguments:
        service: address of the server's own pages.
        browser: address of the browser of analyses, None where there is none.
        root: folder of all runs.
    """
    lines = ["# Start here", ""]
    if browser:
        lines.append(f"- [Analyses, cycle by cycle]({browser}): maps, observations, series, scores")
    lines += [
        f"- [What can be started]({service}/deployments): every deployment has its manual page",
        f"- [What runs and what ran]({service}/runs)",
        f"- [What was left by runs]({service}/artifacts): dashboards, reports, checks",
        f"- [What happened]({service}/events): commits, promotions, alerts, holds",
        "",
        *_experiments(service, browser, root),
    ]
    return {
        "key": KEY,
        "type": "markdown",
        "description": "Start page",
        "data": "\n".join(lines) + "\n",
    }


def _experiments(service: str, browser: str | None, root: Path) -> list[str]:
    try:
        there = catalogue_of(None, root)[0].experiments()
    except StoreError as error:
        return [f"The stores cannot be read: {error}"]
    if not there:
        return [f"There is no experiment below {root} yet; start `run/everything`."]
    lines = ["| experiment | analyses | dashboard | report |", "| --- | --- | --- | --- |"]
    pages = f"{service}/artifacts/key"
    for dataset, labels in there.items():
        for label in labels:
            view = View(dataset=dataset, method=label).query()
            shown = f"[look]({browser}/?{view})" if browser else ""
            key = artifact_key(f"{dataset}/{label}")
            lines.append(
                f"| {dataset}/{label} | {shown} | [dashboard]({pages}/dashboard-{key}) | "
                f"[report]({pages}/calibration-{dataset}) |"
            )
    return [*lines, "", "As it was when the service was started."]
