"""Positions of an earlier result used as start."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.earlier_results.earlier_result import EarlierResult
from ptylive.engine.refine.data import start_positions
from ptylive.engine.refine.data.start_positions import with_start_positions
from ptylive.schema import MetadataError


def placed(monkeypatch, dataset, positions, **more):
    found = EarlierResult("other", positions_A=positions, **more)
    monkeypatch.setattr(start_positions, "read_earlier", lambda path: found)
    return with_start_positions(dataset, "a.h5").positions_A


def test_without_a_file_nothing_changes(simulated):
    assert with_start_positions(simulated.dataset, None) is simulated.dataset


def test_positions_of_a_frame_elsewhere_are_moved_to_ours(monkeypatch, simulated):
    """Positions are given for all scan points, of which the data set contains a part."""
    whole = simulated.dataset
    moved = np.random.default_rng(3).normal(0, 0.1, whole.positions_A.shape)
    part = whole.part(np.arange(4, len(whole.point)))
    found = placed(monkeypatch, part, whole.positions_A + moved + [100, -50])
    expected = (whole.positions_A + moved)[4:] - moved[4:].mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_ours_stay_where_they_are(monkeypatch, simulated):
    dataset = simulated.dataset
    shifted = dataset.positions_A + 0.2
    np.testing.assert_array_equal(placed(monkeypatch, dataset, shifted, in_our_frame=True), shifted)


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        (None, "holds no positions"),
        (np.zeros((3, 2)), "holds 3 positions, the scan has"),
        (lambda known: known * 30, "from the nominal ones"),
        (lambda known: known[::-1], "from the nominal ones"),
    ],
)
def test_positions_of_another_scan_are_refused(monkeypatch, simulated, positions, said):
    dataset = replace(simulated.dataset)
    given = positions(dataset.positions_A) if callable(positions) else positions
    with pytest.raises(MetadataError, match=said):
        placed(monkeypatch, dataset, given)
