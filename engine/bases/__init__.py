"""Detector bases: which sums of detector pixels represent a frame (docs/compression.md).

Frames are represented by sums over disjoint bins (:class:`BinnedPixels`, used by the live engine for raw frames) or by
products with overlapping masks (:class:`MaskBasis`: Zernike polynomials, orthonormal bins, masks learnt from patterns).
Both have the same interface (:class:`DetectorBasis`), so that filters and maps need not distinguish them.

The "basis paper" is "Lossy compression of electron diffraction patterns for ptychography via change of basis".
"""

from ptylive.engine.bases.binned import BinnedPixels
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.bases.protocol import DetectorBasis, Samples

__all__ = ["BinnedPixels", "DetectorBasis", "MaskBasis", "Samples"]
