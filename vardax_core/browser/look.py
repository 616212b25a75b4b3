"""Colours of the browser's pictures, in the light and in the dark."""

from dataclasses import dataclass

from bokeh.palettes import RdBu11, cividis, interp_palette, viridis

from vardax_core.browser.fields import Colouring
from vardax_core.calibration.plots.style import BACKGROUND, OKABE_ITO

SHADES = 255
CHOSEN = "#E8178A"
"""The chosen point and date; no palette has it."""
PALETTES: dict[Colouring, tuple[str, ...]] = {
    "value": viridis(SHADES),
    "spread": cividis(SHADES),
    "centred": interp_palette(RdBu11, SHADES),
}
"""Of each kind of field; people with any form of colour blindness can read all three."""


@dataclass(frozen=True)
class Look:
    """What lines and letters are drawn in.

    Attributes:
        dark: whether the page is dark.
    """

    dark: bool = False

    @property
    def ink(self) -> str:
        """Letters, coastlines, the truth."""
        return "#EEEEEE" if self.dark else "#111111"

    @property
    def paper(self) -> str:
        """Behind a picture."""
        return "#1E1E1E" if self.dark else "#FFFFFF"

    @property
    def nothing(self) -> str:
        """Where a field has no value."""
        return "#333333" if self.dark else "#E8E8E8"

    @property
    def grid(self) -> str:
        """Lines behind curves."""
        return "#3C3C3C" if self.dark else "#DDDDDD"

    @property
    def lines(self) -> tuple[str, str]:
        """The analyses of a first and a second method."""
        return ("#56B4E9", "#E69F00") if self.dark else (OKABE_ITO[0], OKABE_ITO[1])

    @property
    def background(self) -> str:
        """The background."""
        return BACKGROUND

    @property
    def observation(self) -> str:
        """An observation in a curve."""
        return "#F0E442" if self.dark else "#B8860B"
