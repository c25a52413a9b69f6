"""Dead pixels found in images apply to later series as long as they are dead there."""

import numpy as np
import pytest
from dectris_tools import inlet, patterns, taken, v1_header, v1_image

from ptylive.streamer.wire import ArmMessage

FRAMES = patterns()
SHAPE = FRAMES.shape[1:]


def test_a_pixel_that_counts_in_a_later_series_is_not_dead() -> None:
    """Otherwise one image filled to the brim by a sender would mask pixels of every scan until the server ends."""
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
        f"series {series}: {count} dead pixels found, and some from an earlier image are used again; "
        "the header had no mask"
        for series, count in ((35, 1), (36, 0))
    ]


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_counts_in_the_other_byte_order_are_asked_about(dtype) -> None:
    """Maps made from them look like maps, but doses are wrong, and so is every weighting by noise."""
    frames = FRAMES.astype(dtype)
    frames[:, 4, 5] = np.iinfo(dtype).max
    swapped = frames.byteswap()

    def said(series):
        notes: list[str] = []
        encoding, depth = f"bs{8 * series.itemsize}-lz4<", 8 * series.itemsize
        images = [v1_image(34, k, one, encoding) for k, one in enumerate(series)]
        list(
            taken(inlet("dectris-v1", notes, {"scan.shape": (4, 6)}), [v1_header(34, 24, SHAPE, depth=depth), *images])
        )
        return [note for note in notes if "byte order" in note]

    assert said(frames) == []
    (asked,) = said(swapped)
    assert f"image 0 are multiples of {2 ** (4 * frames.itemsize)}: does the detector" in asked
