"""Check a command's output paths before any work is done.

An output must not overwrite its input, something else, or results of another scan, and must be writable.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.schema import InputFileError, PtyliveError, RefinementError
from ptylive.schema.errors import encodable
from ptylive.schema.files.filelock import locked
from ptylive.schema.files.small_files import real_path

if TYPE_CHECKING:
    from ptylive.streamer.source import FileSource

OTHER_NAME = "choose another name"
NOT_HDF5 = (".csv", ".gif", ".html", ".jpeg", ".jpg", ".mp4", ".pdf", ".png", ".svg", ".toml", ".txt")
"""File name endings that mean something else to people and programs, in addition to those of other scan formats."""
REPORT, FILM = "report", "film"
OTHER_FOLDER = "choose another folder"
RENAME = "rename it"
"""The remedy if the output's name is not the user's choice."""
READ_PATIENCE_S = 3.0
"""Seconds that a reader of a file waits for its writers."""


def check_output_file(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise InputFileError if ``path`` cannot be written as a file, or is one of the inputs (links followed)."""
    try:
        exists = path.exists()
        if exists and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise InputFileError(f"{path} is {kind}", "give the name of a file")
        for input_file in inputs:
            if exists and input_file.exists() and path.samefile(input_file):
                raise InputFileError(f"{path} would overwrite the input {input_file}", OTHER_NAME)
        _probe(real_path(path).parent)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that point to each other
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputFileError(f"{path} cannot be written: {reason}", "choose another name or folder") from None


def check_hdf5_file(path: Path, inputs: Iterable[Path] = ()) -> None:
    """As :func:`check_output_file`, for HDF5: with another ending no program, including this one, opens it as such."""
    from ptylive.streamer.foreign.formats import SUFFIXES

    check_output_file(path, inputs)
    if path.suffix.lower() in (*SUFFIXES, *NOT_HDF5) and not path.exists():
        raise InputFileError(
            f"{path} is not the name of an HDF5 file", "the output is an HDF5 file: give a name that ends in .h5"
        )


def check_own_hdf5(path: Path, inputs: Iterable[Path], command: str, is_own: Callable[[Path], bool]) -> None:
    """As :func:`check_hdf5_file`; an existing file is only replaced if ``is_own`` says that ``command`` wrote it."""
    from ptylive.streamer.vetting.whole_file import vet_results

    check_hdf5_file(path, inputs)
    if not path.exists():
        return
    vet_results(path)
    if not is_own(path):
        raise InputFileError(f"{path} exists and was not written by ptylive {command}", OTHER_NAME)


def beside(output: Path, ending: str) -> Path:
    """Name of a file next to an HDF5 file: the same name with another ending.

    For ``run.h5`` ``run.checkpoint``, for ``run.v1`` ``run.v1.checkpoint``: a dot in a name does not begin an ending,
    so ``run.v2`` has separate files.
    """
    from ptylive.streamer.foreign.formats import HDF5_NAMES

    name = output.stem if output.suffix.lower() in HDF5_NAMES else output.name
    return output.with_name(f"{name}{ending}")


def check_output_folder(path: Path) -> None:
    """Raise InputFileError if ``path`` is not a folder, or cannot be created or written to."""
    try:
        _probe(real_path(path))
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputFileError(f"nothing can be written into {path}: {reason}", "choose another folder") from None


def _probe(folder: Path) -> None:
    """Try to write to a folder, or to the parent in which it would be created. Raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


def check_results_file(path: Path, source: FileSource) -> None:
    """Raise InputFileError if the results of an open scan cannot go into this file.

    Only a results file accepts results, and only those of one scan. If both files state their scan's uid, the uids must
    be equal. Files of other programs have no uid and are identified by the hash of their patterns or, as earlier
    versions did not write it, by their name.
    """
    check_hdf5_file(path, [source.path])
    same, named, scan = _of_scan(path, source)
    if named and not same:
        raise InputFileError(f"{path} holds results of different patterns than {source.path} has now", OTHER_NAME)
    if not same:
        raise InputFileError(f"{path} holds the results of another scan, {scan}", OTHER_NAME)


def other_scan(path: Path, source: FileSource) -> str:
    """A remark if an open scan is not the one whose results a file holds; empty if it is."""
    same, _, scan = _of_scan(path, source)
    return "" if same else f"{path} holds the results of another scan than {source.path}, {scan}: is it the right file?"


def _of_scan(path: Path, source: FileSource) -> tuple[bool, bool, str]:
    """Whether a results file is of an open scan, whether of one of its name or uid, and what its scan is called."""
    from ptylive.engine.results import SCAN_FILE, SCAN_SHA256, SCAN_UID
    from ptylive.engine.results_file import look

    stored = look(real_path(path)).settings
    uid, file, digest = (str(stored.get(name, "")) for name in (SCAN_UID, SCAN_FILE, SCAN_SHA256))
    named = file in ("", encodable(source.path.name))
    if uid and source.stored_uid:
        named = same = uid == source.stored_uid
    else:
        present_digest = source.digest() if digest else ""
        same = digest == present_digest if present_digest else named
    return same, named, file or uid


def maps_lost(path: Path, made: Collection[str]) -> list[str]:
    """Maps in a results file that a new set of maps replaces without having them; deviations are not counted."""
    from ptylive.engine.results_file import look

    stored = look(real_path(path)).maps
    of_others = {f"{name}_deviation" for name in stored}
    return [name for name in stored if name not in made and name not in of_others]


def scan_settings(source: FileSource, results: Path | None = None) -> dict[str, Any]:
    """Attributes of `/settings` that identify the scan of the results; ``results``: the file they are stored in."""
    from ptylive.engine.results import describe_scan

    return describe_scan(source.stored_uid, source.path, results, source.digest())


def check_recording(path: Path, source: FileSource) -> None:
    """Raise InputFileError if a scan cannot be written as ``path``: only another form of itself may be replaced."""
    from ptylive.streamer.source import open_recording

    check_hdf5_file(path, [source.path])
    if not path.exists():
        return
    with _replaceable(path), open_recording(path) as recording:
        same = recording.stored_uid != "" and recording.stored_uid == source.identity()
    if not same:
        raise InputFileError(f"{path} holds another scan", f"{OTHER_NAME}, or remove it first")


def check_own_file(path: Path, kind: str, inputs: Iterable[Path] = (), other: str = OTHER_NAME) -> None:
    """As :func:`check_output_file`; an existing file is only replaced if it says that ptylive wrote it.

    kind: `report`, `film`, or a format of :mod:`ptylive.engine.exports.own_files`; other: the remedy.
    Raises InputFileError.
    """
    check_output_file(path, inputs)
    if not path.exists():
        return
    with _replaceable(path, other):
        own = _wrote(path, kind)
    if not own:
        problem = f"{path} exists, and nothing in it says that ptylive wrote it"
        raise InputFileError(problem, f"{other}, or remove it first")


def write_own(path: Path, kind: str, content: bytes) -> Path:
    """Write a file next to a recording, whose name follows from the recording's, if :func:`check_own_file` permits it.

    Raises InputFileError, CommandError.
    """
    from ptylive.application.export import written

    check_own_file(path, kind, other=RENAME)
    return written(path, content)


def _wrote(path: Path, kind: str) -> bool:
    """Whether ptylive wrote a file of this kind. Raises InputFileError."""
    from ptylive.application.report.page import is_own_page
    from ptylive.engine.exports import own_files
    from ptylive.pictures.film import is_own_film
    from ptylive.streamer.vetting.whole_file import vet_results

    if kind in own_files.HDF5:
        vet_results(path)
    try:
        if kind == REPORT:
            return is_own_page(path)
        return is_own_film(path) if kind == FILM else own_files.is_own(path, kind)
    except OSError as error:
        raise InputFileError(f"{path.name} cannot be read: {error.strerror or error}") from None


@contextmanager
def _replaceable(path: Path, other: str = OTHER_NAME) -> Iterator[None]:
    """Raise errors of opening a file as what they mean for its replacement; other: the remedy."""
    try:
        yield
    except InputFileError as error:
        raise InputFileError(f"{path} exists and is not replaced: {error}", f"{other}, or remove it first") from None


def check_text_file(path: Path, inputs: Iterable[Path], is_own: Callable[[str], bool]) -> None:
    """Raise InputFileError if a text cannot be written as ``path``: it may only replace one that ``is_own``."""
    check_output_file(path, inputs)
    if path.exists():
        try:
            ours = is_own(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            ours = False
        if not ours:
            raise InputFileError(f"{path} exists and holds something else", OTHER_NAME)


def check_own_table(path: Path, columns: Sequence[str], inputs: Iterable[Path] = ()) -> None:
    """As :func:`check_output_file`; an existing table is only replaced if it begins with these columns."""
    check_output_file(path, inputs)
    header = ",".join(columns).encode()
    try:
        ours = not path.exists() or _begins_with(path, header)
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}", OTHER_NAME) from None
    if not ours:
        problem = f"{path} exists, and its columns are not those of ptylive"
        raise InputFileError(problem, f"{RENAME}, or remove it first")


def _begins_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


def check_checkpoint(path: Path, inputs: Iterable[Path] = ()) -> None:
    """As :func:`check_output_file`; an existing file is only replaced if it is a checkpoint."""
    from ptylive.engine.refine.run.checkpoint import may_replace

    check_output_file(path, inputs)
    try:
        ours = may_replace(path)
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}", OTHER_NAME) from None
    if not ours:
        raise InputFileError(f"{path} exists and is not a checkpoint", f"{RENAME}, or remove it first")


def check_begun_folder(folder: Path, first: str, names: Iterable[str]) -> None:
    """As :func:`check_output_folder`, for a command that always writes the file ``first`` first: existing files of
    these names are only replaced next to it.
    """
    check_output_folder(folder)
    if (folder / first).exists():
        return
    for path in (folder / name for name in names):
        if path.exists() or path.is_symlink():
            problem = f"{path} exists, and without {first} next to it nothing says that ptylive wrote it"
            raise InputFileError(problem, f"{OTHER_FOLDER}, or remove it first")


def merge_waiting(results: Path, tell: Callable[[str], None], patience_s: float = READ_PATIENCE_S) -> None:
    """Before a results file is read: check it, and merge refinements that are waiting next to it.

    A results file that does not exist, because the disk was full, is then made. ``tell`` gets a line if that is not
    possible now; the file can be read all the same. Raises InputFileError for a file that must not be opened.
    """
    from ptylive.engine.file_guard import guarded
    from ptylive.engine.results_file import merge_pending, pending_files
    from ptylive.streamer.vetting.known_files import FileAdmission
    from ptylive.streamer.vetting.whole_file import vet_results
    from ptylive.streamer.vetting.worker import FileWorker

    vet_results(results)
    try:
        if (results.exists() and not results.is_file()) or not pending_files(results.resolve()):
            return
    except (OSError, ValueError, RuntimeError):  # a name that the system cannot look up is left to the opening function
        return
    try:
        with FileWorker() as files, guarded(FileAdmission(files)):
            merge_pending(results, patience_s)
    except PtyliveError as error:
        tell(f"refinements waiting next to {results.name} are not added yet: {error.line()}")


def check_resumable(checkpoint: Path, *, shared: bool = False) -> None:
    """Raise RefinementError if there is no checkpoint to resume; ``shared``: that of a run on several workers."""
    from ptylive.engine.refine.run.checkpoint import exists, of_tiles

    single, tiles = exists(checkpoint), of_tiles(checkpoint).exists()
    if shared and single and not tiles:
        raise RefinementError(f"checkpoint {checkpoint} belongs to a run on one machine", "resume without --workers")
    if tiles and not shared and not single:
        raise RefinementError(
            f"checkpoint {of_tiles(checkpoint)} belongs to a run on several workers", "resume with --workers N"
        )
    if not (single or tiles):
        raise RefinementError(f"there is no checkpoint {checkpoint} to resume from", "start without --resume")


@contextmanager
def reserved_run(results: Path, checkpoint: Path) -> Iterator[str]:
    """Reserve a name for a refinement, released if no result is stored, and lock its checkpoint meanwhile.

    Raises PtyliveError if another process is refining into the same file.
    """
    from ptylive.engine.results_file import release_run, reserve_run

    with ExitStack() as stack:
        try:
            stack.enter_context(locked(checkpoint.resolve(), 0.0))
            name = reserve_run(results)
        except OSError as error:
            raise PtyliveError(f"{checkpoint} cannot be written: {error.strerror or error}", OTHER_NAME) from None
        try:
            yield name
        except BaseException:
            release_run(results, name)
            raise
