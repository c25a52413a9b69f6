"""Images of stream2 in the compiled loop: what it accepts equals what Python reads; it leaves the rest to Python."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
import zmq
from dectris_tools import inlet, patterns, v2_array, v2_end, v2_image, v2_start
from stream_tools import digest, running

from ptylive.schema import ScanHeader, WireError
from ptylive.streamer.fast.bslz4 import DECODED, check_bslz4
from ptylive.streamer.fast.header import new_values
from ptylive.streamer.fast.map_header import NUMBER, START, STOP, read_image_map
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.dectris_v2 import DectrisV2, decode_cbor, stored_array
from ptylive.streamer.protocols.image_template import CborImageTemplate
from ptylive.streamer.wire import ArmMessage

SHAPE = (16, 12)
FRAMES = patterns()


def learnt(unique: str | None = "A", **fields: Any) -> CborImageTemplate | None:
    """State of an inlet after the first image of a series."""
    reader = inlet("dectris-v2")
    image = changed(v2_image(7, 0, FRAMES[0], "bslz4", unique)[0], **fields)
    for message in (v2_start(7, len(FRAMES), SHAPE, unique), [image]):
        list(reader.take(message))
    template = reader.template()
    assert template is None or isinstance(template, CborImageTemplate)
    return template


def changed(message: bytes, **fields: Any) -> bytes:
    """A message with other fields; None removes a field."""
    known = {**cbor2.loads(message), **fields}
    return cbor2.dumps({key: value for key, value in known.items() if value is not None})


def understood(template: CborImageTemplate, message: bytes) -> tuple[int, bytes] | None:
    """Number and encoded pattern as the compiled reader sees them; None if it leaves the message to Python."""
    values = new_values()
    series, unique, before = (np.frombuffer(b, np.uint8) for b in (template.series, template.unique, template.before))
    data = np.frombuffer(bytearray(message), np.uint8)  # writable, as in the program: for others it is compiled anew
    if not read_image_map(data, series, unique, before, values):
        return None
    return int(values[NUMBER]), message[values[START] : values[STOP]]


@pytest.mark.parametrize("unique", ["A", None])
@pytest.mark.parametrize("number", [0, 23, 24, 255, 256, 65536, 2**32])
def test_ordinary_images_are_understood(unique: str | None, number: int) -> None:
    template = learnt(unique)
    assert template is not None
    message = v2_image(7, number, FRAMES[3], "bslz4", unique)[0]
    found = understood(template, message)
    assert found is not None
    assert found[0] == number
    assert check_bslz4(np.frombuffer(bytearray(found[1]), np.uint8), 2, FRAMES[3].nbytes) == DECODED
    fields = cbor2.loads(message)
    more = {"start_time": [1, 2**40], "user_data": {"a": [1.5, None, {"b": b"x" * 300}]}, "series_date": "2026"}
    reordered = dict(reversed([*more.items(), *fields.items()]))
    assert understood(template, cbor2.dumps(reordered)) == found


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "start"},
        {"type": None},
        {"series_id": 8},
        {"series_id": None},
        {"series_unique_id": "B"},
        {"series_unique_id": None},
        {"image_id": -1},
        {"image_id": 1.0},
        {"image_id": "1"},
        {"image_id": 2**64 - 1},
        {"image_id": None},
        {"data": None},
        {"data": {"threshold_2": v2_array(FRAMES[0])}},
        {"data": {"threshold_1": v2_array(FRAMES[0]), "threshold_2": v2_array(FRAMES[0])}},
        {"data": {"threshold_1": v2_array(FRAMES[0], "lz4")}},
        {"data": {"threshold_1": v2_array(FRAMES[0], "none")}},
        {"data": {"threshold_1": v2_array(FRAMES[0].astype("<u4"))}},
        {"data": {"threshold_1": v2_array(FRAMES[0].T.copy())}},
    ],
)
def test_everything_else_is_left_to_python(fields: dict[str, Any]) -> None:
    template = learnt()
    assert template is not None
    message = v2_image(7, 1, FRAMES[0], "bslz4", "A")[0]
    assert understood(template, message) is not None
    assert understood(template, changed(message, **fields)) is None
    assert understood(template, message + b"\0") is None
    assert understood(template, message[:-1]) is None
    assert understood(template, b"") is None


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_other_codecs_teach_nothing(codec: str) -> None:
    assert learnt(data={"threshold_1": v2_array(FRAMES[0], codec)}) is None


def test_two_channels_teach_nothing() -> None:
    assert learnt(data={"threshold_1": v2_array(FRAMES[0]), "threshold_2": v2_array(FRAMES[1])}) is None


@pytest.mark.slow
def test_what_is_understood_of_damaged_images_is_what_python_reads() -> None:
    template = learnt()
    assert template is not None
    chance, agreed = random.Random(11), 0
    for _ in range(10_000):
        message = bytearray(v2_image(7, chance.choice([5, 300, 70_000]), FRAMES[2], "bslz4", "A")[0])
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(message)) if chance.random() < 0.3 else chance.randrange(120)
            if chance.random() < 0.7:
                message[at] = chance.randrange(256)
            else:
                del message[at : at + chance.randrange(1, 5)]
        found = understood(template, bytes(message))
        if found is None:
            continue
        try:
            fields = decode_cbor(bytes(message))
        except WireError:
            continue  # invalid UTF-8, under a key that nobody needs
        array = stored_array(fields["data"]["threshold_1"], "image")
        assert (fields["type"], fields["series_id"], fields["series_unique_id"]) == ("image", 7, "A")
        assert (fields["image_id"], array.data) == found
        assert (array.shape, array.dtype, array.codec) == (SHAPE, "<u2", "bslz4")
        agreed += 1
    assert agreed > 100


def test_an_inlet_knows_where_images_go() -> None:
    reader = inlet("dectris-v2", values={"scan.shape": (2, 6)})
    arms: list[ScanHeader] = []
    for message in (
        v2_start(7, len(FRAMES), SHAPE, "A"),
        *(v2_image(7, k, FRAMES[k], "bslz4", "A") for k in range(14)),
    ):
        arms += [made.header for made in reader.take(message) if isinstance(made, ArmMessage)]
    template = reader.template()
    assert isinstance(template, CborImageTemplate)
    assert len(arms) == 2
    assert (template.uid, template.offset) == (arms[1].uid, 12)
    list(reader.take(v2_end(7, "A")))
    assert reader.template() is None


@contextmanager
def detector() -> Iterator[tuple[Any, str]]:
    """A socket that binds, as a detector does, and its address."""
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    port = push.bind_to_random_port("tcp://127.0.0.1")
    try:
        yield push, f"tcp://127.0.0.1:{port}"
    finally:
        context.destroy(linger=0)


def test_a_series_goes_past_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[int] = []
    take = DectrisV2.take

    def counted(self: DectrisV2, parts: Any) -> Any:
        read.append(len(parts[0]))
        return take(self, parts)

    monkeypatch.setattr(DectrisV2, "take", counted)
    count, damaged = 600, 400
    images = [v2_image(7, k, FRAMES[k % len(FRAMES)] + k, "bslz4", "A") for k in range(count)]
    broken = bytearray(images[damaged][0])
    broken[-20:] = bytes(20)
    images[damaged] = [bytes(broken)]
    with detector() as (push, address), running(tmp_path, data=address, protocol=ProtocolSettings("dectris-v2")) as run:
        assert run.receiver.accelerate()
        for message in (v2_start(7, count, SHAPE, "A"), *images, *images[:50], v2_end(7, "A")):
            push.send_multipart(message)
        run.wait(lambda: run.receiver.status().duplicates == 50)
        run.receiver.stop()  # it would wait for the damaged frame until the sender counts as silent
        (end,) = run.wait_for_ends()
        run.wait(lambda: run.recordings()[-1].state in ("complete", "failed"))
    expected = {k: digest(FRAMES[k % len(FRAMES)] + k) for k in range(count) if k != damaged}
    assert run.frames[end.uid] == expected
    assert (end.summary.lost, end.summary.duplicates) == (1, 50)
    assert run.receiver.status().rejected == {"corrupt": 1}
    assert run.recordings()[-1].state == "complete"
    assert len(read) < 100, "start, first image, repeated ones, end"
