"""Convert a scan file to a native one: patterns prepared and, optionally, compressed to coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine.bases.choice import BasisChoice
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.compression import (
    CompressedSource,
    PatternSource,
    SavedBasis,
    StillSource,
    compressor_for,
    resolution,
    sample_of,
)
from ptylive.engine.live.reading import found_descan
from ptylive.engine.preparation import Preparation, PreparedSource, kept_orientation, left_over
from ptylive.schema import InputFileError, ScanHeader
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import IndexArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from ptylive.streamer.source import FileSource

BATCH_FRAMES = 256
COEFFICIENTS_SUFFIX = "_coefficients"


@dataclass(frozen=True)
class CompressionReport:
    """How much information a basis keeps (docs/compression.md).

    compression: pixels of a pattern over the numbers stored for it, C; angle_bright_deg, angle_dark_deg:
    intact-information angle, mean over a sample; finest_period_A, masks_advised: resolution of Zernike masks at the
    given aberrations, and how many masks would resolve everything that the scan samples.
    """

    basis: str
    n_bright: int
    n_dark: int
    numbers: int
    compression: float
    angle_bright_deg: float
    angle_dark_deg: float
    finest_period_A: float | None = None
    masks_advised: int | None = None

    @property
    def warning(self) -> str:
        """A warning in one line if the masks are too coarse for the scan, otherwise empty."""
        if self.masks_advised is None or self.finest_period_A is None or self.n_bright >= self.masks_advised:
            return ""
        return (
            f"{self.n_bright} {self.basis} masks resolve periods down to {self.finest_period_A:.2g} Å at this defocus; "
            f"{self.masks_advised} would be needed for the whole scan"
        )

    @property
    def line(self) -> str:
        """The report in one line, for a log."""
        coefficients = f"{self.n_bright} + {self.n_dark} {self.basis} coefficients, compression {self.compression:.3g}"
        angles = f"{self.angle_bright_deg:.1f} and {self.angle_dark_deg:.1f} degrees"
        return f"{coefficients}, intact-information angles {angles}"

    @classmethod
    def of(cls, compressor: Compressor, header: ScanHeader, sample: Any, more: int = 0) -> CompressionReport:
        """Assess a compressor on a sample (n, Qy, Qx) of its scan; ``more``: numbers stored in addition."""
        numbers = compressor.basis.count + len(compressor.extras) + more
        bright, dark = compressor.intact_angles_deg(sample)
        finest_period_A, masks_advised = resolution(compressor, header)
        return cls(
            basis=compressor.basis.kind,
            n_bright=compressor.basis.n_bright,
            n_dark=compressor.basis.n_dark,
            numbers=numbers,
            compression=float(compressor.basis.masks[0].size / numbers),
            angle_bright_deg=bright,
            angle_dark_deg=dark,
            finest_period_A=finest_period_A,
            masks_advised=masks_advised,
        )


def compressed(source: PatternSource, choice: BasisChoice) -> tuple[CompressedSource, CompressionReport]:
    """Compress an open scan with the basis a user chose, after removing the descan that is given or found in it.

    Raises InputFileError, MetadataError.
    """
    source = StillSource.of(source, found_descan(source))
    sample = sample_of(source) if source.header.basis.is_raw else np.zeros((0, *source.header.detector_shape))
    compressor = compressor_for(source.header, choice, sample, saved_basis(choice))
    return CompressedSource.of(source, compressor), CompressionReport.of(compressor, source.header, sample)


def saved_basis(choice: BasisChoice) -> SavedBasis | None:
    """The basis in the file a user named; None if none was named. Raises InputFileError."""
    from ptylive.streamer.storage.vectors import load_basis

    return None if choice.file is None else SavedBasis(*load_basis(choice.file))


@dataclass(frozen=True)
class WrittenFrames:
    """Number of frames written, and acquisition numbers of those that could not be read."""

    frames: int
    unreadable: tuple[int, ...] = ()
    problem: str = ""
    """Why the first of them could not be read."""


def write_scan(
    target: Path,
    source: PatternSource,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    leave_out: bool = False,
    permitted: Callable[[], object] | None = None,
) -> WrittenFrames:
    """Write a scan as a native file, whole or not at all.

    ``leave_out``: frames that cannot be read count as not received, as long as others can be read. ``permitted``: see
    `replacing`. Raises InputFileError and OSError, for the file being read as well as for the one being written.
    """
    from ptylive.streamer.recording.recording_writer import created_scan

    numbers = np.flatnonzero(source.received)
    unreadable: list[int] = []
    problem: Exception | None = None
    with replacing(target, permitted) as temporary, created_scan(temporary, source.header) as writer:
        for start in range(0, len(numbers), BATCH_FRAMES):
            index = numbers[start : start + BATCH_FRAMES]
            try:
                writer.add_frames(index, source.frames(index))
            except (InputFileError, OSError) as error:
                bad = _unreadable(source, index) if leave_out else []
                if not bad:
                    raise  # writing failed, or nothing may be left out
                problem = problem or error
                unreadable += bad
                good = np.setdiff1d(index, bad)
                if len(good):
                    writer.add_frames(good, source.frames(good))
            if on_progress is not None:
                on_progress(start + len(index), len(numbers))
        if problem is not None and len(unreadable) == len(numbers):
            raise problem
        writer.finish(marks=False)
    return WrittenFrames(len(numbers) - len(unreadable), tuple(unreadable), "" if problem is None else str(problem))


def _unreadable(source: PatternSource, index: IndexArray) -> list[int]:
    """The numbers of those frames that cannot be read."""
    bad = []
    for number in index.tolist():
        try:
            source.frames(np.array([number]))
        except (InputFileError, OSError):
            bad.append(number)
    return bad


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion. bytes_ratio: bytes of the decoded frames over bytes stored, including masks."""

    frames: int
    bytes_ratio: float
    report: CompressionReport | None = None
    unreadable: tuple[int, ...] = ()
    """Acquisition numbers of the frames left out."""
    problem: str = ""
    asked: str = ""
    """Question about the orientation given by the file, after scan points or patterns were rotated."""
    doubts: tuple[str, ...] = ()
    """Guesses about how the file is to be read, and pixels left out: the file that is written tells neither."""

    @property
    def missing(self) -> str:
        """The frames that are missing, in words; empty if none are."""
        if not self.unreadable:
            return ""
        few = ", ".join(str(number) for number in self.unreadable[:5]) + (", …" if len(self.unreadable) > 5 else "")
        total = self.frames + len(self.unreadable)
        return f"{len(self.unreadable)} of {total} frames cannot be read and are left out: {few} ({self.problem})"


def cleaned(source: FileSource) -> FileSource:
    """A file with corrected patterns, without the hot pixels found in the first ones; other files are unchanged."""
    if source.flat is None or not source.received.any():
        return source
    from ptylive.engine.calibrate.bad_pixels import frames_examined, without_hot_pixels

    first = np.flatnonzero(source.received)[: frames_examined(source.header)]
    flat = without_hot_pixels(source.flat, source.recorded(first))
    return source if flat is source.flat else source.undistorted_by(flat)


def convert_file(
    path: Path,
    target: Path,
    choice: BasisChoice,
    preparation: Preparation,
    values: Mapping[str, Any],
    on_progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write a scan file anew as a native one, with its patterns prepared, and compressed if a basis is chosen.

    Raises InputFileError, MetadataError; OSError for a full disk.
    """
    from ptylive.application.outputs import check_recording
    from ptylive.streamer.source import open_source
    from ptylive.streamer.storage.vectors import stored_bytes

    with open_source(path, values) as opened:
        source = cleaned(opened).identified()

        def check() -> None:
            check_recording(target, source)

        check()
        restated = {name.rpartition(".")[2] for name in values} & {"rotation_deg", "transform", "detector_transform"}
        orientation = "" if restated else kept_orientation(source.header, preparation)
        converted: PatternSource = source
        if not preparation.changes_nothing or source.header.readout.corrects:
            converted = PreparedSource.of(source, preparation)
        header, report, notes = source.header, None, source.doubts
        if left := left_over(header, preparation):
            notes = (*notes, left)
        raw = header.frames * header.detector_shape[0] * header.detector_shape[1] * header.frame_dtype.itemsize
        prepared = converted
        if not choice.is_raw:
            converted, report = compressed(converted, choice)
        if isinstance(prepared, PreparedSource):
            prepared.casts.forget()  # patterns that were read to choose a basis are read again
        written = write_scan(target, converted, on_progress, leave_out=True, permitted=check)
        if isinstance(prepared, PreparedSource) and (lost := prepared.casts.problem):
            notes = (*notes, lost)
    ratio = raw / stored_bytes(target)
    return Conversion(written.frames, ratio, report, written.unreadable, written.problem, orientation, notes)


@dataclass(frozen=True)
class RecordingCompression:
    """Coefficients next to recorded frames, in ``<recording>_coefficients.h5`` (``serve --basis``, ``keep_frames``).

    If frames are not kept, the stream is compressed before it is recorded (:mod:`.stream_compression`), and there
    is nothing to do here.
    """

    choice: BasisChoice
    keep_frames: bool = False

    def apply(self, recording: Path) -> tuple[Path, CompressionReport] | None:
        """Compress a recording; return the file written, or None if there is nothing to compress.

        Raises InputFileError, MetadataError; OSError for a full disk. The recording is left unchanged in that case.
        """
        from ptylive.streamer.source import open_source

        if self.choice.is_raw or not self.keep_frames:
            return None

        with open_source(recording) as opened:
            source = cleaned(opened)
            if not source.header.basis.is_raw or not source.received.any():
                return None
            coefficients, report = compressed(source, self.choice)
            target = recording.with_name(f"{recording.stem}{COEFFICIENTS_SUFFIX}.h5")
            write_scan(target, coefficients)
        return target, report
