"""What travels to the process that reads files comes back as it was, whatever a file or its name holds."""

import numpy as np
import pytest

from ptylive.streamer.vetting.pipe import LENGTH, pack, unpack


@pytest.mark.parametrize("text", ["plain", "µÅ", "\udcff.h5", "\ud800", "a\0b\n"])
def test_every_text_of_python_travels(text: str) -> None:
    assert unpack(pack({text: [text]})[LENGTH.size :]) == {text: [text]}


def test_arrays_travel() -> None:
    sent = np.arange(6, dtype="<u2").reshape(2, 3)
    (got,) = unpack(pack([sent])[LENGTH.size :])
    np.testing.assert_array_equal(got, sent)
