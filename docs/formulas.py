"""Formulas of the pages as MathML, which browsers draw without a script from elsewhere.

A block is fenced with the word math; one in a line stands between $` and `$.
"""

import re

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"\$`(.+?)`\$")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the formulas of a page, as mkdocs asks every hook to."""
    blocks = BLOCK.sub(lambda found: f"\n{convert(found[1], display='block')}\n", markdown)
    return INLINE.sub(lambda found: convert(found[1]), blocks)
