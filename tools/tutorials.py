"""Run the tutorials (docs/tutorials) and keep the pictures that they make.

    python tools/tutorials.py [NAME …] [--pictures FOLDER]      default: all of them, docs/pictures/tutorials

A page is run as written, from top to bottom, in an empty folder: shell lines as commands, Python blocks one after the
other with shared names, as in a notebook. The pictures that a page shows are those that it made.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES, PICTURES = ROOT / "docs" / "tutorials", ROOT / "docs" / "pictures" / "tutorials"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SHOWN = re.compile(r"!\[[^\]]*\]\(\.\./pictures/tutorials/([\w.-]+)\)")


def main() -> None:
    """Run pages, copy their pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(page.stem for page in pages()))
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    for page in pages():
        if not options.names or page.stem in options.names:
            with tempfile.TemporaryDirectory() as folder:
                run_page(page, Path(folder))
                for name in shown(page):
                    shutil.copy(Path(folder) / name, options.pictures / name)


def pages() -> list[Path]:
    """The tutorials, without the page that lists them."""
    return [page for page in sorted(PAGES.glob("*.md")) if page.stem != "README"]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language ("" for the shell) and text of each block."""
    return ((language, text) for language, text in FENCE.findall(page.read_text(encoding="utf-8")))


def shown(page: Path) -> list[str]:
    """Names of the pictures of a page."""
    return SHOWN.findall(page.read_text(encoding="utf-8"))


def run_page(page: Path, folder: Path) -> dict[str, Any]:
    """Run a page in a folder; return the names its Python has defined. Raises what its Python raises, RuntimeError."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for language, text in blocks(page):
            if language == "python":
                exec(compile(text, page.name, "exec"), names)
            elif language == "":
                for line in filter(None, map(str.strip, text.splitlines())):
                    _type(line)
    finally:
        os.chdir(before)
    return names


def _type(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    if program != "ptylive":
        raise RuntimeError(f"tutorials run ptylive only: {line}")
    completed = subprocess.run([sys.executable, "-m", "ptylive", *words], check=False, capture_output=True, text=True)
    print(completed.stdout, end="")
    if completed.returncode:
        raise RuntimeError(f"{line}\n{completed.stderr}")


if __name__ == "__main__":
    main()
