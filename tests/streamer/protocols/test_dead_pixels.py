"""Dead pixels found in images hold for later series as long as they are dead there."""

import numpy as np
from dectris_tools import inlet, patterns, taken, v1_header, v1_image

from ptylive.streamer.wire import ArmMessage

FRAMES = patterns()
SHAPE = FRAMES.shape[1:]


def test_a_pixel_that_counts_in_a_later_series_is_not_dead() -> None:
    """One image that a sender had filled to the brim would take pixels out of every scan until the server ends."""
    full = FRAMES.copy()
    full[0, 4, 5] = full[0, 1, 2] = 65535
    healed = FRAMES.copy()
    healed[:, 1, 2] = 65535
    messages = [
        message
        for series, frames in ((34, full), (35, healed), (36, FRAMES), (37, healed))
        for message in [v1_header(series, 24, SHAPE), *(v1_image(series, k, f) for k, f in enumerate(frames))]
    ]
    notes: list[str] = []
    scans = [m.header for m in taken(inlet("dectris-v1", notes), messages) if isinstance(m, ArmMessage)]
    masks = {one.series: np.argwhere(one.arrays.get("bad_pixel_mask", [[0]])).tolist() for one in scans}
    assert masks == {"34": [[1, 2], [4, 5]], "35": [[1, 2]], "36": [], "37": [[1, 2]]}
    assert [note for note in notes if "again" in note] == [
        f"series {series}: {count} dead pixels found, some of an earlier image count again; the header brought no mask"
        for series, count in ((35, 1), (36, 0))
    ]
