"""``GET /metrics``: the stream's counters as Prometheus text, served on loopback by a separate thread.

Counters start at zero with the server and never decrease; gauges describe the current scan. A scraper cannot slow the
receiver: it reads the same snapshot as ``ptylive status``.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from ptylive.schema import PtyliveError
from ptylive.streamer.events import EndEvent, StreamEvent, StreamStatus

DEFAULT_METRICS = "127.0.0.1:9996"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CLIENT_TIMEOUT_S = 5.0
_REMEMBERED_SCANS = 16
_STATES = ("waiting", "armed", "scanning", "finishing", "complete", "incomplete", "aborted", "failed")
_REFINEMENT_STATES = ("none", "queued", "running", "stopping", "stopped", "done", "failed")
_COUNTED = ("received", "frames", "lost", "duplicates", "late")

Sample = tuple[str, float]
"""Labels as ``{name="value"}`` (or an empty string), and a value."""

log = logging.getLogger(__name__)


class FrameTotals:
    """Frame counts of all scans since the start. A scan opened again counts once, with its latest numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._older = dict.fromkeys(_COUNTED, 0)
        self._reported = dict.fromkeys(_COUNTED, 0)

    def on_event(self, event: StreamEvent) -> None:
        """Record the counts of a scan that has ended."""
        if not isinstance(event, EndEvent):
            return
        end = event.summary
        counts = {
            "received": end.placed + end.duplicates,
            "frames": end.placed,
            "lost": end.lost,
            "duplicates": end.duplicates,
            "late": end.late,
        }
        with self._lock:
            self._ended[event.uid] = counts
            self._ended.move_to_end(event.uid)
            while len(self._ended) > _REMEMBERED_SCANS:
                for name, value in self._ended.popitem(last=False)[1].items():
                    self._older[name] += value

    def with_current(self, status: StreamStatus) -> dict[str, int]:
        """Return totals including the scan in ``status``. Losses of an open scan may still arrive and do not count."""
        with self._lock:
            totals = dict(self._older)
            for uid, counts in self._ended.items():
                for name in _COUNTED:
                    totals[name] += counts[name] if uid != status.uid or name == "lost" else 0
            for name in _COUNTED:
                totals[name] += 0 if name == "lost" else getattr(status, name)
                self._reported[name] = max(self._reported[name], totals[name])
            return dict(self._reported)


def render(status: StreamStatus, totals: dict[str, int], refinement: dict[str, Any]) -> str:
    """Return all metrics in Prometheus' text format, version 0.0.4.

    refinement: ``state``, ``epoch`` and ``loss`` as in ``status``.
    """
    plain = {
        "frames_received": (totals["received"], "Frames that arrived, duplicates included."),
        "frames_placed": (totals["frames"], "Frames placed by their acquisition number."),
        "frames_lost": (totals["lost"], "Frames missing from scans that have ended."),
        "frames_duplicate": (totals["duplicates"], "Frames that had already arrived."),
        "frames_late": (totals["late"], "Frames placed after a higher-numbered one."),
    }
    lines: list[str] = []
    for name, (value, text) in plain.items():
        lines += _metric(f"{name}_total", "counter", text, [("", value)])
    rejected = [(_label("reason", reason), float(count)) for reason, count in sorted(status.rejected.items())]
    lines += _metric("rejected_total", "counter", "Messages and patterns refused.", rejected)
    gauges = {
        "scan_frames_expected": (status.expected, "Frames announced for the current scan."),
        "scan_frames_placed": (status.frames, "Frames of the current scan that are placed."),
        "scan_frames_missing": (status.lost, "Frames of the current scan skipped so far."),
        "frames_per_second": (status.frames_per_s, "Rate of the last second; of the whole scan once it has ended."),
        "seconds_without_frames": (status.silent_s or 0.0, "Unusually long time without frames in a scan; else 0."),
        "ring_fill_ratio": (status.ring_fill, "Fraction of the ring buffer in use, 0 to 1."),
        "lag_seconds": (status.lag_s, "Age of the oldest frames that the slowest reader has not read."),
        "recording_failed": (status.recording_state == "failed", "1 when the current scan's recording has failed."),
        "refinement_epoch": (refinement.get("epoch") or 0, "Epoch the refinement has reached."),
    }
    for name, (number, text) in gauges.items():
        lines += _metric(name, "gauge", text, [] if number is None else [("", number)])  # None: unknown
    lines += _states("state", "State of the stream.", _STATES, status.state)
    lines += _states("refinement_state", "State of the refinement.", _REFINEMENT_STATES, str(refinement.get("state")))
    return "\n".join(lines) + "\n"


class MetricsServer:
    """Server of ``text()`` at ``http://ADDRESS/metrics`` until closed; every other path returns 404."""

    def __init__(self, address: str, text: Callable[[], str]) -> None:
        """Bind ``HOST:PORT`` (port 0: any free port). Raises PtyliveError when it is taken."""
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), _handler(text))
        except (OSError, OverflowError) as error:
            problem = f"cannot serve metrics at {address}: {getattr(error, 'strerror', None) or error}"
            raise PtyliveError(problem, "choose another address with --metrics") from None
        self.url = f"http://{host}:{self._server.server_address[1]}/metrics"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve_metrics(address: str | None, text: Callable[[], str]) -> MetricsServer | None:
    """Serve metrics at ``address``; None: off. Empty: the default address, or nowhere when another server uses it.

    Raises PtyliveError when an explicitly given address is taken.
    """
    if address is None:
        return None
    try:
        return MetricsServer(address or DEFAULT_METRICS, text)
    except PtyliveError as error:
        if address:
            raise
        log.info(error.line())
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a hanging client does not delay shutdown


def _is_own_name(host: str) -> bool:
    """Return whether a Host header names this machine: a foreign page may point its own name here (DNS rebinding)."""
    try:
        name = urlsplit(f"//{host}").hostname if re.fullmatch(r"[\w.:\[\]-]+", host) else None
        return name == "localhost" or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


def _handler(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_TIMEOUT_S

        def do_GET(self) -> None:
            if not _is_own_name(self.headers.get("Host", "")):
                self.send_error(403, "this address is not allowed", "use localhost or 127.0.0.1")
                return
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            try:
                body = text().encode()
            except Exception:
                log.exception("the metrics could not be reported")
                self.send_error(500)
                return
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: a scrape every few seconds is not worth a line."""

    return Handler


def _metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> list[str]:
    head = [f"# HELP ptylive_{name} {text}", f"# TYPE ptylive_{name} {kind}"]
    return head + [f"ptylive_{name}{labels} {value:.10g}" for labels, value in samples]


def _states(name: str, text: str, states: Iterable[str], current: str) -> list[str]:
    """Return one series per state, with value 1 for the current state and 0 for the others."""
    return _metric(name, "gauge", text, [(_label("state", state), float(state == current)) for state in states])


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{{{name}="{escaped}"}}'
