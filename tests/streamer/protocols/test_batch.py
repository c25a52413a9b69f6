"""Single images gathered into messages: each image once, with its number, and no message of two kinds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptylive.streamer.protocols import batch as module
from ptylive.streamer.protocols.batch import Batch

IMAGES = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from(["none", "bslz4"]), st.binary(max_size=3)),
    max_size=60,
)


def gathered(images):
    """Messages made from images, including those still held at the end."""
    held, messages = Batch(), []
    for image in images:
        messages += held.add(*image)
    messages += held.flush()
    assert not held
    assert list(held.flush()) == []
    return messages


@given(IMAGES)
def test_images_come_out_as_they_went_in(images):
    out = []
    for message in gathered(images):
        data = message.parts
        if message.codec == "none" and message.count > 1:  # joined: as many bytes as went in
            sizes = [len(image[3]) for image in images[len(out) : len(out) + message.count]]
            ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
            data = [bytes(message.parts[0])[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        out += [(message.uid, message.first + n, message.codec, part) for n, part in enumerate(data)]
    assert out == images


def test_successive_images_share_a_message_until_it_is_full(monkeypatch):
    monkeypatch.setattr(module, "_MOST_IMAGES", 4)
    images = [("a", n, "bslz4", b"x") for n in range(10)]
    assert [(message.first, message.count) for message in gathered(images)] == [(0, 4), (4, 4), (8, 2)]


@pytest.mark.parametrize("other", [("b", 1, "bslz4", b"x"), ("a", 1, "none", b"x"), ("a", 2, "bslz4", b"x")])
def test_another_scan_coding_or_number_begins_another_message(other):
    assert len(gathered([("a", 0, "bslz4", b"x"), other])) == 2


def test_large_images_do_not_wait(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    held = Batch()
    assert list(held.add("a", 0, "none", b"x" * 9)) == []
    (message,) = held.add("a", 1, "none", b"y")
    assert (message.count, message.parts) == (2, (b"x" * 9 + b"y",))
