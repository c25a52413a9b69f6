"""Files uploaded by a browser: hidden until complete, one at a time, and nothing left of an interrupted upload."""

import errno
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from browser_tools import eventually
from page_in_thread import ACCESS, Running

from ptylive.dashboard.web import uploads as module
from ptylive.dashboard.web.uploads import hidden
from ptylive.schema import CommandError

CONTENT = bytes(range(256)) * 1000


class Folder:
    """A dashboard with tokens whose server accepts files into ``path``, or says why not."""

    def __init__(self, path: Path) -> None:
        self.path, self.refusal, self.there = path, "", False
        self.running = Running(access=ACCESS)
        self.running.dashboard._application.uploads.ask = self._ask

    def _ask(self, name: str, size: int) -> Future[dict[str, Any]]:
        told: Future[dict[str, Any]] = Future()
        if self.refusal:
            told.set_exception(CommandError(self.refusal, "do something else"))
        else:
            told.set_result({"path": str(self.path / name), "there": self.there})
        return told

    @property
    def coming(self) -> str:
        return self.running.dashboard._application.uploads.name

    def headers(self, role: str = "operator", **more: str) -> dict[str, str]:
        origin = f"http://127.0.0.1:{self.running.dashboard.port}"
        return {"Cookie": self.running.cookie(role), "Origin": origin, **more}

    def call(
        self, method: str, query: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.running.dashboard.port, timeout=60)
        connection.request(method, f"/upload?{query}", body, self.headers() if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        told = json.loads(text) if answer.headers["Content-Type"].startswith("application/json") else {}
        return answer.status, told

    def begin(self, name: str, announced: int, sent: bytes) -> socket.socket:
        """Send part of a file, then stop."""
        connection = socket.create_connection(("127.0.0.1", self.running.dashboard.port))
        head = [f"POST /upload?name={name}&bytes={announced} HTTP/1.1"]
        given = {**self.headers(), "Host": f"127.0.0.1:{self.running.dashboard.port}", "Content-Length": str(announced)}
        head += [f"{key}: {value}" for key, value in given.items()]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + sent)
        return connection


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    found = Folder(tmp_path)
    yield found
    found.running.end()


def test_a_file_is_brought_whole(folder: Folder) -> None:
    query = f"name=a.h5&bytes={len(CONTENT)}"
    assert folder.call("GET", query) == (200, {"file": "a.h5", "there": False})
    assert list(folder.path.iterdir()) == [], "asked only"
    hidden(folder.path / "a.h5").write_bytes(b"left by a dashboard that was killed")
    assert folder.call("POST", query, CONTENT) == (200, {"file": "a.h5", "there": False})
    assert (folder.path / "a.h5").read_bytes() == CONTENT
    assert [one.name for one in folder.path.iterdir()] == ["a.h5"]
    assert folder.coming == ""


def test_a_large_file_is_no_request_of_the_usual_size(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.running.do(lambda: _set(folder.running.dashboard._web.conn_params, max_body_size=1000))
    assert folder.call("POST", f"name=a.h5&bytes={len(CONTENT)}", CONTENT)[0] == 200
    assert (folder.path / "a.h5").stat().st_size == len(CONTENT)


async def _set(what: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(what, name, value)


def test_what_is_there_is_not_brought_again(folder: Folder) -> None:
    folder.there = True
    assert folder.call("GET", "name=a.h5&bytes=5") == (200, {"file": "a.h5", "there": True})
    assert folder.call("POST", "name=a.h5&bytes=5", b"12345")[1]["there"]
    assert list(folder.path.iterdir()) == []


def test_the_reason_of_the_server_is_told(folder: Folder) -> None:
    folder.refusal = "no room"
    for method in ("GET", "POST"):
        status, told = folder.call(method, "name=a.h5&bytes=5", b"12345" if method == "POST" else None)
        assert (status, told) == (409, {"error": "no room: do something else"})
    assert (list(folder.path.iterdir()), folder.coming) == ([], "")


@pytest.mark.parametrize(
    ("method", "query", "body", "status"),
    [
        ("POST", "name=a.h5&bytes=4", b"12345", 400),
        ("POST", "name=a.h5", b"12345", 400),
        ("GET", "name=a.h5&bytes=-5", None, 400),
        ("GET", "name=a.h5&bytes=1e3", None, 400),
        ("PUT", "name=a.h5&bytes=5", b"12345", 405),
        ("DELETE", "name=a.h5&bytes=5", None, 405),
    ],
)
def test_other_requests_are_refused(folder: Folder, method: str, query: str, body: bytes | None, status: int) -> None:
    found, told = folder.call(method, query, body)
    assert found == status
    assert told["error"]
    assert (list(folder.path.iterdir()), folder.coming) == ([], "")


def test_operators_only_and_from_this_page_only(folder: Folder) -> None:
    query = "name=a.h5&bytes=5"
    assert folder.call("POST", query, b"12345", folder.headers("viewer"))[0] == 403
    assert folder.call("POST", query, b"12345", {})[0] == 401
    assert folder.call("POST", query, b"12345", folder.headers(Origin="http://elsewhere.example"))[0] == 403
    without = {"Cookie": folder.running.cookie("operator")}
    assert folder.call("POST", query, b"12345", without) == (
        403,
        {"error": "files are accepted from the page of this dashboard only"},
    )
    assert list(folder.path.iterdir()) == []


def test_nothing_is_kept_of_a_file_that_is_cut_off_and_another_waits_meanwhile(folder: Folder) -> None:
    connection = folder.begin("a.h5", 1000, b"x" * 600)
    eventually(lambda: hidden(folder.path / "a.h5").exists())
    assert not (folder.path / "a.h5").exists()
    status, told = folder.call("POST", "name=b.h5&bytes=5", b"12345")
    assert (status, told) == (409, {"error": "a.h5 is being uploaded: wait until it has arrived"})
    assert folder.coming == "a.h5", "who was refused ends nothing of others"
    connection.close()
    eventually(lambda: folder.coming == "")
    assert list(folder.path.iterdir()) == []
    assert folder.call("POST", "name=b.h5&bytes=5", b"12345")[0] == 200


def test_a_disk_that_is_full_is_said(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: Any, _path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "finished", full)
    status, told = folder.call("POST", "name=a.h5&bytes=5", b"12345")
    assert (status, told) == (507, {"error": "a.h5 was not kept: No space left on device"})
    assert list(folder.path.iterdir()) == []


def test_a_file_that_came_meanwhile_stays_as_it_is(folder: Folder) -> None:
    connection = folder.begin("a.h5", 6, b"123")
    eventually(lambda: hidden(folder.path / "a.h5").exists())
    (folder.path / "a.h5").write_bytes(b"other")
    connection.sendall(b"456")
    assert b"another file of that name was created in the meantime" in connection.recv(4096)
    connection.close()
    assert (folder.path / "a.h5").read_bytes() == b"other"
    assert [one.name for one in folder.path.iterdir()] == ["a.h5"]


def test_a_folder_that_cannot_be_written_is_said(folder: Folder) -> None:
    folder.path = folder.path / "gone"
    status, told = folder.call("POST", "name=a.h5&bytes=5", b"12345")
    assert (status, told) == (507, {"error": "a.h5 cannot be written: No such file or directory"})
