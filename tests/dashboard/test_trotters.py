"""Trotters as the page shows them."""

import math

import numpy as np
import pytest

from ptylive.dashboard.pictures import middle_that_matters
from ptylive.dashboard.trotters import TrotterPictures
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


def test_a_small_probe_fills_its_picture() -> None:
    rows, cols = np.indices((128, 128)) - 64
    modes = np.exp(-(rows**2 + cols**2) / (2 * 4.0**2)).astype(np.float32)[None]
    shown = middle_that_matters(modes)
    assert 16 <= shown.shape[1] <= 32
    assert shown.shape[1] == shown.shape[2]
    assert (shown**2).sum() > 0.95 * (modes**2).sum()
    assert np.unravel_index(int(shown[0].argmax()), shown.shape[1:]) == (shown.shape[1] // 2, shown.shape[2] // 2)
