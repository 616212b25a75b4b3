"""The commands of `vardax` for a store: open, export, thin, collect."""

from datetime import datetime
from typing import Annotated

import typer

from flows.cli_common import StoreName, console, exit_codes

app = typer.Typer()


@app.command(name="open")
def open_store(
    store: StoreName,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="What readers had at this instant (UTC) or snapshot."),
    ] = None,
) -> None:
    """Print what a store holds: its tree, sizes, last cycle and model."""
    with exit_codes():
        from vardax_core.store import ExperimentStore, render, summarize

        opened = ExperimentStore.open(store)
        snapshot = None if as_of is None else opened.snapshot_of(as_of)
        console.print(render(summarize(opened, as_of=snapshot)), markup=False)


@app.command()
def export(
    store: StoreName,
    target: Annotated[str, typer.Argument(help="Directory (zarr) or file (netcdf) to make.")],
    format: Annotated[str, typer.Option("--format", help="zarr or netcdf.")] = "zarr",
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="What readers had at this instant (UTC) or snapshot."),
    ] = None,
) -> None:
    """Write a store as plain zarr v3 or NetCDF."""
    with exit_codes():
        from vardax_core.paths import local_path
        from vardax_core.store import ExperimentStore
        from vardax_core.store import export as export_store

        place = local_path(target, "TARGET")
        opened = ExperimentStore.open(store)
        snapshot = None if as_of is None else opened.snapshot_of(as_of)
        names = export_store(opened, place, format=format, as_of=snapshot)
        console.print(f"{place}: {', '.join(names)}", soft_wrap=True)


@app.command()
def thin(
    store: StoreName,
    before: Annotated[datetime, typer.Option("--before", help="Earlier cycles are thinned, UTC.")],
    members: Annotated[int, typer.Option("--members", help="Members that stay.", min=1)] = 1,
) -> None:
    """Keep of the ensembles of old cycles some members; means and spreads stay."""
    with exit_codes():
        import numpy as np

        from vardax_core.store import ExperimentStore
        from vardax_core.store import thin as thin_store
        from vardax_core.words import counted

        opened = ExperimentStore.open(store)
        done = thin_store(opened, np.datetime64(before), members=members)
        console.print(f"{counted(done, 'cycle')} thinned" if done else "up to date")


@app.command()
def collect(
    store: StoreName,
    keep_days: Annotated[
        int, typer.Option("--keep-days", help="Days that --as-of can go back.", min=1)
    ] = 30,
) -> None:
    """Forget snapshots that are older, and free the space that nothing needs."""
    with exit_codes():
        from datetime import timedelta

        from vardax_core.store import ExperimentStore
        from vardax_core.store import collect as collect_garbage
        from vardax_core.words import counted

        found = collect_garbage(ExperimentStore.open(store), keep=timedelta(days=keep_days))
        console.print(
            f"{counted(found.snapshots, 'snapshot')} forgotten, "
            f"{counted(found.objects, 'object')} of {found.bytes / 1e6:.1f} MB deleted"
        )
