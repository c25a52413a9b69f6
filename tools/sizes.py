"""Disk space of each dependency: writes the table of docs/install.md from the packages of this environment.

python tools/sizes.py            # prints it
python tools/sizes.py --write    # writes it into the document
"""

from __future__ import annotations

import datetime
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "install.md"
BEGIN, END = "<!-- sizes: tools/sizes.py --write -->\n", "<!-- end of sizes -->\n"
PURPOSE = {
    "hdf5plugin": "filters of compressed HDF5",
    "llvmlite": "compiler of numba",
    "numba": "compiled loops",
    "scipy": "optimisation, interpolation, special functions",
    "numpy": "arrays",
    "bokeh": "dashboard",
    "tornado": "dashboard",
    "narwhals": "of bokeh",
    "pillow": "pictures",
    "h5py": "HDF5",
    "pydantic-core": "of pydantic: checked settings",
    "pygments": "of rich: coloured output",
}
LEAST_MB = 4.0
"""Packages below this size share a line."""


def closure(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Names of a package's dependencies, without itself, as this Python resolves the conditions."""
    found: set[str] = set()
    waiting = [(name, extras)]
    while waiting:
        package, wanted = waiting.pop()
        for line in metadata.requires(package) or []:
            need = Requirement(line)
            if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in (wanted or {""})):
                continue
            key = _key(need.name)
            if key == _key(name):
                waiting.append((name, frozenset(need.extras)))
            elif key not in found:
                found.add(key)
                waiting.append((key, frozenset(need.extras) | {""}))
    return found


def megabytes(name: str) -> float:
    """Size of a package's files, including compiled Python stored next to them."""
    files = {Path(str(file.locate())) for file in metadata.files(name) or []}
    files |= {file for path in list(files) for file in path.parent.glob(f"__pycache__/{path.stem}.*.pyc")}
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def table() -> str:
    """Markdown: the larger packages, the others together, the sum, and what the extra `import` adds."""
    needed = closure("ptylive")
    sizes = {name: megabytes(name) for name in needed}
    rows = [f"Python {platform.python_version()}, {platform.machine()}, {datetime.date.today()}.", ""]
    rows += ["| package | MB | what for |", "| --- | --- | --- |"]
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size >= LEAST_MB:
            rows.append(f"| {name} | {size:.0f} | {PURPOSE.get(name, '')} |")
    rest = sorted(name for name, size in sizes.items() if size < LEAST_MB)
    rows.append(f"| {len(rest)} others | {sum(sizes[name] for name in rest):.0f} | {', '.join(rest)} |")
    rows.append(f"| **all** | **{sum(sizes.values()):.0f}** | without ptylive itself, pip and setuptools |")
    try:
        added = closure("ptylive", frozenset({"import"})) - needed
        rows.append(f"| `[import]` | + {sum(map(megabytes, added)):.0f} | files of other programs |")
    except metadata.PackageNotFoundError as missing:
        rows.append(f"| `[import]` | | {missing.name} is not installed here |")
    return "\n".join(rows) + "\n"


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    text = table()
    print(text)
    if "--write" in sys.argv:
        head, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
        DOCUMENT.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
