"""The commands of `vardax` for a store: open, export, thin, collect."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from flows import answers
from flows.cli_common import OptionError, Root, StoreName, exit_codes, place_of_root
from flows.terminal import answer, console, reporting, say

app = typer.Typer()

NETCDF = (".nc", ".nc4", ".cdf")
"""How files of NetCDF end."""
TREE = str.maketrans("├└│─", "    ")
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="What readers had at this instant (UTC) or snapshot."),
]


@app.command(name="open")
@reporting
def open_store(store: StoreName, as_of: AsOf = None, root: Root = None) -> None:
    """Print what a store holds: its tree, sizes, last cycle and model."""
    with exit_codes():
        from vardax_core.store import render, summarize

        opened = _opened(store, root)
        snapshot = None if as_of is None else opened.snapshot_of(as_of)
        found = summarize(opened, as_of=snapshot)
        tree = render(found)
        say(tree if console.is_terminal else tree.translate(TREE))
        answer(
            answers.Opened(
                store=found.location,
                experiment=found.experiment["name"],
                digest=found.experiment["digest"],
                snapshot=found.snapshot_id,
                commits=found.commits,
                cycles=found.cycles,
                first=found.first,
                last=found.last,
                method=found.method,
                model_version=found.model_version,
                bytes=found.size,
                bytes_on_disk=found.size_on_disk,
                groups=tuple(_group(group) for group in found.groups),
            )
        )


def _opened(named: str, root: str | None):
    """The store of a path, or of a data set below the root, as in a notebook.

    Raises:
        NotebookError: the name stands for no store, or for several.
        StoreNotFoundError: there is no store at the path.
    """
    from vardax_core.notebook.tree import place_of
    from vardax_core.store import ExperimentStore

    folder = place_of_root(root)
    return ExperimentStore.open(place_of(named, None if root is None else folder, "STORE"))


def _group(group) -> answers.GroupEntry:
    return answers.GroupEntry(
        name=group.name,
        first=group.first,
        last=group.last,
        variables=tuple(
            answers.VariableEntry(
                name=one.name,
                sizes=one.sizes,
                dtype=one.dtype,
                units=one.units,
                long_name=one.long_name,
                bytes=one.size,
            )
            for one in group.variables
        ),
    )


@app.command()
@reporting
def export(
    store: StoreName,
    target: Annotated[str, typer.Argument(help="Directory (zarr) or file (netcdf) to make.")],
    format: Annotated[
        str | None,
        typer.Option("--format", help="zarr or netcdf [netcdf for TARGET.nc, else zarr]."),
    ] = None,
    as_of: AsOf = None,
    root: Root = None,
) -> None:
    """Write a store as plain zarr v3 or NetCDF."""
    with exit_codes():
        from vardax_core.paths import local_path
        from vardax_core.store import export as export_store

        place = local_path(target, "TARGET")
        form = format or _format_of(place)
        if form == "zarr" and place.suffix.lower() in NETCDF:
            raise OptionError(
                f"--format: expected netcdf for {place.name}, got zarr, which is a directory; "
                "leave it out, or give the directory a name without that ending."
            )
        opened = _opened(store, root)
        snapshot = None if as_of is None else opened.snapshot_of(as_of)
        names = export_store(opened, place, format=form, as_of=snapshot)
        say(f"{place}: {', '.join(names)}")
        answer(answers.Exported(target=place, format=form, groups=tuple(names)))


def _format_of(place: Path) -> str:
    """The format that a target is named after.

    Raises:
        OptionError: its name ends like a file of another format.
    """
    ending = place.suffix.lower()
    if ending in NETCDF:
        return "netcdf"
    if ending in ("", ".zarr"):
        return "zarr"
    raise OptionError(
        f"TARGET: expected a name that ends in {' or '.join(NETCDF)} (netcdf), in .zarr or in "
        f"nothing (zarr), got {place.name}; name it so, or say --format."
    )


@app.command()
@reporting
def thin(
    store: StoreName,
    before: Annotated[datetime, typer.Option("--before", help="Earlier cycles are thinned, UTC.")],
    members: Annotated[int, typer.Option("--members", help="Members that stay.", min=1)] = 1,
    root: Root = None,
) -> None:
    """Keep of the ensembles of old cycles some members; means and spreads stay."""
    with exit_codes():
        import numpy as np

        from vardax_core.store import thin as thin_store
        from vardax_core.words import counted

        opened = _opened(store, root)
        done = thin_store(opened, np.datetime64(before), members=members)
        console.print(f"{counted(done, 'cycle')} thinned" if done else "up to date")
        answer(answers.Thinned(store=opened.location, cycles=done))


@app.command()
@reporting
def collect(
    store: StoreName,
    keep_days: Annotated[
        int, typer.Option("--keep-days", help="Days that --as-of can go back.", min=1)
    ] = 30,
    root: Root = None,
) -> None:
    """Forget snapshots that are older, and free the space that nothing needs."""
    with exit_codes():
        from datetime import timedelta

        from vardax_core.store import collect as collect_garbage
        from vardax_core.words import counted

        opened = _opened(store, root)
        found = collect_garbage(opened, keep=timedelta(days=keep_days))
        console.print(
            f"{counted(found.snapshots, 'snapshot')} forgotten, "
            f"{counted(found.objects, 'object')} of {found.bytes / 1e6:.1f} MB deleted"
        )
        answer(
            answers.Collected(
                store=opened.location,
                snapshots=found.snapshots,
                objects=found.objects,
                bytes=found.bytes,
            )
        )
