"""The pictures of a view: which there are, what they show, and what they are drawn again for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from bokeh.plotting import figure

from vardax_core.browser.calendar import Calendar, calendar, scores_of
from vardax_core.browser.catalogue import Catalogue, NothingToBrowseError
from vardax_core.browser.curves import Curves, Lines, Profile
from vardax_core.browser.diagrams import CalendarPicture, Hovmoeller
from vardax_core.browser.fields import Shown, difference, field, limits, truth
from vardax_core.browser.look import Look
from vardax_core.browser.maps import Map
from vardax_core.browser.observed import observed
from vardax_core.browser.opened import NothingToShowError, Opened
from vardax_core.browser.series import Series, around, hovmoeller, series
from vardax_core.browser.view import Layer, View
from vardax_core.calibration.plots.scale import scale_of

KEPT = 64
"""Results of reading that are held on to."""
WITH_MEMBERS = ("analysis", "member")
"""Quantities beside which the members of the analysis are drawn."""


class Stage:
    """The pictures of one visitor.

    Attributes:
        figures: of Bokeh, by their place on the page.
        view: what they show, every text of it filled in.
        messages: what could not be shown, a sentence each.
    """

    def __init__(self, catalogue: Catalogue, look: Look, go: Callable[[View], None]):
        self.figures: dict[str, figure] = {}
        self.view = View()
        self.messages: tuple[str, ...] = ()
        self._catalogue = catalogue
        self._look = look
        self._go = go
        self._opened: dict[tuple[str, str], Opened] = {}
        self._read: dict[Any, Any] = {}
        self._drawn_for: tuple[Any, ...] = ()
        self._maps: list[Map] = []
        self._diagrams: list[Hovmoeller] = []
        self._profile: Profile | None = None
        self._curves: Curves | None = None
        self._calendar: CalendarPicture | None = None

    def opened(self, dataset: str, label: str) -> Opened:
        """An experiment; the same one until `refresh` finds it changed."""
        key = (dataset, label)
        if key not in self._opened:
            self._opened[key] = Opened(self._catalogue.location(dataset, label))
        return self._opened[key]

    def refresh(self) -> bool:
        """Open again what has new cycles; whether there was any."""
        old = [key for key, one in self._opened.items() if not one.is_current()]
        for key in old:
            del self._opened[key]
        return bool(old)

    def filled(self, view: View) -> View:
        """The view with a data set, a method and a variable that are there.

        Raises:
            NothingToBrowseError: it names a data set or a method that is not there.
        """
        there = self._catalogue.experiments()
        if not there:
            raise NothingToBrowseError(
                f"{self._catalogue.place} holds no experiment yet; make some with `vardax run`, or "
                "name another folder with --root."
            )
        dataset = view.dataset or next(iter(there))
        if dataset not in there:
            raise NothingToBrowseError(
                f"There is no experiment of {dataset!r}; there are {', '.join(there)}."
            )
        for label in filter(None, (view.method, view.other_method)):
            if label not in there[dataset]:
                raise NothingToBrowseError(
                    f"{dataset} was not run with {label!r}; there are {', '.join(there[dataset])}."
                )
        method = view.method or there[dataset][0]
        variable = self.opened(dataset, method).variable(view.variable)
        return view.changed(dataset=dataset, method=method, variable=variable)

    def show(self, view: View, fates: tuple[str, ...]) -> None:
        """Draw a view.

        Arguments:
            view: what is asked for.
            fates: which observations are drawn.

        Raises:
            NothingToBrowseError, NothingToShowError: nothing of it is there.
        """
        view = self.filled(view)
        opened = self.opened(view.dataset, view.method)
        first = self._field(view, view.first)
        if len(opened.dims) > 1:
            opened.raster_in(view.map, view.middle)
        self.messages = ()
        second = self._second(view, first)
        self.view = view
        self._set_up(opened, view, second is not None)
        number = opened.number(view.time)
        table = self._kept(("observed", number), opened, view, observed)
        if len(opened.dims) == 1:
            self._show_line(opened, view, first, second, table[table["fate"].isin(fates)])
        else:
            self._show_maps(opened, view, first, second, table, fates)
        self._show_series(opened, view)
        self._show_calendar(opened, view)

    def scores(self) -> xr.Dataset:
        """The scores of every cycle of the experiment that is shown."""
        opened = self.opened(self.view.dataset, self.view.method)
        key = (opened.location, opened.snapshot, "scores", self.view.variable)
        return self._keep(key, lambda: scores_of(opened, self.view.variable))

    def _keep(self, key: Any, read: Callable[[], Any]) -> Any:
        if key not in self._read:
            if len(self._read) >= KEPT:
                self._read.pop(next(iter(self._read)))
            self._read[key] = read()
        return self._read[key]

    def _kept(self, about: tuple[Any, ...], opened: Opened, view: View, read: Callable) -> Any:
        key = (opened.location, opened.snapshot, view.variable, *about)
        return self._keep(key, lambda: read(opened, *about[1:], view.variable))

    def _field(self, view: View, layer: Layer) -> Shown:
        opened = self.opened(view.dataset, layer.method)
        key = (opened.location, opened.snapshot, layer, view.variable, view.member)

        def read() -> Shown:
            return field(opened, layer, variable=view.variable, member=view.member)

        return self._keep(key, read)

    def _second(self, view: View, first: Shown) -> Shown | None:
        if view.second is None:
            return None
        try:
            second = self._field(view, view.second)
            return difference(first, second) if view.difference else second
        except NothingToShowError as error:
            self.messages = (*self.messages, f"Second picture: {error}")
            return None

    def _set_up(self, opened: Opened, view: View, two: bool) -> None:
        """Make the pictures that a state needs, unless they are there."""
        wanted = (opened.location, two, view.map, view.middle)
        if wanted == self._drawn_for:
            return
        self._drawn_for = wanted
        look, count = self._look, 2 if two else 1
        self._curves = Curves(look, lambda time: self._turn(str(time.astype("datetime64[m]"))))
        self._calendar = CalendarPicture(look, self._turn)
        self._maps, self._diagrams, self._profile = [], [], None
        if len(opened.dims) == 1:
            (dim,) = opened.dims
            self._profile = Profile(look, dim, lambda x, _: self._choose_along(x))
            for _ in range(count):
                ranges = self._diagrams[0].ranges if self._diagrams else None
                self._diagrams.append(Hovmoeller(look, dim, self._choose_time, ranges))
            pictures = {"profile": self._profile, **_numbered(self._diagrams)}
        else:
            raster = opened.raster_in(view.map, view.middle)
            for _ in range(count):
                shared = self._maps[0].ranges if self._maps else None
                self._maps.append(Map(raster, look, self._choose_place, shared))
            pictures = _numbered(self._maps)
        pictures |= {"series": self._curves, "calendar": self._calendar}
        self.figures = {name: one.figure for name, one in pictures.items()}

    def _show_maps(
        self,
        opened: Opened,
        view: View,
        first: Shown,
        second: Shown | None,
        table: pd.DataFrame,
        fates: tuple[str, ...],
    ) -> None:
        pair = [first] if second is None else [first, second]
        point, raster = view.indices, opened.raster_in(view.map, view.middle)
        units = scale_of(opened.attributes(view.variable)).units
        for one, drawn, colours in zip(pair, self._maps, _colours(pair), strict=True):
            drawn.show(one, colours)
            drawn.observe(table, fates, units)
            drawn.mark(None if point is None else raster.place(point))

    def _show_line(
        self,
        opened: Opened,
        view: View,
        first: Shown,
        second: Shown | None,
        table: pd.DataFrame,
    ) -> None:
        if self._profile is None:
            return
        number, scale = opened.number(view.time), first.scale
        members = np.empty((0, len(first.values)))
        background = true = np.empty(0)
        if first.colouring == "value":
            if view.quantity in WITH_MEMBERS:
                values = opened.analysis[view.variable].isel(time=number).to_numpy()
                members = values.astype(float) - scale.offset
            background = opened.mean("background", view.variable, number) - scale.offset
            if opened.group("nature_run") is not None:
                true = truth(opened, view.variable, number) - scale.offset
        beside = None
        if second is not None and (second.colouring, second.scale) == (
            first.colouring,
            first.scale,
        ):
            beside = (second.title if second.when != first.when else second.name, second.values)
        lines = Lines(
            positions=opened.along(opened.dims[0]),
            first=(first.name, first.values),
            second=beside,
            members=members,
            background=background,
            truth=true,
            observations=table if first.colouring == "value" else table.iloc[:0],
            units=scale.label,
        )
        self._profile.show(lines, first.when)
        point = view.indices
        self._profile.mark(None if point is None else float(lines.positions[point[0]]))
        layers = [view.first, *([view.second] if view.second and second is not None else [])]
        shown = [first, *([second] if second is not None else [])]
        found = [self._diagram(view, layer) for layer in layers]
        if view.difference and len(found) == 2 and found[0].values.shape == found[1].values.shape:
            less = found[0].values - found[1].values
            found[1] = type(found[0])(found[0].times, less, found[0].positions)
        periods = [
            dataclasses.replace(one, values=diagram.values)
            for diagram, one in zip(found, shown, strict=True)
        ]
        colours = _colours(periods)
        for diagram, one, drawn, own in zip(found, shown, self._diagrams, colours, strict=True):
            drawn.show(diagram, one, opened.times[number], own)

    def _diagram(self, view: View, layer: Layer) -> Any:
        opened = self.opened(view.dataset, layer.method)
        number = opened.number(layer.time)
        key = (opened.location, opened.snapshot, layer.quantity, view.variable)
        return self._keep(
            (*key, str(around(opened, number))),
            lambda: hovmoeller(opened, number, layer.quantity, view.variable),
        )

    def _show_series(self, opened: Opened, view: View) -> None:
        if self._curves is None:
            return
        point, number = view.indices, opened.number(view.time)
        self._curves.figure.visible = point is not None
        if point is None:
            return
        found = [(opened.label, self._series(opened, point, number, view.variable))]
        if view.second is not None and view.second.method != view.method:
            other = self.opened(view.dataset, view.second.method)
            try:
                beside = other.number(str(opened.times[number]))
                found.append((other.label, self._series(other, point, beside, view.variable)))
            except NothingToShowError as error:
                self.messages = (*self.messages, str(error))
        self._curves.show(found, opened.times[number])

    def _series(self, opened: Opened, point: tuple[int, ...], number: int, name: str) -> Series:
        if len(point) != len(opened.shape) or any(
            i >= n for i, n in zip(point, opened.shape, strict=True)
        ):
            raise NothingToShowError(
                f"Expected a point of the grid, which has {opened.shape}, got {point}; click one."
            )
        key = (opened.location, opened.snapshot, "series", point, name)
        return self._keep(
            (*key, str(around(opened, number))), lambda: series(opened, number, point, name)
        )

    def _show_calendar(self, opened: Opened, view: View) -> None:
        scores = self.scores()
        if self._calendar is None:
            return
        self._calendar.figure.visible = bool(len(scores))
        if not len(scores):
            return
        score = view.score if view.score in scores else str(next(iter(scores)))
        key = (opened.location, opened.snapshot, "calendar", view.variable, score)
        found: Calendar = self._keep(key, lambda: calendar(scores, score))
        self._calendar.show(found, opened.times[opened.number(view.time)])

    def _turn(self, time: str) -> None:
        self._go(self.view.changed(time=time))

    def _choose_place(self, x: float, y: float) -> None:
        opened = self.opened(self.view.dataset, self.view.method)
        point = opened.raster_in(self.view.map, self.view.middle).point(x, y)
        if point is not None:
            self._go(self.view.changed(point=",".join(map(str, point))))

    def _choose_along(self, x: float) -> None:
        opened = self.opened(self.view.dataset, self.view.method)
        nearest = int(np.argmin(np.abs(opened.along(opened.dims[0]) - x)))
        self._go(self.view.changed(point=str(nearest)))

    def _choose_time(self, x: float, time: np.datetime64) -> None:
        opened = self.opened(self.view.dataset, self.view.method)
        nearest = int(np.argmin(np.abs(opened.along(opened.dims[0]) - x)))
        number = int(np.argmin(np.abs(opened.times - time.astype("datetime64[m]"))))
        self._go(self.view.changed(point=str(nearest), time=opened.time(number)))


def _colours(pair: list[Shown]) -> list[tuple[float, float]]:
    """Limits of the colours of one or two fields: the same for both where they are of one kind."""
    alike = len({(one.colouring, one.scale) for one in pair}) == 1
    return [limits(*(pair if alike else [one])) for one in pair]


def _numbered(pictures: list[Any]) -> dict[str, Any]:
    return dict(zip(("first", "second"), pictures, strict=False))
