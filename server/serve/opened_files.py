"""Commands that open files of other programs: list the folder that may be opened from, open one of its files, and
give the place for a file uploaded by a browser.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptylive.schema import CommandError
from ptylive.schema.errors import brief
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve.folder_watch import FileSender, Log
from ptylive.server.serve.notifier import LOW_DISK_BYTES
from ptylive.server.serve.watched_folder import WatchedFile, WatchedFolder, may_be_a_scan

MOST_LISTED = 200
UPLOADS = "uploads"
"""Subfolder for files uploaded by browsers, so that other files in the folder stay untouched."""
_NAME = re.compile(r"[^\x00-\x1f/\\:]{1,200}")


class OpenedFiles:
    """Commands for files that may be opened. ``data``: data address of this server; ``recorded``: whether it currently
    records.
    """

    def __init__(self, config: ServerConfig, data: str, recorded: Callable[[], bool], log: Log) -> None:
        self._folder, self._limit_GB = config.open_folder, config.upload_limit_GB
        self._protocol, self._log = config.protocol, log
        self._send = FileSender(data, config.control, recorded, config.key_folder)
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Abort the transfer in progress."""
        self._send.close()

    def command_files(self, match: str = "") -> dict[str, Any]:
        """List scan files that may be opened, newest first; ``match``: part of the name, ignoring case."""
        wanted = match.casefold()
        found = [file for file in self._files() if wanted in file.name.casefold()]
        newest = found[: -MOST_LISTED - 1 : -1]
        listed = [{"name": file.name, "bytes": file.stamp[0], "time": file.stamp[1] / 1e9} for file in newest]
        return {"folder": str(self._folder), "files": listed, "count": len(found), "most_bytes": self._most_bytes}

    def command_take(self, file: str) -> dict[str, Any]:
        """Send a file of that folder to this server as a new scan; the log reports its arrival, or why it failed."""
        if self._protocol != "native":
            raise CommandError(f"this server listens to a {self._protocol} detector", "open files with another server")
        chosen = next((candidate for candidate in self._files() if candidate.name == file), None)
        if chosen is None:
            raise CommandError(f"{file!r} is not a scan file in {self._folder}", "see the command files")
        if self._thread is not None and self._thread.is_alive():
            raise CommandError("another file is being opened", "wait until it is there")
        self._thread = threading.Thread(target=self._take, args=(chosen,), name="opened file", daemon=True)
        self._thread.start()
        return {"file": chosen.name}

    def command_upload(self, file: str, size_bytes: float) -> dict[str, Any]:
        """Return the ``path`` for a file of ``size_bytes`` that a browser is about to upload, or why it is refused.

        ``there``: a file of that name and size is in the folder already, so nothing needs uploading.
        """
        if self._folder is None:
            raise CommandError("no folder is set from which files may be opened", "start the server with --files DIR")
        if not _NAME.fullmatch(file) or file.startswith(".") or not may_be_a_scan(Path(file)):
            raise CommandError(
                f"{brief(file)} does not have the name of a scan file", "docs/files.md lists what can be read"
            )
        if size_bytes <= 0:
            raise CommandError(f"{file} is empty", "choose another file")
        if size_bytes > self._most_bytes:
            problem = f"{file} has {size_bytes / 1e9:.3g} GB; at most {self._most_bytes / 1e9:g} GB are allowed"
            raise CommandError(problem, f"copy it into {self._folder}, or raise upload_limit_GB")
        if any(Path(listed.name).name == file and listed.stamp[0] == size_bytes for listed in self._files()):
            return {"path": file, "there": True}
        try:
            return _room_for(self._folder, file, size_bytes)
        except OSError as error:
            problem = f"{self._folder} cannot be written: {error.strerror or error}"
            raise CommandError(problem, "check its permissions") from None

    @property
    def _most_bytes(self) -> float:
        return self._limit_GB * 1e9

    def _files(self) -> list[WatchedFile]:
        """Return scan files that lie in the folder with all their companions, links resolved; oldest first."""
        if self._folder is None:
            raise CommandError("no folder is set from which files may be opened", "start the server with --files DIR")
        try:
            folder = self._folder.resolve()
            found = list(WatchedFolder(self._folder, settle_s=0.0).files())
            return [file for file in found if _lies_in(folder, file)]
        except OSError as error:
            raise CommandError(f"{self._folder} cannot be read: {error.strerror or error}") from None

    def _take(self, file: WatchedFile) -> None:
        sent = self._send(file, str(uuid.uuid4()))
        if sent.error:
            self._log("warning", f"{file.name} is not opened: {sent.error}")
        else:
            self._log("info", f"{file.name}: {sent.frames} frames opened")


def _room_for(folder: Path, name: str, size_bytes: float) -> dict[str, Any]:
    """Return the answer for a new file. Raises CommandError if its name is taken or space is short; OSError."""
    path = folder / UPLOADS / name
    path.parent.mkdir(exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise CommandError(f"{path.parent} leads out of the folder", "use a folder without links that lead out of it")
    if path.is_symlink() or path.exists():
        if path.is_symlink() or not path.is_file() or path.stat().st_size != size_bytes:
            raise CommandError(f"there is already another file {path.name} in {path.parent}", "rename yours")
        return {"path": str(path), "there": True}
    free = shutil.disk_usage(path.parent).free
    if free - size_bytes < LOW_DISK_BYTES:
        problem = f"{path.name} has {size_bytes / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free in {path.parent}"
        raise CommandError(problem, f"make room: {LOW_DISK_BYTES / 1e9:g} GB are kept free for scans")
    return {"path": str(path), "there": False}


def _lies_in(folder: Path, file: WatchedFile) -> bool:
    parts = (file.path.with_name(Path(name).name) for name, *_ in file.companions)
    return all(part.resolve().is_relative_to(folder) for part in (file.path, *parts))
