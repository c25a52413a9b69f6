"""Changes of a results file: one writer at a time, all or nothing, and no finished refinement without a place.

A refinement that has ended is first written as a file of its own, ``<results>.<run>.pending``, and then taken into the
results file, with all others that lie there for whatever reason. Names of runs are reserved before they are used
(:func:`reserve_run`), between processes and across crashes. docs/files-and-owners.md has the whole picture.
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
    """Takes over an object of the file as it is: path there, group to put it into, name it gets."""

PATIENCE_S = 120.0
"""A refinement has taken minutes: it can wait for whoever else writes."""
PENDING, RESERVED = "pending", "reserved"
RUNS, CHOSEN, CALIBRATION, SETTINGS = "refinements", "refinement", "calibration", "settings"
RECORDED = ("data", "coefficients", "metadata")
"""Members of recordings, which no results file has."""
IDENTITY, GOES_ON = "id", "goes_on"
"""Attributes of a run: which one it is, and whether it takes the place of an earlier state of itself."""
APPEND_BYTES, SPARE_BYTES = 2**26, 2**26
"""Files from this size on grow at their end, smaller ones are written anew; bytes that may lie idle in any of them."""
_NUMBERED = re.compile(r"run(\d+)")
_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


class ResultsFileError(PtyliveError):
    """The results file could not be written; what was in it before is still there."""


@dataclass(frozen=True)
class Before:
    """What a results file is like before a change; all that is read of it."""

    links: Mapping[str, str | None]
    """Members of the root; with a path where they are soft links."""
    attributes: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: Mapping[str, str]
    """Names of refinements with their identities (empty: of an earlier version)."""
    maps: tuple[str, ...] = ()
    stored_bytes: int = 0
    """Of all data sets, as they are compressed."""
    plots: entry.Plots = field(default_factory=dict)
    """What the entry shows, which is not among the links: it is written anew."""

    @classmethod
    def read(cls, file: h5py.File) -> Before:
        """Of an open file."""
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


EMPTY = Before({}, {}, {}, {})


@dataclass(frozen=True)
class Pending:
    """A finished refinement in a file of its own."""

    path: Path
    name: str
    identity: str
    goes_on: bool
    """Whether it takes the place of an earlier state of itself."""

    @classmethod
    def read(cls, path: Path) -> Pending:
        """Raises OSError, KeyError, IndexError for a file that is none."""
        import h5py

        with h5py.File(path, "r") as file:
            name = list(file[RUNS])[0]  # noqa: RUF015  (an IndexError says more than a StopIteration)
            group = file[RUNS][name]
            return cls(path, name, str(group.attrs[IDENTITY]), bool(group.attrs[GOES_ON]))


def _resolved(path: Path) -> Path:
    """The file itself where links lead to it. Raises ResultsFileError where they lead to each other."""
    try:
        return real_path(path)
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "links that lead to each other"
        raise ResultsFileError(f"{path}: {reason}", "remove the link") from None


def pending_files(path: Path) -> list[Path]:
    """Files of refinements that wait beside a results file, oldest first."""
    found = []
    for one in path.parent.glob(f"{glob.escape(path.name)}.*.{PENDING}"):
        with suppress(FileNotFoundError):  # taken in meanwhile
            found.append((one.stat().st_mtime_ns, one))
    return [one for _, one in sorted(found)]


def waiting(path: Path) -> list[Pending]:
    """Refinements that wait beside a results file, oldest first; what cannot be read is reported and left alone."""
    found = []
    for one in pending_files(path):
        try:
            file_guard.admit(one)
            found.append(Pending.read(one))
        except (OSError, KeyError, IndexError, InputFileError) as error:
            log.warning("%s is left alone: %s", one, error)
    return found


def pending_path(path: Path, run: str) -> Path:
    """Where a refinement lies on its own until it is taken in; no ``.h5``: it is no recording."""
    path = _resolved(path)
    return path.with_name(f"{path.name}.{run}.{PENDING}")


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file. Raises OSError, also where the disk is full."""
    import h5py

    with for_hdf5(path) as whole, h5py.File(whole, "w", libver=LIBVER) as file:
        yield file


@dataclass(frozen=True)
class Change:
    """What is to become of a results file: some members of the root written anew, everything else kept.

    ``write`` makes the members ``replaced`` in the new root, or ``adds_maps``; ``settings`` are laid over those there.
    """

    replaced: frozenset[str]
    write: Callable[[h5py.Group], None]
    settings: Mapping[str, Any]
    adds_maps: bool = False

    def build(self, root: h5py.Group, before: Before, keep: Keep, arrived: Mapping[str, Pending]) -> None:
        """Fill a new root. ``arrived``: refinements to take in, by the names they get."""
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
        kept = {path: plots for path, plots in before.plots.items() if path not in self.replaced}  # kept is not read
        fresh = entry.described(root, new)
        layout.mark(root)
        entry.write_entry(root, {**kept, **fresh, **self._beside_added(root, before, keep, fresh)})

    def _beside_added(self, root: h5py.Group, before: Before, keep: Keep, fresh: entry.Plots) -> entry.Plots:
        """Keep the maps beside those that are added; what can be plotted of them all, of which only these are read."""
        if not self.adds_maps:
            return {}
        shown = [one for one in before.plots.get(entry.MAPS, ()) if one.name not in root[entry.MAPS]]
        for name in set(before.maps) - set(root[entry.MAPS]):
            keep(f"{entry.MAPS}/{name}", root[entry.MAPS], name)
        return {entry.MAPS: tuple(sorted((*shown, *fresh[entry.MAPS]), key=lambda one: one.name))}


def _take_in(root: h5py.Group, name: str, pending: Pending) -> dict[str, Any]:
    """Copy a refinement from its own file; its settings."""
    import h5py

    with h5py.File(pending.path, "r") as file:
        file.copy(f"{RUNS}/{pending.name}", root[RUNS], name)
        if CALIBRATION not in root:
            file.copy(CALIBRATION, root, CALIBRATION)
        return dict(file[SETTINGS].attrs)


NO_CHANGE = Change(frozenset(), lambda root: None, {})


def apply(path: Path, wanted: Change = NO_CHANGE, patience_s: float = PATIENCE_S) -> dict[str, str]:
    """Change a results file, made if it is not there, and take in every refinement that waits beside it.

    Returns the names that refinements got by their identities. Raises ResultsFileError, FileBusyError where another
    process has held the file for ``patience_s``, InputFileError for a file that is something else; it stays as it was.
    """
    path = _resolved(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, patience_s):
            return _applied(path, wanted)
    except OSError as error:
        hint = "make room" if error.errno in _FULL else "check the folder and the file"
        raise ResultsFileError(f"{path} could not be written: {error.strerror or error}", hint) from None


def take_in(path: Path, patience_s: float = PATIENCE_S) -> bool:
    """Take in what waits beside a results file; False where nothing does. Raises as :func:`apply`."""
    path = _resolved(path)
    if not pending_files(path):
        return False
    apply(path, patience_s=patience_s)
    return True


def look(path: Path) -> Before:
    """What a results file is like. Raises InputFileError for a file that is something else, or damaged."""
    import h5py

    if not path.exists():
        return EMPTY
    file_guard.admit(path)
    if not h5py.is_hdf5(path):
        raise InputFileError(f"{path} exists and is not an HDF5 file", "choose another name")
    try:
        with h5py.File(path, "r") as file:
            before = Before.read(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from None
    layout.admit(before.settings, str(path))
    if set(RECORDED) & set(before.links):
        raise InputFileError(f"{path} is a recording and takes no results", "choose another name")
    return before


def _damaged(path: Path, error: Exception) -> InputFileError:
    return InputFileError(f"{path} cannot be read whole: {error}", "move it away: it is damaged, or no results file")


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


def _named(path: Path, before: Before, found: list[Pending]) -> dict[str, Pending]:
    """Refinements that are to be taken in by the names they get: their own, unless that is another's."""
    arrived: dict[str, Pending] = {}
    for pending in found:
        if pending.identity in before.runs.values():
            continue  # a crash came between taking it in and removing it
        name = pending.name
        if name in arrived or (name in before.runs and not pending.goes_on):
            name = f"run{_highest(path, [*before.runs, *arrived]) + 1}"
        arrived[name] = pending
    return arrived


def _appended(path: Path, wanted: Change, before: Before, arrived: Mapping[str, Pending]) -> bool:
    """Write only what is new, behind the end of the file; False where the file has to be written anew.

    That is a small file, one of another form, and one of which more than half is no longer referred to.
    """
    if not path.exists() or not APPEND_BYTES <= path.stat().st_size <= 2 * before.stored_bytes + SPARE_BYTES:
        return False
    try:
        append(path, lambda root, keep: wanted.build(root, before, keep, arrived))
    except NotAppendableError as error:
        log.info("%s is written anew: %s", path, error)
        return False
    return True


def _rewrite(path: Path, wanted: Change, before: Before, arrived: Mapping[str, Pending]) -> None:
    """Write the file anew and rename it into place."""
    import h5py

    with ExitStack() as stack:
        temporary = stack.enter_context(replacing(path))
        new = stack.enter_context(created(temporary))
        old = stack.enter_context(h5py.File(path, "r")) if path.exists() else None

        def keep(source: str, group: h5py.Group, name: str) -> None:
            assert old is not None  # noqa: S101  (what is kept was found in it)
            try:
                old.copy(source, group, name)
            except (RuntimeError, KeyError) as error:
                raise _damaged(path, error) from None

        wanted.build(new["/"], before, keep, arrived)


# -- names of runs ----------------------------------------------------------------------------------------------------


def reserve_run(path: Path) -> str:
    """The next free ``run<n>`` of a results file, nobody else's from now on, whatever becomes of this process.

    A hidden empty file holds the name until the refinement is in the results file. Raises ResultsFileError.
    """
    path = _resolved(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            name = f"run{_highest(path, ()) + 1}"
            with suppress(FileExistsError):
                os.close(os.open(_reservation(path, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                return name
    except OSError as error:
        raise ResultsFileError(
            f"{path.parent} cannot be written: {error.strerror or error}", "choose another folder"
        ) from None


def release_run(path: Path, name: str) -> None:
    """Give a reserved name back: nothing was made under it, or what was made has it now."""
    with suppress(OSError, ResultsFileError):  # a name too many is reserved
        _reservation(_resolved(path), name).unlink(missing_ok=True)


def _reservation(path: Path, name: str) -> Path:
    return path.with_name(f".{path.name}.{name}.{RESERVED}")


def _highest(path: Path, names: Iterable[str]) -> int:
    """Highest number that a run has or is to have.

    The file is read last: what is neither reserved nor waiting any more is in it by then.
    """
    stem, taken = glob.escape(path.name), list(names)
    for pattern in (f".{stem}.*.{RESERVED}", f"{stem}.*.{PENDING}"):
        taken += [found.name.split(".")[-2] for found in path.parent.glob(pattern)]
    taken += _stored_names(path)
    return max((int(found[1]) for name in taken if (found := _NUMBERED.fullmatch(name))), default=0)


def _stored_names(path: Path) -> list[str]:
    import h5py

    try:
        file_guard.admit(path)
        with h5py.File(path, "r") as file:
            return list(file.get(RUNS, {}))
    except (OSError, InputFileError):  # not there, or damaged: then nothing can be written into it either
        return []
