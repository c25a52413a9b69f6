"""``serve --basis``: the compressor for every arriving scan (docs/compression.md, "In a server")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ptylive.application.conversion import CompressionReport, saved_basis
from ptylive.engine.bases.choice import BasisChoice
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.following import FollowingCompressor, wander_of
from ptylive.engine.calibrate.bad_pixels import BadPixels, without_hot_pixels
from ptylive.engine.compression import SAMPLE_FRAMES, SAMPLE_SEED, SavedBasis, centred_sample, compressor_for
from ptylive.schema import Basis, ScanHeader
from ptylive.schema.basis import MOVED
from ptylive.schema.detector import REFERENCES
from ptylive.schema.model import Array, FloatArray, IndexArray
from ptylive.schema.pattern.undistorted import Undistorted

JUDGED_FRAMES = 64
"""Number of patterns on which the angles are measured: nothing is received meanwhile."""
Say = Callable[[Literal["info", "warning"], str], None]
"""Function that writes one line to the log."""


@dataclass(frozen=True, eq=False)
class ScanCompressor:
    """The compressor of one scan, and the scan as its vectors describe it."""

    header: ScanHeader
    compressor: Compressor | FollowingCompressor
    flat: Undistorted | None = None
    """Correction applied to frames before they are compressed."""

    def vectors(self, index: IndexArray, frames: Array) -> FloatArray:
        """Coefficients and extras (n, N + M) of frames (n, Qy, Qx) in order of arrival, by acquisition number."""
        frames = frames if self.flat is None else self.flat.frames(frames)
        if isinstance(self.compressor, Compressor):
            return self.compressor.vectors(frames)
        return self.compressor.vectors(index, frames)


class StreamCompression:
    """Creates compressors according to the user's choice. ``prepare`` applies the server's settings to a scan.

    The disc, and learnt masks, come from the first patterns; a saved basis that includes its disc needs none.
    """

    def __init__(self, choice: BasisChoice, prepare: Callable[[ScanHeader], ScanHeader], say: Say) -> None:
        """Raise InputFileError if ``choice`` names a file without a basis."""
        self._choice, self._prepare, self._say = choice, prepare, say
        self._saved = saved_basis(choice)

    def sample_frames(self, header: ScanHeader) -> int:
        """See :class:`~ptylive.streamer.compressing.Compression`."""
        disc_known = self._saved is not None and self._saved.disc is not None
        return 0 if disc_known else min(SAMPLE_FRAMES, header.frames)

    def learn(self, header: ScanHeader, index: IndexArray, frames: Array) -> ScanCompressor:
        """Learn masks for a scan from its first frames (n, Qy, Qx), and log what they keep. Raises MetadataError."""
        sent, flat = header, Undistorted.of(header)
        if flat is not None:
            flat = without_hot_pixels(flat, frames) if len(frames) else flat
            sent = flat.recorded
            header, frames = flat.header, flat.frames(frames)
        prepared = self._prepare(header)
        index, sample = _sample(header, index, frames)
        wander = wander_of(prepared)
        centred, usual_offset = centred_sample(prepared, wander, index, sample)
        if not np.array_equal(centred, sample):  # hot pixels do not move, and would be smeared
            mean = np.mean(prepared.readout.counts(sample)[0], axis=0, dtype=float)
            prepared, sample = BadPixels().look(prepared, mean, len(sample), dead=False), centred
        compressor = compressor_for(prepared, self._choice, sample, self._saved, whole=False)
        row, col = (usual_offset + compressor.field.center_px).tolist()
        following = FollowingCompressor.of(replace(compressor, com_px=(row, col)), prepared.scan, wander)
        extra_numbers = len(following.words.extra) - len(compressor.extras)
        report = CompressionReport.of(
            compressor, prepared, sample[:: max(1, len(sample) // JUDGED_FRAMES)], extra_numbers
        )
        self._say("info", f"{header.series}: {report.line}")
        if report.warning:
            self._say("warning", report.warning)
        described = following.described(header)
        return ScanCompressor(described if flat is None else _still_recorded(described, sent), following, flat)

    def resume(self, header: ScanHeader) -> ScanCompressor:
        """Recreate the compressor that produced the vectors of a stored scan. Raises MetadataError."""
        basis = header.basis
        saved = SavedBasis(basis, np.asarray(header.arrays["masks"], dtype=np.float32))
        no_frames = np.zeros((0, *header.detector_shape), dtype=np.float32)
        frames = replace(header, basis=Basis())
        flat = Undistorted.of(_as_recorded(frames))
        if flat is not None:
            frames = _in_place(frames)
        compressor = compressor_for(frames, self._choice, no_frames, saved)
        compressor = replace(
            compressor, extras=tuple(name for name in basis.extra if name not in MOVED), com_px=basis.com_px
        )
        if not basis.follows:
            return ScanCompressor(header, compressor, flat)
        prepared = self._prepare(header)
        return ScanCompressor(header, FollowingCompressor.of(compressor, prepared.scan, wander_of(prepared)), flat)


def _still_recorded(described: ScanHeader, sent: ScanHeader) -> ScanHeader:
    """Header of a scan of coefficients, with everything needed for its later frames, which arrive as ``sent``.

    Distortion and references are kept, as for other scans; nothing is corrected with them. Pixels that were bad as
    recorded get a gain of 0: the mask refers to pixels that are bad after the correction.
    """
    arrays = {**described.arrays, **{name: sent.arrays[name] for name in REFERENCES if name in sent.arrays}}
    bad = np.asarray(sent.of_counts.arrays.get("bad_pixel_mask", np.zeros(sent.detector_shape))) != 0
    if bad.any():
        gain = np.array(arrays.get("gain_reference", np.ones(sent.detector_shape)), dtype=np.float32)
        arrays["gain_reference"] = np.where(bad, np.float32(0), gain)
    changes = {"beam_center_px": described.detector.beam_center_px}
    return replace(described, detector=sent.detector.model_copy(update=changes), arrays=arrays)


def _as_recorded(header: ScanHeader) -> ScanHeader:
    """Header of the frames described by :func:`_still_recorded`: their mask is not that of corrected patterns."""
    return replace(header, arrays={name: header.arrays[name] for name in REFERENCES if name in header.arrays})


def _in_place(header: ScanHeader) -> ScanHeader:
    """Header for corrected patterns, which need no further correction."""
    changes = {"dtype": "<f4", "saturation_value": None, "distortion": None}
    arrays = {name: array for name, array in header.arrays.items() if name not in REFERENCES}
    return replace(header, detector=header.detector.model_copy(update=changes), arrays=arrays)


def _sample(header: ScanHeader, index: IndexArray, frames: Array) -> tuple[IndexArray, Array]:
    """At most SAMPLE_FRAMES of the frames, without flyback if there are others; the choice is reproducible."""
    if header.scan.shape is not None and (on_scan := header.scan.point_of(index) >= 0).any():
        index, frames = index[on_scan], frames[on_scan]
    drawn = np.random.default_rng(SAMPLE_SEED).choice(len(frames), min(SAMPLE_FRAMES, len(frames)), replace=False)
    drawn = np.sort(drawn)
    return (index[drawn], frames[drawn]) if len(frames) else (index, frames)
