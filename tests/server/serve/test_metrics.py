"""Metrics: Prometheus text over http, counters that never decrease, an address that is taken."""

import http.client
import re
import socket
import urllib.error
import urllib.request

import pytest

from ptylive.schema import PtyliveError
from ptylive.server.serve.metrics import FrameTotals, MetricsServer, render, serve_metrics
from ptylive.streamer.events import EndEvent, ScanSummary, StreamStatus

LINE = re.compile(r'(ptylive_[a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\.)*"\})? (-?[0-9.e+-]+)')


def parsed(text: str) -> dict[str, float]:
    """Series -> value; every line must be a comment or a sample."""
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def get(url: str) -> tuple[int, str, str]:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.status, reply.headers["Content-Type"], reply.read().decode()


def scanning(**changes: object) -> StreamStatus:
    values = {
        "state": "scanning",
        "uid": "a",
        "expected": 100,
        "received": 12,
        "frames": 10,
        "duplicates": 2,
        "lost": 3,
    }
    return StreamStatus(**{**values, **changes})


def ended(uid: str, placed: int = 90) -> EndEvent:
    return EndEvent(uid, "aborted", ScanSummary(100, placed, 100 - placed, 4, 2, 1.0))


def test_every_counter_is_told_in_prometheus_format():
    status = scanning(rejected={"truncated": 3, 'odd "one"\\\n': 1}, ring_fill=0.25, lag_s=0.5, frames_per_s=1234.5)
    samples = parsed(render(status, FrameTotals().with_current(status), {"state": "running", "epoch": 7}))
    assert samples["ptylive_frames_received_total"] == 12
    assert samples["ptylive_frames_placed_total"] == 10
    assert samples["ptylive_frames_duplicate_total"] == 2
    assert samples["ptylive_frames_lost_total"] == 0
    assert samples["ptylive_scan_frames_missing"] == 3
    assert samples["ptylive_seconds_without_frames"] == 0
    silent = render(scanning(silent_s=12.5), FrameTotals().with_current(status), {})
    assert parsed(silent)["ptylive_seconds_without_frames"] == 12.5
    assert samples['ptylive_rejected_total{reason="truncated"}'] == 3
    assert samples['ptylive_rejected_total{reason="odd \\"one\\"\\\\\\n"}'] == 1
    assert samples["ptylive_ring_fill_ratio"] == 0.25
    assert samples["ptylive_lag_seconds"] == 0.5
    assert samples["ptylive_frames_per_second"] == 1234.5
    assert samples['ptylive_state{state="scanning"}'] == 1
    assert samples['ptylive_state{state="armed"}'] == 0
    assert samples['ptylive_refinement_state{state="running"}'] == 1
    assert samples["ptylive_refinement_epoch"] == 7


def test_a_rate_that_is_not_known_is_left_out():
    status = scanning(frames_per_s=None)
    assert "ptylive_frames_per_second" not in parsed(render(status, FrameTotals().with_current(status), {}))


def test_totals_add_scans_and_count_a_reopened_one_once():
    totals = FrameTotals()
    totals.on_event(ended("a"))
    assert totals.with_current(scanning(uid="a", frames=90, received=92))["frames"] == 90
    assert totals.with_current(scanning(uid="b", frames=5, received=5))["frames"] == 95
    totals.on_event(ended("b", 100))
    for k in range(40):
        totals.on_event(ended(f"more-{k}", 1))
    told = totals.with_current(scanning(uid="more-39", frames=1, received=1))
    assert told["frames"] == 90 + 100 + 40
    assert told["lost"] == 10 + 40 * 99


def test_totals_never_go_down():
    totals = FrameTotals()
    totals.on_event(ended("a"))
    before = totals.with_current(scanning(uid="a", duplicates=50))["duplicates"]
    assert totals.with_current(scanning(uid="b", duplicates=0))["duplicates"] >= before


def test_served_over_http_and_nothing_else_is():
    server = MetricsServer("127.0.0.1:0", lambda: "ptylive_up 1\n")
    try:
        status, kind, text = get(server.url)
        assert (status, text) == (200, "ptylive_up 1\n")
        assert kind.startswith("text/plain; version=0.0.4")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(server.url.replace("/metrics", "/"))
    finally:
        server.close()


def test_a_fault_is_an_answer_and_a_silent_client_holds_nobody_up(caplog):
    def broken() -> str:
        raise RuntimeError("not my day")

    server = MetricsServer("127.0.0.1:0", broken)
    try:
        host, port = server.url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))), pytest.raises(urllib.error.HTTPError, match="500"):
            get(server.url)
    finally:
        server.close()
    assert "could not be reported" in caplog.text


def test_an_address_that_is_taken():
    server = MetricsServer("127.0.0.1:0", str)
    try:
        with pytest.raises(PtyliveError, match="cannot serve metrics"):
            serve_metrics(server.url.split("/")[2], str)
    finally:
        server.close()
    assert serve_metrics(None, str) is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1234", 200),
        ("[::1]:9996", 200),
        ("127.0.0.1", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("<img>", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine_are_answered_to(host, status):
    server = MetricsServer("127.0.0.1:0", lambda: "told")
    try:
        port = int(server.url.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/metrics", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()
    finally:
        server.close()
