"""From rows as a file has them to records, a piece of a file at a time."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from vardax_core.data.errors import UnitsError
from vardax_core.data.streams.account import Example, Reason
from vardax_core.data.streams.levels import within
from vardax_core.data.streams.numbers import flagged_as, flags_meant, numbers_of, texts_of
from vardax_core.data.streams.pieces import Piece
from vardax_core.data.streams.records import Records
from vardax_core.data.streams.sections import Stream
from vardax_core.data.streams.tally import Tally
from vardax_core.data.streams.text import LOST, RECODE
from vardax_core.data.streams.times import Instants, clock_of, instants_of
from vardax_core.data.streams.units import Conversion, UnknownUnitsError, conversion
from vardax_core.observations.quality import QualityCode
from vardax_core.state.coordinates import LATITUDE, LONGITUDE, meaning
from vardax_core.state.grids import AbstractGrid

LONGEST_PIECE = np.timedelta64(1, "D")
"""How far before the period rows are read where gaps make platforms, so that a piece of track that
began before keeps its name."""

_FINEST_DEGREE = 9
_MOST_TURNS = 720.0
_SELECTED = {"quality": Reason.FLAGGED, "mask": Reason.MASKED}


@dataclasses.dataclass(frozen=True)
class Reader:
    """What rows of one stream are read for.

    Attributes:
        stream: which.
        dims: coordinates of a place, in order.
        units: of the variable.
        bounds: of its values, in `units`.
        start, end: of the period (UTC), datetime64[ns], both included.
        grid: of the states, or None where nobody asks what lies outside.
        tally: where everything is counted.
    """

    stream: Stream
    dims: tuple[str, ...]
    units: str
    bounds: tuple[float, float]
    start: np.datetime64
    end: np.datetime64
    grid: AbstractGrid | None
    tally: Tally

    @property
    def spherical(self) -> dict[str, int]:
        """The place among `dims` of latitude and longitude, where these are the coordinates."""
        kinds = [meaning(dim, {}) for dim in self.dims]
        return {kind: n for n, kind in enumerate(kinds) if kind in (LATITUDE, LONGITUDE)}

    def records(self, piece: Piece) -> Records:
        """Read the rows of a piece that have a value, a time in the period and a place.

        Where gaps make platforms the period begins `LONGEST_PIECE` earlier.

        Raises:
            UnitsError: the units are not stated or cannot be converted.
            TimeAxisError: nothing says how times are written.
        """
        change = self._conversion(piece)
        left = np.ones(piece.rows.size, bool)

        def strike(reason: Reason, which: Bool[np.ndarray, " row"], role: str) -> None:
            struck = left & which
            self.tally.count(
                reason, struck, piece.file.name, piece.rows, lambda at: piece.shown(role, at)
            )
            left[struck] = False

        value, no_number = numbers_of(
            piece.columns["value"], missing=self.stream.source.missing, decimal=piece.decimal
        )
        strike(Reason.MISSING, np.isnan(value) & ~no_number, "value")
        clock, no_clock = self._clock(piece)
        strike(Reason.BAD_TIME, no_clock, "clock")
        instants = self._times(piece, clock)
        strike(Reason.AMBIGUOUS_TIME, instants.ambiguous, "time")
        strike(Reason.BAD_TIME, instants.wrong, "time")
        strike(Reason.NO_TIME, np.isnat(instants.time), "time")
        early = LONGEST_PIECE if self.stream.source.gap is not None else np.timedelta64(0, "ns")
        outside = (instants.time < self.start - early) | (instants.time > self.end)
        strike(Reason.OUTSIDE_PERIOD, outside, "time")
        strike(Reason.NOT_A_NUMBER, no_number, "value")

        place, unread = self._places(piece)
        self.tally.sample(np.where(left, value, np.nan), place)
        for n, dim in enumerate(self.dims):
            strike(Reason.NOT_A_NUMBER, unread[:, n], dim)
            strike(Reason.NO_PLACE, np.isnan(place[:, n]), dim)
        for kind, n in self.spherical.items():
            most = 90.0 if kind == LATITUDE else _MOST_TURNS
            strike(Reason.BAD_PLACE, np.abs(place[:, n]) > most, self.dims[n])
        levels = self.stream.source.level_range
        if levels is not None and "level" in piece.columns:
            level = numbers_of(piece.columns["level"], decimal=piece.decimal)[0]
            strike(Reason.OTHER_LEVEL, ~within(level, levels), "level")
        for role, accepted in self.stream.source.selections.items():
            flags = flags_meant(accepted, piece.attrs.get(role, {}))
            strike(_SELECTED[role], ~flagged_as(piece.columns[role], flags), role)

        self._count_zones(piece, instants, left)
        return self._made(
            piece, left, change(value[left]), instants.time[left], place[left], change
        )

    def _made(
        self,
        piece: Piece,
        left: Bool[np.ndarray, " row"],
        value: Float[np.ndarray, " left"],
        time: np.ndarray,
        place: Float[np.ndarray, "left coordinate"],
        change: Conversion,
    ) -> Records:
        place = self._within_a_turn(place)
        rows = piece.rows[left]
        platform, platforms = self._platforms(piece, left)
        return Records(
            stream=self.stream.name,
            dims=self.dims,
            time=time,
            place=place,
            level=self._level(piece, left),
            value=value,
            error_sd=self._errors(piece, left, change),
            platform=platform,
            platforms=platforms,
            code=self._codes(piece, rows, value, place),
            arrival=self._arrival(piece, left, time),
            file=np.zeros(rows.size, np.int32),
            files=(piece.file.name,),
            row=rows.astype(np.int64),
        )

    def _conversion(self, piece: Piece) -> Conversion:
        stated = piece.attrs.get("value", {}).get("units")
        units = self.stream.source.units
        where = f"{piece.file.name}: '{piece.names['value']}'"
        if units is None and stated is None:
            raise UnitsError(
                f"{where} states no units, expected those of the variable, '{self.units}', or any "
                "that can be converted; write source.units in the recipe."
            )
        self.tally.units = str(stated) if units is None else units
        try:
            change = conversion(self.tally.units, self.units)
        except UnknownUnitsError as error:
            raise UnitsError(f"{where}: {error}, or write source.units in the recipe.") from error
        if units is not None and stated is not None:
            self.tally.doubt(_disagreement(units, str(stated), where))
        self.tally.note(change.sentence)
        return change

    def _clock(self, piece: Piece) -> tuple[np.ndarray | None, Bool[np.ndarray, " row"]]:
        if "clock" not in piece.columns:
            return None, np.zeros(piece.rows.size, bool)
        return clock_of(piece.columns["clock"])

    def _times(self, piece: Piece, clock: np.ndarray | None) -> Instants:
        found = instants_of(
            piece.columns["time"],
            self.stream.source.time,
            f"{piece.file.name}: '{piece.names['time']}'",
            attrs=dict(piece.attrs.get("time", {})),
            clock=clock,
        )
        offset = np.timedelta64(self.stream.source.time.offset)
        return found._replace(time=found.time + offset.astype("timedelta64[ns]"))

    def _places(
        self, piece: Piece
    ) -> tuple[Float[np.ndarray, "row coordinate"], Bool[np.ndarray, "row coordinate"]]:
        read = [numbers_of(piece.columns[dim], decimal=piece.decimal) for dim in self.dims]
        return np.stack([n for n, _ in read], axis=1), np.stack([w for _, w in read], axis=1)

    def _within_a_turn(
        self, place: Float[np.ndarray, "row coordinate"]
    ) -> Float[np.ndarray, "row coordinate"]:
        """Longitudes within [-180, 180), to 1e-9 degrees, so that turns leave no rounding."""
        if LONGITUDE in self.spherical:
            n = self.spherical[LONGITUDE]
            turned = np.round(np.mod(place[:, n] + 180.0, 360.0) - 180.0, _FINEST_DEGREE)
            place = place.copy()
            place[:, n] = np.where(turned >= 180.0, turned - 360.0, turned) + 0.0
        return place

    def _count_zones(
        self, piece: Piece, instants: Instants, left: Bool[np.ndarray, " row"]
    ) -> None:
        without = instants.zoneless & left
        self.tally.zoned += int((left & ~instants.zoneless).sum())
        if without.any():
            at = int(np.argmax(without))
            example = Example(piece.file.name, int(piece.rows[at]), piece.shown("time", at))
            self.tally.count_zoneless(int(without.sum()), example)

    def _level(self, piece: Piece, left: Bool[np.ndarray, " row"]) -> Float[np.ndarray, " left"]:
        if "level" not in piece.columns:
            return np.full(int(left.sum()), np.nan)
        level = numbers_of(piece.columns["level"][left], decimal=piece.decimal)[0]
        return level if self.stream.heights is None else self._metres(piece, level)

    def _metres(
        self, piece: Piece, level: Float[np.ndarray, " left"]
    ) -> Float[np.ndarray, " left"]:
        assert self.stream.heights is not None, "asked for with heights"
        units = str(piece.attrs.get("level", {}).get("units", self.stream.heights.units))
        try:
            return conversion(units, "m")(level)
        except UnknownUnitsError as error:
            raise UnitsError(
                f"{piece.file.name}: '{piece.names['level']}': {error}; heights are lengths."
            ) from error

    def _errors(
        self, piece: Piece, left: Bool[np.ndarray, " row"], change: Conversion
    ) -> Float[np.ndarray, " left"]:
        error = np.full(int(left.sum()), np.nan)
        if "error" in piece.columns:
            given, wrong = numbers_of(
                piece.columns["error"][left],
                missing=self.stream.source.missing,
                decimal=piece.decimal,
            )
            bad = wrong | (given <= 0)
            if bad.any():
                at = int(np.flatnonzero(left)[np.argmax(bad)])
                example = Example(piece.file.name, int(piece.rows[at]), piece.shown("error", at))
                self.tally.count_bad_errors(int(bad.sum()), example)
            error = change.scaled(np.where(bad, np.nan, given))
        if self.stream.error_sd is not None:
            error = np.where(np.isnan(error), self.stream.error_sd, error)
        return np.hypot(error, self.stream.representativeness)

    def _codes(
        self,
        piece: Piece,
        rows: Int[np.ndarray, " left"],
        value: Float[np.ndarray, " left"],
        place: Float[np.ndarray, "left coordinate"],
    ) -> Int[np.ndarray, " left"]:
        code = np.zeros(rows.size, np.int8)
        low, high = self.stream.bounds_within(self.bounds)

        def mark(reason: Reason, flag: QualityCode, which: Bool[np.ndarray, " left"]) -> None:
            new = which & (code == QualityCode.KEPT)
            code[new] = flag
            self.tally.count(
                reason,
                new,
                piece.file.name,
                rows,
                lambda at: (
                    f"{value[at]:.6g} {self.units} at "
                    + ", ".join(f"{d} {x:.6g}" for d, x in zip(self.dims, place[at], strict=True))
                ),
            )

        mark(Reason.OUT_OF_BOUNDS, QualityCode.GROSS_ERROR, (value < low) | (value > high))
        if self.grid is not None and rows.size:
            unmasked = dataclasses.replace(self.grid, mask=None)
            inside = unmasked.contains(place)
            mark(Reason.OUTSIDE_GRID, QualityCode.OUTSIDE_DOMAIN, ~inside)
            if self.grid.mask is not None:
                on_land = inside & ~self.grid.contains(place)
                mark(Reason.ON_LAND, QualityCode.OUTSIDE_DOMAIN, on_land)
        return code

    def _platforms(
        self, piece: Piece, left: Bool[np.ndarray, " row"]
    ) -> tuple[Int[np.ndarray, " left"], tuple[str, ...]]:
        if "platform" not in piece.columns:
            return np.zeros(int(left.sum()), np.int32), (self.stream.name,)
        codes, unique = pd.factorize(piece.columns["platform"][left], use_na_sentinel=False)
        spelled = [name or "unnamed" for name in texts_of(np.asarray(unique)).tolist()]
        names = sorted(set(spelled))
        if any(LOST.search(name) for name in names):
            self.tally.doubt(
                f"{piece.file.name}: names of platforms are not in UTF-8 and are spelled in bytes; "
                f"{RECODE}"
            )
        number = {name: n for n, name in enumerate(names)}
        numbers = np.array([number[name] for name in spelled], np.int32)
        return numbers[codes].astype(np.int32), tuple(names)

    def _arrival(
        self, piece: Piece, left: Bool[np.ndarray, " row"], time: np.ndarray
    ) -> np.ndarray:
        if self.stream.source.delay is not None:
            return time + np.timedelta64(self.stream.source.delay).astype("timedelta64[ns]")
        arrival = np.full(time.size, piece.file.modified)
        if "arrival" in piece.columns:
            stated = instants_of(
                piece.columns["arrival"][left],
                self.stream.source.time,
                f"{piece.file.name}: '{piece.names['arrival']}'",
                attrs=dict(piece.attrs.get("arrival", {})),
            ).time
            arrival = np.where(np.isnat(stated), arrival, stated)
        return arrival.astype("datetime64[ns]")


def _disagreement(units: str, stated: str, where: str) -> str:
    try:
        change = conversion(stated, units)
    except UnknownUnitsError:
        change = None
    if change is not None and change.is_identity:
        return ""
    return (
        f"{where} says that its units are '{stated}'; source.units says '{units}', and is followed"
    )
