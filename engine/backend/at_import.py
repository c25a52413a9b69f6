"""Change a third-party module when it is imported: numba loads slowly, so it is not imported only to be changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Change = Callable[[ModuleType], None]


def change_at_import(name: str, change: Change) -> None:
    """Have ``change`` called once with the named module: now if it is loaded, otherwise when it is imported."""
    if any(isinstance(finder, _Finder) and finder.name == name for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder(name, change))
    if (loaded := sys.modules.get(name)) is not None:
        change(loaded)


class _Finder(MetaPathFinder):
    """Changes one module when it is imported, and finds nothing else."""

    def __init__(self, name: str, change: Change) -> None:
        self.name, self._change = name, change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self.name else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
