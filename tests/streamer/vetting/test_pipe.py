"""Values sent to the process that reads files come back unchanged, whatever a file or its name holds."""

import io
from pathlib import Path

import msgpack
import numpy as np
import pytest

from ptylive.streamer.vetting.pipe import LENGTH, MAX_BYTES, pack, read_message, unpack


@pytest.mark.parametrize("text", ["plain", "µÅ", "\udcff.h5", "\ud800", "a\0b\n"])
def test_every_text_of_python_travels(text: str) -> None:
    assert unpack(pack({text: [text]})[LENGTH.size :]) == {text: [text]}


def test_arrays_pass_the_pipe_unchanged() -> None:
    sent = np.arange(6, dtype="<u2").reshape(2, 3)
    (got,) = unpack(pack([sent])[LENGTH.size :])
    np.testing.assert_array_equal(got, sent)


def test_numbers_and_paths_become_plain(tmp_path: Path) -> None:
    assert unpack(pack([np.float32(0.5), np.int64(7), tmp_path])[LENGTH.size :]) == [0.5, 7, str(tmp_path)]


@pytest.mark.parametrize("sent", [b"", b"\x05\0", LENGTH.pack(5) + b"abc"])
def test_a_pipe_that_ends_within_a_message_has_ended(sent: bytes) -> None:
    with pytest.raises(EOFError):
        read_message(io.BytesIO(sent).read)


def test_lengths_nobody_sends_are_not_waited_for() -> None:
    with pytest.raises(ValueError, match="a message of"):
        read_message(io.BytesIO(LENGTH.pack(MAX_BYTES + 1)).read)


def test_what_is_no_array_of_numbers_neither_leaves_nor_arrives() -> None:
    with pytest.raises(TypeError, match="arrays of objects"):
        pack(np.array([object()]))
    with pytest.raises(ValueError, match="unknown extension 9"):
        unpack(msgpack.packb(msgpack.ExtType(9, b"")))
