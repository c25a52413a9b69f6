"""Uploads into the folder from which files may be opened: one at a time, hidden until they are complete.

The server decides where a file goes, and whether it is accepted at all (command ``upload``). Like any file of another
program it is read only when it is opened: in a process with limits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tornado.web import RequestHandler, stream_request_body

from ptylive.schema import PtyliveError

Ask = Callable[[str, int], "Future[dict[str, Any]]"]
"""Requests the destination of a file from the server, by its name and size in bytes."""
OVERHEAD_BYTES = 2**20
"""Allowance for the parts of a request other than the file that it announces."""


def _no_server(_name: str, _size: int) -> Future[dict[str, Any]]:
    refused: Future[dict[str, Any]] = Future()
    refused.set_exception(PtyliveError("no server is connected to receive files"))
    return refused


class Uploads:
    """State of uploads; ``ask`` returns where files go. One at a time: two would both count on the same free space."""

    def __init__(self) -> None:
        self.ask: Ask = _no_server
        self.name = ""
        """Name of the file that is being uploaded; empty if there is none."""


def hidden(path: Path) -> Path:
    """Name of a file until it is complete; no list of scans shows it."""
    return path.with_name(f".{path.name}.part")


def open_hidden(path: Path) -> IO[bytes]:
    """Open a new file under its hidden name, replacing the remains of an earlier attempt. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileNotFoundError):
        hidden(path).unlink()
    return os.fdopen(os.open(hidden(path), flags, 0o666), "wb")


def finished(file: IO[bytes], path: Path) -> None:
    """Flush a file to the disk and give it its own name, unless that name is taken. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    if path.exists():
        raise FileExistsError(0, "another file of that name was created in the meantime")
    hidden(path).rename(path)


@stream_request_body
class UploadHandler(RequestHandler):
    """``/upload?name=NAME&bytes=N``: GET asks whether a file is accepted, POST sends it.

    Answers JSON: ``file`` and ``there`` (whether it already existed), or ``error``, one line.
    """

    def initialize(self, uploads: Uploads) -> None:
        """Tornado's constructor."""
        self._uploads = uploads
        self._file: IO[bytes] | None = None
        self._path, self._remaining, self._holds_slot = Path(), 0, False

    async def prepare(self) -> None:
        """Ask the server, whatever the method; open the file if one is about to be sent."""
        self.set_header("Cache-Control", "no-store")
        if self.request.method not in ("GET", "POST"):
            self._refuse(405, "a file is brought by POST")
            return
        if self.request.headers.get("Origin") is None and self.request.method == "POST":
            self._refuse(403, "files are accepted from the page of this dashboard only")
            return
        name, size = self.get_query_argument("name", ""), self.get_query_argument("bytes", "")
        content_length = self.request.headers.get("Content-Length", "")
        if not size.isdecimal() or (self.request.method == "POST" and content_length != size):
            self._refuse(400, f"{name or 'a file'} has no stated size: reload the page")
            return
        if self._uploads.name:
            self._refuse(409, f"{self._uploads.name} is being uploaded: wait until it has arrived")
            return
        self._uploads.name, self._holds_slot = name, True
        await self._place(name, int(size))

    async def _place(self, name: str, size: int) -> None:
        try:
            reply = await asyncio.wrap_future(self._uploads.ask(name, size))
            self._path, present = Path(str(reply["path"])), bool(reply["there"])
            if self.request.method == "GET" or present:
                self._release()
                await self.finish({"file": name, "there": present})
                return
            self._file, self._remaining = open_hidden(self._path), size
        except PtyliveError as error:
            self._refuse(409, error.line())
        except KeyError:
            self._refuse(500, "the server did not say where to store files")
        except OSError as error:
            self._refuse(507, f"{name} cannot be written: {error.strerror or error}")
        else:
            self.request.connection.set_max_body_size(size + OVERHEAD_BYTES)

    async def data_received(self, chunk: bytes) -> None:
        """Write a part of the file; the browser waits for the disk."""
        if self._file is None:
            return
        self._remaining -= len(chunk)
        try:
            await asyncio.to_thread(self._file.write, chunk)
        except OSError as error:
            self._drop()
            self._refuse(507, f"{self._path.name} cannot be written: {error.strerror or error}")

    def get(self) -> None:
        """Do nothing: already answered."""

    async def post(self) -> None:
        """Give the complete file its name."""
        if self._finished:
            return
        file, self._file = self._file, None
        try:
            if file is None or self._remaining:
                raise OSError(0, "it has not arrived completely")
            await asyncio.to_thread(finished, file, self._path)
        except OSError as error:
            self._file = file
            self._drop()
            self._refuse(507, f"{self._path.name} was not kept: {error.strerror or error}")
            return
        self._release()
        await self.finish({"file": self._path.name, "there": False})

    def on_finish(self) -> None:
        """Allow the next upload."""
        self._drop()

    def on_connection_close(self) -> None:
        """Clean up after a browser that disconnected midway."""
        self._drop()

    def _refuse(self, status: int, line: str) -> None:
        self._release()
        self.set_status(status)
        self.finish({"error": line})

    def _drop(self) -> None:
        """Delete an incomplete file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                hidden(self._path).unlink()
            self._file = None
        self._release()

    def _release(self) -> None:
        """Allow the next upload. Called before each answer, because its recipient may ask again at once."""
        if self._holds_slot:
            self._uploads.name, self._holds_slot = "", False
