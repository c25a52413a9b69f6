"""The files of a scan: its recording, its results, and unique names for its refinements."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.application.conversion import cleaned
from ptylive.engine.live.reading import FrameSource
from ptylive.engine.results_file import release_run, reserve_run
from ptylive.schema import CommandError, FrameBatch, PtyliveError
from ptylive.server.session.scan_session import ScanSession
from ptylive.streamer.vetting.frames import read_frames
from ptylive.streamer.vetting.known_files import is_known
from ptylive.streamer.vetting.worker import FileWorker

READ_FRAMES = 256


class RunNames:
    """The names that a server gives to refinements. Callable from any thread.

    A name that was given, to a refinement that came to nothing too, stands for that refinement in the log, in `status`
    and for those who wait for it: it is not given again.
    """

    def __init__(self) -> None:
        self._last: dict[Path, int] = {}
        """Number of the last run that was named, by results file."""
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self, scan: ScanSession) -> Iterator[str]:
        """Reserve a run name never used for the scan; it is released if no refinement begins.

        Raises ResultsFileError.
        """
        if scan.recording is None:
            yield "run1"
            return
        results = results_of(scan)
        with self._lock:  # until a name is noted as given, its reservation keeps others from it
            run = reserve_run(results, self._last.get(results, 0))
        try:
            yield run
        except PtyliveError:
            release_run(results, run)
            raise
        with self._lock:
            self._last[results] = max(int(run.removeprefix("run")), self._last.get(results, 0))


def recording_of(scan: ScanSession) -> Path:
    """Return the path of a scan's recording. Raises CommandError if there is none, which a full disk may cause."""
    if (recording := scan.recording) is None:
        raise CommandError(
            "refinement needs the recording, but this scan was not recorded",
            "switch recording on, and send the scan again",
        )
    return Path(recording)


def results_of(scan: ScanSession) -> Path:
    """Return the path of the results file of a scan, whether or not it exists."""
    return scan.results or results_path(recording_of(scan))


def frames_of(scan: ScanSession, files: FileWorker) -> FrameSource | None:
    """Return a source that rereads the recorded frames of a scan; None when there is no recording of them.

    A file that this server recorded and that is unchanged is opened directly; any other file through ``files``.
    """
    path = scan.recording
    if path is None or scan.recording_error or not path.exists():
        return None

    def read() -> Iterable[FrameBatch]:
        from ptylive.streamer.source import open_source

        with open_source(path) as opened:
            source = cleaned(opened)
            yield from source.batches(READ_FRAMES)

    return read if scan.stored is None and is_known(path) else lambda: read_frames(files, path)


def results_path(recording: Path) -> Path:
    """Return the path of the results that belong to a recording (docs/conventions.md)."""
    return recording.with_name(f"{recording.stem}_results.h5")


def how_to_make(recording: Path) -> str:
    """Return the command that makes the maps of a recording."""
    return f"make them with ptylive reconstruct {recording.name} -o {results_path(recording).name}"
