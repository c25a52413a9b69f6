"""The curl of the centre of mass: what no electrostatic phase can make.

The centre of mass of a pattern follows the gradient of the projected phase, and a gradient has no curl. Where there is
one, the scan rotation or the handedness of the detector is wrong, the scan drifts, or the specimen is magnetic.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ptylive.engine.imaging.accumulation.reduced_numbers import MOMENTS
from ptylive.engine.imaging.bank import Picture
from ptylive.engine.imaging.declaration import MapWords, Method, Needs, live_map
from ptylive.engine.imaging.instant import Instant
from ptylive.engine.imaging.maps.com import com_invA


@live_map(
    Method(
        "com_curl",
        title="the curl of the centre of mass",
        needs=Needs.MOMENTS,
        maps=(
            MapWords(
                "com_curl",
                label="curl of the centre of mass",
                units="1/Å²",
                shows="what of the beam's deflection no phase explains: nothing but noise where all is right",
                trust="as a check of rotation and handedness; a pattern like the specimen's means that one is wrong",
                place=115,
            ),
        ),
        order=45,
        optics=("detector_pixel_invA", "scan_step_A"),
        from_roots=MOMENTS,
    )
)
def com_curl(now: Instant) -> Iterator[Picture]:
    """The map ``com_curl``, 1/Å²."""
    yield Picture("com_curl", curl(now.once(com_invA), now.step_A, now.visited), "1/Å²", "curl, central differences")


def curl(
    field: npt.NDArray[np.float64], step_A: tuple[float, float], visited: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """d(col)/d(row) - d(row)/d(col) of a field (2, rows, cols); 0 where a neighbour it takes has no frame yet."""
    out = np.zeros(visited.shape)
    inner = (slice(1, -1), slice(1, -1))
    along_rows = (field[1, 2:, 1:-1] - field[1, :-2, 1:-1]) / (2 * step_A[0])
    along_cols = (field[0, 1:-1, 2:] - field[0, 1:-1, :-2]) / (2 * step_A[1])
    known = visited[2:, 1:-1] & visited[:-2, 1:-1] & visited[1:-1, 2:] & visited[1:-1, :-2]
    out[inner] = np.where(known, along_rows - along_cols, 0.0)
    return out
