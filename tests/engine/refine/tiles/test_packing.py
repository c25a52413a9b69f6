"""Values and arrays are transferred unchanged; damage gives one line."""

import numpy as np
import pytest

from ptylive.engine.refine.tiles.packing import packed, unpacked
from ptylive.schema.errors import RefinementError


def test_values_and_arrays_come_back():
    arrays = {"counts": np.arange(12, dtype=np.uint16).reshape(3, 4), "wave": np.ones(2, np.complex64)}
    plain, found = unpacked(packed({"rows": [1, 2], "word": "ä"}, arrays))
    assert plain == {"rows": [1, 2], "word": "ä"}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert (found[name] == array).all()


def test_a_changed_byte_is_noticed():
    data = bytearray(packed({}, {"counts": np.arange(1000)}))
    data[len(data) // 2] ^= 1
    with pytest.raises(RefinementError, match="a tile of the refinement is damaged"):
        unpacked(bytes(data))


def test_objects_are_not_unpickled():
    with pytest.raises(RefinementError, match="damaged"):
        unpacked(packed({}, {"evil": np.array([object()])}))
