"""Commands that open files of other programs: what lies in the folder that may be opened from, and one of it.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptylive.schema import CommandError
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve.folder_watch import FileSender, Log
from ptylive.server.serve.watched_folder import WatchedFile, WatchedFolder

MOST_LISTED = 200


class OpenedFiles:
    """``data``: where this server receives; ``recorded``: whether it records at the moment."""

    def __init__(self, config: ServerConfig, data: str, recorded: Callable[[], bool], log: Log) -> None:
        self._folder = config.open_folder
        self._protocol, self._log = config.protocol, log
        self._send = FileSender(data, config.control, recorded, config.key_folder)
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End what is being sent."""
        self._send.close()

    def command_files(self, match: str = "") -> dict[str, Any]:
        """Scan files that may be opened, the newest first; ``match``: a part of the name, in any case."""
        wanted = match.casefold()
        found = [file for file in self._files() if wanted in file.name.casefold()]
        newest = found[: -MOST_LISTED - 1 : -1]
        listed = [{"name": file.name, "bytes": file.stamp[0], "time": file.stamp[1] / 1e9} for file in newest]
        return {"folder": str(self._folder), "files": listed, "count": len(found)}

    def command_take(self, file: str) -> dict[str, Any]:
        """Send a file of that folder to this server, as a new scan; the log says when it is there, or why not."""
        if self._protocol != "native":
            raise CommandError(f"this server listens to a {self._protocol} detector", "open files with another server")
        chosen = next((one for one in self._files() if one.name == file), None)
        if chosen is None:
            raise CommandError(f"{file!r} is no scan file in {self._folder}", "see the command files")
        if self._thread is not None and self._thread.is_alive():
            raise CommandError("another file is being opened", "wait until it is there")
        self._thread = threading.Thread(target=self._take, args=(chosen,), name="opened file", daemon=True)
        self._thread.start()
        return {"file": chosen.name}

    def _files(self) -> list[WatchedFile]:
        """Those that lie in the folder with all that belongs to them, also where links lead; the oldest first."""
        if self._folder is None:
            raise CommandError("no folder may be opened from", "start the server with --files DIR")
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


def _lies_in(folder: Path, file: WatchedFile) -> bool:
    parts = (file.path.with_name(Path(name).name) for name, *_ in file.companions)
    return all(part.resolve().is_relative_to(folder) for part in (file.path, *parts))
