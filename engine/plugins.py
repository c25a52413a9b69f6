"""Extensions: classes and functions found in a folder of this package, and in other packages by their entry points.

A plug-in that fails to load is left out with one line in the log; nothing else is affected.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from ptylive.schema.errors import PtyliveError, RefinementError

log = logging.getLogger(__name__)


class FoundExtension(NamedTuple):
    """An object marked as an extension."""

    value: Any
    source: str
    """Where the extension comes from, in words."""


def in_folder(package: str, mark: str) -> Iterator[FoundExtension]:
    """Yield every object with attribute ``mark`` defined in modules of ``package`` and below, in order of names."""
    home = import_module(package)
    for module in sorted(info.name for info in pkgutil.walk_packages(home.__path__, f"{package}.")):
        yield from _marked(import_module(module), mark, module)


def of_entry_points(group: str, mark: str) -> Iterator[FoundExtension]:
    """Yield extensions of other packages: each entry point names a module, or one object in it.

    An entry point that fails to load, or has nothing with the attribute ``mark``, is left out and logged.
    """
    for point in sorted(entry_points(group=group), key=lambda each: (each.name, each.value)):
        source = name_of(point)
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # third-party code: whatever it raises, it is not used
            left_out(source, f"{type(error).__name__}: {error}")
            continue
        parts = [FoundExtension(loaded, source)] if mark in _namespace(loaded) else list(_marked(loaded, mark, source))
        if not parts:
            left_out(source, f"{point.value} provides nothing for {group}")
        yield from parts


def register_all(folder: str, group: str, mark: str, add: Callable[[Any], None]) -> None:
    """Pass all marked objects to ``add``: first those of a folder of this package, then those of other packages.

    A module of this package that ``add`` refuses is a bug of ptylive and raises; one of another package is left out.
    """
    for found in in_folder(folder, mark):
        add(getattr(found.value, mark))
    for found in of_entry_points(group, mark):
        try:
            add(getattr(found.value, mark))
        except Exception as error:  # third-party code may raise anything
            left_out(found.source, error.line() if isinstance(error, PtyliveError) else repr(error))


def name_of(point: EntryPoint) -> str:
    """Return an entry point in words."""
    return f"{point.name} ({point.value}{f' of {point.dist.name}' if point.dist is not None else ''})"


def left_out(source: str, reason: str) -> None:
    """Log in one line that a plug-in is not used."""
    log.warning("plug-in %s is left out: %s", source, " ".join(reason.split())[:300])


@contextmanager
def at_work(part: Any) -> Iterator[None]:
    """While code of ``part`` (a class or an instance) runs, turn whatever a plug-in raises into RefinementError."""
    try:
        yield
    except (PtyliveError, MemoryError):
        raise
    except Exception as error:
        kind = _kind(part)
        if is_own(part):
            raise
        name = f"{getattr(kind, '__name__', kind)} of the plug-in {kind.__module__}"
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise RefinementError(f"{name} failed: {text}", "fix the plug-in, or leave it out of the settings") from error


def is_own(part: Any) -> bool:
    """Return whether ``part``, a class or an instance, belongs to ptylive rather than to a plug-in."""
    return bool(_kind(part).__module__.split(".")[0] == "ptylive")


def _kind(part: Any) -> Any:
    return part if isinstance(part, type) or callable(part) else type(part)


def _marked(module: Any, mark: str, source: str) -> Iterator[FoundExtension]:
    for value in _namespace(module).values():
        if getattr(value, "__module__", None) == getattr(module, "__name__", "") and mark in _namespace(value):
            yield FoundExtension(value, source)


def _namespace(value: Any) -> dict[str, Any]:
    """Return the object's own attributes, without inherited ones: a subclass of an extension is not marked itself."""
    return dict(getattr(value, "__dict__", {}))
