"""How the numbers of a frame relate to its pixels: raw pixels, or coefficients in a basis of detector masks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from ptylive.schema.model import Array, DoubleArray, Model

MOVED = ("moved_row", "moved_col")
"""Extras of coefficients whose masks followed the beam: displacement of the masks, in detector pixels."""
MOMENTS = ("sum", "k_row", "k_col")
"""Extras that give the centre of mass: sum of I, of I (row - row_0), of I (col - col_0), pixels from ``center_px``."""


class Basis(Model):
    """A detector basis; ``pixels`` means raw frames."""

    kind: str = Field(default="pixels", description="pixels, binning, zernike, data, pca, or custom")
    n_bright: int = Field(default=0, ge=0, description="masks inside the bright field")
    n_dark: int = Field(default=0, ge=0, description="masks outside it")
    of: Literal["intensity", "sqrt_intensity"] = Field(default="intensity", description="quantity that was projected")
    extra: tuple[str, ...] = Field(default=(), description="names of the exact numbers sent with the coefficients")
    center_px: tuple[float, float] | None = Field(default=None, description="beam centre for which the masks were made")
    radius_px: float | None = Field(
        default=None, gt=0, description="radius of the disc for which the masks were made, pixels"
    )

    com_px: tuple[float, float] | None = Field(
        default=None, description="mean centre of mass of the patterns in which that centre was found"
    )

    @property
    def is_raw(self) -> bool:
        """Whether frames carry pixels."""
        return self.kind == "pixels"

    @property
    def follows(self) -> bool:
        """Whether the masks followed the beam, with each vector giving their displacement."""
        return {*MOVED, *MOMENTS} <= set(self.extra)

    def moved_px(self, vectors: Array) -> DoubleArray:
        """Displacements (n, 2) of the masks of vectors (n, coefficients + extras); 0 for masks that did not move."""
        if not self.follows:
            return np.zeros((len(vectors), 2))
        return self.columns(vectors, MOVED)

    def columns(self, vectors: Array, names: tuple[str, ...]) -> DoubleArray:
        """Selected extras (n, names) of vectors (n, coefficients + extras)."""
        first = self.n_bright + self.n_dark
        return np.asarray(vectors[:, [first + self.extra.index(name) for name in names]], dtype=float)
