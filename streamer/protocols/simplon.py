"""SIMPLON, the REST interface of DECTRIS detectors: configure, arm, trigger, disarm (active mode).

Every value is ``{"value": v}`` in JSON. Only the standard library's HTTP client is used; requests never last longer
than their time-out. Source: SIMPLON API reference (detector and stream subsystems).
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from ptylive.schema import PtyliveError

StreamFormat = Literal["legacy", "cbor"]
INTERNAL_TRIGGERS = ("ints", "inte")
"""Trigger modes in which the detector waits for the command ``trigger``."""
_TIMEOUT_S = 10.0
_EXPOSURE_TIMEOUT_S = 3600.0
_MAX_ANSWER_BYTES = 2**20


class DetectorError(PtyliveError):
    """The detector does not answer, or refuses a request."""


class Simplon:
    """A detector's control interface. Every method raises DetectorError naming the request and the answer."""

    def __init__(self, address: str) -> None:
        """``address``: http://HOST or http://HOST:PORT."""
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port or 80
        except ValueError:  # a port that is not a number, half a pair of brackets
            host = None
        if host is None or parts.scheme != "http":
            raise DetectorError(f"{address!r} is not the address of a detector", "give http://HOST[:PORT]")
        self.address = address
        self._host, self._port = host, port
        self._version = ""

    @property
    def version(self) -> str:
        """Version of the interface, as its paths spell it; requested once."""
        if not self._version:
            self._version = str(self._value("GET", "/detector/api/version/"))
        return self._version

    def get(self, name: str) -> Any:
        """Return a value of the detector's configuration."""
        return self._value("GET", f"/detector/api/{self.version}/config/{name}")

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set values of the detector's configuration, in the given order."""
        for name, value in values.items():
            self._ask("PUT", f"/detector/api/{self.version}/config/{name}", value)

    def stream(self, form: StreamFormat) -> None:
        """Enable the image stream; headers include the pixel mask where the detector sends it (header detail ``all``).

        Detectors that support only one format keep it.
        """
        path = f"/stream/api/{self.version}/config"
        self._ask("PUT", f"{path}/mode", "enabled")
        try:
            self._ask("PUT", f"{path}/header_detail", "all")
        except DetectorError:
            self._ask("PUT", f"{path}/header_detail", "basic")
        try:
            self._ask("PUT", f"{path}/format", form)
        except DetectorError:
            if form != "legacy":
                raise

    @property
    def state(self) -> str:
        """What the detector is doing: idle, ready, acquire, error, …"""
        return str(self._value("GET", f"/detector/api/{self.version}/status/state"))

    def arm(self) -> int:
        """Make the detector ready for a series and return the series number."""
        answer = self._command("arm")
        series = answer.get("sequence id") if isinstance(answer, Mapping) else None
        if not isinstance(series, int):
            raise DetectorError(f"{self.address}: arm gave no sequence id", "is it a SIMPLON interface?")
        return series

    def trigger(self) -> None:
        """Start the exposure of a series with an internal trigger; returns when it is over."""
        self._command("trigger", timeout_s=_EXPOSURE_TIMEOUT_S)

    def disarm(self) -> None:
        """End a series after the current image."""
        self._command("disarm")

    def abort(self) -> None:
        """End a series at once."""
        self._command("abort")

    def _command(self, name: str, timeout_s: float = _TIMEOUT_S) -> Any:
        return self._ask("PUT", f"/detector/api/{self.version}/command/{name}", timeout_s=timeout_s)

    def _value(self, method: str, path: str) -> Any:
        answer = self._ask(method, path)
        if not isinstance(answer, Mapping) or "value" not in answer:
            raise DetectorError(f"{self.address}{path} gave no value", "is it a SIMPLON interface?")
        return answer["value"]

    def _ask(self, method: str, path: str, value: Any = None, *, timeout_s: float = _TIMEOUT_S) -> Any:
        """Send one request; return the answer's JSON, None when it is empty."""
        body = None if method == "GET" else ("" if value is None else json.dumps({"value": value}))
        request = f"{method} {self.address}{path}" + ("" if value is None else f" = {value!r}")
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            status, text = reply.status, reply.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # UnicodeError: an impossible host name
            raise DetectorError(f"{request}: {error or type(error).__name__}", "is the detector there?") from None
        finally:
            connection.close()
        try:
            answer = json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            answer = None
        if status >= 300:
            detail = " ".join(text[:200].decode("utf-8", "replace").split())
            raise DetectorError(f"{request}: refused with status {status} {detail}".rstrip(), "see its documentation")
        return answer
