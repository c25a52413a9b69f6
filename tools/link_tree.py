"""The rooms under their installed names, as links in build/ns, for tools that do not support editable package-dir maps.

mypy, pyright, import-linter and editors read ``build/ns/ptylive/engine`` for ``ptylive.engine``, which is in
``engine``.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = ROOT / "build" / "ns"
ROOMS = ("schema", "pictures", "streamer", "engine", "dashboard", "simulators", "server")


def make() -> Path:
    """Make links for all rooms and for what lies in ``api``, the package's own folder; return the folder to search."""
    package = NAMESPACE / "ptylive"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {room: ROOT / room for room in ROOMS}
    wanted |= {path.name: path for path in (ROOT / "api").iterdir() if path.name != "__pycache__"}
    for link in package.iterdir():
        if link.name == "__pycache__":  # left by an import through these links
            continue
        if link.name not in wanted or not link.is_symlink() or link.readlink() != wanted[link.name]:
            link.unlink()
    for name, path in wanted.items():
        link = package / name
        if not link.is_symlink():
            link.symlink_to(path, target_is_directory=path.is_dir())
    return NAMESPACE


if __name__ == "__main__":
    sys.stdout.write(f"{make()}\n")
