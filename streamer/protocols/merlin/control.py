"""Merlin's control port: read and set the settings of its software, arm and trigger (active mode).

A request is ``MPX,<length>,GET|SET|CMD,NAME[,VALUE]``; the answer repeats it with the requested value and a code: 0
done, 1 busy, 2 unknown, 3 out of range. A connection lasts for one conversation, and every wait has a limit.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ptylive.streamer.protocols.merlin.splitter import PREFIX_BYTES
from ptylive.streamer.protocols.simplon import DetectorError
from ptylive.streamer.protocols.tcp_connection import host_and_port

DEFAULT_PORT = 6341
SOFT_TRIGGER = "5"
"""Value of TRIGGERSTART with which the detector waits for SOFTTRIGGER."""
READ_BACK = (
    "SOFTWAREVERSION",
    "DETECTORSTATUS",
    "COUNTERDEPTH",
    "OPERATINGENERGY",
    "ACQUISITIONTIME",
    "NUMFRAMESTOACQUIRE",
    "TRIGGERSTART",
)
"""Values requested when the server starts."""
_CONNECT_TIMEOUT_S, _ANSWER_TIMEOUT_S = 2.0, 10.0
_MAX_ANSWER_BYTES = 2**16
_CODES = {"1": "busy", "2": "Merlin does not know this command", "3": "the value is out of range"}


class MerlinControl:
    """The control port of Merlin's software. Every method raises DetectorError naming the request."""

    def __init__(self, address: str) -> None:
        """``address``: tcp://HOST[:PORT]. Raises PtyliveError for an invalid address."""
        self.address = address
        self._host, self._port = host_and_port(address, DEFAULT_PORT)

    def get(self, name: str) -> str:
        """Return a value as text."""
        with self._conversation() as ask:
            return ask.get(name)

    def known(self) -> dict[str, str]:
        """Return the values of :data:`READ_BACK` by name, without those that this version of the software lacks."""
        found = {}
        with self._conversation() as ask:
            for name in READ_BACK:
                try:
                    found[name] = ask.get(name)
                except _RefusedError:
                    continue
        return {name: value for name, value in found.items() if value not in ("", "undef")}

    def arm(self, frames: int | None, settings: Mapping[str, Any]) -> str:
        """Set the number of frames and further values under Merlin's names, and arm; return TRIGGERSTART's value."""
        wanted = {} if frames is None else {"NUMFRAMESTOACQUIRE": frames}
        with self._conversation() as ask:
            for name, value in {**wanted, **settings}.items():
                ask.ask("SET", name.upper(), str(value))
            ask.ask("CMD", "STARTACQUISITION")
            return ask.get("TRIGGERSTART")

    def trigger(self) -> None:
        """Start the exposure where the trigger is soft."""
        with self._conversation() as ask:
            ask.ask("CMD", "SOFTTRIGGER")

    def disarm(self) -> None:
        """End an acquisition."""
        with self._conversation() as ask:
            ask.ask("CMD", "STOPACQUISITION")

    @contextmanager
    def _conversation(self) -> Iterator[_Conversation]:
        try:
            connection = socket.create_connection((self._host, self._port), _CONNECT_TIMEOUT_S)
        except OSError as error:
            text = f"no control port of a Merlin detector at {self.address}: {error.strerror or error}"
            raise DetectorError(text, "is its software running? frames are received without it") from None
        with connection:
            yield _Conversation(connection, self.address)


class _RefusedError(DetectorError):
    """Merlin answered with a code of refusal."""


class _Conversation:
    """One connection to the control port."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self._connection = connection
        self._address = address

    def get(self, name: str) -> str:
        """Return a value."""
        return self.ask("GET", name, "0")

    def ask(self, kind: str, name: str, value: str | None = None) -> str:
        """Send one request; return the value of the answer, empty where it has none."""
        command = f"{self._address}: {kind} {name}" + (f" = {value}" if kind == "SET" else "")
        body = ",".join([kind, name, *([] if value is None else [value])])
        if not body.isascii() or any(ord(letter) < 32 for letter in body) or body.count(",") > 2:
            raise DetectorError(
                f"{command}: not a name or value that Merlin accepts", "use letters and numbers, no commas"
            )
        request = f"MPX,{len(body) + 1:010d},{body}".encode("ascii")
        try:
            self._connection.settimeout(_ANSWER_TIMEOUT_S)
            self._connection.sendall(request)
            fields = self._answer(command)
        except OSError as error:
            raise DetectorError(f"{command}: {error or type(error).__name__}", "does its software respond?") from None
        if fields[:2] != [kind, name] or len(fields) < 3:
            raise DetectorError(f"{command}: the answer is {','.join(fields)[:80]!r}", "is it a Merlin's control port?")
        if (code := fields[-1]) != "0":
            raise _RefusedError(f"{command}: refused, {_CODES.get(code, f'code {code[:20]!r}')}", "see Merlin's manual")
        return ",".join(fields[2:-1])

    def _answer(self, command: str) -> list[str]:
        """Return the fields of an answer. Raises DetectorError, OSError.

        Some senders do not count the comma before the text: an answer that ends before its code is incomplete.
        """
        give_up, text, length = time.monotonic() + _ANSWER_TIMEOUT_S, b"", PREFIX_BYTES
        while len(text) < length or (length > PREFIX_BYTES and text.endswith(b",")):
            self._connection.settimeout(max(0.01, give_up - time.monotonic()))
            piece = self._connection.recv(4096)
            if not piece:
                raise DetectorError(f"{command}: the connection was closed", "does its software respond?")
            text += piece
            if len(text) >= PREFIX_BYTES and length == PREFIX_BYTES:
                digits = text[4:14]
                if text[:4] != b"MPX," or not digits.isdigit() or int(digits) > _MAX_ANSWER_BYTES:
                    raise DetectorError(f"{command}: the answer is {text[:40]!r}", "is it a Merlin's control port?")
                length = PREFIX_BYTES + int(digits) - 1
            if time.monotonic() > give_up or len(text) > PREFIX_BYTES + _MAX_ANSWER_BYTES:
                raise DetectorError(f"{command}: incomplete answer", "does its software respond?")
        return [field.strip() for field in text[PREFIX_BYTES:].decode("latin-1").split(",")]
