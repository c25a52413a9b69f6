"""Prefetching memory changes nothing in it, whatever its length."""

import numpy as np
import pytest

from ptylive.engine.backend.multislice.kernel_parts.prefetch import prefetch


@pytest.mark.parametrize("length", [0, 1, 64, 200])
def test_asking_for_bytes_leaves_them_as_they_are(length):
    values = np.arange(length, dtype=np.uint8)
    prefetch(values)
    assert np.array_equal(values, np.arange(length, dtype=np.uint8))


def test_lines_are_asked_for():
    prefetch(np.zeros(65, np.uint8))
    (code,) = prefetch.inspect_llvm().values()
    assert "@llvm.prefetch" in code
