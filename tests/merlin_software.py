"""The control port of Merlin's software, for tests."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stream_tools import PATIENCE_S

KNOWN = {"SOFTWAREVERSION": "1.6.1.217", "COUNTERDEPTH": "12", "TRIGGERSTART": "5"}


class Software:
    """Answers from a table, which ``answers`` overrides: bytes, or None for no answer at all."""

    def __init__(self, *, counts_comma: bool) -> None:
        self.counts_comma = counts_comma
        self.asked: list[str] = []
        self.answers: dict[str, bytes | None] = {}
        self.values = dict(KNOWN)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE_S)
                with contextlib.suppress(OSError):  # a client that has disconnected
                    while prefix := connection.recv(15, socket.MSG_WAITALL):
                        self._answer(connection, connection.recv(int(prefix[4:14]) - 1, socket.MSG_WAITALL).decode())

    def _answer(self, connection: socket.socket, request: str) -> None:
        self.asked.append(request)
        kind, name, *value = request.split(",")
        if request in self.answers:
            if (answer := self.answers[request]) is None:
                connection.shutdown(socket.SHUT_RDWR)
                return
            for k in range(len(answer)):  # one byte at a time
                connection.send(answer[k : k + 1])
            return
        if kind == "SET":
            self.values[name] = value[0]
        code = "2" if kind == "GET" and name not in self.values else "0"
        fields = [kind, name, *([self.values.get(name, "")] if kind == "GET" else []), code]
        text = ",".join(fields)
        connection.sendall(f"MPX,{len(text) + self.counts_comma:010d},{text}".encode())

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(PATIENCE_S)


@contextmanager
def software(*, counts_comma: bool = True) -> Iterator[Software]:
    running = Software(counts_comma=counts_comma)
    try:
        yield running
    finally:
        running.close()
