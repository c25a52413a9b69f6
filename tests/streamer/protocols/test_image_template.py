"""Image messages that differ only in number and pattern: the bytes around the pattern, or nothing."""

import contextlib

import cbor2
import pytest
from dectris_tools import inlet, patterns, v1_header, v1_image, v1_series

from ptylive.schema import WireError
from ptylive.streamer.protocols.image_template import around_size, before_pattern
from ptylive.streamer.wire import ArmMessage

FRAMES = patterns()


@pytest.mark.parametrize("length", [20, 200, 1000, 70_000])
def test_what_lies_before_the_pattern(length):
    coded = bytes(range(1, 20)) + bytes(length)
    message = cbor2.dumps({"type": "image", "data": {"threshold_1": coded}, "stop": 1})
    assert before_pattern(message, coded) == b"\xa1" + cbor2.dumps("threshold_1")


@pytest.mark.parametrize(
    "data",
    [lambda coded: {"a": coded, "b": coded}, lambda coded: {"a": b"x" + coded}, lambda coded: [coded]],
    ids=["two channels", "in a longer one", "no map"],
)
def test_other_messages_are_left_to_python(data):
    coded = bytes(range(100, 160))
    assert before_pattern(cbor2.dumps({"type": "image", "data": data(coded)}), coded) is None


def test_a_pattern_too_short_to_be_found_or_not_there_is_left_to_python():
    message = cbor2.dumps({"type": "image", "data": {"a": b"xy"}})
    assert before_pattern(message, b"xy") is None
    assert before_pattern(message, bytes(50)) is None
    assert before_pattern(cbor2.dumps({"type": "image", "image": {"a": bytes(50)}}), bytes(50)) is None


@pytest.mark.parametrize(
    ("text", "around"),
    [
        (b'{"shape":[1,2],"size":123,"type":"x"}', (b'{"shape":[1,2],"size":', b',"type":"x"}')),
        (b'{"size": 7}', (b'{"size": ', b"}")),
        (b'{"shape":[1,2]}', None),
        (b'{"size":"7"}', None),
        (b'{"size":1,"size":2}', None),
    ],
)
def test_what_lies_around_the_size(text, around):
    found = around_size(text)
    assert found == around


def test_images_like_the_last_one_have_a_template() -> None:
    """Messages handled by the compiled loop alone, between two messages of the open scan."""
    reader = inlet("dectris-v1")
    assert reader.template() is None
    messages = v1_series()
    (arm,) = [message for parts in messages[:3] for message in reader.take(parts)]
    assert isinstance(arm, ArmMessage)
    template = reader.template()
    assert template is not None
    assert (template.uid, template.series, template.offset) == (arm.header.uid, 34, 0)
    reader.advance(10)
    list(reader.take(messages[12][:2]))
    assert reader.template() is None, "an image has been announced, and its pattern has not come"


@pytest.mark.parametrize("encoding", ["lz4<", "<", "bs32-lz4<"])
def test_other_codings_are_left_to_python(encoding: str) -> None:
    reader = inlet("dectris-v1")
    taken_in = [v1_header(34, 24, FRAMES.shape[1:]), v1_image(34, 0, FRAMES[0], encoding)]
    for parts in taken_in:
        with contextlib.suppress(WireError):
            list(reader.take(parts))
    assert reader.template() is None


def test_hashes_that_are_to_be_verified_are_left_to_python() -> None:
    reader = inlet("dectris-v1", verify_hashes=True)
    for parts in v1_series()[:3]:
        list(reader.take(parts))
    assert reader.template() is None
