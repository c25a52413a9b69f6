"""Changes of a results file: one writer at a time, all or nothing, and no finished refinement is ever lost.

A refinement that has ended is first written to a file of its own, ``<results>.<run>.pending``, and then moved into the
results file together with any other pending refinements found there. Names of runs are reserved before they are used
(:func:`reserve_run`), between processes and across crashes. docs/files-and-owners.md describes the whole scheme.
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.engine import file_guard
from ptylive.engine.appending import NotAppendableError, append
from ptylive.engine.nexus import entry, layout
from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.filelock import locked
from ptylive.schema.files.new_hdf5 import LIBVER, for_hdf5
from ptylive.schema.files.small_files import real_path

if TYPE_CHECKING:
    import h5py

    Keep = Callable[[str, h5py.Group, str], None]
    """Carries over an object of the file unchanged: its path there, the group to put it into, its new name."""

PATIENCE_S = 120.0
"""A refinement has taken minutes, so it can wait for another writer."""
PENDING, RESERVED = "pending", "reserved"
RUNS, CHOSEN, CALIBRATION, SETTINGS = "refinements", "refinement", "calibration", "settings"
IDENTITY, GOES_ON = "id", "goes_on"
"""Attributes of a run: its identity, and whether it replaces an earlier state of itself."""
APPEND_BYTES, SPARE_BYTES = 2**26, 2**26
"""Size from which a file grows at its end instead of being written anew; unused bytes allowed in any file."""
_NUMBERED = re.compile(r"run(\d+)")
_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


class ResultsFileError(PtyliveError):
    """The results file could not be written; its previous content is still there."""


@dataclass(frozen=True)
class PreviousContent:
    """State of a results file before a change: everything that is read from it."""

    links: Mapping[str, str | None]
    """Members of the root; the value is the path of a soft link and None otherwise."""
    attributes: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: Mapping[str, str]
    """Names of refinements with their identities (empty for runs of an earlier version)."""
    maps: tuple[str, ...] = ()
    stored_bytes: int = 0
    """Size of all data sets as stored, that is, compressed."""
    plots: entry.Plots = field(default_factory=dict)
    """Content of the NeXus entry, which is not among the links because it is written anew."""

    @classmethod
    def read(cls, file: h5py.File) -> PreviousContent:
        """Read the state of an open file."""
        import h5py

        links = {name: file.get(name, getlink=True) for name in file}
        if entry.ENTRY in links and entry.is_entry(file.get(entry.ENTRY)):
            del links[entry.ENTRY]
        return cls(
            {name: link.path if isinstance(link, h5py.SoftLink) else None for name, link in links.items()},
            dict(file.attrs),
            dict(file[SETTINGS].attrs) if SETTINGS in file else {},
            {name: str(group.attrs.get(IDENTITY, "")) for name, group in file.get(RUNS, {}).items()},
            tuple(file.get(entry.MAPS, ())),
            _stored_bytes(file),
            entry.described(file),
        )


def _stored_bytes(file: h5py.File) -> int:
    import h5py

    sizes: list[int] = []
    file.visititems(
        lambda _, item: sizes.append(item.id.get_storage_size()) if isinstance(item, h5py.Dataset) else None
    )
    return sum(sizes)


EMPTY = PreviousContent({}, {}, {}, {})


@dataclass(frozen=True)
class Pending:
    """A finished refinement in a file of its own, waiting to be moved into the results file."""

    path: Path
    name: str
    identity: str
    goes_on: bool
    """Whether it replaces an earlier state of itself."""

    @classmethod
    def read(cls, path: Path) -> Pending:
        """Read a pending file. Raises OSError, KeyError or IndexError for any other file."""
        import h5py

        with h5py.File(path, "r") as file:
            name = list(file[RUNS])[0]  # noqa: RUF015  (an IndexError says more than a StopIteration)
            group = file[RUNS][name]
            return cls(path, name, str(group.attrs[IDENTITY]), bool(group.attrs[GOES_ON]))


def _resolved(path: Path) -> Path:
    """Return the file that links lead to. Raises ResultsFileError if they form a loop."""
    try:
        return real_path(path)
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "links that point to each other"
        raise ResultsFileError(f"{path}: {reason}", "remove the link") from None


def pending_files(path: Path) -> list[Path]:
    """Return the files of refinements that wait next to a results file, oldest first."""
    found = []
    for candidate in path.parent.glob(f"{glob.escape(path.name)}.*.{PENDING}"):
        with suppress(FileNotFoundError):  # moved into the results file meanwhile
            found.append((candidate.stat().st_mtime_ns, candidate))
    return [candidate for _, candidate in sorted(found)]


def waiting(path: Path) -> list[Pending]:
    """Return the refinements that wait next to a results file, oldest first; unreadable ones are logged and skipped."""
    found = []
    for candidate in pending_files(path):
        try:
            file_guard.admit(candidate)
            found.append(Pending.read(candidate))
        except (OSError, KeyError, IndexError, InputFileError) as error:
            log.warning("%s is not changed: %s", candidate, error)
    return found


def pending_path(path: Path, run: str) -> Path:
    """Return where a refinement waits until it is moved into the results file; not ``.h5``: it is not a recording."""
    path = _resolved(path)
    return path.with_name(f"{path.name}.{run}.{PENDING}")


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file. Raises OSError, also if the disk is full."""
    import h5py

    with for_hdf5(path) as plain_path, h5py.File(plain_path, "w", libver=LIBVER) as file:
        yield file


@dataclass(frozen=True)
class Change:
    """A change of a results file: some members of the root are written anew, everything else is kept.

    ``write`` makes the members ``replaced`` in the new root, or adds maps (``adds_maps``); ``settings`` are updated.
    """

    replaced: frozenset[str]
    write: Callable[[h5py.Group], None]
    settings: Mapping[str, Any]
    adds_maps: bool = False

    def build(self, root: h5py.Group, before: PreviousContent, keep: Keep, arrived: Mapping[str, Pending]) -> None:
        """Fill a new root. ``arrived``: refinements to move in, by their new names."""
        import h5py

        for name, value in before.attributes.items():
            root.attrs[name] = value
        for name, target in before.links.items():
            if name in self.replaced or name in (RUNS, SETTINGS) or (name == CHOSEN and arrived):
                continue
            if target is None:
                keep(name, root, name)
            else:
                root[name] = h5py.SoftLink(target)
        settings = dict(before.settings)
        runs = root.require_group(RUNS) if before.runs or arrived else None
        for name in before.runs:
            if name not in arrived:
                keep(f"{RUNS}/{name}", runs, name)
        self.write(root)
        for name, pending in arrived.items():
            settings |= _take_in(root, name, pending)
        if arrived:
            root[CHOSEN] = h5py.SoftLink(f"/{RUNS}/{list(arrived)[-1]}")
        group = root.create_group(SETTINGS)
        for name, value in {**settings, **self.settings}.items():
            group.attrs[name] = value
        new = [path for path in self.replaced if path in root] + [f"{RUNS}/{name}" for name in arrived]
        kept = {path: plots for path, plots in before.plots.items() if path not in self.replaced}  # not read again
        fresh = entry.described(root, new)
        layout.mark(root)
        entry.write_entry(root, {**kept, **fresh, **self._plots_of_kept_maps(root, before, keep, fresh)})

    def _plots_of_kept_maps(
        self, root: h5py.Group, before: PreviousContent, keep: Keep, fresh: entry.Plots
    ) -> entry.Plots:
        """Keep maps next to those that are added; return the plots of all maps, reading only the added ones."""
        if not self.adds_maps:
            return {}
        kept = [plot for plot in before.plots.get(entry.MAPS, ()) if plot.name not in root[entry.MAPS]]
        for name in set(before.maps) - set(root[entry.MAPS]):
            keep(f"{entry.MAPS}/{name}", root[entry.MAPS], name)
        return {entry.MAPS: tuple(sorted((*kept, *fresh[entry.MAPS]), key=lambda plot: plot.name))}


def _take_in(root: h5py.Group, name: str, pending: Pending) -> dict[str, Any]:
    """Copy a refinement from its own file; return its settings."""
    import h5py

    with h5py.File(pending.path, "r") as file:
        file.copy(f"{RUNS}/{pending.name}", root[RUNS], name)
        if CALIBRATION not in root:
            file.copy(CALIBRATION, root, CALIBRATION)
        return dict(file[SETTINGS].attrs)


NO_CHANGE = Change(frozenset(), lambda root: None, {})


def apply(path: Path, wanted: Change = NO_CHANGE, patience_s: float = PATIENCE_S) -> dict[str, str]:
    """Change a results file, creating it if necessary, and move in every refinement that waits next to it.

    Returns the names given to refinements, by their identities. Raises ResultsFileError, FileBusyError if another
    process holds the file for ``patience_s``, or InputFileError for any other kind of file, which stays untouched.
    """
    path = _resolved(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, patience_s):
            return _applied(path, wanted)
    except OSError as error:
        hint = "make room" if error.errno in _FULL else "check the folder and the file"
        raise ResultsFileError(f"{path} could not be written: {error.strerror or error}", hint) from None


def merge_pending(path: Path, patience_s: float = PATIENCE_S) -> bool:
    """Move waiting refinements into a results file; return False if none wait. Raises as :func:`apply`."""
    path = _resolved(path)
    if not pending_files(path):
        return False
    apply(path, patience_s=patience_s)
    return True


def look(path: Path) -> PreviousContent:
    """Return the state of a results file. Raises InputFileError for any other kind of file, or a damaged one."""
    import h5py

    if not path.exists():
        return EMPTY
    file_guard.admit(path)
    if not h5py.is_hdf5(path):
        raise InputFileError(f"{path} exists and is not an HDF5 file", "choose another name")
    try:
        with h5py.File(path, "r") as file:
            before = PreviousContent.read(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from None
    layout.admit(before.links, before.settings, str(path))
    return before


def _damaged(path: Path, error: Exception) -> InputFileError:
    return InputFileError(f"{path} cannot be read: {error}", "move it away: it is damaged, or not a results file")


def _applied(path: Path, wanted: Change) -> dict[str, str]:
    before, found = look(path), waiting(path)
    arrived = _named(path, before, found)
    if not _appended(path, wanted, before, arrived):
        _rewrite(path, wanted, before, arrived)
    file_guard.wrote(path)
    names = {identity: name for name, identity in before.runs.items()}
    names |= {pending.identity: name for name, pending in arrived.items()}
    for pending in found:
        pending.path.unlink(missing_ok=True)
        release_run(path, pending.name)
    return names


def _named(path: Path, before: PreviousContent, found: list[Pending]) -> dict[str, Pending]:
    """Return the refinements to move in, by their new names: their own, unless another run has it."""
    arrived: dict[str, Pending] = {}
    for pending in found:
        if pending.identity in before.runs.values():
            continue  # a crash happened after it was moved in and before its file was removed
        name = pending.name
        if name in arrived or (name in before.runs and not pending.goes_on):
            name = f"run{_highest(path, [*before.runs, *arrived]) + 1}"
        arrived[name] = pending
    return arrived


def _appended(path: Path, wanted: Change, before: PreviousContent, arrived: Mapping[str, Pending]) -> bool:
    """Write only what is new, behind the end of the file; return False if the file has to be written anew.

    That is the case for a small file, an unsupported layout, and a file more than half of which is unreferenced.
    """
    if not path.exists() or not APPEND_BYTES <= path.stat().st_size <= 2 * before.stored_bytes + SPARE_BYTES:
        return False
    try:
        append(path, lambda root, keep: wanted.build(root, before, keep, arrived))
    except NotAppendableError as error:
        log.info("%s is rewritten: %s", path, error)
        return False
    return True


def _rewrite(path: Path, wanted: Change, before: PreviousContent, arrived: Mapping[str, Pending]) -> None:
    """Write the file anew and rename it into place."""
    import h5py

    with ExitStack() as stack:
        temporary = stack.enter_context(replacing(path))
        new = stack.enter_context(created(temporary))
        old = stack.enter_context(h5py.File(path, "r")) if path.exists() else None

        def keep(source: str, group: h5py.Group, name: str) -> None:
            assert old is not None  # noqa: S101  (kept objects were found in it)
            try:
                old.copy(source, group, name)
            except (RuntimeError, KeyError) as error:
                raise _damaged(path, error) from None

        wanted.build(new["/"], before, keep, arrived)


# -- names of runs ----------------------------------------------------------------------------------------------------


def reserve_run(path: Path, above: int = 0) -> str:
    """Reserve the next free ``run<n>`` of a results file and return it; nobody else gets it, even if this process dies.

    A hidden empty file holds the name until the refinement is in the results file. ``above``: n is larger than that.
    Raises ResultsFileError.
    """
    path = _resolved(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            name = f"run{max(above, _highest(path, ())) + 1}"
            with suppress(FileExistsError):
                os.close(os.open(_reservation(path, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                return name
    except OSError as error:
        raise ResultsFileError(
            f"{path.parent} cannot be written: {error.strerror or error}", "choose another folder"
        ) from None


def release_run(path: Path, name: str) -> None:
    """Release a reserved name: either nothing was stored under it, or the results file now has it."""
    with suppress(OSError, ResultsFileError):  # a superfluous reservation does no harm
        _reservation(_resolved(path), name).unlink(missing_ok=True)


def _reservation(path: Path, name: str) -> Path:
    return path.with_name(f".{path.name}.{name}.{RESERVED}")


def _highest(path: Path, names: Iterable[str]) -> int:
    """Return the highest number among existing, waiting and reserved runs.

    The file is read last: a run no longer reserved or waiting is in it by then.
    """
    stem, names_in_use = glob.escape(path.name), list(names)
    for pattern in (f".{stem}.*.{RESERVED}", f"{stem}.*.{PENDING}"):
        names_in_use += [found.name.split(".")[-2] for found in path.parent.glob(pattern)]
    names_in_use += _stored_names(path)
    return max((int(found[1]) for name in names_in_use if (found := _NUMBERED.fullmatch(name))), default=0)


def _stored_names(path: Path) -> list[str]:
    import h5py

    try:
        file_guard.admit(path)
        with h5py.File(path, "r") as file:
            return list(file.get(RUNS, {}))
    except (OSError, InputFileError):  # missing, or damaged: then nothing can be written into it either
        return []
