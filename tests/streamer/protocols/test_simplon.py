"""SIMPLON: requests follow its reference, and every answer but the right one gives one line."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ptylive.streamer.protocols.simplon import DetectorError, Simplon


class Detector(BaseHTTPRequestHandler):
    """Answers from its server's table ``answers``: path -> (status, body)."""

    def do_GET(self):
        self._answer("GET", None)

    def do_PUT(self):
        self._answer("PUT", self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _answer(self, method, body):
        self.server.asked.append((method, self.path, body))
        known = {"/detector/api/version/": (200, '{"value": "1.8.0"}'), **self.server.answers}
        status, text = known.get(self.path, (200, ""))
        if status == 0:
            return  # closes the connection without an answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@contextmanager
def detector(**answers):
    """A detector on loopback, and the requests it received; answers by the end of a path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Detector)
    server.asked = []
    server.answers = {f"/{k.replace('__', '/').replace('1_8_0', '1.8.0')}": v for k, v in answers.items()}
    thread = threading.Thread(target=lambda: server.serve_forever(0.01))
    thread.start()
    try:
        yield Simplon(f"http://127.0.0.1:{server.server_address[1]}"), server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


DETECTOR, STREAM = "detector__api__1_8_0__", "stream__api__1_8_0__"


def test_what_is_asked():
    given = {
        f"{DETECTOR}command__arm": (200, '{"sequence id": 7}'),
        f"{DETECTOR}status__state": (200, '{"value": "idle"}'),
    }
    given[f"{DETECTOR}config__trigger_mode"] = (200, '{"value": "ints"}')
    with detector(**given) as (simplon, asked):
        simplon.stream("cbor")
        simplon.configure({"ntrigger": 100, "count_time": 0.5})
        assert simplon.arm() == 7
        simplon.trigger()
        simplon.disarm()
        simplon.abort()
        assert (simplon.get("trigger_mode"), simplon.state, simplon.version) == ("ints", "idle", "1.8.0")
    puts = [
        (path.partition("1.8.0/")[2], json.loads(body)["value"] if body else None)
        for how, path, body in asked
        if how == "PUT"
    ]
    assert puts == [
        ("config/mode", "enabled"),
        ("config/header_detail", "all"),
        ("config/format", "cbor"),
        ("config/ntrigger", 100),
        ("config/count_time", 0.5),
        ("command/arm", None),
        ("command/trigger", None),
        ("command/disarm", None),
        ("command/abort", None),
    ]
    assert [path for how, path, _ in asked].count("/detector/api/version/") == 1


def test_detectors_that_know_less_are_left_at_what_they_know():
    """No header detail ``all``, one format only."""
    with detector(**{f"{STREAM}config__format": (404, "")}) as (simplon, _):
        simplon.stream("legacy")
        with pytest.raises(DetectorError, match="config/format = 'cbor': refused with status 404"):
            simplon.stream("cbor")
    with detector(**{f"{STREAM}config__header_detail": (400, "no such detail")}) as (simplon, asked):
        with pytest.raises(DetectorError, match="status 400 no such detail"):
            simplon.stream("legacy")
        assert [json.loads(body)["value"] for *_, body in asked if body] == ["enabled", "all", "basic"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, ""), "gave no value"),
        ((200, "[1]"), "gave no value"),
        ((200, '{"val": 1}'), "gave no value"),
        ((200, "<html>"), "gave no value"),
        ((200, "[" * 100_000), "gave no value"),
        ((500, "a\nb  c"), "refused with status 500 a b c"),
        ((0, ""), "Remote end closed"),
    ],
)
def test_other_answers_are_one_line_with_the_address(answer, words):
    with detector(**{f"{DETECTOR}config__count_time": answer}) as (simplon, _):
        with pytest.raises(DetectorError, match=words) as caught:
            simplon.get("count_time")
        assert simplon.address in caught.value.line()
        assert "\n" not in caught.value.line()


@pytest.mark.parametrize("answer", ['{"sequence id": "seven"}', "{}", "7", ""])
def test_a_series_without_a_number_is_none(answer):
    with detector(**{f"{DETECTOR}command__arm": (200, answer)}) as (simplon, _):
        with pytest.raises(DetectorError, match="arm gave no sequence id"):
            simplon.arm()


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "http://", "nothing", "http://host:port", "http://host:99999", "http://[::1"],
)
def test_impossible_addresses_of_a_detector_are_refused(address):
    with pytest.raises(DetectorError, match="is not the address of a detector"):
        Simplon(address)


@pytest.mark.parametrize("host", ["127.0.0.1:9", "x" * 70, "a..b"])
def test_hosts_that_are_not_there_or_cannot_be(host):
    with pytest.raises(DetectorError, match=r"version/: \S"):
        Simplon(f"http://{host}").arm()
