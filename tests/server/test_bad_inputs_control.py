"""Bad inputs at the control socket, one per row: each is answered with one line that names what is wrong with it.

The session is a real one that shows a past scan; only the last test sends anything over a socket.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from stream_tools import make_frames, make_header, stored_recording
from told_messages import is_on_the_page

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, CommandError, LiveMap
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve.arguments import checked
from ptylive.server.serve.control import ControlServer
from ptylive.server.serve.session import Session
from ptylive.server.wire.client import ControlClient
from ptylive.server.wire.messages import unpack

LONG = "x" * 100_000
ODD = "µ😀\n\x1b[31m"
SPOT = {"name": "a", "center_px": [1, 1], "outer_px": 2}
NAN, INF = float("nan"), float("inf")


def nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


REQUESTS: tuple[tuple[dict[Any, Any], str], ...] = (
    ({}, "unknown command ''"),
    ({"command": None}, "unknown command None"),
    ({"command": 7}, "unknown command 7"),
    ({"command": ["status"]}, "unknown command ['status']"),
    ({"command": {"status": 1}}, "unknown command {'status': 1}"),
    ({"command": b"\xff"}, "unknown command b'"),
    ({"command": "Status"}, "unknown command 'Status': did you mean 'status'?"),
    ({"command": "anything"}, "unknown command 'anything': choose from align, analyse"),
    ({"command": "command_status"}, "unknown command"),
    ({"command": "__init__"}, "unknown command"),
    ({"command": "status\n"}, "unknown command"),
    ({"command": ODD}, "unknown command"),
    ({"command": LONG}, "unknown command"),
    ({"command": "../../etc/passwd"}, "unknown command"),
    ({"command": nested(900)}, "more than 32 levels"),
    ({"id": nested(900), "command": "status"}, "more than 32 levels"),
    ({"command": "history", "limit": nested(900)}, "more than 32 levels"),
    ({"command": "configure", "values": {"a": nested(40)}}, "more than 32 levels"),
    ({b"command": "status"}, "a map has the key b'command': keys must be text"),
    ({"command": "status", b"\xff": 1}, "a map has the key"),
    ({"command": "configure", "values": {b"energy_eV": 80e3}}, "a map has the key b'energy_eV'"),
    ({"command": "status", "x": 1}, "status has no argument 'x': its arguments are: none"),
    ({"command": "status", "self": 1}, "status has no argument 'self'"),
    ({"command": "status", ODD: 1}, "status has no argument"),
    ({"command": "status", LONG: 1}, "status has no argument"),
    ({"command": "status", "if_shown": "another"}, "the command was for another"),
    ({"command": "save", "if_shown": 7}, "the command was for another"),
    ({"command": "save", "if_shown": {"x": [1]}}, "the command was for another"),
    ({"command": "watch"}, "watch needs viewer, text"),
    ({"command": "watch", "viewer": None}, "watch: viewer must be text, not None"),
    ({"command": "watch", "viewer": ["me"], "maps": []}, "watch: viewer must be text"),
    ({"command": "watch", "viewer": "me", "maps": 3}, "watch: maps must be a list of names, not 3"),
    ({"command": "watch", "viewer": "me", "maps": [["obf"]]}, "watch: maps must be a list of names"),
    ({"command": "watch", "viewer": "me", "maps": [str(k) for k in range(300)]}, "256 maps"),
    ({"command": "received"}, "received needs uid"),
    ({"command": "received", "uid": []}, "received: uid must be text, not []"),
    ({"command": "received", "uid": {"x": 1}}, "received: uid must be text"),
    ({"command": "snapshot", "uid": ["a"]}, "snapshot: uid must be text"),
    ({"command": "snapshot", "uid": "nobody"}, "nobody"),
    ({"command": "snapshot", "uid": LONG}, "not in memory"),
    ({"command": "record", "on": "yes"}, "record: on must be true or false, not 'yes'"),
    ({"command": "record", "on": 1}, "record: on must be true or false"),
    ({"command": "record", "on": LONG}, "record: on must be true or false"),
    ({"command": "configure"}, "configure needs values, a map of names to values"),
    ({"command": "configure", "values": "energy_eV=80e3"}, "configure: values must be a map"),
    ({"command": "configure", "values": [["energy_eV", 80e3]]}, "configure: values must be a map"),
    ({"command": "configure", "values": {"energy_eV": 80e3}, "pin": "yes"}, "configure: pin must be true or false"),
    ({"command": "configure", "values": {"energy_eV": NAN}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": [1, 2]}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": {"x": 1}}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": b"\xff\x00"}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": True}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": LONG}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": ODD}}, "energy_eV"),
    ({"command": "configure", "values": {"energy_eV": 2**63}}, "energy_eV"),
    ({"command": "configure", "values": {"scan_step_A": [NAN, 1]}}, "scan_step_A"),
    ({"command": "configure", "values": {"scan_shape": [2**40, 2**40]}}, "impossible scan shape"),
    ({"command": "configure", "values": {"scan_shape": [9, 9]}}, "needs 81 frames, the scan has 42"),
    ({"command": "configure", "values": {"optics": {"energy_eV": -1}}}, "unknown setting 'optics'"),
    ({"command": "configure", "values": {"": 1}}, "unknown setting ''"),
    ({"command": "configure", "values": {ODD: 1}}, "unknown setting"),
    ({"command": "configure", "values": {"uid": "x"}}, "uid"),
    ({"command": "release", "names": 3}, "release: names must be a list of names, not 3"),
    ({"command": "release", "names": [None]}, "release: names must be a list of names"),
    ({"command": "release", "names": ["energie_eV"]}, "did you mean"),
    ({"command": "release"}, "none of these values is pinned"),
    ({"command": "calibrate", "names": {"C10": 1}}, "calibrate: names must be a list of names"),
    ({"command": "calibrate", "names": ["C10", "C99"]}, "cannot estimate C99: choose from"),
    ({"command": "calibrate", "names": [ODD]}, "cannot estimate"),
    ({"command": "undo"}, "nothing to undo"),
    ({"command": "align", "order": 7}, "order=7 is not possible"),
    ({"command": "align", "rounds": 10**9}, "rounds=1000000000 is not possible"),
    ({"command": "align", "bin_px": NAN}, "bin_px"),
    ({"command": "align", "bin_px": 1e-9}, "bin_px"),
    ({"command": "align", "reference": "centr"}, "centre"),
    ({"command": "detectors", "detectors": [{"name": "a", "what": 5}]}, "as text"),
    ({"command": "detectors", "detectors": [{"name": "a", "what": "/etc/passwd.npy"}]}, "at the start of the server"),
    ({"command": "detectors", "detectors": [{"name": "a", "what": "above:7"}]}, "above"),
    ({"command": "detectors", "detectors": 5}, "detectors: detectors must be a list of maps, not 5"),
    ({"command": "detectors", "detectors": "disc"}, "detectors: detectors must be a list of maps"),
    ({"command": "detectors", "detectors": [[]]}, "detectors: detectors must be a list of maps"),
    ({"command": "detectors", "detectors": [{}]}, "name"),
    ({"command": "detectors", "detectors": [{"name": "a/b", "center_px": [1, 1], "outer_px": 2}]}, "name"),
    ({"command": "detectors", "detectors": [{"name": "a", "center_px": [1], "outer_px": 2}]}, "center_px"),
    ({"command": "detectors", "detectors": [{"name": "a", "center_px": [NAN, 1], "outer_px": 2}]}, "center_px"),
    ({"command": "detectors", "detectors": [{"name": "a", "center_px": [1, 1], "outer_px": -2}]}, "outer_px"),
    ({"command": "detectors", "detectors": [{"name": "a", "center_px": [1, 1], "outer_px": 1e9}]}, "outer_px"),
    ({"command": "detectors", "detectors": [{**SPOT, "inner_px": 2}]}, "less"),
    ({"command": "detectors", "detectors": [{**SPOT, "x": 1}]}, "x"),
    ({"command": "detectors", "detectors": [{**SPOT, "name": f"a{k}"} for k in range(9)]}, "at most 8 detectors"),
    ({"command": "detectors", "detectors": [SPOT, SPOT]}, "each with its own name"),
    ({"command": "trotter", "q_invA": "strongest"}, "trotter: q_invA must be a list of finite numbers"),
    ({"command": "trotter", "q_invA": [NAN, 0]}, "trotter: q_invA must be a list of finite numbers"),
    ({"command": "trotter", "q_invA": [0.1, 0.2]}, "no frames of this scan are in memory"),
    ({"command": "check", "preset": 3}, "check: preset must be a map"),
    ({"command": "check", "preset": {"epoch_max": "many"}}, "epoch_max"),
    ({"command": "check", "preset": {"epochs": 3}}, "epochs"),
    ({"command": "refine", "preset": "sharp"}, "refine: preset must be a map"),
    ({"command": "refine", "preset": {"epoch_max": 0}}, "epoch_max"),
    ({"command": "refine", "preset": {"epoch_max": NAN}}, "epoch_max"),
    ({"command": "refine", "preset": {"epoch_max": 2**63}}, "epoch_max"),
    ({"command": "refine", "preset": {"update_probe": "__import__('os')"}}, "update_probe"),
    ({"command": "refine", "preset": {"update_probe": "epoch" + " + epoch" * 20_000}}, "update_probe"),
    ({"command": "refine", "values": [1]}, "refine: values must be a map"),
    ({"command": "refine", "values": {"energy_eV": -1}}, "energy_eV"),
    ({"command": "refine", "queue": "no"}, "refine: queue must be true or false"),
    ({"command": "refine", "during_scan": 3}, "refine: during_scan must be true or false"),
    ({"command": "refine_stop"}, "no refinement is running"),
    ({"command": "refine_resume"}, "no refinement to resume"),
    ({"command": "refine_resume", "epochs": "many"}, "epochs"),
    ({"command": "refine_withdraw"}, "refine_withdraw needs run"),
    ({"command": "refine_withdraw", "run": ["run1"]}, "refine_withdraw: run must be text"),
    ({"command": "refine_withdraw", "run": "run1"}, "no refinement 'run1' waits"),
    ({"command": "runs", "pictures": 1}, "runs: pictures must be a list of names"),
    ({"command": "runs", "pictures": ["run1"]}, "there is no refinement 'run1' in"),
    ({"command": "runs", "pictures": ["../../run1"]}, "there is no refinement"),
    ({"command": "pattern"}, "pattern needs point"),
    ({"command": "pattern", "point": None}, "pattern: point must be a list of finite numbers, not None"),
    ({"command": "pattern", "point": "1,2"}, "pattern: point must be a list of finite numbers"),
    ({"command": "pattern", "point": [INF, 0]}, "pattern: point must be a list of finite numbers"),
    ({"command": "pattern", "point": [None, 0]}, "pattern: point must be a list of finite numbers"),
    ({"command": "pattern", "point": [1]}, "a point is given as ROW, COLUMN: two whole numbers, from 0"),
    ({"command": "pattern", "point": [0.5, 1]}, "a point is given as ROW, COLUMN"),
    ({"command": "pattern", "point": [0, 2**62]}, "lies outside this scan of 6 x 7 points"),
    ({"command": "pattern", "point": [-1, 0]}, "lies outside this scan"),
    ({"command": "pattern", "point": [0, 0], "to": [6, 0]}, "point 6, 0 lies outside this scan"),
    ({"command": "pattern", "point": [0, 0], "to": [NAN, 0]}, "pattern: to must be a list of finite numbers"),
    ({"command": "reflections", "cell": "auto"}, "reflections: cell must be a list of finite numbers"),
    ({"command": "reflections", "cell": [INF, 4, 90]}, "reflections: cell must be a list of finite numbers"),
    ({"command": "reflections", "cell": [4, 4]}, "cell"),
    ({"command": "reflections", "cell": [4, 4, 90], "number": "all"}, "reflections: number must be a whole number"),
    ({"command": "reflections", "cell": [4, 4, 90], "number": -1}, "-1 reflections: give 1 to 32"),
    ({"command": "fetch", "recordings": 5}, "fetch: recordings must be a list of names"),
    ({"command": "fetch", "recordings": ["../x.h5"]}, "there is no recording"),
    ({"command": "metadata", "recording": "../x.h5"}, "there is no recording"),
    ({"command": "metadata", "recording": ["a.h5"]}, "metadata: recording must be text"),
    ({"command": "runs_of", "recording": "../x.h5"}, "there is no recording"),
    ({"command": "runs_of", "recording": "nowhere.h5", "pictures": 3}, "runs_of: pictures must be a list of names"),
    ({"command": "analyse"}, "analyse needs run"),
    ({"command": "analyse", "run": 1, "line_A": "0,0,1,1"}, "analyse: line_A must be a list of finite numbers"),
    ({"command": "analyse", "run": "run1", "line_A": [0, 0, 1, INF]}, "line_A must be a list of finite numbers"),
    ({"command": "analyse", "run": "run1", "line_A": [0, 1]}, "_results.h5 holds no refinement"),
    ({"command": "history", "limit": "all"}, "history: limit must be a whole number, not 'all'"),
    ({"command": "history", "limit": INF}, "history: limit must be a whole number, not inf"),
    ({"command": "history", "limit": NAN}, "history: limit must be a whole number, not nan"),
    ({"command": "history", "limit": 1.5}, "history: limit must be a whole number, not 1.5"),
    ({"command": "history", "offset": [0]}, "history: offset must be a whole number"),
    ({"command": "history", "refined": "yes"}, "history: refined must be true or false"),
    ({"command": "history", "since": "yesterday"}, "since must be a date as YYYY-MM-DD, not 'yesterday'"),
    ({"command": "history", "until": [1]}, "history: until must be text"),
    ({"command": "history", "match": ["a"]}, "history: match must be text"),
    ({"command": "note", "text": "a", "author": ["me"]}, "note: author must be text"),
    ({"command": "open", "recording": ["a.h5"]}, "open: recording must be text"),
    ({"command": "open", "recording": "nowhere.h5"}, "there is no recording 'nowhere.h5'"),
    ({"command": "open", "recording": "../../etc/passwd"}, "there is no recording '../../etc/passwd'"),
    ({"command": "open", "recording": "/dev/zero"}, "there is no recording '/dev/zero'"),
    ({"command": "open", "recording": LONG + ".h5"}, "there is no recording"),
    ({"command": "open", "recording": "a\0b.h5"}, "there is no recording"),
    ({"command": "open", "recording": ODD + ".h5"}, "there is no recording"),
    ({"command": "open", "recording": "text.h5"}, "text.h5 is not an HDF5 file"),
    ({"command": "open", "recording": "folder.h5"}, "there is no recording"),
    ({"command": "open", "recording": "fifo.h5"}, "there is no recording"),
    ({"command": "note", "text": LONG}, "at most 2000 characters"),
    ({"command": "note", "text": ["a"]}, "note: text must be text"),
    ({"command": "note", "text": "a", "recording": "../x.h5"}, "there is no recording"),
    ({"command": "replay", "recording": 5.5}, "there is no recording '5.5'"),
    ({"command": "replay", "recording": "nowhere.h5", "rate": "fast"}, "replay: rate must be a finite number"),
    ({"command": "replay", "recording": "RECORDING", "rate": -1}, "rate -1.0 is not a number of frames"),
    ({"command": "delete"}, "delete needs recording"),
    ({"command": "delete", "recording": "RECORDING"}, "give sure=true"),
    ({"command": "delete", "recording": "RECORDING", "sure": 1}, "delete: sure must be true or false"),
    ({"command": "delete", "recording": "RECORDING", "sure": True}, "is being displayed"),
    ({"command": "delete", "recording": "*.h5", "sure": True}, "there is no recording '*.h5'"),
    ({"command": "export"}, "export needs map"),
    ({"command": "export", "map": ["obf"]}, "export: map must be text"),
    ({"command": "export", "map": "../obf"}, "there is no map '../obf'"),
    ({"command": "export", "map": "slice:x"}, "has not been refined"),
    ({"command": "export", "map": "obf", "formats": ["exe"]}, "exe"),
    ({"command": "export", "map": "obf", "formats": "exe"}, "cannot export 'exe': choose from png"),
    ({"command": "export", "map": "obf", "formats": 3}, "export: formats must be a list of names"),
    ({"command": "export", "map": "obf", "colour_map": "../x"}, "unknown colour map '../x': choose from"),
    ({"command": "export", "map": "obf", "limits": [1]}, "limits"),
    ({"command": "export", "map": "obf", "limits": [2, 1]}, "limits"),
    ({"command": "export", "map": "obf", "limits": [NAN, 1]}, "export: limits must be a list of finite numbers"),
    ({"command": "arm", "frames": "all"}, "arm: frames must be a whole number"),
    ({"command": "arm", "settings": [1]}, "arm: settings must be a map"),
    ({"command": "arm"}, "detector_api"),
    ({"command": "trigger"}, "detector_api"),
    ({"command": "disarm"}, "detector_api"),
)  # fmt: skip
"""Request and words of the answer; RECORDING: the one being shown."""

MESSAGES: tuple[bytes, ...] = (
    b"",
    b"\xc1",
    b"\xff" * 1000,
    b"\x91" * 5000,
    b"\x81" * 2000,
    b"\x81\xa7command",
    b"\xa6status",
    msgpack.packb(["status"]),
    msgpack.packb({"command": "status"}) + b"\x00",
    msgpack.packb({"command": "status"})[:-1],
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa7command\xc4\xff",
    b"\x81\x90\xa6status",
    b"\x81\xa7command\xa2\xff\xfe",
    b"\x81\xa7command\xd6\xff\xff\xff\xff\xff\xff",
    b"GET / HTTP/1.1\r\n\r\n",
    b"status",
    b"\x00" * 100_000,
)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlServer]:
    folder = tmp_path_factory.mktemp("control")
    header = make_header()
    recording = stored_recording(folder, header, make_frames(header))
    obf = LiveMap("obf", np.arange(42, dtype=np.float32).reshape(6, 7), "rad", (1.0, 1.0), 42, "obf")
    write_maps(folder / f"{recording.stem}_results.h5", [obf], np.ones((6, 7), bool), Calibration(), {})
    (folder / "text.h5").write_text("no recording")
    (folder / "folder.h5").mkdir()
    os.mkfifo(folder / "fifo.h5")
    data, address = free_addresses()
    session = Session(ServerConfig(data=data, control=address, record=str(folder), metrics=None))
    server = ControlServer(address, session)
    session.start()
    server.start()
    session.library.command_open(recording.name)
    server.recording = recording.name  # type: ignore[attr-defined]
    yield server
    server.stop()
    session.stop()


def test_requests_are_answered(control: Any) -> None:
    """All in one test, for one session: workers that share the requests would start one each."""
    for request_, words in REQUESTS:
        filled = {key: control.recording if value == "RECORDING" else value for key, value in request_.items()}
        reply = unpack(control._reply({"id": 5, **filled}))
        asked = str(request_)[:70]
        assert reply["ok"] is False, asked
        said = reply["error"]
        assert words in said, asked
        assert said.isprintable(), asked
        assert is_on_the_page(said), f"python tools/write_tables.py: {asked}"
        assert len(said) <= 2000, asked
        for fault in ("internal error", "bad request", "Traceback", "object is not", "object has no"):
            assert fault not in said, asked
        assert reply["id"] == 5 or "id" in request_, asked


@pytest.mark.parametrize("request_", [{"command": "export", "map": "obf"}, {"command": "note", "text": "a"}], ids=str)
def test_a_full_disk_is_told_with_the_files_name(control: Any, request_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for way in ("write_bytes", "write_text"):
        monkeypatch.setattr(Path, way, full)
    reply = unpack(control._reply(dict(request_)))
    assert "could not be written" in reply["error"]
    assert control.recording.removesuffix(".h5") in reply["error"]
    assert "No space left on device: make room" in reply["error"]


def test_what_the_disk_refuses_is_no_fault_of_the_program(control: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error", "/somewhere/else\n.h5")

    monkeypatch.setattr(control._session, "command_scans", broken)
    reply = unpack(control._reply({"command": "scans"}))
    assert reply["error"].startswith("/somewhere/else\\n.h5: Input/output error: is there space")


@pytest.mark.parametrize("group", range(6))
def test_every_command_says_of_what_kind_its_arguments_are(control: Any, group: int) -> None:
    found = control._session.commands[group]
    names = [name for name in dir(found) if name.startswith("command_")]
    for name in names:
        try:
            checked(name, getattr(found, name), {"no such": 1})
        except Exception as error:
            assert "has no argument 'no such'" in str(error)
    assert names


def test_messages_that_are_none_are_answered_and_the_next_one_too(control: Any) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(control._session.config.control)
    for message in MESSAGES:
        socket.send(message)
        assert socket.poll(60_000), message[:40]
        reply = unpack(socket.recv())
        assert (reply["id"], reply["ok"]) == (None, False)
        assert reply["error"].startswith("bad request: not a msgpack m"), message[:40]
        assert reply["error"].isprintable()
    for key in ("id", "command"):
        socket.send(msgpack.packb({"command": "status", key: nested(900)}))
        assert socket.poll(60_000)
        assert unpack(socket.recv())["ok"] is False
    socket.send_multipart(
        [msgpack.packb({"id": 1, "command": "status"})[:5], msgpack.packb({"id": 1, "command": "status"})[5:]]
    )
    assert socket.poll(60_000)
    assert unpack(socket.recv())["ok"] is True
    context.destroy(linger=0)


@pytest.mark.parametrize("values", [{"a": nested(40)}, {1: 2}], ids=["deep", "key"])
def test_a_client_is_told_of_what_cannot_be_read(control: Any, values: Any) -> None:
    """Regression: the reply had no id, and the client waited for another until it gave the server up."""
    with (
        ControlClient(control._session.config.control, timeout_s=30.0) as client,
        pytest.raises(CommandError, match=r"levels deep|not allowed for map key"),
    ):
        client.call("configure", values=values)


def test_a_client_sends_nothing_that_the_server_would_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptylive.server.wire.client.MAX_MESSAGE_BYTES", 2**20)
    with (
        ControlClient("tcp://127.0.0.1:1") as client,
        pytest.raises(CommandError, match=r"note with these arguments has 2 MiB\s*send at most 1 MiB"),
    ):
        client.call("note", text="x" * 2**21)
