"""Files that the server has just exported: only these can be downloaded, for a while, at secret addresses."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections import OrderedDict
from pathlib import Path
from typing import IO
from urllib.parse import quote

from tornado.iostream import StreamClosedError

from ptylive.dashboard.web.refusals import RefusalHandler

MOST = 200
KEPT_S = 1800.0
CHUNK_BYTES = 2**18


class Downloads:
    """Registry of the files that may be fetched: those that the server's replies have named."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, tuple[Path, float]] = OrderedDict()

    def offer(self, path: Path) -> str:
        """Make a file downloadable for a while; returns its address, relative to the page."""
        key = secrets.token_urlsafe(16)
        self._files[key] = (path, time.monotonic() + KEPT_S)
        while len(self._files) > MOST:
            self._files.popitem(last=False)
        return f"download/{key}/{quote(safe_name(path.name))}"

    def find(self, key: str) -> Path | None:
        """The file behind a key, as long as it may be fetched."""
        path, until = self._files.get(key, (None, 0.0))
        return path if time.monotonic() < until else None


def safe_name(name: str) -> str:
    """A file name that is valid on every operating system."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-120:].lstrip(".") or "export"


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading; links, folders and pipes are refused. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("not a regular file")
    return os.fdopen(handle, "rb")


class DownloadHandler(RefusalHandler):
    """``/download/KEY/NAME``: sends a file in pieces, as fast as the browser accepts them."""

    def initialize(self, downloads: Downloads, key: str) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(
            404,
            "This export is no longer offered",
            (
                "Exports can be downloaded for half an hour. The file is next to the recording; or export the map "
                "again.",
            ),
        )
        self._path = downloads.find(key)

    async def prepare(self) -> None:
        """Refuse nothing at this stage."""

    async def get(self) -> None:
        """Send the file, or 404."""
        try:
            file = None if self._path is None else open_regular(self._path)
        except OSError:
            file = None
        if file is None or self._path is None:
            await super().prepare()
            return
        with file:
            await self._send(file, safe_name(self._path.name))

    async def _send(self, file: IO[bytes], name: str) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Content-Length", str(os.fstat(file.fileno()).st_size))
        self.set_header("Cache-Control", "no-store")
        try:
            while chunk := file.read(CHUNK_BYTES):
                self.write(chunk)
                await self.flush()
        except StreamClosedError:
            return  # the browser has disconnected
