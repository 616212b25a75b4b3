"""The structure of a store is checked in, so that a change of it is a diff.

To accept a change: python -m tests.experiments.test_template
"""

import json
import sys
import tempfile
from pathlib import Path

import zarr

from tests.experiments import small
from vardax_core.data import ingest
from vardax_core.store.repository import dimensions, dtype_name

TEMPLATE = Path(__file__).with_name("store_template.json")


def described(group: zarr.Group) -> dict:
    arrays = {
        name: {
            "dimensions": list(dimensions(array)),
            "dtype": dtype_name(array),
            "shape": list(array.shape),
            "chunks": list(array.chunks),
            "fill_value": repr(array.fill_value),
            "attributes": array.attrs.asdict(),
        }
        for name, array in sorted(group.arrays())
    }
    return {"attributes": group.attrs.asdict(), "arrays": arrays}


def structure_of(root: Path) -> dict:
    made = small.experiment_of(root, "etkf")
    store = made.create_store(ingest(made.recipe))
    groups = {name: described(group) for name, group in store.groups().items()}
    attributes = store.root().attrs.asdict()
    # What tells one experiment from another is no structure.
    attributes["experiment"] = sorted(attributes["experiment"])
    return {"attributes": attributes, "groups": groups}


def test_a_new_store_has_the_structure_that_is_checked_in(tmp_path):
    assert structure_of(tmp_path) == json.loads(TEMPLATE.read_text()), (
        "The structure of the store has changed. If it is meant, run: "
        "python -m tests.experiments.test_template"
    )


def main() -> None:
    """Write the template anew."""
    with tempfile.TemporaryDirectory() as folder:
        small.shorten_segments()
        TEMPLATE.write_text(json.dumps(structure_of(Path(folder)), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
