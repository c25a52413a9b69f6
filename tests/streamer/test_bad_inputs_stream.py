"""Bad messages at the data port, one per row, through a real socket: each is refused with a reason and a line that says
what is wrong with it, and a scan that comes between them arrives whole.

The possible content of messages is tested in wire/test_messages.py and protocols/; here it is what reaches a server.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgpack
import pytest
import zmq
from dectris_tools import v1_header, v2_start
from stream_tools import Running, connected, digest, make_frames, make_header, messages_of, running, send

from ptylive.schema import WireError
from ptylive.streamer.events import LogEvent
from ptylive.streamer.protocols import ProtocolSettings, make_inlet
from ptylive.streamer.wire import ArmMessage, encode

HEADER = replace(make_header(), uid="the-scan")
FRAMES = make_frames(HEADER)
NAN, INF = float("nan"), float("inf")
Parts = list[bytes]


def packed(**fields: Any) -> Parts:
    return [msgpack.packb(fields)]


def armed(**changed: Any) -> Parts:
    """The arm message of another scan, with some of its fields replaced."""
    header, *parts = encode(ArmMessage(replace(HEADER, uid="another")))
    fields = {**msgpack.unpackb(bytes(header)), **changed}
    return [msgpack.packb({k: v for k, v in fields.items() if v is not None}), *(bytes(part) for part in parts)]


def frames(data: bytes = FRAMES[:2].tobytes(), **changed: Any) -> Parts:
    fields = {"type": "frames", "uid": HEADER.uid, "seq": 0, "first": 0, "count": 2, "codec": "none", **changed}
    return [msgpack.packb({k: v for k, v in fields.items() if v is not None}), data]


def nested(levels: int) -> Any:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


MESSAGES: tuple[tuple[Parts, str], ...] = (
    ([b""], "not_msgpack"),
    ([b"\xc1"], "not_msgpack"),
    ([b"\xff" * 100], "not_msgpack"),
    ([b"\x91" * 5000], "not_msgpack"),
    ([b"\xdf\xff\xff\xff\xff"], "not_msgpack"),
    ([b"GET / HTTP/1.1\r\n\r\n"], "not_msgpack"),
    ([b"\x00" * 100_000], "oversized"),
    ([b"\x81\xa4type\xa2\xff\xfe"], "not_msgpack"),
    ([b"\x81\xa4type"], "not_msgpack"),
    ([msgpack.packb(["frames"])], "not_msgpack"),
    ([msgpack.packb(7)], "not_msgpack"),
    (v1_header(34, 24, (16, 12)), "not_msgpack"),
    ([json.dumps({"type": "arm"}).encode()], "not_msgpack"),
    (v2_start(7, 24, (16, 12)), "not_msgpack"),
    ([b""] * 40, "not_msgpack"),
    (packed(), "unknown_type"),
    (packed(type=None), "unknown_type"),
    (packed(type=["frames"]), "unknown_type"),
    (packed(type="frames\n\x1b[31m"), "unknown_type"),
    (packed(type="x" * 60_000), "unknown_type"),
    (packed(type=nested(500)), "unknown_type"),
    (packed(command="shutdown"), "unknown_type"),
    (armed(version="1"), "unknown_version"),
    (armed(version=NAN), "unknown_version"),
    (armed(version=2**63), "unknown_version"),
    (armed(uid=None), "bad_arm"),
    (armed(uid=""), "bad_arm"),
    (armed(uid="../../etc/passwd"), "bad_arm"),
    (armed(uid="a\nb"), "bad_arm"),
    (armed(uid="µ"), "bad_arm"),
    (armed(uid=7), "bad_arm"),
    (armed(uid=nested(300)), "bad_arm"),
    (armed(frames=None), "bad_arm"),
    (armed(frames=-1), "bad_arm"),
    (armed(frames=NAN), "bad_arm"),
    (armed(frames=2**63), "bad_arm"),
    (armed(scan="6x7"), "bad_arm"),
    (armed(scan={"shape": [NAN, 7]}), "impossible_value"),
    (armed(scan={"shape": [6, 7, 8]}), "impossible_value"),
    (armed(scan={"shape": nested(300)}), "impossible_value"),
    (armed(detector=None), "bad_arm"),
    (armed(detector={"shape": [8, INF]}), "impossible_value"),
    (armed(detector={"shape": [0, 0]}), "impossible_value"),
    (armed(detector={"shape": [8, 8], "dtype": "V8"}), "impossible_value"),
    (armed(detector={"shape": [8, 8], "dtype": ["<u2"]}), "impossible_value"),
    (armed(basis={"kind": "pickle"}), "impossible_value"),
    (frames(uid="nobody"), "unknown_scan"),
    (frames(uid=None), "bad_frames"),
    (frames(uid=[]), "bad_frames"),
    (frames(first=None), "bad_frames"),
    (frames(first=-1), "bad_frames"),
    (frames(first=True), "bad_frames"),
    (frames(first=NAN), "bad_frames"),
    (frames(first=2**62), "bad_frames"),
    (frames(first=41), "beyond_scan"),
    (frames(count=0), "bad_frames"),
    (frames(count=2**40), "bad_frames"),
    (frames(codec=7), "bad_frames"),
    (frames(codec="pickle"), "bad_frames"),
    (frames(b""), "truncated"),
    (frames(b"1"), "truncated"),
    (frames(bytes(1_000_000)), "oversized"),
    ([*frames(), b"more"], "wrong_parts"),
    (frames()[:1], "wrong_parts"),
    (frames(bytes(9), count=1, codec="bslz4"), "truncated"),
    (packed(type="end"), "bad_end"),
    (packed(type="end", uid="nobody", frames=3, reason="complete"), "unknown_scan"),
    (packed(type="end", uid=HEADER.uid, frames="all", reason="complete"), "bad_end"),
    (packed(type="end", uid=HEADER.uid, frames=3, reason=["x"]), "bad_end"),
    (packed(type="ping"), "bad_ping"),
    (packed(type="ping", uid=3), "bad_ping"),
    (packed(type="ping", uid="nobody", arm=[1]), "bad_ping"),
)
"""Parts of a message, and the reason for which it is refused."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("stream")) as one:
        yield one


@pytest.fixture(scope="module")
def sender(run: Running) -> Iterator["zmq.Socket[bytes]"]:
    with connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), messages_of(HEADER, FRAMES)[0])
        run.wait(lambda: run.receiver.status().frames == 5)
        yield socket


@pytest.mark.parametrize(("parts", "reason"), MESSAGES, ids=[f"{k}-{row[1]}" for k, row in enumerate(MESSAGES)])
def test_a_bad_message_is_refused(run: Running, sender: "zmq.Socket[bytes]", parts: Parts, reason: str) -> None:
    before = dict(run.receiver.status().rejected)
    sender.send_multipart(parts)
    run.wait(lambda: dict(run.receiver.status().rejected) != before)
    after = run.receiver.status().rejected
    assert after == {**before, reason: before.get(reason, 0) + 1}


def test_the_scan_between_them_is_whole(run: Running, sender: "zmq.Socket[bytes]") -> None:
    send(sender, *messages_of(HEADER, FRAMES)[1:])
    run.wait_for_whole(HEADER.uid)
    assert run.frames[HEADER.uid] == {number: digest(frame) for number, frame in enumerate(FRAMES)}
    said = [event.text for event in list(run.events) if isinstance(event, LogEvent)]
    assert all(text.isprintable() and len(text) < 1000 for text in said), said
    assert not any("internal" in text for text in said)


@pytest.mark.parametrize("protocol", ["dectris-v1", "dectris-v2"])
@pytest.mark.parametrize("row", range(len(MESSAGES)))
def test_none_of_them_is_taken_for_a_detectors(protocol: Any, row: int) -> None:
    parts, _ = MESSAGES[row]
    if parts in (v1_header(34, 24, (16, 12)), v2_start(7, 24, (16, 12))):
        return
    inlet = make_inlet(ProtocolSettings(protocol), lambda _words: None)
    with pytest.raises(WireError) as refused:
        list(inlet.take(parts))
    assert refused.value.reason
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000


def test_every_problem_of_a_scan_is_logged() -> None:
    """Of messages of one kind that are refused, only some are logged; of a scan, everything that is wrong with it."""
    with running() as run, connected(run.address) as socket:
        for number in range(2):
            header = replace(HEADER, uid=f"scan-{number}")
            map_, *arrays = encode(ArmMessage(header))
            wrong = {"energy_eV": -80, "convergence_semiangle_mrad": 0}
            fields = {**msgpack.unpackb(bytes(map_)), "optics": wrong}
            socket.send_multipart([msgpack.packb(fields), *arrays])
            send(socket, *messages_of(header, FRAMES))
            run.wait_for_whole(header.uid)
        told = [event.text for event in run.events if isinstance(event, LogEvent)]
        assert [sum(name in text for text in told) for name in ("energy_eV", "convergence_semiangle_mrad")] == [2, 2]
