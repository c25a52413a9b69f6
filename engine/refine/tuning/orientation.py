"""A change of rotation and handedness between scan and detector, relative to those a data set was read with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_view import transposed as transposed_patterns
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.scan import rotation_matrix


@dataclass(frozen=True)
class Orientation:
    """Orientation of a data set, relative to the present one."""

    transposed: bool
    """Whether rows and columns of the patterns are exchanged."""
    turn_deg: float
    """Angle added to the rotation."""

    def turned(self, turn_deg: float) -> Orientation:
        """Return the orientation turned further by this angle."""
        return Orientation(self.transposed, self.turn_deg + turn_deg)

    def followed_by(self, later: Orientation) -> Orientation:
        """The orientation of a data set in this one, of which a later one was found."""
        return Orientation(self.transposed != later.transposed, self.turn_deg + later.turn_deg)

    def of(self, dataset: Dataset) -> Dataset:
        """Return the data set in this orientation, with the first scan point in place and the defocus unchanged."""
        turn, reach_A = rotation_matrix(self.turn_deg).T, dataset.reach_A
        dataset = replace(
            dataset,
            positions_A=dataset.positions_A @ turn,
            reach_A=None if reach_A is None else reach_A @ turn,
            calibration=self._calibration(dataset.calibration),
        )
        if not self.transposed:
            return dataset
        vacuum, offsets_px = dataset.vacuum, dataset.offsets_px
        return replace(
            dataset,
            patterns=transposed_patterns(dataset.patterns),
            bad_pixels=np.ascontiguousarray(dataset.bad_pixels.T),
            beam_center_px=dataset.beam_center_px[::-1].copy(),
            vacuum=None if vacuum is None else np.ascontiguousarray(vacuum.T),
            offsets_px=None if offsets_px is None else np.ascontiguousarray(offsets_px[:, ::-1]),
        )

    def _calibration(self, calibration: Calibration) -> Calibration:
        rotation = calibration.entries.get("rotation_deg", Quantity(0.0, Origin.DEFAULT))
        angle_deg = 180.0 - (180.0 - float(rotation.value) - self.turn_deg) % 360.0
        changed = {"rotation_deg": replace(rotation, value=angle_deg)}
        if self.transposed:
            words = [word for word in calibration.transform.split("+") if word != "none"]
            words = words[1:] if words[:1] == ["transpose"] else ["transpose", *words]
            changed["detector_transform"] = Quantity("+".join(words) or "none", Origin.ESTIMATED)
        return calibration.having(**changed)


AS_IT_IS = Orientation(transposed=False, turn_deg=0.0)


def start_turned(start: StartGuess | None, turn_deg: float) -> StartGuess | None:
    """A phase image in the frame of a scan that is turned."""
    if start is None:
        return None
    row, column = rotation_matrix(turn_deg) @ start.origin_A
    return replace(start, rotation_deg=start.rotation_deg + turn_deg, origin_A=(float(row), float(column)))
