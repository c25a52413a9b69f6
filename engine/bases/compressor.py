"""Frames to vectors: coefficients in a basis, and exact numbers stored with them (docs/compression.md).

sum, k_row, k_col: sum of I, I (row - row_0), I (col - col_0) over all good pixels, in recorded pixels from the beam
centre, so that the centre of mass does not depend on the basis. edge: sum beyond the dark field. perp_bright,
perp_dark: |v|^2 - sum c_n^2 over one region (basis paper, eq. 11), what the masks leave out of v, where v is
the intensity or its square root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.masks import MaskBasis
from ptylive.schema import Basis, ScanHeader
from ptylive.schema.model import Array, FloatArray, IndexArray
from ptylive.schema.pattern.readout import AS_RECORDED, Readout

LINEAR_EXTRAS = ("sum", "k_row", "k_col", "edge")
EXTRAS = ("sum", "k_row", "k_col", "perp_bright", "perp_dark", "edge")
"""All numbers that a frame can carry in addition to its coefficients, in the order they are stored."""


@dataclass(frozen=True, eq=False)
class Compressor:
    """Turns frames (n, Qy, Qx) of one detector into vectors (n, coefficients + extras), float32."""

    basis: MaskBasis
    field: DetectorField
    square_root: bool = False
    extras: tuple[str, ...] = EXTRAS
    readout: Readout = AS_RECORDED
    com_px: tuple[float, float] | None = None
    """Mean centre of mass (row, col) of the patterns on which the disc was found, if that matters."""

    @property
    def words(self) -> Basis:
        """Description of these vectors for a stream or file."""
        return Basis(
            kind=self.basis.kind,
            n_bright=self.basis.n_bright,
            n_dark=self.basis.n_dark,
            of="sqrt_intensity" if self.square_root else "intensity",
            extra=self.extras,
            center_px=self.field.center_px,
            radius_px=self.field.radius_px,
            com_px=self.com_px,
        )

    def described(self, header: ScanHeader) -> ScanHeader:
        """Return the header that describes the compressed frames; its mask names the pixels that they leave out."""
        arrays = {**header.arrays, "masks": self.basis.masks}
        if "vacuum_pattern" in arrays:  # references stay, for a scan continued later, but are not applied again
            arrays["vacuum_pattern"] = header.of_counts.arrays["vacuum_pattern"]
        if not self.field.good.all():
            arrays["bad_pixel_mask"] = ~self.field.good
        return replace(header, basis=self.words, arrays=arrays)

    def vectors(self, frames: Array) -> FloatArray:
        """Return coefficients and extras (n, N + M) of frames (n, Qy, Qx).

        Bright-field masks cover few pixels, so these are gathered first. Everything else is one product over all pixels
        and a second one for squares.
        """
        frames = self.readout.counts(frames)[0]
        flat = np.ascontiguousarray(frames, dtype=np.float32).reshape(len(frames), -1)
        values = np.sqrt(np.maximum(flat, 0)) if self.square_root else flat
        n, linear = self.basis.n_bright, len(LINEAR_EXTRAS)
        bright = values[:, self._bright_pixels]
        wide = flat @ self._wide
        dark = values @ self._wide[:, linear:] if self.square_root else wide[:, linear:]
        coefficients = np.concatenate([bright @ self._gathered, dark], axis=1)
        if not self.extras:
            return np.asarray(coefficients)
        columns = {name: wide[:, column] for column, name in enumerate(LINEAR_EXTRAS)}
        if {"perp_bright", "perp_dark"} & set(self.extras):
            squares = (values * values) @ self._regions
            columns["perp_bright"] = _residual_energy(squares[:, 0], coefficients[:, :n])
            columns["perp_dark"] = _residual_energy(squares[:, 1], coefficients[:, n:])
        return np.concatenate([coefficients, np.stack([columns[name] for name in self.extras], 1)], axis=1)

    def intact_angles_deg(self, frames: Array) -> tuple[float, float]:
        """Return the mean angle between patterns and their projections, bright and dark field (basis paper, eq. 18).

        0: nothing is lost; 90: everything. Patterns without intensity in a region are not counted there.
        """
        flat = np.ascontiguousarray(self.readout.counts(frames)[0], dtype=float).reshape(len(frames), -1)
        values = np.sqrt(np.maximum(flat, 0)) if self.square_root else flat
        squares = values**2 @ self._regions
        captured = (values @ self.basis.flat.T.astype(float)) ** 2
        n = self.basis.n_bright
        return _mean_angle(captured[:, :n], squares[:, 0]), _mean_angle(captured[:, n:], squares[:, 1])

    @property
    def ratio(self) -> float:
        """Compression C: pixels of a pattern over stored numbers (basis paper, eq. 17, which has two extras)."""
        return float(self.basis.masks[0].size / (self.basis.count + len(self.extras)))

    @cached_property
    def _bright_pixels(self) -> IndexArray:
        """Pixels covered by a bright-field mask."""
        return np.flatnonzero(self.basis.bright_pixels)

    @cached_property
    def _gathered(self) -> FloatArray:
        """(seen pixels, n_bright): the bright-field masks there."""
        return np.ascontiguousarray(self.basis.flat[: self.basis.n_bright, self._bright_pixels].T)

    @cached_property
    def _wide(self) -> FloatArray:
        """(pixels, 4 + n_dark): weights of the linear extras, and the masks of the dark field."""
        grid, good = self.field.grid, self.field.good
        planes = [good, grid.k_row * good, grid.k_col * good, self.field.edge]
        linear = np.stack(planes, -1).reshape(-1, len(planes))
        return np.ascontiguousarray(np.concatenate([linear, self.basis.flat[self.basis.n_bright :].T], 1), np.float32)

    @cached_property
    def _regions(self) -> FloatArray:
        """(pixels, 2): bright and dark field."""
        planes = np.stack([self.field.bright, self.field.dark], -1)
        return np.ascontiguousarray(planes.reshape(-1, 2), dtype=np.float32)


def _residual_energy(squared_length: Array, coefficients: Array) -> Array:
    return np.asarray(np.maximum(squared_length - (coefficients**2).sum(axis=1), 0))


def _mean_angle(captured: Array, total: Array) -> float:
    nonzero = total > 0
    if not nonzero.any():
        return 0.0
    share = np.clip(captured[nonzero].sum(axis=1) / total[nonzero], 0.0, 1.0)
    return float(np.degrees(np.arccos(np.sqrt(share))).mean())
