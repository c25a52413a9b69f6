"""The basis named by a user (docs/compression.md) and its masks for a detector."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.learnt import from_random_patterns, principal_components
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.bases.polynomials import zernike
from ptylive.engine.bases.squares import square_bins
from ptylive.schema import MetadataError
from ptylive.schema.model import Array, BoolArray, DoubleArray

USUAL = {"binning": (45, 1), "zernike": (45, 1), "data": (15, 1), "pca": (15, 1)}
"""Number of masks in bright and dark field if only the kind is named."""
LEARNT = ("data", "pca")
MOST_MASKS = 4096
PIXELS = "pixels"
_PATTERN = re.compile(r"(?P<kind>[a-z]+)(:(?P<bright>\d+)\+(?P<dark>\d+))?(?P<root>:sqrt)?")


@dataclass(frozen=True)
class BasisChoice:
    """Value of ``--basis``: a kind with its numbers of masks, or a file that holds a basis.

    square_root: square roots of the intensities are projected, not the intensities.
    """

    kind: str
    n_bright: int = 0
    n_dark: int = 0
    square_root: bool = False
    file: Path | None = None

    @property
    def is_raw(self) -> bool:
        """Whether frames stay as they are."""
        return self.kind == PIXELS

    @property
    def is_learnt(self) -> bool:
        """Whether patterns are needed to make the masks."""
        return self.kind in LEARNT


def parse_basis(text: str) -> BasisChoice:
    """Parse ``pixels``, ``zernike:45+1``, ``data``, ``binning:45+1:sqrt`` … or the name of a file with ``/basis``.

    Raises MetadataError for anything else.
    """
    if text == PIXELS:
        return BasisChoice(PIXELS)
    path = Path(text)
    if path.suffix in (".h5", ".hdf5", ".nxs") or path.is_file():
        return BasisChoice("file", file=path)
    matched = _PATTERN.fullmatch(text)
    if matched is None or matched["kind"] not in USUAL:
        raise MetadataError(
            f"unknown basis {text!r}",
            f"pixels, {', '.join(f'{kind}:{b}+{d}' for kind, (b, d) in USUAL.items())}, or a file with /basis",
        )
    usual = USUAL[matched["kind"]]
    bright, dark = (int(matched["bright"]), int(matched["dark"])) if matched["bright"] else usual
    if not 1 <= bright <= MOST_MASKS or dark > MOST_MASKS:
        raise MetadataError(f"basis {text!r} is impossible", f"1 to {MOST_MASKS} bright-field masks")
    return BasisChoice(matched["kind"], bright, dark, bool(matched["root"]))


def make_basis(choice: BasisChoice, field: DetectorField, patterns: Array | None = None) -> MaskBasis:
    """Return orthonormal masks for a detector; zero on bad pixels.

    patterns (n, Qy, Qx): a sample of the scan, for kinds that learn from it. There may be fewer masks than requested if
    the sample or the region supports no more (bins: a few more or fewer). Raises MetadataError if the detector shows
    too few pixels.
    """
    sample = None if patterns is None else np.asarray(patterns, dtype=float)
    if sample is not None and choice.square_root:
        sample = np.sqrt(np.maximum(sample, 0.0))
    plane_first = not choice.square_root  # no map is made from masks of roots, and patterns alone refine better
    bright = _region(
        choice.kind, choice.n_bright, field, field.bright, field.bright_radius, sample, plane_first=plane_first
    )
    # a single mask for the dark field is its sum, whatever the kind
    kind = "binning" if choice.n_dark == 1 else choice.kind
    dark = _region(kind, choice.n_dark, field, field.dark, field.dark_radius, sample, plane_first=plane_first)
    masks = np.concatenate([bright, dark]).astype(np.float32)
    return MaskBasis(choice.kind, masks, len(bright))


def _region(
    kind: str,
    count: int,
    field: DetectorField,
    region: BoolArray,
    outer_px: float,
    patterns: DoubleArray | None,
    *,
    plane_first: bool,
) -> DoubleArray:
    """Return orthonormal masks (<= count, Qy, Qx) on one region of the detector."""
    pixels = int(region.sum())
    if count > pixels:
        raise MetadataError(
            f"{count} masks for {pixels} pixels of the {'bright' if region is field.bright else 'dark'} field",
            "fewer masks (--basis KIND:BRIGHT+DARK), or give beam_center_px and the semi-angle",
        )
    if not count:
        return np.zeros((0, *region.shape))
    if kind == "zernike":
        masks = _orthonormal(zernike(field, region, outer_px, count))
    elif kind == "binning":
        masks = square_bins(field, region, count) if count > 1 else np.full((1, pixels), 1 / np.sqrt(pixels))
    elif patterns is None or not len(patterns):
        raise MetadataError(f"basis {kind} is learnt from patterns", "give patterns, or a file with /basis")
    elif kind == "data":
        plane = np.stack([np.ones(pixels), field.grid.k_row[region], field.grid.k_col[region]])
        masks = from_random_patterns(patterns[:, region], count, plane if plane_first and count > len(plane) else None)
    else:
        masks = principal_components(patterns[:, region], count)
    out = np.zeros((len(masks), *region.shape))
    out[:, region] = masks
    return out


def _orthonormal(functions: DoubleArray) -> DoubleArray:
    """Orthonormalise by Gram-Schmidt in the given order (n, pixels), keeping signs."""
    q, triangle = np.linalg.qr(functions.T)
    return np.asarray((q * np.where(np.diag(triangle) < 0, -1.0, 1.0)).T)
