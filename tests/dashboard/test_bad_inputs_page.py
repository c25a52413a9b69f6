"""Bad inputs to the page's server, in a table: each is answered with status and reason, and none causes a fault."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_client import PATIENCE_S, PageClient
from page_in_thread import ACCESS, OPERATOR, VIEWER, Running

from ptylive.dashboard.requests import parse_request


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    running = Running(access=ACCESS, names=("microscope.example",))
    yield running
    running.end()


HTTP: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("GET", "/", {}, 401),
    ("GET", "/", {"Cookie": "ptylive_PORT="}, 401),
    ("GET", "/", {"Cookie": "ptylive_PORT=operator"}, 401),
    ("GET", "/", {"Cookie": "ptylive_PORT=operator.0"}, 401),
    ("GET", "/", {"Cookie": "ptylive_1=VIEWER"}, 401),
    ("GET", "/", {"Cookie": "=;;;=; ptylive_PORT"}, 401),
    ("GET", "/login?token=", {}, 401),
    ("GET", "/login?token=%00%ff", {}, 400),
    ("GET", "/login?token=" + "x" * 10_000, {}, 401),
    ("GET", "/login?token=" + VIEWER + "x", {}, 401),
    ("GET", "/", {"Host": "evil.example", "Cookie": "OPERATOR"}, 403),
    ("GET", "/", {"Host": "<img src=x onerror=alert(1)>", "Cookie": "OPERATOR"}, 400),
    ("GET", "/", {"Host": "", "Cookie": "OPERATOR"}, 403),
    ("GET", "/", {"Host": "127.0.0.1:PORT", "Origin": "http://evil.example", "Cookie": "OPERATOR"}, 403),
    ("GET", "/", {"Host": "127.0.0.1:PORT", "Origin": "null", "Cookie": "OPERATOR"}, 403),
    ("GET", "/ws", {"Cookie": "OPERATOR"}, 403),
    ("GET", "/ws", {"Origin": "http://127.0.0.1:PORT", "Cookie": "VIEWER"}, 403),
    ("GET", "/ws", {"Origin": "http://127.0.0.1:PORT", "Cookie": "OPERATOR"}, 400),
    ("GET", "/download/x/y.png", {"Cookie": "VIEWER"}, 403),
    ("GET", "/download/x/y.png", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/download/../../etc/passwd", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/download/", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/autoload.js?bokeh-session-id=mine", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/metadata", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/static/../app.py", {"Cookie": "OPERATOR"}, 403),
    ("GET", "/static/%2e%2e/%2e%2e/version.py", {"Cookie": "OPERATOR"}, 403),
    ("GET", "/static/extensions/x", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/nowhere", {"Cookie": "OPERATOR"}, 404),
    ("GET", "/view/nowhere", {"Cookie": "VIEWER"}, 404),
    ("POST", "/", {"Cookie": "OPERATOR", "Content-Length": "0"}, 405),
    ("PUT", "/view", {"Cookie": "VIEWER", "Content-Length": "0"}, 405),
    ("POST", "/login", {"Content-Length": "0"}, 405),
)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"), HTTP, ids=[f"{r[0]} {r[1][:30]} {r[3]}" for r in HTTP]
)
def test_a_bad_request_is_refused(
    guarded: Running,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def filled(text: str) -> str:
        for role in ("operator", "viewer"):
            text = text.replace(role.upper(), guarded.cookie(role))
        return text.replace("PORT", str(guarded.dashboard.port))

    with caplog.at_level(logging.ERROR):
        code, _, body = guarded.get(path, method, **{name: filled(value) for name, value in headers.items()})
    assert code == status
    for secret in (OPERATOR.encode(), VIEWER.encode(), b"<img", b"Traceback", b"site-packages"):
        assert secret not in body
    if status in (401, 403) and not path.startswith("/static"):
        assert b"<h1>" in body, "a reason, and what to do"
    assert caplog.records == []


REQUESTS: tuple[str, ...] = (
    "",
    "{",
    "null",
    "[]",
    "3",
    "NaN",
    '{"what": 3}',
    '{"what": "shell"}',
    '{"what": "key", "panel": 99}',
    '{"what": "key", "panel": "first"}',
    '{"what": "depth", "numbers": [NaN]}',
    '{"what": "depth", "numbers": [1e999]}',
    '{"what": "depth", "numbers": "1"}',
    '{"what": "depth", "numbers": [1,2,3,4,5,6,7,8,9]}',
    '{"what": "note", "value": "\\ud800"}',
    json.dumps({"what": "note", "name": "x" * 256}),
    json.dumps({"what": "preset", "value": "x" * 20_000}),
    '{"what": "note", "value": ' + "[" * 15_000 + "]" * 15_000 + "}",
    '{"what": "key", "key": ' + "9" * 5000 + "}",
    "x" * 100_000,
)


@pytest.mark.parametrize("content", REQUESTS, ids=[one[:40] or "empty" for one in REQUESTS])
def test_a_bad_request_of_the_page_is_none(content: str) -> None:
    assert parse_request(content) is None


def test_a_request_that_is_not_http_ends_alone(guarded: Running) -> None:
    for rubbish in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"x" * 100_000, b"\x16\x03\x01\x02\x00"):
        with socket.create_connection(("127.0.0.1", guarded.dashboard.port), timeout=PATIENCE_S) as connection:
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert guarded.get("/", Cookie=guarded.cookie("operator"))[0] == 200


def test_an_export_is_fetched_by_operators_only(guarded: Running, tmp_path: Path) -> None:
    export = tmp_path / "0142_run1_<b>object.tiff"
    export.write_bytes(b"floats" * 100_000)
    offer = guarded.dashboard.downloads.offer
    address = f"/{offer(export)}"
    assert "<" not in address
    code, headers, body = guarded.get(address, Cookie=guarded.cookie("operator"))
    assert (code, body) == (200, export.read_bytes())
    assert headers["Content-Disposition"] == 'attachment; filename="0142_run1__b_object.tiff"'
    assert guarded.get(address)[0] == 401
    assert guarded.get(address, Cookie=guarded.cookie("viewer"))[0] == 403
    link = tmp_path / "link.tiff"
    link.symlink_to("/etc/passwd")
    for other in (link, tmp_path, tmp_path / "gone.tiff", Path("/dev/zero")):
        assert guarded.get(f"/{offer(other)}", Cookie=guarded.cookie("operator"))[0] == 404, other


def forward(to: int) -> tuple[int, socket.socket]:
    """A port of this machine that forwards to another, as ssh -L sets it up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        sink.close()

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", to))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], listener


@pytest.mark.slow
def test_through_a_tunnel_and_behind_a_proxy() -> None:
    running = Running(names=("microscope.example",), prefix="ptylive/")
    port, listener = forward(running.dashboard.port)
    try:
        url = f"http://127.0.0.1:{port}"
        page = running.do(lambda: PageClient.open(url, "/ptylive/"))
        assert 'src="./static/js/bokeh.min.js' in page.page
        assert 'src="/' not in page.page
        assert "bokeh-mathjax" not in page.page
        assert running.get("/ptylive", port=port)[1]["Location"] == "/ptylive/"
        assert running.get("/ptylive/static/js/bokeh.min.js", port=port)[0] == 200
        proxied = {"Host": "microscope.example", "Origin": "https://microscope.example"}
        running.do(lambda: PageClient.open(running.dashboard.url.removesuffix("/ptylive"), "/ptylive/view", **proxied))
        assert running.get("/ptylive/", port=port, Host="evil.example")[0] == 403
    finally:
        listener.close()
        running.end()
