"""Make the notebooks of the tutorials from their pages: python docs/notebooks.py [NAME ...].

A page is the one source. Its Python blocks become cells of code, its `sh` blocks cells of a shell,
a block whose title is a file becomes a cell that writes it, and all else stays text. A notebook is
executed in an empty folder and keeps what was printed and drawn; pictures that its page shows are
written from it too.
"""

import base64
import io
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NOTEBOOKS = DOCS / "notebooks"
BEGINS = {"gallery": "first-twin", "operational-day": "first-twin"}
"""Pages that go on with what another has made; their notebooks make it first."""
LONGEST_CELL = 1200
"""Seconds."""
WIDTH = 100
"""Characters of a line that a command prints."""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
HEADER = f"---\n{yaml.safe_dump({'jupyter': {'kernelspec': KERNEL}})}---\n\n"

TITLED = re.compile(r'^```\w+ (title="[^"]+")$', re.MULTILINE)
EXPORT = re.compile(r"^export (\w+)=\$PWD/(\S+)$")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
IMAGE = re.compile(r"^!\[[^\]]*\]\(([^)]+)\)\n*", re.MULTILINE)
TWIN = re.compile(r"\[As a notebook\]\([^)]+\)")
NOW = re.compile(r"\b20[2-9]\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00)?(?=\W|$)")
SNAPSHOT = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{20}\b")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def tutorials() -> dict[str, Path]:
    """The pages that have a notebook, by its name, in the order of the navigation."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    (entries,) = (part["Tutorials"] for part in settings["nav"] if "Tutorials" in part)
    pages = [DOCS / page for entry in entries for page in entry.values()]
    return {page.stem: page for page in pages}


def notebook_of(name: str) -> NotebookNode:
    """Make the notebook of a page, without outputs."""
    cells = _cells(tutorials()[name])
    if name in BEGINS:
        cells[1:1] = _beginning(BEGINS[name])
    opening = [cell for cell in cells if "vardax.open(" in cell.source and cell.cell_type == "code"]
    for cell in opening[:1]:
        cell.source = f"%matplotlib inline\n{cell.source}"
    for number, cell in enumerate(cells):
        cell.id = f"{name}-{number}"
    about = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


def _cells(page: Path) -> list[NotebookNode]:
    # To jupytext a block is code if a kernel or a magic of cells has its language; the header says
    # that the kernel is of Python, however few of the blocks are.
    text = HEADER + TITLED.sub(r"```python \1", page.read_text())
    found = jupytext.reads(text, {"extension": ".md", "split_at_heading": True}).cells
    made = [_code(cell) if cell.cell_type == "code" else _words(cell, page) for cell in found]
    return [cell for cell in made if cell.source]


def _code(cell: NotebookNode) -> NotebookNode:
    source = cell.source
    if "title" in cell.metadata:
        return new_code_cell(f"%%writefile {cell.metadata['title']}\n{source}")
    if not source.startswith("%%sh\n"):
        return new_code_cell(source)
    lines = source.split("\n")[1:]
    exports = [EXPORT.match(line) for line in lines]
    if not any(exports):
        return new_code_cell("\n".join(["%%sh -e", *lines]))
    # A shell ends with its cell; what it exports is for those that follow.
    kept = [
        f'os.environ["{name}"] = os.path.abspath("{path}")' for name, path in map(_both, exports)
    ]
    return new_code_cell("\n".join(["import os", "", *kept]))


def _both(export: re.Match[str] | None) -> tuple[str, str]:
    if export is None:
        raise ValueError("A block of sh exports variables as `export NAME=$PWD/PATH`, or none.")
    return export[1], export[2]


def _words(cell: NotebookNode, page: Path) -> NotebookNode:
    """Text whose links lead from the folder of notebooks; its pictures are left to the cells."""

    def led(link: re.Match[str]) -> str:
        return "](" + os.path.relpath(page.parent / link[1], NOTEBOOKS)

    source = LINK.sub(led, IMAGE.sub("", cell.source))
    own = os.path.relpath(page, NOTEBOOKS)
    return new_markdown_cell(TWIN.sub(f"[As a page]({own})", source).strip())


def _beginning(name: str) -> list[NotebookNode]:
    """The cells of a page up to the first that runs an experiment."""
    page = tutorials()[name]
    cells = _cells(page)
    title = cells[0].source.split("\n")[0].removeprefix("# ")
    code = [cell for cell in cells if cell.cell_type == "code"]
    last = next(n for n, cell in enumerate(code) if "vardax run" in cell.source)
    link = os.path.relpath(page, NOTEBOOKS)
    words = f"This goes on with what [{title}]({link}) has made, which the next cells make again."
    return [new_markdown_cell(words), *code[: last + 1]]


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Execute a notebook, and leave in its outputs what is the same wherever and whenever that is.

    Arguments:
        notebook: outputs are put into it.
        folder: empty; the notebook works in `work` below it, and what it installs goes beside that.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    work = folder / "work"
    work.mkdir()
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=LONGEST_CELL,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(work)}},
    )
    client.execute(env=environment(folder))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_clean(output, work) for output in cell.outputs if _is_kept(output)]
    notebook.metadata["language_info"] = LANGUAGE


def environment(folder: Path) -> dict[str, str]:
    """That of this process without settings of vardax; pip installs into the folder, offline."""
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    prefixes = ("VARDAX_", "PREFECT_", "PIP_")
    named = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    if "PREFECT_API_URL" in os.environ:
        named["PREFECT_API_URL"] = os.environ["PREFECT_API_URL"]
    return named | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (packages, ROOT))),
        "COLUMNS": str(WIDTH),
        "IPYTHONDIR": str(folder / "ipython"),
        "PIP_TARGET": str(packages),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        # To pip this is the value of its opposite: no isolation, so that nothing is fetched.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _is_kept(output: NotebookNode) -> bool:
    """Commands show their progress on stderr, which is another each time."""
    return output.get("name") != "stderr"


def _clean(output: NotebookNode, work: Path) -> NotebookNode:
    for holder, key in ((output, "text"), (output.get("data", {}), "text/plain")):
        if key in holder:
            holder[key] = _scrubbed(holder[key], work)
    if picture := output.get("data", {}).get("image/png"):
        output.data["image/png"] = _small(picture)
    # The HTML of xarray has another name for each of its parts every time.
    if "xr-wrap" in output.get("data", {}).get("text/html", ""):
        del output.data["text/html"]
    output.get("metadata", {}).clear()
    return output


def _scrubbed(text: str, work: Path) -> str:
    """Text without colours, the folder, the clock and the names that a store gives at random."""
    text = COLOUR.sub("", text)
    for place in (work.resolve(), work, ROOT):
        text = text.replace(str(place), ".")
    return SNAPSHOT.sub("…", NOW.sub("…", text))


def _small(picture: str) -> str:
    """A PNG of 256 colours and no more said of it, which is a third of the size."""
    drawn = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(256).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def pictures(notebook: NotebookNode) -> list[bytes]:
    """The pictures that a notebook drew, as PNG."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    drawn = [output.data.get("image/png") for output in outputs if "data" in output]
    return [base64.b64decode(picture) for picture in drawn if picture]


def shown(page: Path) -> list[Path]:
    """The files of the pictures that a page shows, which are those of its notebook."""
    return [page.parent / image for image in IMAGE.findall(page.read_text())]


def main(names: list[str]) -> None:
    """Write notebooks, by default all."""
    NOTEBOOKS.mkdir(exist_ok=True)
    pages = tutorials()
    for name in names or pages:
        notebook = notebook_of(name)
        with TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")
        if images := shown(pages[name]):
            for path, picture in zip(images, pictures(notebook), strict=True):
                path.write_bytes(picture)
        print(NOTEBOOKS / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
