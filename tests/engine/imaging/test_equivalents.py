"""The images of the detector pixels tell which of the frequencies that a scan cannot tell apart is the true one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging import equivalents
from ptylive.engine.imaging.bank import Spectra
from ptylive.engine.live.engine import LiveEngine
from ptylive.schema.scan import rotation_matrix

STEP_A, TURN_DEG = 1.5, 25.0
"""The limit, 0.9 1/Å, is beyond the sampling frequency along an axis, 0.67 1/Å."""
SCAN = 24


@pytest.fixture(scope="module")
def empty():
    """Spectra of a scan far out of focus, in steps too long for what it transfers."""
    scan = WeakPhaseScan.make({"C10": -150.0}, n=SCAN)
    engine = LiveEngine(scan.header(lies_still=True))
    for batch in batches(scan.patterns):
        engine.add(batch)
    conditions = replace(engine._conditions(), step_A=(STEP_A, STEP_A), rotation_deg=TURN_DEG)
    return Spectra.of(engine.store, conditions)


def showing(spectra, *beams):
    """The same scan with images of weak phases: frequencies as multiples of the lowest ones, and amplitudes."""
    conditions = spectra.conditions
    rows, cols = conditions.padded
    row, col = np.mgrid[:SCAN, :SCAN]
    images = np.zeros((conditions.basis.count, SCAN, SCAN))
    for place, amplitude in beams:
        q = np.array([place]) / (SCAN * STEP_A) @ rotation_matrix(TURN_DEG).T
        wave = np.exp(2j * np.pi * (place[0] * row + place[1] * col) / SCAN)
        images += amplitude * (conditions.transfer(q)[:, 0, None, None] * wave).real
    half = np.fft.rfft2(images, s=(rows, cols)).transpose(2, 1, 0).reshape(-1, len(images))
    return replace(spectra, planes=half.astype(np.complex64))


def equivalent(place):
    """Places equivalent to one, itself left out, below the limit of 0.9 1/Å."""
    away = SCAN * (np.mgrid[-3:4, -3:4].reshape(2, -1).T)
    others = np.array(place) + away[np.any(away, axis=1)]
    return others[np.hypot(*others.T) < 0.88 * SCAN * STEP_A]


@pytest.mark.parametrize("place", [(5, 3), (-9, 7), (16, 2), (-11, -18), (20, -19), (22, -22)])
def test_a_phase_is_strongest_at_its_place_and_weak_at_all_equivalent_ones(empty, place):
    """Also at places beyond half the sampling frequency, where only the shifts of the images tell."""
    spectra, others = showing(empty, (place, 1.0)), equivalent(place)
    assert len(others) >= 3
    share = equivalents.share_of_strongest(spectra, np.array([place, *others]))
    assert share[0] == 1.0
    assert share[1:].max() < 0.1  # the largest is 0.08


def test_places_are_compared_with_their_own_equivalents_only(empty):
    strong, weak = (5, 3), (-9, 7)
    spectra = showing(empty, (strong, 1.0), (weak, 0.1))
    share = equivalents.share_of_strongest(
        spectra, np.array([weak, equivalent(strong)[0], strong, equivalent(weak)[0]])
    )
    assert share[0] == share[2] == 1.0
    assert max(share[1], share[3]) < 0.5


def test_what_is_not_transferred_or_not_compared_is_not_called_an_alias(empty, monkeypatch):
    spectra = showing(empty, ((5, 3), 1.0))
    beyond = (5 + 2 * SCAN, 3)
    assert equivalents.share_of_strongest(spectra, np.array([beyond])).tolist() == [1.0]
    other = equivalent((5, 3))[0]
    monkeypatch.setattr(equivalents, "MOST", 1)
    share = equivalents.share_of_strongest(spectra, np.array([(2, 2), other]))
    assert share[1] == 1.0
    share = equivalents.share_of_strongest(spectra, np.array([other, (2, 2)]))
    assert share[0] < 0.5
    assert equivalents.share_of_strongest(spectra, np.zeros((0, 2), int)).tolist() == []


def test_very_long_steps_have_too_many_equivalents_to_compare(empty, monkeypatch):
    """Regression: memory for 22 000 x 22 000 of them, in steps of 5 µm."""
    spectra, other = showing(empty, ((5, 3), 1.0)), equivalent((5, 3))[0]
    long = replace(spectra, conditions=replace(spectra.conditions, step_A=(5e4, 5e4)))
    assert equivalents.share_of_strongest(long, np.array([(5, 3), other])).tolist() == [1.0, 1.0]
    of_one = 4 * (1 + math.ceil(spectra.conditions.limit_invA * STEP_A)) ** 2
    monkeypatch.setattr(equivalents, "MOST_TRANSFERS", of_one)
    shares = equivalents.share_of_strongest(spectra, np.array([other, (2, 2)]))
    assert shares[0] < 0.5
    monkeypatch.setattr(equivalents, "MOST_TRANSFERS", of_one - 1)
    assert equivalents.share_of_strongest(spectra, np.array([other])).tolist() == [1.0]


def test_sizes_of_parts_change_nothing(empty, monkeypatch):
    spectra, places = showing(empty, ((5, 3), 1.0)), np.array([(5, 3), *equivalent((5, 3))])
    whole = equivalents.share_of_strongest(spectra, places)
    monkeypatch.setattr(equivalents, "AT_A_TIME", 3)
    monkeypatch.setattr(equivalents, "POINTS_AT_A_TIME", 1)
    np.testing.assert_allclose(equivalents.share_of_strongest(spectra, places), whole, rtol=1e-5)
