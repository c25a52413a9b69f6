"""Trotters as the page shows them."""

import math

import numpy as np
import pytest

from ptylive.dashboard.pictures.trotters import TrotterPictures
from ptylive.server.wire.messages import array_to_plain


def reply() -> dict[str, object]:
    area = np.array([[0, 1, 3, 2]], dtype=np.uint8)
    before = np.array([[0, 1j, 0.5, -1j]], dtype=np.complex64)
    after = np.array([[0, 1, 0, -1]], dtype=np.complex64)
    arrays = {"before": before, "after": after, "area": area}
    plain = {name: array_to_plain(array) for name, array in arrays.items()}
    return {**plain, "q_invA": [0.1, -0.2], "flatness": [0.5, 1.0], "origin_px": [3, 7]}


def test_phases_are_shown_where_two_discs_overlap() -> None:
    found = TrotterPictures.of(reply(), 4)
    assert found.q_invA == (0.1, -0.2)
    assert found.before.data[0, 1] == pytest.approx(math.pi / 2)
    assert found.before.visited is not None
    assert found.before.visited.tolist() == [[False, True, True, True]]
    assert found.after.visited is not None
    assert found.after.visited.tolist() == [[False, True, False, True]], "all three: the sidebands are mixed"
    assert abs(found.after.data[0, 1] - found.after.data[0, 3]) == pytest.approx(math.pi)
    assert found.amplitude.visited is None
    assert found.amplitude.origin == (3.0, 7.0)
    with pytest.raises(KeyError):
        TrotterPictures.of({}, 1)
