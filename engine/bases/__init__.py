"""Detector bases: which sums of detector pixels stand for a frame (docs/compression.md).

Frames stand as sums over disjoint bins (:class:`BinnedPixels`, what the live engine makes of raw frames) or as
products with overlapping masks (:class:`MaskBasis`: Zernike polynomials, orthonormal bins, masks learnt from patterns).
Both answer the same questions (:class:`DetectorBasis`), so that filters and maps know neither by name.
"""

from ptylive.engine.bases.binned import BinnedPixels
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.bases.protocol import DetectorBasis, Samples

__all__ = ["BinnedPixels", "DetectorBasis", "MaskBasis", "Samples"]
