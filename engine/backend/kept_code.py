"""Compiled code that cannot be kept is compiled again: a full disk or a damaged file ends nothing.

numba raises what it meets when it writes and reads its cache: no space in a home with a quota, files that a power cut
left empty. Both would end every command, the second one until somebody empties the cache by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

CACHING = "numba.core.caching"


def forgive() -> None:
    """Have numba do without files that it cannot write or read, also when it is imported later: it takes a while."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    if (loaded := sys.modules.get(CACHING)) is not None:
        _change(loaded)


class _Finder(MetaPathFinder):
    """Changes numba's module of files when it is imported, and finds nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == CACHING else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _change(caching: ModuleType) -> None:
    """Let the class that writes and reads files of one function go on where it raised."""
    files = caching.IndexDataCacheFile
    save, load = files.save, files.load

    def saved(self: Any, key: object, data: object) -> None:
        with suppress(OSError):
            save(self, key, data)

    def loaded(self: Any, key: object) -> Any:
        try:
            return load(self, key)
        except Exception:  # whatever the bytes of a damaged file make of unpickling
            with suppress(OSError):
                self.flush()
            return None

    files.save, files.load = saved, loaded
