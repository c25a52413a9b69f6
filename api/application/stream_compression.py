"""``serve --basis``: the compressor of every scan that arrives (docs/compression.md, "In a server")."""

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
"""Patterns that the angles are measured on: nothing is received meanwhile."""
Say = Callable[[Literal["info", "warning"], str], None]
"""Takes one line for the log."""


@dataclass(frozen=True, eq=False)
class ScanCompressor:
    """The compressor of one scan, and the scan as its vectors tell it."""

    header: ScanHeader
    compressor: Compressor | FollowingCompressor
    flat: Undistorted | None = None
    """What puts frames in place before they are compressed."""

    def vectors(self, index: IndexArray, frames: Array) -> FloatArray:
        """Coefficients and extras (n, N + M) of frames (n, Qy, Qx), as they come, by acquisition number."""
        frames = frames if self.flat is None else self.flat.frames(frames)
        if isinstance(self.compressor, Compressor):
            return self.compressor.vectors(frames)
        return self.compressor.vectors(index, frames)


class StreamCompression:
    """Makes compressors from what the user chose. ``prepare`` lays the server's settings over a scan.

    The disc, and masks that are learnt, come from the first patterns; a saved basis that says its disc needs none.
    """

    def __init__(self, choice: BasisChoice, prepare: Callable[[ScanHeader], ScanHeader], say: Say) -> None:
        """Raises InputFileError when ``choice`` names a file without a basis."""
        self._choice, self._prepare, self._say = choice, prepare, say
        self._saved = saved_basis(choice)

    def sample_frames(self, header: ScanHeader) -> int:
        """See :class:`~ptylive.streamer.compressing.Compression`."""
        known = self._saved is not None and self._saved.disc is not None
        return 0 if known else min(SAMPLE_FRAMES, header.frames)

    def learn(self, header: ScanHeader, index: IndexArray, frames: Array) -> ScanCompressor:
        """Masks for a scan from its first frames (n, Qy, Qx), and a word on what they keep. Raises MetadataError."""
        sent, flat = header, Undistorted.of(header)
        if flat is not None:
            flat = without_hot_pixels(flat, frames) if len(frames) else flat
            sent = flat.recorded
            header, frames = flat.header, flat.frames(frames)
        prepared = self._prepare(header)
        index, sample = _sample(header, index, frames)
        wander = wander_of(prepared)
        moved, usual = centred_sample(prepared, wander, index, sample)
        if not np.array_equal(moved, sample):  # hot pixels stand still, and would be smeared
            seen = np.mean(prepared.readout.counts(sample)[0], axis=0, dtype=float)
            prepared, sample = BadPixels().look(prepared, seen, len(sample), dead=False), moved
        compressor = compressor_for(prepared, self._choice, sample, self._saved, whole=False)
        row, col = (usual + compressor.field.center_px).tolist()
        following = FollowingCompressor.of(replace(compressor, com_px=(row, col)), prepared.scan, wander)
        more = len(following.words.extra) - len(compressor.extras)
        report = CompressionReport.of(compressor, prepared, sample[:: max(1, len(sample) // JUDGED_FRAMES)], more)
        self._say("info", f"{header.series}: {report.line}")
        if report.warning:
            self._say("warning", report.warning)
        described = following.described(header)
        return ScanCompressor(described if flat is None else _going_on(described, sent), following, flat)

    def resume(self, header: ScanHeader) -> ScanCompressor:
        """The compressor that made the vectors of a stored scan. Raises MetadataError."""
        words = header.basis
        saved = SavedBasis(words, np.asarray(header.arrays["masks"], dtype=np.float32))
        none = np.zeros((0, *header.detector_shape), dtype=np.float32)
        frames = replace(header, basis=Basis())
        flat = Undistorted.of(_as_recorded(frames))
        if flat is not None:
            frames = _in_place(frames)
        made = compressor_for(frames, self._choice, none, saved)
        made = replace(made, extras=tuple(name for name in words.extra if name not in MOVED), com_px=words.com_px)
        if not words.follows:
            return ScanCompressor(header, made, flat)
        prepared = self._prepare(header)
        return ScanCompressor(header, FollowingCompressor.of(made, prepared.scan, wander_of(prepared)), flat)


def _going_on(described: ScanHeader, sent: ScanHeader) -> ScanHeader:
    """A scan of coefficients of patterns in place, with what its later frames need, which come as they are ``sent``.

    The distortion and the references stay, as those of other scans do; nothing is corrected by them. Pixels that were
    bad as recorded have a gain of 0: the mask names those that are bad in place.
    """
    arrays = {**described.arrays, **{name: sent.arrays[name] for name in REFERENCES if name in sent.arrays}}
    bad = np.asarray(sent.of_counts.arrays.get("bad_pixel_mask", np.zeros(sent.detector_shape))) != 0
    if bad.any():
        gain = np.array(arrays.get("gain_reference", np.ones(sent.detector_shape)), dtype=np.float32)
        arrays["gain_reference"] = np.where(bad, np.float32(0), gain)
    kept = {"beam_center_px": described.detector.beam_center_px}
    return replace(described, detector=sent.detector.model_copy(update=kept), arrays=arrays)


def _as_recorded(header: ScanHeader) -> ScanHeader:
    """The frames of a scan that :func:`_going_on` tells: their mask is not that of patterns in place."""
    return replace(header, arrays={name: header.arrays[name] for name in REFERENCES if name in header.arrays})


def _in_place(header: ScanHeader) -> ScanHeader:
    """The same as patterns in place, which nothing corrects."""
    told = {"dtype": "<f4", "saturation_value": None, "distortion": None}
    arrays = {name: array for name, array in header.arrays.items() if name not in REFERENCES}
    return replace(header, detector=header.detector.model_copy(update=told), arrays=arrays)


def _sample(header: ScanHeader, index: IndexArray, frames: Array) -> tuple[IndexArray, Array]:
    """At most SAMPLE_FRAMES of the frames, flyback left out where there are others, always the same ones."""
    if header.scan.shape is not None and (seen := header.scan.point_of(index) >= 0).any():
        index, frames = index[seen], frames[seen]
    drawn = np.random.default_rng(SAMPLE_SEED).choice(len(frames), min(SAMPLE_FRAMES, len(frames)), replace=False)
    drawn = np.sort(drawn)
    return (index[drawn], frames[drawn]) if len(frames) else (index, frames)
