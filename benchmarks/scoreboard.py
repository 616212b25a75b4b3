"""The page of all figures that benchmarks have measured, with machine, commit and date.

    python benchmarks/scoreboard.py                # docs/scoreboard.md from docs/figures/*.json
    python benchmarks/scoreboard.py --run ingest   # measures that anew before
    python benchmarks/scoreboard.py --quick        # prints the page and writes nothing

A benchmark ends with one line of JSON; what is kept of it is that line, with where and when.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "figures"
PAGE = ROOT / "docs" / "scoreboard.md"
HEAD = """# Benchmarks

What the benchmarks in `benchmarks/` have measured, each held against its bar. The page is made by
`python benchmarks/scoreboard.py` from the lines that they print; `--run NAME` measures one anew.
"""
HEADER = ("benchmark", "what is measured", "value", "bar", "met", "commit", "date", "machine")


def measured(name: str, options: list[str]) -> dict:
    """Run a benchmark, and give its line with where and when."""
    script = ROOT / "benchmarks" / f"{name}.py"
    if not script.is_file():
        known = ", ".join(sorted(p.stem for p in script.parent.glob("*.py")))
        sys.exit(f"scoreboard: there is no benchmark {name!r}; there are {known}.")
    done = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        sys.exit(f"scoreboard: {name} failed:\n{done.stderr}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        **found,
        "options": options,
        "commit": commit.stdout.strip() or "unknown",
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def rows_of(kept: list[dict]) -> list[tuple[str, ...]]:
    """A row for each bar of each benchmark."""
    return [
        (
            " ".join((one["name"], *one["options"])),
            bar["name"].replace("|", "\\|"),
            _shown(bar["value"]),
            _shown(bar["bar"]),
            "yes" if bar["pass"] else "**no**",
            one["commit"],
            one["date"],
            one["machine"],
        )
        for one in kept
        for bar in one["bars"]
    ]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def page_of(kept: list[dict]) -> str:
    """The page."""
    rows = [HEADER, ("---",) * len(HEADER), *rows_of(kept)]
    return HEAD + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs="+", default=[], metavar="NAME", help="measure these anew")
    parser.add_argument("--short", action="store_true", help="with --quick of each of them")
    parser.add_argument("--quick", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    if not options.quick:
        for name in options.run:
            found = measured(name, ["--quick"] if options.short else [])
            KEPT.mkdir(exist_ok=True)
            (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    kept = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    if not options.quick:
        PAGE.write_text(page_of(kept))
    print(page_of(kept).strip())
    bars = [
        {"name": f"{one['name']}: {bar['name']}", **{k: bar[k] for k in ("value", "bar", "pass")}}
        for one in kept
        for bar in one["bars"]
    ]
    figures = {one["name"]: one["date"] for one in kept}
    print(json.dumps({"name": "scoreboard", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
