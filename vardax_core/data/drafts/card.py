"""The card of a drafted data set: what people must know of it."""

import numpy as np

from vardax_core.data.drafts.draft import Draft, DraftStream
from vardax_core.data.drafts.rhythm import span_of
from vardax_core.data.drafts.written import FILL_IN, values_text
from vardax_core.words import counted


def card_text(draft: Draft) -> str:
    """The whole of `CARD.md`."""
    rows = [
        (
            "Origin",
            "to be filled in: who made the files, with which instruments, where to get them",
        ),
        ("Licence", FILL_IN.removeprefix("licence ")),
        *(_of_stream(stream) for stream in draft.streams),
        *_of_fields(draft),
        ("Units", _units(draft)),
        ("Values", values_text(draft.bounds.found, draft.variable["units"])),
        ("Cycles", _cycles(draft)),
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return (
        f"# {draft.name}\n\n"
        f"Real observations of {draft.variable['long_name']}. Drafted from the files by `vardax "
        "init`; what\nit guessed is marked in the recipe.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "The files are looked for in the folder that `VARDAX_DATA_DIR` names.\n"
    )


def _of_stream(stream: DraftStream) -> tuple[str, str]:
    account, source = stream.found.account, stream.found.stream.source
    files = ", ".join(f"`{file.name}`" for file in source.files)
    platforms = (
        counted(np.unique(stream.records.time).size, "image")
        if stream.is_image
        else counted(len(stream.records.platforms), "platform")
    )
    span = f", {account.period[0]} to {account.period[1]}" if account.period else ""
    return (
        f"Stream `{stream.found.stream.name}`",
        f"{files}: {counted(account.rows, 'row')}, {counted(account.used, 'value')}, "
        f"{platforms}{span}",
    )


def _of_fields(draft: Draft) -> list[tuple[str, str]]:
    fields = draft.fields
    if fields is None:
        return []
    return [("Background" if draft.is_forecast else "Prior", fields.sentence)]


def _units(draft: Draft) -> str:
    own = draft.variable["units"]
    others = sorted({stream.units for stream in draft.streams if stream.units} - {own})
    return own + (f", converted from {', '.join(others)}" if others else "")


def _cycles(draft: Draft) -> str:
    rhythm = draft.rhythm
    return f"{rhythm.start} to {rhythm.end} every {span_of(rhythm.interval)}"
