"""Position of the probe and of the pattern in each frame: jitter, drift, line jumps, descan, gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.detector import Descan
from ptylive.schema.model import BoolArray, DoubleArray
from ptylive.schema.scan import Scan, rotation_matrix
from ptylive.schema.simulation.settings import SimulationSettings


@dataclass(frozen=True, eq=False)
class Trajectory:
    """All frames in the order of acquisition, flyback included. Å in the detector's axes; pixels as recorded."""

    nominal_A: DoubleArray
    """(N, 2), relative to the first scan point."""
    positions_A: DoubleArray
    """(N, 2): true positions of the probe on the specimen."""
    descan_px: DoubleArray
    """(N, 2): displacement of the pattern from its place."""
    received: BoolArray
    """(N,) whether each frame arrived."""

    @classmethod
    def of(cls, settings: SimulationSettings, scan: Scan) -> Trajectory:
        """Trajectory of a scan; the same seed gives the same trajectory."""
        scan_settings, rng = settings.scan, np.random.default_rng([settings.model.seed, 3])
        rows, cols = scan.require_shape()
        i, j = _steps(scan)
        index = np.stack([i, j], axis=-1)
        nominal = (index * np.asarray(scan_settings.scan_step_A)) @ rotation_matrix(scan_settings.rotation_deg).T
        time = np.linspace(0.0, 1.0, i.size).reshape(*i.shape, 1)
        moved = rng.normal(0.0, 1.0, nominal.shape) * scan_settings.position_jitter_A
        moved += time * np.asarray(scan_settings.drift_A)
        moved += rng.normal(0.0, 1.0, (rows, 1, 2)) * scan_settings.line_jump_A
        half = [max(n - 1, 1) / 2 for n in (rows, cols)]
        u, v = i / half[0] - min(rows - 1, 1), j / half[1] - min(cols - 1, 1)
        wander = Descan.of(settings.detector.descan_px).at(u.ravel(), v.ravel()).reshape(nominal.shape)
        wander = wander + rng.normal(0.0, 1.0, (rows, 1, 2)) * settings.detector.descan_jump_px
        received = _received(i.size, scan_settings.missing_share, scan_settings.gap_frames, rng)
        return cls(nominal.reshape(-1, 2), (nominal + moved).reshape(-1, 2), wander.reshape(-1, 2), received)


def _steps(scan: Scan) -> tuple[DoubleArray, DoubleArray]:
    """Places (rows, frames of a row) in scan steps; during flyback the beam moves to the start of the next row."""
    rows, cols = scan.require_shape()
    i, j = np.meshgrid(np.arange(rows, dtype=float), np.arange(cols, dtype=float), indexing="ij")
    if scan.pattern == "snake":
        j[1::2] = j[1::2, ::-1]
    if scan.flyback_frames:
        share = (np.arange(scan.flyback_frames) + 1) / (scan.flyback_frames + 1)
        following = np.roll(j[:, :1], -1, axis=0)
        following[-1] = j[-1, -1]  # after the last row it stays
        j = np.concatenate([j, j[:, -1:] + share * (following - j[:, -1:])], axis=1)
        down = np.where(np.arange(rows)[:, None] < rows - 1, share, 0.0)
        i = np.concatenate([i, i[:, -1:] + down], axis=1)
    return i, j


def _received(frames: int, share: float, length: int, rng: np.random.Generator) -> BoolArray:
    """Which frames arrived: gaps of ``length`` at random places until ``share`` is missing; at least one arrives."""
    out = np.ones(frames, dtype=bool)
    wanted = min(round(share * frames), frames - 1)
    missing = 0
    for start in rng.permutation(max(1, -(-frames // length))) * length if wanted else ():
        stop = min(int(start) + min(length, wanted - missing), frames)
        out[int(start) : stop] = False
        missing += stop - int(start)
        if missing >= wanted:
            break
    return out
