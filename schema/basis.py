"""How the numbers of a frame relate to its pixels: raw pixels, or coefficients in a basis of detector masks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ptylive.schema.model import Model


class Basis(Model):
    """A detector basis; ``pixels`` means raw frames."""

    kind: str = Field(default="pixels", description="pixels, binning, zernike, data, pca, or custom")
    n_bright: int = Field(default=0, ge=0, description="masks inside the bright field")
    n_dark: int = Field(default=0, ge=0, description="masks outside it")
    of: Literal["intensity", "sqrt_intensity"] = Field(default="intensity", description="what was projected")
    extra: tuple[str, ...] = Field(default=(), description="names of the exact numbers sent beside the coefficients")
    center_px: tuple[float, float] | None = Field(default=None, description="beam centre the masks were made for")
    radius_px: float | None = Field(default=None, gt=0, description="radius of the disc they were made for, pixels")

    @property
    def is_raw(self) -> bool:
        """Whether frames carry pixels."""
        return self.kind == "pixels"
