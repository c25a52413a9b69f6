"""The half turn that the bright field leaves open, determined by depth.

Patterns of one slice do not distinguish an object from its complex conjugate seen with reversed aberrations by a
detector rotated by 180° (docs/theory/calibration.md). Live, the dark field decides, and in crystals it errs. The beam
passes through the slices in one direction only: with depth between them, the wrong half turn predicts patterns worse.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.calibration import FOUND
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset import Preset


def half_turn_is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether nobody stated rotation, defocus, tilts of scans, or a start: each of these settles the half turn."""
    found = all(dataset.calibration.is_found(name) for name in ("rotation_deg", "C10"))
    return found and dataset.scan_of is None and not has_oriented_start(preset)


def has_oriented_start(preset: Preset) -> bool:
    """Whether an object, positions or a probe were given to start from, which imply rotation and half turn.

    Images imply none: they lie on the corners of the scan, whatever its rotation.
    """
    given = preset.start.start_object, preset.start.start_positions, preset.probe.start_probe
    return any(path is not None for path in given)


def half_turned(dataset: Dataset) -> Dataset:
    """The same patterns under the other half turn: positions rotated by 180°, aberrations that were found reversed."""
    reach_A = dataset.reach_A
    return replace(
        dataset,
        positions_A=-dataset.positions_A,
        reach_A=None if reach_A is None else -reach_A,
        calibration=_reversed(dataset.calibration),
    )


def start_half_turned(start: StartGuess | None) -> StartGuess | None:
    """A phase image under the other half turn: rotated by 180°, with its sign reversed."""
    if start is None:
        return None
    row, column = start.origin_A
    return replace(start, phase=-start.phase, rotation_deg=start.rotation_deg + 180.0, origin_A=(-row, -column))


def _reversed(calibration: Calibration) -> Calibration:
    found = {name: entry for name, entry in calibration.entries.items() if entry.origin in FOUND}
    turned = {
        name: Quantity(-float(entry.value), Origin.ESTIMATED, entry.uncertainty)
        for name, entry in found.items()
        if name in ABERRATION_NAMES
    }
    rotation = calibration.entries["rotation_deg"]
    angle_deg = 180.0 - (-float(rotation.value)) % 360.0
    turned["rotation_deg"] = Quantity(angle_deg, Origin.ESTIMATED, rotation.uncertainty)
    return calibration.having(**turned)
