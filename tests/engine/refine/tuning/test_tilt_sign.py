"""Tilts of several scans with the wrong sign are reported."""

import numpy as np
import pytest
from tilted_scans import TiltedScans

from ptylive.engine.refine.tuning import tilt_sign
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.tilt_sign import with_doubted_tilts
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

TILTS = ((0.0, 0.0), (20.0, -8.0), (-15.0, 12.0))
SLICES = {"num_slices": 3, "total_thickness_A": 60.0, "probe_modes": 1}


def scattered(counts: float, points: int = 10) -> TiltedScans:
    places = np.random.default_rng(2).uniform((-4, -4, 0), (14, 14, 60), (60, 3))
    return TiltedScans(places, np.full(60, 0.35), 60.0, points=points, counts=counts)


@pytest.fixture(scope="module")
def together():
    return scattered(1e5, points=7).together(TILTS)


def words(dataset, tilts, **others):
    preset = Preset.from_mapping({**SLICES, **others, "scan_tilts_mrad": tilts})
    found = with_doubted_tilts(Tuned(dataset, preset), TrialContext("cpu"))
    assert found.preset is preset, "what was stated is kept"
    return found.words


def test_tilts_the_wrong_way_round_are_told_and_right_ones_are_not(together, monkeypatch):
    for name, fewer in (("LEAST_PATTERNS", 100), ("SPLITS", 2), ("SWEEPS", 3)):  # of many electrons, so these suffice
        monkeypatch.setattr(tilt_sign, name, fewer)
    assert words(together, TILTS, batch_size=32) == ()
    (told,) = words(together, [[-row, -column] for row, column in TILTS], batch_size=32)
    assert "the tilts have the wrong sign" in told and "give scan_tilts_mrad with opposite signs" in told


@pytest.mark.slow
def test_where_there_are_few_electrons_nothing_is_told():
    dark = scattered(100.0).together(TILTS)
    for sign in (1, -1):
        assert words(dark, [[sign * row, sign * column] for row, column in TILTS]) == ()


@pytest.mark.parametrize(
    ("tilts", "others"),
    [(((5, 0),) * 3, {}), (TILTS, {"update_obj": False})],
    ids=["tilted alike", "no object is refined"],
)
def test_what_tells_nothing_is_not_tried(together, tilts, others):
    def never(_words):
        raise AssertionError("tried")

    preset = Preset.from_mapping({**SLICES, **others, "scan_tilts_mrad": tilts})
    tuned = Tuned(together, preset)
    assert with_doubted_tilts(tuned, TrialContext("cpu", tell=never)) is tuned
