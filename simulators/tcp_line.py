"""The TCP port of a simulated detector: one client at a time, and every wait has a limit."""

from __future__ import annotations

import contextlib
import socket
import time
from types import TracebackType
from typing import Self

from ptylive.schema import PtyliveError, ServerGoneError
from ptylive.simulators.outlet import SendPatience
from ptylive.streamer.protocols.inlet import ProtocolName
from ptylive.streamer.protocols.tcp_connection import host_and_port

_POLL_S = 0.1


class Line:
    """The port and its single connection; never waits longer than its patience."""

    def __init__(self, address: str, patience: SendPatience, protocol: ProtocolName) -> None:
        """Listen at tcp://HOST:PORT (port 0: any). Raises ServerGoneError when it is taken."""
        self._patience = patience
        self._protocol = protocol
        try:
            host, port = host_and_port(address, default_port=0)
            self._listener = socket.create_server((host, port), backlog=1)
        except (OSError, PtyliveError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise ServerGoneError(f"{address!r} cannot be bound: {text}", "tcp://HOST:PORT") from None
        self._listener.settimeout(_POLL_S)
        self.address = f"tcp://{host}:{self._listener.getsockname()[1]}"
        self._connection: socket.socket | None = None
        self._had_client = False

    def send(self, data: bytes) -> None:
        """Send data, waiting for a client to connect or to take data. Raises ServerGoneError."""
        remaining, since = memoryview(data), time.monotonic()
        while remaining:
            connection = self._connection or self._connected()
            try:
                sent = connection.send(remaining)
            except TimeoutError:
                if time.monotonic() - since > self._patience.stalled_s:
                    text = f"the client of {self.address} has taken nothing for {self._patience.stalled_s:g} s"
                    raise ServerGoneError(text, "look at its log") from None
            except OSError:
                self.disconnect()
                remaining, since = memoryview(data), time.monotonic()
            else:
                remaining, since = remaining[sent:], time.monotonic()

    def disconnect(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close everything."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
        self.disconnect()
        self._listener.close()

    def _connected(self) -> socket.socket:
        limit_s = self._patience.away_s if self._had_client else self._patience.first_s
        give_up = time.monotonic() + limit_s
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except TimeoutError:
                if time.monotonic() > give_up:
                    text = f"no server takes data at {self.address} (waited {limit_s:g} s)"
                    hint = f"start ptylive serve --protocol {self._protocol} --data {self.address}"
                    raise ServerGoneError(text, hint) from None
            else:
                self._connection.settimeout(_POLL_S)
                self._had_client = True
                return self._connection


class TcpDetector:
    """Base of simulated detectors that send over TCP. A context manager."""

    def __init__(self, address: str, patience: SendPatience, protocol: ProtocolName) -> None:
        """Listen at tcp://HOST:PORT (port 0: any). Raises ServerGoneError when it is taken."""
        self._line = Line(address, patience, protocol)
        self.address = self._line.address

    def inject(self, data: bytes) -> None:
        """Send bytes that are not the detector's."""
        self._line.send(data)

    def disconnect(self) -> None:
        """Break the connection, as detector software does when it ends; a client may reconnect."""
        self._line.disconnect()

    def pause(self, seconds: float) -> None:
        """Wait."""
        if seconds > 0:
            time.sleep(seconds)

    def close(self, *, flush: bool = True) -> None:
        """Close connection and port; data already sent still arrive."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is None)
