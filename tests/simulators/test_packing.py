"""Patterns as encoded by a detector: recordings and the stream's decoder restore the original."""

import numpy as np
import pytest
from stream_tools import compressed

from ptylive.simulators.packing import packed
from ptylive.streamer.wire.codec import decode_pattern


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4"])
@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 1)])
def test_patterns_come_back(dtype, shape):
    patterns = np.random.default_rng(0).poisson(3, (4, *shape)).astype(dtype)
    parts = packed(patterns[::-1])
    assert [bytes(decode_pattern("bslz4", part, patterns[0].nbytes, patterns.itemsize)) for part in parts] == [
        pattern.tobytes() for pattern in patterns[::-1]
    ]
    assert parts[0] == compressed(patterns[-1])
