"""Read a scan of frames as a scan of coefficients: its compressor, and the numbers that judge the compression.

The disc is measured on a sample drawn from the whole scan: patterns of the first rows alone give worse masks
(docs/compression.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ptylive.engine.backend.imaging.wandering_mean import WanderingMean, WanderingSums
from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.bases.choice import BasisChoice, make_basis
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.following import TrackedWander, Wander, at_place, mean_center
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.calibrate.bad_pixels import BadPixels
from ptylive.engine.calibrate.detector import calibrate_detector
from ptylive.engine.calibrate.disc import find_disc
from ptylive.engine.descan import (
    given_descan,
    header_at_rest,
    moved_back,
    nearly_moved_back,
    places_in_scan,
    read_at_pixels,
)
from ptylive.engine.probe import Probe
from ptylive.schema import Basis, FrameBatch, MetadataError, ScanHeader
from ptylive.schema.detector import Descan
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray

SAMPLE_FRAMES = 320
"""Number of patterns from which the disc and learnt masks are determined (basis paper, appendix C)."""
SAMPLE_SEED = 3
FRAMES_AT_A_TIME = 256
LEAST_ORDER = 8
"""Radial order that suffices in focus."""


class PatternSource(Protocol):
    """An open scan."""

    @property
    def path(self) -> Path:
        """File that holds the scan."""
        ...

    @property
    def header(self) -> ScanHeader:
        """Metadata of the scan."""
        ...

    @property
    def received(self) -> BoolArray:
        """Which frames have arrived, in acquisition order."""
        ...

    def frames(self, index: IndexArray) -> Array:
        """Patterns (n, Qy, Qx) by acquisition number."""
        ...


@dataclass(frozen=True, eq=False)
class SavedBasis:
    """A basis read from a file: its description and its masks (N, Qy, Qx)."""

    words: Basis
    masks: FloatArray

    @property
    def disc(self) -> tuple[tuple[float, float], float] | None:
        """Centre (row, col) and radius for which the masks were made, in pixels; None unless the file states both."""
        if self.words.center_px is None or self.words.radius_px is None:
            return None
        return self.words.center_px, self.words.radius_px


def sample_of(source: PatternSource) -> Array:
    """Draw at most SAMPLE_FRAMES patterns (n, Qy, Qx) at random from the scan. Raises MetadataError if it has none."""
    return source.frames(sample_numbers(source))


def sample_numbers(source: PatternSource) -> IndexArray:
    """Return the acquisition numbers of that sample: reproducible, without flyback. Raises MetadataError if empty."""
    numbers = np.flatnonzero(source.received)
    if source.header.scan.shape is not None:
        numbers = numbers[source.header.scan.point_of(numbers) >= 0]
    if not len(numbers):
        raise MetadataError("the scan has no frames to choose a basis from", "use a scan with frames")
    drawn = np.random.default_rng(SAMPLE_SEED).choice(numbers, min(SAMPLE_FRAMES, len(numbers)), replace=False)
    return np.sort(drawn)


def compressor_for(
    header: ScanHeader, choice: BasisChoice, sample: Array, saved: SavedBasis | None = None, *, whole: bool = True
) -> Compressor:
    """Return the compressor that turns frames of a scan into vectors. ``saved``: the basis if ``choice`` names a file.

    ``whole``: the sample covers the whole scan; the first frames alone may show dark speckles that are not dead pixels.

    Raises MetadataError if the scan is already compressed or the basis does not fit the detector.
    """
    if not header.basis.is_raw:
        raise MetadataError(f"the scan is compressed already ({header.basis.kind})", "compress its frames instead")
    readout = header.readout
    sample = readout.counts(sample)[0]
    if len(sample):
        header = BadPixels().look(header, np.mean(sample, axis=0, dtype=float), len(sample), dead=whole)
    if saved is None:
        field = _measured_field(header, sample)
        basis = make_basis(choice, field, sample if choice.is_learnt else None)
        return Compressor(basis, field, choice.square_root, readout=readout)
    if saved.masks.shape[1:] != header.detector_shape:
        raise MetadataError(
            f"the saved basis is for {saved.masks.shape[1:]} pixels, not {header.detector_shape}", "make a new basis"
        )
    field = _measured_field(header, sample) if saved.disc is None else DetectorField(*saved.disc, ~bad_pixels(header))
    masks = MaskBasis(saved.words.kind, saved.masks * field.good, saved.words.n_bright)
    return Compressor(masks, field, saved.words.of == "sqrt_intensity", readout=readout)


def _measured_field(header: ScanHeader, sample: Array) -> DetectorField:
    """Return bright and dark field as measured on a sample (n, Qy, Qx) of the scan. Raises MetadataError."""
    if not len(sample):
        raise MetadataError(
            "there are no frames to find the disc in", "give beam_center_px and the disc with the basis"
        )
    calibration = calibrate_detector(header, np.mean(sample, axis=0, dtype=float))
    center = calibration.require("beam_center_px", "a detector basis")
    radius = float(calibration.require("disc_radius_px", "a detector basis"))
    return DetectorField((float(center[0]), float(center[1])), radius, ~bad_pixels(header))


def centred_sample(header: ScanHeader, wander: Wander, index: IndexArray, sample: Array) -> tuple[Array, DoubleArray]:
    """Move the first frames (n, Qy, Qx) of a scan to where its masks will be; also return the offset (2,) of their CoM.

    Frames move by whole pixels, to the beam centre if one is given and otherwise to their own mean. The offset is that
    of the centre of mass from the centre of the disc, in pixels, caused by a background or a specimen; 0 if no disc is
    seen.
    """
    sample = at_place(header, wander, index, sample)
    center, usual_offset = mean_center(header, sample), np.zeros(2)
    if center is None:
        return sample, usual_offset
    disc = find_disc(np.mean(header.readout.counts(sample)[0], axis=0, dtype=float), bad_pixels(header))
    if disc is not None:
        usual_offset = np.subtract(center, disc.center_px)
    given = header.detector.beam_center_px
    if given is not None and isinstance(wander, TrackedWander):
        row, col = np.rint(center - usual_offset - given).astype(int).tolist()
        sample = read_at_pixels(sample, row, col)
    return sample, usual_offset


def resolution(compressor: Compressor, header: ScanHeader) -> tuple[float | None, int | None]:
    """Return the finest period (Å) that the bright-field masks resolve, and how many masks the whole scan would need.

    Zernike polynomials of order n carry a tilt ramp 2 pi Q s_r <= n, s_r the shift of the disc's rim
    (docs/compression.md). None for other masks, and if optics or scan step are unknown.
    """
    optics, step = header.optics, header.scan.step_A
    known = optics.wavelength_A is not None and optics.convergence_semiangle_mrad is not None and optics.aberrations
    if compressor.basis.kind != "zernike" or step is None or not known:
        return None, None
    probe = Probe.of(optics.wavelength_A or 0.0, optics.convergence_semiangle_mrad or 0.0, 1.0, optics.aberrations)
    complete = max((math.isqrt(8 * compressor.basis.n_bright + 1) - 3) // 2, 1)
    finest = max(2 * math.pi * probe.rim_shift_A / complete, 2 * min(step))
    needed = max(math.ceil(math.pi * probe.rim_shift_A / min(step)), LEAST_ORDER)
    return finest, (needed + 1) * (needed + 2) // 2


@dataclass(frozen=True, eq=False)
class _DerivedSource:
    """An open scan read as another kind of scan, which ``header`` describes."""

    source: PatternSource
    header: ScanHeader

    @property
    def path(self) -> Path:
        """File that holds the patterns."""
        return self.source.path

    @property
    def received(self) -> BoolArray:
        """Which frames have arrived, in acquisition order."""
        return self.source.received


@dataclass(frozen=True, eq=False)
class StillSource(_DerivedSource):
    """An open scan whose patterns are moved back by a descan, which can hardly be removed from coefficients later."""

    descan: Descan
    wandering: WanderingMean | None = None
    """Mean pattern that all patterns have in common."""

    @classmethod
    def of(cls, source: PatternSource, found: Descan | None = None) -> PatternSource:
        """Return the scan without the given descan, or otherwise without ``found``; the source itself if neither."""
        descan = given_descan(source.header) or found
        if descan is None or not descan.moves:
            return source
        plain = header_at_rest(source.header.of_counts, descan)
        update = {"descan_px": Descan.of([0]).numbers, "dtype": "<f4"}
        at_rest = replace(plain, detector=plain.detector.model_copy(update=update))
        return cls(source, at_rest, descan, _wandering(source, descan))

    def frames(self, index: IndexArray) -> FloatArray:
        """Return patterns (n, Qy, Qx) by acquisition number, references applied, 0 outside the detector."""
        counts = self.source.header.readout.counts(self.source.frames(index))[0]
        return moved_back(self.source.header, self.descan, index, counts, self.wandering)


def _wandering(source: PatternSource, descan: Descan) -> WanderingMean | None:
    """Return what the patterns of an open scan have in common, reading each once."""
    sums = WanderingSums(source.header.detector.counts_per_electron or 1.0)
    numbers = np.flatnonzero(source.received)
    for start in range(0, len(numbers), FRAMES_AT_A_TIME):
        index = numbers[start : start + FRAMES_AT_A_TIME]
        counts = source.header.readout.counts(source.frames(index))[0]
        sums.add(*nearly_moved_back(source.header, descan, index, counts), places_in_scan(source.header.scan, index))
    return sums.mean()


@dataclass(frozen=True, eq=False)
class CompressedSource(_DerivedSource):
    """An open scan seen through its compressor; read like any other."""

    compressor: Compressor

    @classmethod
    def of(cls, source: PatternSource, compressor: Compressor) -> CompressedSource:
        """Return the scan seen through a compressor."""
        return cls(source, compressor.described(source.header), compressor)

    def frames(self, index: IndexArray) -> FloatArray:
        """Return vectors (n, coefficients + extras) by acquisition number."""
        return self.compressor.vectors(self.source.frames(index))

    def batches(self, n: int) -> Iterator[FrameBatch]:
        """Yield all frames in acquisition order, at most ``n`` at a time."""
        for start in range(0, len(self.received), n):
            index = start + np.flatnonzero(self.received[start : start + n])
            if len(index):
                yield FrameBatch(self.header.uid, index, self.frames(index))
