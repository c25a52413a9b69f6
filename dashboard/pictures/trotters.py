"""Trotters as pictures: the reply of the command `trotter`, drawn over the detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptylive.dashboard.pictures import Picture
from ptylive.pictures.colours import to_indices
from ptylive.pictures.trotters import TrotterView, trotter_views
from ptylive.server.wire.messages import array_from_plain


@dataclass(frozen=True)
class TrotterPictures:
    """Amplitude, phase as recorded, and phase with the aberrations taken out; detector pixels.

    q_invA: the spatial frequency (row, col); flatness: that of both phases, 0 to 1.
    """

    q_invA: tuple[float, float]
    flatness: tuple[float, float]
    amplitude: Picture
    before: Picture
    after: Picture

    @classmethod
    def of(cls, reply: Mapping[str, Any], version: int) -> TrotterPictures:
        """Build from the reply of the command. Raises KeyError, TypeError, ValueError if it is invalid."""
        before, after, area = (array_from_plain(reply[name]) for name in ("before", "after", "area"))
        top, left = (float(v) for v in reply["origin_px"])
        row, col = (float(v) for v in reply["q_invA"])
        first, second = (float(v) for v in reply["flatness"])

        def drawn(view: TrotterView) -> Picture:
            return Picture(
                name=view.name,
                version=version,
                data=view.data,
                visited=view.visited,
                limits=view.limits,
                indexed=to_indices(view.data, view.limits, view.visited),
                pixel=(1.0, 1.0),
                size=(float(view.data.shape[0]), float(view.data.shape[1])),
                calibrated=False,
                units=view.units,
                origin=(top, left),
            )

        amplitude, recorded, compensated = (drawn(view) for view in trotter_views(before, after, area))
        return cls((row, col), (first, second), amplitude, recorded, compensated)
