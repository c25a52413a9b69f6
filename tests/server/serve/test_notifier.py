"""A web address is told of each event once; what could not be delivered at first is not delivered too late."""

import json
import shutil
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ptylive.server.serve import notifier
from ptylive.server.serve.notifier import LOW_DISK_BYTES, MOST_WAITING, SAY_AGAIN_S, TRY_AGAIN_S, Notifier

URL = "http://chat.example/hook"
Usage = namedtuple("Usage", "total used free")


class Lab:
    """A server with a settable status, and a receiver of its messages."""

    def __init__(self, folder: Path | None = None, url: str | None = URL) -> None:
        self.status: dict[str, Any] = {"state": "waiting", "series": "", "uid": "", "lost": 0}
        self.status["refinement"] = {"run": "", "state": "none", "uid": "", "series": ""}
        self.took: list[dict[str, Any]] = []
        self.logged: list[str] = []
        self.refuses: Exception | None = None
        self.now = 0.0
        self.notifier = Notifier(
            lambda: self.status, lambda _level, text: self.logged.append(text), url, folder, self.post
        )

    def post(self, url: str, message: bytes) -> None:
        assert url == URL
        if self.refuses:
            raise self.refuses
        self.took.append(json.loads(message))

    def look(self, after_s: float = 0.5, **status: Any) -> list[str]:
        self.status |= status
        self.now += after_s
        self.notifier.look(self.now)
        return [message["text"] for message in self.took]


def test_each_thing_is_told_once() -> None:
    lab = Lab()
    assert lab.look(state="scanning", series="0142", uid="a") == []
    assert lab.look(lost=1) == ["scan 0142 is losing frames"]
    lab.look(lost=2)
    assert lab.look(state="complete") == ["scan 0142 is losing frames", "scan 0142 is complete"]
    lab.look()
    run = {"run": "run1", "state": "running", "uid": "a", "series": "0142"}
    lab.look(refinement=run)
    assert lab.look(refinement={**run, "state": "done"})[2:] == ["refinement run1 of scan 0142 is done"]
    assert len(lab.look()) == 3
    assert {"what": "scan", "uid": "a", "series": "0142"}.items() <= lab.took[1].items()


def test_a_scan_that_gets_no_more_frames_is_told_once_each_time() -> None:
    lab = Lab()
    assert lab.look(state="scanning", series="0142", uid="a", silent_s=None) == []
    told = ["scan 0142 gets no more frames"]
    assert [lab.look(silent_s=3.2), lab.look(silent_s=3.7)] == [told, told]
    assert lab.look(silent_s=None) == told
    assert lab.look(silent_s=5.0) == 2 * told


def test_a_refinement_that_is_done_is_no_news_of_the_next_scan() -> None:
    """Regression: when the next scan began, the refinement of the one before was announced again, under its name."""
    lab = Lab()
    done = {"run": "run1", "state": "done", "uid": "a", "series": "0142"}
    assert lab.look(state="scanning", series="0143", uid="b", refinement=done) == [
        "refinement run1 of scan 0142 is done"
    ]
    assert (lab.took[0]["uid"], lab.took[0]["series"]) == ("a", "0142")
    assert len(lab.look(series="0144", uid="c")) == 1


def test_two_scans_of_one_name_are_two() -> None:
    lab = Lab()
    lab.look(state="complete", series="gold", uid="a")
    assert lab.look(state="complete", series="gold", uid="b") == ["scan gold is complete"] * 2


def test_what_could_not_be_told_is_told_later_in_its_order_and_complained_of_once() -> None:
    lab = Lab()
    lab.refuses = OSError("connection refused")
    lab.look(state="complete", series="1", uid="a")
    lab.look(series="2", uid="b")
    lab.look(TRY_AGAIN_S)
    assert len(lab.logged) == 1
    assert "connection refused" in lab.logged[0]
    lab.refuses = None
    assert lab.look() == [], "an address that is not there is left in peace for a while"
    assert lab.look(TRY_AGAIN_S) == ["scan 1 is complete", "scan 2 is complete"]


def test_no_more_is_kept_than_somebody_would_read() -> None:
    lab = Lab()
    lab.refuses = OSError("gone")
    for number in range(MOST_WAITING + 5):
        lab.look(state="complete", series=str(number), uid=str(number))
    lab.refuses = None
    assert len(lab.look(TRY_AGAIN_S)) == MOST_WAITING


def test_a_disk_that_fills_is_told_and_said_again_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [2 * LOW_DISK_BYTES]
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(0, 0, free[0]))
    lab = Lab(tmp_path)
    assert lab.look() == []
    free[0] = LOW_DISK_BYTES - 1
    assert len(lab.look()) == 1
    lab.look()
    lab.look(SAY_AGAIN_S)
    assert len(lab.took) == 1
    assert lab.logged == [f"the disk of {tmp_path} is nearly full"] * 2


def test_without_an_address_nothing_is_kept() -> None:
    lab = Lab(url=None)
    assert lab.look(state="complete", series="1", uid="a") == []
    assert not lab.notifier._waiting


def test_a_server_of_the_web_gets_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT_S", 60.0)
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the log of requests off the screen."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        notifier._post(f"http://127.0.0.1:{server.server_port}/hook", b'{"text": "scan 1 is complete"}')
        thread.join()
    assert got == [{"text": "scan 1 is complete"}]


def test_a_drift_beyond_its_bound_is_told_once() -> None:
    lab = Lab()
    small, large = ({"A": length, "bound_A": 3.2, "since": "1"} for length in (1.0, 12.0))
    lab.look(state="complete", series="2", uid="a", drift=small)
    assert lab.took[-1]["what"] == "scan"
    lab.look(state="complete", series="2", uid="a", drift=large)
    assert lab.took[-1]["what"] == "drift"
    assert len(lab.look()) == 2
