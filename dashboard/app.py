"""The dashboard's web server: one feed, one command queue, and a page for every viewer."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.util import bind_sockets
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from ptylive.dashboard.access import PATHS, Access, NamedSender, ReadOnlySender, Role
from ptylive.dashboard.client.commands import CommandQueue
from ptylive.dashboard.client.feed import Feed
from ptylive.dashboard.session import Session
from ptylive.dashboard.web.downloads import Downloads
from ptylive.dashboard.web.guard import GuardedApplication, require_loopback
from ptylive.dashboard.web.hosts import Hosts
from ptylive.dashboard.web.page_document import PageDocument, operator_of
from ptylive.dashboard.web.page_socket import RefusedMessages
from ptylive.schema import PtyliveError
from ptylive.schema.plain_errors import take_ctrl_c
from ptylive.server.process.ports import DASHBOARD_PORT

MAX_UPLOAD_BYTES = 2**20
"""Upper bound; a browser has nothing large to send."""
UNUSED_SESSION_MS = 3_000
"""How long a page is kept after its last viewer has left."""
PARENT_CHECK_S = 1.0
FAREWELL_S = 0.4
"""A few ticks in which pages report that the server was ended; otherwise they would promise to reconnect."""
logger = logging.getLogger(__name__)


class Dashboard:
    """The web server on ``address``:``port`` (0: any free port) for the ptylive server at ``control``.

    ``names`` are further names (NAME or NAME:PORT) under which browsers may request it, ``prefix`` the path under which
    a proxy serves it. Raises NotLoopbackError for an address that others can reach if no ``access`` is given.
    """

    def __init__(
        self,
        control: str,
        address: str = "127.0.0.1",
        port: int = DASHBOARD_PORT,
        access: Access | None = None,
        names: Iterable[str] = (),
        prefix: str = "",
    ) -> None:
        if access is None:
            require_loopback(address)
        self.feed = Feed(control)
        self.commands = CommandQueue(control)
        try:
            sockets, self.port = bind_sockets(address, port)
        except OSError as error:
            raise PtyliveError(
                f"the dashboard cannot listen on {address}:{port}: {error.strerror or error}", "choose another --port"
            ) from None
        prefix = "/".join(["", *prefix.strip("/").split("/")]).rstrip("/")
        self.url = f"http://{address}:{self.port}{prefix}"
        self._loop = IOLoop.current()
        application = GuardedApplication(
            {
                PATHS[Role.OPERATOR]: Application(FunctionHandler(self._open_page)),
                PATHS[Role.VIEWER]: Application(FunctionHandler(self._open_read_only)),
            },
            Hosts.of(address, self.port, names),
            PageDocument(),
            access,
            prefix,
            unused_session_lifetime_milliseconds=UNUSED_SESSION_MS,
            check_unused_sessions_milliseconds=UNUSED_SESSION_MS // 3,
            websocket_max_message_size_bytes=MAX_UPLOAD_BYTES,
            include_headers=[],
            include_cookies=[],
        )
        self._application = application
        application.uploads.ask = lambda name, size: self.commands.submit("upload", file=name, size_bytes=size)
        self._web = HTTPServer(application)
        self._web.add_sockets(sockets)
        self._server = BaseServer(self._loop, application, self._web)

    @property
    def refused(self) -> RefusedMessages:
        """Messages of pages that were refused."""
        return self._application.refused

    @property
    def downloads(self) -> Downloads:
        """Files that browsers may fetch."""
        return self._application.downloads

    @property
    def viewers_fetch(self) -> bool:
        """Whether viewers may download recordings with their results and exports."""
        return self._application.viewers_fetch

    @viewers_fetch.setter
    def viewers_fetch(self, may: bool) -> None:
        self._application.viewers_fetch = may

    @property
    def open_pages(self) -> int:
        """Number of open pages."""
        return self._application.open_pages

    def _open_page(self, document: Document) -> None:
        name = operator_of(document)
        sender = NamedSender(self.commands, name) if name else self.commands
        Session(document, self.feed, sender, offer_download=self.downloads.offer)

    def _open_read_only(self, document: Document) -> None:
        may_fetch = self.viewers_fetch
        sender = ReadOnlySender(self.commands, may_fetch=may_fetch)
        Session(document, self.feed, sender, read_only=True, offer_download=self.downloads.offer if may_fetch else None)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set."""
        self.feed.start()
        self._server.start()
        try:
            await stop.wait()
            self.feed.end()
            await asyncio.sleep(FAREWELL_S if self.open_pages else 0.0)
        finally:
            # callbacks of pages that are waiting for their turn are cancelled now, which Bokeh logs as an error
            logging.getLogger("bokeh.util.tornado").setLevel(logging.CRITICAL)
            self._server.stop(wait=False)
            await self._web.close_all_connections()
            await asyncio.to_thread(self.feed.stop)
            await asyncio.to_thread(self.commands.close)


async def _end_of(parent: int) -> None:
    """Return when this process has a new parent, that is, when the process that started it has ended."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_CHECK_S)


async def _serve(dashboard: Callable[[], Dashboard], parent: int | None) -> None:
    stop = asyncio.Event()
    if parent is not None:
        if os.getppid() != parent:
            return  # before it occupies a port that another process may need
        watcher = asyncio.ensure_future(_end_of(parent))
        watcher.add_done_callback(lambda _: stop.set())
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        take_ctrl_c()
    running = dashboard()
    with suppress(BrokenPipeError):  # the process that started this one has ended meanwhile, and so will this one
        sys.stdout.write(f"dashboard: {running.url}\n")
        sys.stdout.flush()
    await running.run(stop)


def serve(dashboard: Callable[[], Dashboard], parent: int | None = None) -> None:
    """Run the dashboard that ``dashboard`` makes until SIGINT or SIGTERM; prints one line with its address.

    ``parent``: process id of the process that started this one, as reported by that process; the dashboard ends with
    it, so that none is left behind. Queried here, the id would belong to another process if the parent had already
    gone. Raises PtyliveError when it cannot listen on the port.
    """
    asyncio.run(_serve(dashboard, parent))
