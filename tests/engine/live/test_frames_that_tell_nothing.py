"""Frames without a beam, or with a beam and no specimen: every map is made or states what is missing."""

import numpy as np
import pytest
from synthetic import batches

from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import Detector, Optics, Scan, ScanHeader

POINTS, PIXELS = 12, 24
RADIUS = np.hypot(*(np.indices((PIXELS, PIXELS)) - 11.5))
DISC = 100 * (RADIUS < 6)
ONCE = np.arange(POINTS**2) == 40
FRAMES = {
    "everywhere the same": np.ones((POINTS**2, PIXELS, PIXELS)),
    "nothing": np.zeros((POINTS**2, PIXELS, PIXELS)),
    "one pixel": np.zeros((POINTS**2, PIXELS, PIXELS)) + (np.arange(PIXELS**2) == 300).reshape(PIXELS, PIXELS),
    "a beam without a specimen": np.broadcast_to(DISC, (POINTS**2, PIXELS, PIXELS)),
    "a detector of one pixel": np.arange(POINTS**2)[:, None, None] % 7,
    "a single frame": DISC * ONCE[:, None, None],
}


GIVEN = {"rotation_deg": 0.0}
"""With a given rotation none is searched for, whatever the frames, so only two kinds are tested with it."""


@pytest.mark.parametrize(
    ("kind", "rotation"),
    [*((kind, {}) for kind in FRAMES), ("nothing", GIVEN), ("a beam without a specimen", GIVEN)],
)
def test_every_map_is_made_or_says_why_not(kind, rotation):
    header = ScanHeader(
        uid="nothing",
        series="nothing",
        frames=POINTS**2,
        scan=Scan(shape=(POINTS, POINTS), step_A=(0.5, 0.5), **rotation),
        optics=Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0),
        detector=Detector(shape=FRAMES[kind].shape[1:], dtype="<u2", pixel_mrad=4.0),
    )
    live = LiveEngine(header)
    for batch in batches(FRAMES[kind].astype(np.uint16), size=POINTS**2 // 2):
        live.add(batch)
        live.refresh()
    made = live.finish()
    assert made.maps
    assert all(made.missing.values())
    for one in made.maps:
        assert np.isfinite(one.data).all(), one.name
