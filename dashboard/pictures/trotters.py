"""Trotters as pictures: what the command `trotter` answers, drawn over the detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.dashboard.pictures import Picture
from ptylive.pictures.colours import Levels, levels, to_indices
from ptylive.schema.model import Array, BoolArray
from ptylive.server.wire.messages import array_from_plain

PHASE_LIMITS: Levels = (-math.pi, math.pi)
_BOTH = 3
"""All three discs overlap: there the two sidebands cancel or mix, and no phase is shown."""


@dataclass(frozen=True)
class TrotterPictures:
    """Amplitude, phase as recorded, and phase with the aberrations taken out; detector pixels.

    q_invA: the spatial frequency (row, col); flatness: of both phases, 0 to 1.
    """

    q_invA: tuple[float, float]
    flatness: tuple[float, float]
    amplitude: Picture
    before: Picture
    after: Picture

    @classmethod
    def of(cls, reply: Mapping[str, Any], version: int) -> TrotterPictures:
        """From the reply of the command. Raises KeyError, TypeError, ValueError when it is none."""
        before, after, area = (array_from_plain(reply[name]) for name in ("before", "after", "area"))
        top, left = (float(v) for v in reply["origin_px"])
        row, col = (float(v) for v in reply["q_invA"])
        first, second = (float(v) for v in reply["flatness"])
        inside = area > 0

        def drawn(name: str, data: Array, limits: Levels | None, visited: BoolArray | None, units: str) -> Picture:
            values = np.asarray(data, dtype=np.float32)
            span = limits or levels(values, None, (0, 99.8))
            return Picture(
                name=name,
                version=version,
                data=values,
                visited=visited,
                limits=span,
                indexed=to_indices(values, span, visited),
                pixel=(1.0, 1.0),
                size=(float(values.shape[0]), float(values.shape[1])),
                calibrated=False,
                units=units,
                origin=(top, left),
            )

        return cls(
            q_invA=(row, col),
            flatness=(first, second),
            amplitude=drawn("trotter_amplitude", np.abs(before), None, None, "relative"),
            before=drawn("trotter_before", np.angle(before), PHASE_LIMITS, inside, "rad"),
            after=drawn("trotter_after", np.angle(after), PHASE_LIMITS, inside & (area != _BOTH), "rad"),
        )
