"""The checksum equals zlib's, however computed: journals are read by other versions, and on other processors."""

from __future__ import annotations

import importlib
import sys
import zlib

import numpy as np
import pytest

from ptylive.streamer.storage import checksum


@pytest.mark.parametrize("size", [0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 255, 4096, 8191, 100_003])
def test_it_is_zlibs(size: int) -> None:
    rng = np.random.default_rng(size)
    data = rng.integers(0, 256, size + 3, dtype=np.uint8).tobytes()
    for start in range(3):  # other alignments
        part = memoryview(data)[start : start + size]
        assert checksum.crc32(part) == zlib.crc32(part)


def test_it_goes_on_from_another() -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 10_000, dtype=np.uint8).tobytes()
    for cut in (0, 1, 100, 4097, 10_000):
        assert checksum.crc32(data[cut:], checksum.crc32(data[:cut])) == zlib.crc32(data)


def test_without_zlib_ng_it_is_zlibs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    try:
        assert importlib.reload(checksum).crc32 is zlib.crc32
    finally:
        monkeypatch.undo()
        importlib.reload(checksum)
