"""Files that a browser brings into the folder that may be opened from: one at a time, hidden until they are complete.

Where a file goes, and whether it may come at all, the server says (command ``upload``). It is read as any file of other
programs only when it is opened: in a process with limits.
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
"""Asks the server for the place of a file, by its name and size in bytes."""
BESIDE_BYTES = 2**20
"""More than a request may have beside the file that it announces."""


def _nobody(_name: str, _size: int) -> Future[dict[str, Any]]:
    refused: Future[dict[str, Any]] = Future()
    refused.set_exception(PtyliveError("no server is there to take files"))
    return refused


class Uploads:
    """``ask``: where files go. One comes at a time: two at once would each count on the same free space."""

    def __init__(self) -> None:
        self.ask: Ask = _nobody
        self.name = ""
        """Of the file that is coming; empty: none is."""


def hidden(path: Path) -> Path:
    """The name of a file until it is complete, which no list of scans shows."""
    return path.with_name(f".{path.name}.part")


def begun(path: Path) -> IO[bytes]:
    """A new file under its hidden name, in place of what was left of an earlier try. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileNotFoundError):
        hidden(path).unlink()
    return os.fdopen(os.open(hidden(path), flags, 0o666), "wb")


def finished(file: IO[bytes], path: Path) -> None:
    """On the disk, and under its own name unless somebody else has taken that. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    if path.exists():
        raise FileExistsError(0, "another file of that name has come meanwhile")
    hidden(path).rename(path)


@stream_request_body
class UploadHandler(RequestHandler):
    """``/upload?name=NAME&bytes=N``: GET asks whether a file may come, POST brings it.

    Answers JSON: ``file`` and ``there`` (it was there already), or ``error``, one line.
    """

    def initialize(self, uploads: Uploads) -> None:
        """Tornado's constructor."""
        self._uploads = uploads
        self._file: IO[bytes] | None = None
        self._path, self._left, self._mine = Path(), 0, False

    async def prepare(self) -> None:
        """Ask the server, whatever the method; open the file where one is about to come."""
        self.set_header("Cache-Control", "no-store")
        if self.request.method not in ("GET", "POST"):
            self._refuse(405, "a file is brought by POST")
            return
        if self.request.headers.get("Origin") is None and self.request.method == "POST":
            self._refuse(403, "files are taken from the page of this dashboard only")
            return
        name, size = self.get_query_argument("name", ""), self.get_query_argument("bytes", "")
        sent = self.request.headers.get("Content-Length", "")
        if not size.isdecimal() or (self.request.method == "POST" and sent != size):
            self._refuse(400, f"{name or 'a file'} does not say how large it is: load the page again")
            return
        if self._uploads.name:
            self._refuse(409, f"{self._uploads.name} is being sent: wait until it is there")
            return
        self._uploads.name, self._mine = name, True
        await self._place(name, int(size))

    async def _place(self, name: str, size: int) -> None:
        try:
            told = await asyncio.wrap_future(self._uploads.ask(name, size))
            self._path, there = Path(str(told["path"])), bool(told["there"])
            if self.request.method == "GET" or there:
                self._let_go()
                await self.finish({"file": name, "there": there})
                return
            self._file, self._left = begun(self._path), size
        except PtyliveError as error:
            self._refuse(409, error.line())
        except KeyError:
            self._refuse(500, "the server does not say where files go")
        except OSError as error:
            self._refuse(507, f"{name} cannot be written: {error.strerror or error}")
        else:
            self.request.connection.set_max_body_size(size + BESIDE_BYTES)

    async def data_received(self, chunk: bytes) -> None:
        """A part of the file; the browser waits while the disk does."""
        if self._file is None:
            return
        self._left -= len(chunk)
        try:
            await asyncio.to_thread(self._file.write, chunk)
        except OSError as error:
            self._drop()
            self._refuse(507, f"{self._path.name} cannot be written: {error.strerror or error}")

    def get(self) -> None:
        """Answered already."""

    async def post(self) -> None:
        """All of it has come: give it its name."""
        if self._finished:
            return
        file, self._file = self._file, None
        try:
            if file is None or self._left:
                raise OSError(0, "not all of it has come")
            await asyncio.to_thread(finished, file, self._path)
        except OSError as error:
            self._file = file
            self._drop()
            self._refuse(507, f"{self._path.name} is not kept: {error.strerror or error}")
            return
        self._let_go()
        await self.finish({"file": self._path.name, "there": False})

    def on_finish(self) -> None:
        """Another one may come."""
        self._drop()

    def on_connection_close(self) -> None:
        """The browser has gone in the middle."""
        self._drop()

    def _refuse(self, status: int, line: str) -> None:
        self._let_go()
        self.set_status(status)
        self.finish({"error": line})

    def _drop(self) -> None:
        """What is not complete is not kept."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                hidden(self._path).unlink()
            self._file = None
        self._let_go()

    def _let_go(self) -> None:
        """Another file may come. Before each answer: who has it may ask at once."""
        if self._mine:
            self._uploads.name, self._mine = "", False
