"""Descan of a scan whose lines do not jump: measured on the disc's edge, even if the centre of mass does not move."""

import pytest

from ptylive.engine.calibrate.disc import Disc
from ptylive.engine.live import reading
from ptylive.schema.detector import Descan

SEEN, AT_EDGE = Descan.of([1.0, 0.2, 0.0, 0.3]), Descan.of([1.1, 0.2, 0.1, 0.3])


@pytest.mark.parametrize(
    ("seen", "hidden", "begun", "found"),
    [
        (SEEN, False, [SEEN], AT_EDGE),
        (None, True, [Descan.of([0])], AT_EDGE),
        (None, False, [], None),
    ],
    ids=["seen", "hidden by a crystal", "nothing"],
)
def test_the_edge_is_measured_where_the_centre_of_mass_moves_or_a_crystal_may_hide_it(
    monkeypatch, seen, hidden, begun, found
):
    """Without a first look, measurement begins from rest; nothing is read again if no descan can be hidden."""
    starts = []
    monkeypatch.setattr(reading, "first_look", lambda store, radius_px, *, lines: seen)
    monkeypatch.setattr(reading, "may_be_hidden", lambda store, radius_px: hidden)
    monkeypatch.setattr(reading, "_sharpened", lambda descan, *given: starts.append(descan) or AT_EDGE)
    assert reading._smooth_descan(None, None, Disc((16.0, 16.0), 7.2)) == found
    assert starts == begun
