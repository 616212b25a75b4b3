"""The console command `vardax`, which lives with the flows, and how they are found."""

import importlib
import os
import sys

from vardax_core.paths import home


def use_home() -> None:
    """Let this process, and those that it starts, import `flows`.

    It is no package that an installed vardax shows to others; see `vardax_core.paths.home`.
    """
    place = str(home())
    if place not in sys.path:
        sys.path.insert(0, place)
    named = os.environ.get("PYTHONPATH", "")
    if place not in named.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (place, named)))


def main() -> None:
    """Run the command line."""
    use_home()
    try:
        cli = importlib.import_module("flows.cli")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("flows", "vardax_core"):
            raise
        sys.exit(
            f"vardax: the command line needs {error.name}, which is not installed: "
            "pip install 'vardax-core[all]'."
        )
    cli.main()


if __name__ == "__main__":
    main()
