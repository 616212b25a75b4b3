"""Links from what runs leave to the browser of analyses, where the service runs one."""

import os

from vardax_core.browser.view import View
from vardax_core.experiments.experiment import Experiment

BROWSER_VARIABLE = "VARDAX_BROWSER"
"""Address of the browser of analyses; the service sets it for its runs."""


def address_of(experiment: Experiment, time: str = "") -> str | None:
    """Where the browser shows an experiment, None where no browser runs.

    Arguments:
        experiment: whose analyses.
        time: analysis time (ISO 8601); empty: the last.
    """
    return browser_address(experiment.group_name, experiment.label, time)


def browser_address(dataset: str, label: str, time: str = "") -> str | None:
    """Where the browser shows an experiment of a name; see `address_of`."""
    place = os.environ.get(BROWSER_VARIABLE, "").rstrip("/")
    return f"{place}/?{View(dataset=dataset, method=label, time=time).query()}" if place else None


def with_link(markdown: str, experiment: Experiment, time: str = "") -> str:
    """A page on an experiment, with the way to its analyses below its title."""
    address = address_of(experiment, time)
    if address is None:
        return markdown
    title, _, rest = markdown.partition("\n")
    return f"{title}\n\n[Look at the analyses, cycle by cycle]({address})\n{rest}"
