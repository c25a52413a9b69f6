"""A sender's own metadata are kept as plain text, within bounds."""

from typing import Any

import numpy as np
import pytest

from ptylive.schema import Scan, ScanHeader
from ptylive.schema.scan_header import MOST_SENT_BYTES, sent_texts


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"header": "HDR,\r\nDwell:\t1 µs"}, {"header": "HDR,\nDwell:\t1 µs"}),
        ({"a/b": "\x00\x1b[31m\ud800"}, {"a_b": "\ufffd\ufffd[31m\ufffd"}),
        ({"": "x", 5: "y", "z": 7}, {"_": "x"}),
        ({}, {}),
    ],
)
def test_texts_are_plain(said: dict[Any, Any], kept: dict[str, str]) -> None:
    assert sent_texts(said) == kept


def test_all_texts_together_are_bounded() -> None:
    kept = sent_texts({"first": "ä" * 10_000, "second": "b" * 10**6, "third": "c"})
    assert sum(len(name.encode()) + len(text.encode()) for name, text in kept.items()) <= MOST_SENT_BYTES + 64
    assert "third" not in kept
    assert sent_texts(kept) == kept, "what was kept is kept again as it is"


def test_frames_after_the_last_point_are_not_missing() -> None:
    scan = Scan(shape=(3, 4))
    header = ScanHeader("a", "1", 15, scan)
    received = np.arange(15) < 12
    assert (header.point_frames, header.missing(received)) == (12, 0)
    received[3] = False
    assert header.missing(received) == 1
    assert ScanHeader("a", "1", 10, scan).point_frames == 10, "fewer images than points were announced"
