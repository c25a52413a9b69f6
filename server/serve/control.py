"""The control socket, which answers every command, and the state, published four times a second.

Commands that only read memory are answered at once, whatever else is running. Commands that change something and
commands that open stored files may wait for a scan or a disk; each of these two kinds has its own thread.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import zmq

from ptylive.schema import CommandError, PtyliveError
from ptylive.schema.errors import brief, did_you_mean, printable
from ptylive.server.process.operators import is_operator
from ptylive.server.serve.arguments import check_form, checked
from ptylive.server.serve.session import Session
from ptylive.server.wire.messages import MAX_MESSAGE_BYTES, pack, unpack
from ptylive.server.wire.publisher import lines
from ptylive.streamer.sockets.security import Gate

STATE_INTERVAL_S = 0.25
READS_FILES = frozenset(
    {
        "history",
        "open",
        "runs",
        "analyse",
        "pattern",
        "side_by_side",
        "report",
        "film",
        "tune_status",
        "batch_status",
        "batch_table",
    }
)
"""Commands that wait for untrusted files."""
COMPUTES = frozenset({"orientations", "estimates", "align", "check"})
"""Commands that take seconds for a large scan and change nothing; they have a queue of their own."""
AT_ONCE = frozenset({"status", "snapshot", "watch", "scans", "received", "record", "shutdown"})
"""Commands answered without waiting; all others are queued and run one after the other."""
MOST_WAITING = 64
"""Maximum number of queued requests of one kind."""

_Request = tuple[bytes, dict[str, Any]]

log = logging.getLogger(__name__)
orders = logging.getLogger(f"{__name__}.orders")
"""Logger of who did what; always at level INFO, whatever level is set otherwise."""
orders.setLevel(logging.INFO)


class ControlServer:
    """ROUTER socket at the control address, served by its own thread."""

    def __init__(self, address: str, session: Session) -> None:
        """Bind the socket. Raises PtyliveError when the address is taken."""
        self._session = session
        self._context = zmq.Context()
        self._gate = Gate(self._context, session.keys)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
        self._gate.protect(self._socket)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._gate.close()
            self._context.destroy(linger=0)
            hint = "is another server running? stop it, or choose another address with --control"
            raise PtyliveError(f"cannot take commands at {address}: {error.strerror}", hint) from None
        self._doing, self._reading, self._computing = (queue.Queue[_Request | None](MOST_WAITING) for _ in range(3))
        self._replies: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._replied, self._reply_comes = os.pipe()
        os.set_blocking(self._reply_comes, False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the socket."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        names = ("control commands", "control files", "control estimates")
        kinds = (self._doing, self._reading, self._computing)
        for requests, name in zip(kinds, names, strict=True):
            threading.Thread(target=self._answer_all, args=(requests,), name=name, daemon=True).start()
        next_state = 0.0
        acknowledged: tuple[str, list[Any]] | None = None
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._replied, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(50))
            if self._socket in ready:
                self._serve_one()
            if self._replied in ready:
                os.read(self._replied, 4096)
            while not self._replies.empty():
                self._socket.send_multipart(self._replies.get())
            if time.monotonic() >= next_state:
                next_state = time.monotonic() + STATE_INTERVAL_S
                acknowledged = self._tell_state(acknowledged)
        for requests in kinds:
            with suppress(queue.Full):
                requests.put_nowait(None)
        self._gate.close()
        self._context.destroy()

    def _serve_one(self) -> None:
        """Answer the next request, or queue it for the thread that handles its kind."""
        identity, *parts = self._socket.recv_multipart()
        try:
            request = unpack(b"".join(parts))
        except ValueError as error:
            self._socket.send_multipart([identity, pack({"id": None, "ok": False, "error": f"bad request: {error}"})])
            return
        command = request.get("command")
        if not isinstance(command, str) or command in AT_ONCE:
            self._socket.send_multipart([identity, self._reply(request)])
            return
        try:
            self._queue_of(command).put_nowait((identity, request))
        except queue.Full:
            reply = {
                "id": _plain_id(request),
                "ok": False,
                "error": f"{MOST_WAITING} commands are already waiting: try again later",
            }
            self._socket.send_multipart([identity, pack(reply)])

    def _queue_of(self, command: str) -> queue.Queue[_Request | None]:
        """The queue of commands of one kind; they delay only each other."""
        if command in READS_FILES:
            return self._reading
        return self._computing if command in COMPUTES else self._doing

    def _answer_all(self, requests: queue.Queue[_Request | None]) -> None:
        """Run queued commands of one kind one after the other."""
        while (item := requests.get()) is not None:
            identity, request = item
            self._replies.put([identity, self._reply(request)])
            with suppress(BlockingIOError):  # the pipe is full: the control thread is already notified
                os.write(self._reply_comes, b"!")

    def _reply(self, request: dict[str, Any]) -> bytes:
        """Run a command and return its reply, or the reason for the failure."""
        reply: dict[str, Any] = {"id": _plain_id(request), "ok": False}
        try:
            check_form(request)
            reply["id"] = request.pop("id", None)
            reply = {**self._answer(request.pop("command", ""), request), "id": reply["id"], "ok": True}
            return pack(reply)
        except PtyliveError as error:
            reply["error"] = error.line()
        except OSError as error:
            log.warning("a command failed: %r", error)
            prefix = f"{error.filename}: " if error.filename else ""
            reply["error"] = printable(
                f"{prefix}{error.strerror or error}: is there space, and may the server write there?"
            )
        except (ValueError, TypeError, ArithmeticError) as error:
            log.warning("a command failed: %r", error)
            reply = {"id": reply["id"], "ok": False, "error": f"bad request: {error}"}
        except Exception as error:
            log.exception("a command failed")
            reply["error"] = f"internal error: {error!r}"
        return pack(reply)

    def _answer(self, command: object, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run a command of the session. Raises CommandError for an unknown command or wrong arguments."""
        groups = self._session.commands
        name = f"command_{command}" if isinstance(command, str) else ""
        method = next((found for group in groups if (found := getattr(group, name, None))), None)
        if method is None:
            known = sorted(
                n.removeprefix("command_") for group in groups for n in dir(group) if n.startswith("command_")
            )
            choices = f"choose from {', '.join(known)}"
            hint = did_you_mean(command, known, choices) if isinstance(command, str) else choices
            raise CommandError(f"unknown command {brief(command)}", hint)
        wanted, by = arguments.pop("if_shown", None), arguments.pop("by", None)
        if by is not None and not is_operator(by):
            raise CommandError(f"{brief(by)} is not a valid operator name", "use letters, digits, dots and dashes")
        if wanted is not None:
            self._require_shown(str(wanted))
        if by is not None and command == "note":
            arguments["author"] = by
        given = checked(str(command), method, arguments)
        reply = dict(method(**given))
        if by is not None:
            self._say_who(by, str(command), given)
        return reply

    def _say_who(self, by: str, command: str, given: Mapping[str, Any]) -> None:
        """Log what an operator has done."""
        words = ", ".join(f"{name} {brief(value)}" for name, value in given.items() if value is not None)
        line = printable(f"{by}: {command}{' of ' if words else ''}{words}")
        self._session.publisher.log("info", line)
        if not lines.isEnabledFor(logging.INFO):  # otherwise publisher.log has just logged it
            orders.info("%s", line)

    def _require_shown(self, uid: str) -> None:
        """Raise CommandError if the scan shown is not ``uid``, the scan the command was meant for."""
        shown = self._session.shown
        if shown is None or shown.uid != uid:
            now = "no scan" if shown is None else f"scan {brief(shown.header.series)}"
            raise CommandError(
                f"the command was for another scan; {now} is displayed now", "check, and repeat the command"
            )

    def _tell_state(self, acknowledged: tuple[str, list[Any]] | None) -> tuple[str, list[Any]] | None:
        """Publish the state, and the safe ranges when they have changed; return what was acknowledged."""
        try:
            state = self._session.command_status()
            self._session.publisher.publish("state", state)
            if state["uid"]:
                safe = (state["uid"], self._session.command_received(state["uid"])["ranges"])
                if safe != acknowledged:
                    self._session.publisher.publish("ack", {"uid": safe[0], "ranges": safe[1]})
                return safe
        except Exception:
            log.exception("the state could not be reported")
        return acknowledged


def _plain_id(request: Mapping[Any, Any]) -> str | int | None:
    """Return the id of a request that may be malformed, so that its sender does not wait for a reply in vain."""
    known = request.get("id")
    return known if isinstance(known, str | int) else None
