"""Recompile code that cannot be cached, so that a full disk or a damaged file stops nothing.

numba raises errors when it writes and reads its cache: no space in a home with a quota, files that a power cut left
empty. Both would stop every command, the second until somebody empties the cache by hand.
"""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import Any

from ptylive.engine.backend.at_import import change_at_import

CACHING = "numba.core.caching"


def forgive() -> None:
    """Make numba work without files that it cannot write or read."""
    change_at_import(CACHING, _make_forgiving)


def _make_forgiving(caching: ModuleType) -> None:
    """Let the class that writes and reads a function's files continue after an error."""
    files = caching.IndexDataCacheFile
    save, load = files.save, files.load

    def saved(self: Any, key: object, data: object) -> None:
        with suppress(OSError):
            save(self, key, data)

    def loaded(self: Any, key: object) -> Any:
        try:
            return load(self, key)
        except Exception:  # unpickling a damaged file may raise anything
            with suppress(OSError):
                self.flush()
            return None

    files.save, files.load = saved, loaded
