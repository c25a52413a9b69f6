"""Commands of the control socket: the scan they are for, and `status`, which waits for none of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ptylive.schema import CommandError
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.serve.control import MOST_WAITING, ControlServer
from ptylive.server.wire.client import ControlClient


class Commands:
    """One command that records its call, and one with an argument."""

    def command_save(self) -> dict[str, Any]:
        return {"saved": True}

    def command_keep(self, text: str = "") -> dict[str, Any]:
        return {}


def control(shown: Any) -> ControlServer:
    server = ControlServer.__new__(ControlServer)  # without a socket: only its handling of commands
    server._session = SimpleNamespace(shown=shown, commands=(Commands(),))
    return server


def test_a_command_for_another_scan_is_refused() -> None:
    shown = SimpleNamespace(uid="scan-2", header=SimpleNamespace(series="0143"))
    assert control(shown)._answer("save", {}) == {"saved": True}
    assert control(shown)._answer("save", {"if_shown": "scan-2"}) == {"saved": True}
    with pytest.raises(CommandError, match="scan '0143' is displayed now"):
        control(shown)._answer("save", {"if_shown": "scan-1"})
    with pytest.raises(CommandError, match="no scan is displayed now"):
        control(None)._answer("save", {"if_shown": "scan-1"})


def test_the_log_says_who_did_what(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, str]] = []
    server = control(None)
    server._session.publisher = SimpleNamespace(log=lambda *words: told.append(words))
    assert server._answer("save", {"by": "anna"}) == {"saved": True}
    server._answer("keep", {"by": "ben", "text": "a\x1b[31m" + "b" * 200})
    server._answer("save", {})
    assert told[0] == ("info", "anna: save")
    assert told[1][1].startswith("ben: keep of text 'a\\x1b[31mbb")
    assert len(told) == 2 and len(told[1][1]) < 100
    assert [record.getMessage() for record in caplog.records] == [line for _, line in told]


@pytest.mark.parametrize("name", ["a\nb", "", 7, "x" * 99])
def test_who_it_is_has_to_be_a_name(name: object) -> None:
    with pytest.raises(CommandError, match="not a valid operator name"):
        control(None)._answer("save", {"by": name})


class Session:
    """A session with a command that blocks until it is released."""

    keys = shown = None

    def __init__(self) -> None:
        self.waits, self.go_on = threading.Event(), threading.Event()
        self.publisher = SimpleNamespace(publish=lambda *_: None)
        self.commands = (self,)

    def command_status(self) -> dict[str, Any]:
        return {"uid": "", "state": "waiting"}

    def command_save(self) -> dict[str, Any]:
        self.waits.set()
        assert self.go_on.wait(120)
        return {"results": "saved"}

    def command_open(self) -> dict[str, Any]:
        return {"uid": "opened"}

    def command_check(self) -> dict[str, Any]:
        return self.command_save()

    def command_refine(self) -> dict[str, Any]:
        return {"run": "run1"}


@contextmanager
def waiting_in(command: str) -> Iterator[tuple[ControlServer, str, list[dict[str, Any]]]]:
    """A server in which a command waits, its address, and the replies to the command once it may go on."""
    session, (_, address) = Session(), free_addresses()
    server = ControlServer(address, session)  # type: ignore[arg-type]
    server.start()
    replies: list[dict[str, Any]] = []

    def ask() -> None:
        with ControlClient(address, timeout_s=120.0) as client:
            replies.append(client.call(command))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert session.waits.wait(60)
        yield server, address, replies
    finally:
        session.go_on.set()
        asking.join(60)
        server.stop()


def test_status_is_answered_while_a_command_waits_for_a_disk() -> None:
    with waiting_in("save") as (server, address, saved), ControlClient(address, timeout_s=20.0) as client:
        assert client.call("status")["state"] == "waiting"
        assert client.call("open")["uid"] == "opened", "files are opened beside it"
        server._doing.maxsize = 0
        for _ in range(MOST_WAITING):
            server._doing.put((b"nobody", {"command": "save"}))
        server._doing.maxsize = MOST_WAITING
        with pytest.raises(CommandError, match=f"{MOST_WAITING} commands are already waiting"):
            client.call("save")
    assert saved == [{"results": "saved"}]


def test_a_check_that_takes_long_delays_neither_commands_nor_files() -> None:
    """Regression: a refinement could not be begun for ten seconds, while a fine phase was filtered for a check."""
    with waiting_in("check") as (_, address, checked), ControlClient(address, timeout_s=20.0) as client:
        assert client.call("refine")["run"] == "run1"
        assert client.call("open")["uid"] == "opened"
        assert checked == [], "the check still waits"
    assert checked == [{"results": "saved"}]
