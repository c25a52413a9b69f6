"""From a recording to maps or to a data set for refinement: offline counterparts of a live session's steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.application.conversion import cleaned
from ptylive.application.detector_texts import DescribedDetector, ThresholdDetector, equip, read_detectors
from ptylive.application.remarks.of_counts import negative_remarks, scaled_remarks
from ptylive.application.remarks.of_orientation import (
    contradicting_maps_remarks,
    given_half_turn_remarks,
    given_orientation_remarks,
    orientation_remarks,
)
from ptylive.application.remarks.of_scan import (
    LEAST_LOOKED_AT,
    LOOKED_AT,
    LOOKED_AT_BYTES,
    assumed_center_remarks,
    axes_remarks,
    flash_remarks,
    frame_remarks,
    remarks,
    saturation_remarks,
)
from ptylive.engine.backend.device import check_name
from ptylive.engine.backend.imaging.open import MapDevice, open_map_device
from ptylive.engine.bad_pixels import with_noted_pixels
from ptylive.engine.bases.choice import PIXELS, BasisChoice
from ptylive.engine.calibrate.independent import contradicts_half_turn, measured_rotation
from ptylive.engine.dataset import Dataset, counts_at_rest, dataset_of
from ptylive.engine.imaging import registry
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.render import METHODS, OUTPUTS, Rendering
from ptylive.engine.imaging.virtual_detectors import SEES_NOTHING, DetectorBank, DetectorContext
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.live.reading import mean_frame
from ptylive.engine.refine.data.pattern_view import PatternView
from ptylive.engine.refine.validation.run_size import STREAMED_PIXELS
from ptylive.schema import (
    Calibration,
    FrameBatch,
    InputFileError,
    LiveMap,
    MetadataError,
    Origin,
    PtyliveError,
    ScanHeader,
)
from ptylive.schema.detector import below_saturation, undo_transform, usable_counts
from ptylive.schema.maps import TOO_THICK
from ptylive.schema.metadata import array_name, overlay
from ptylive.schema.model import Array, DoubleArray, IndexArray
from ptylive.schema.preset.start import AMPLITUDES, StartSettings

if TYPE_CHECKING:
    from threading import Event

    from ptylive.engine.refine.data.start_guess import StartGuess
    from ptylive.engine.results import StorageLocation
    from ptylive.streamer.source import FileSource

BATCH_FRAMES = 256
AS_STORED = BasisChoice(PIXELS)
RETRY_S = 10.0
COUNTS = "counts"
"""Units of maps that do not depend on the orientation."""
CONTRAST_PER_RAD = 2.0
"""Bright-field contrast of a radian of phase where its transfer is 1 (tcbf: 2 sin chi)."""


@dataclass(frozen=True)
class Reconstruction:
    """Maps of a recording, with the engine that made them."""

    engine: LiveEngine
    rendering: Rendering
    frames: int
    remarks: tuple[str, ...] = ()
    """Suspicious findings about the file, one sentence each."""

    @property
    def calibration(self) -> Calibration:
        """The calibration the maps were made with."""
        return self.engine.calibration or Calibration()


@dataclass(frozen=True)
class MapRequest:
    """Options for maps, in addition to their names.

    basis: make maps from coefficients in this basis, as a compressed stream of the scan would. backend: auto, cpu, or
    gpu, which raises PtyliveError without a GPU. detectors: virtual ones by name, as
    :func:`ptylive.application.detector_texts.read_detectors` reads them; their maps are ``vd_<name>``. settings: of
    maps, as ``{"wdd.epsilon": 0.1}`` (:func:`ptylive.engine.imaging.registry.read_settings`). needed: methods whose
    settings must be valid for the scan, None: all; others then give no map, with the reason in ``rendering.missing``.
    """

    basis: BasisChoice = AS_STORED
    backend: str = "auto"
    detectors: Mapping[str, str | Array] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    needed: Collection[str] | None = None


DEFAULTS = MapRequest()


def reconstruct_file(
    path: Path,
    values: Mapping[str, Any],
    methods: Iterable[str] = METHODS,
    request: MapRequest = DEFAULTS,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Reconstruction:
    """Maps of a scan file; ``values``: metadata that take precedence over the file's.

    Raises InputFileError, MetadataError. ``on_progress`` gets frames read, frames to read (0: an activity
    without a count), and the current activity.
    """
    from ptylive.streamer.source import open_source

    with open_source(path, values) as source:
        return reconstruct_source(source, values, methods, request, on_progress)


def reconstruct_source(
    source: FileSource,
    values: Mapping[str, Any],
    methods: Iterable[str] = METHODS,
    request: MapRequest = DEFAULTS,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Reconstruction:
    """Maps of a scan that is already open, as :func:`reconstruct_file` makes them from a file."""
    from ptylive.application.conversion import compressed

    source = cleaned(source)
    path, device, basis = source.path, map_device(request.backend), request.basis
    drawn, settings = read_detectors(request.detectors), registry.only_settings(request.settings)
    if drawn and not source.header.basis.is_raw:
        raise InputFileError(f"{path} holds coefficients", "virtual detectors need raw frames")
    if not source.received.any():
        raise InputFileError(f"{path}: no frame of this scan arrived")
    if source.header.scan.shape is None:
        raise MetadataError(
            f"{path} does not say scan_shape ({source.frame_count} frames)", "give --set scan_shape=ROWS,COLUMNS"
        )
    reduced_source = source if basis.is_raw else compressed(source, basis)[0]
    count = int(source.received.sum())
    passes = iter(("mean pattern", "coefficients"))

    def frames() -> Iterator[FrameBatch]:
        doing, done = next(passes, "maps"), 0
        for batch in reduced_source.batches(BATCH_FRAMES):
            yield batch
            done += len(batch.index)
            _tell(on_progress, path, doing, done, count)

    engine, rendering = reconstruct(reduced_source.header, frames, methods, device, settings, request.needed)
    rendering = replace(rendering, missing={**rendering.missing, **engine.filters.refused})
    calibration = engine.calibration or Calibration()
    if drawn and engine.store is not None:
        pattern = engine.store.mean_pattern
        rendering = replace(rendering, maps=[*rendering.maps, *summed(source, drawn, calibration, pattern)])
    notes = _remarks(source, values, engine, rendering.maps)
    return Reconstruction(engine, rendering, count, (*source.doubts, *notes))


def _remarks(source: FileSource, values: Mapping[str, Any], engine: LiveEngine, maps: Sequence[LiveMap]) -> list[str]:
    """Remarks on a scan, its patterns and its maps, one sentence each; ``values`` take precedence over the file's."""
    header, store, calibration = source.header, engine.store, engine.calibration or Calibration()
    notes = remarks(without(header, values), header, calibration, engine.mean_pattern)
    if header.basis.is_raw and store is not None:
        counts = store.moments[:, 0].reshape(store.shape)
        if calibration.origin("disc_radius_px") is Origin.DEFAULT:
            notes = axes_remarks(store.mean_pattern, counts) or [*notes, *assumed_center_remarks(calibration)]
        notes += frame_remarks(counts, engine.coverage)
        some, bad = usable_counts(_some_patterns(source))[0], header.arrays.get("bad_pixel_mask")
        notes += scaled_remarks(some, bad, header.detector.counts_per_electron) + negative_remarks(some, bad)
        limited = below_saturation(some, header.readout.saturation_value)
        notes += saturation_remarks(some, bad) + flash_remarks(limited, bad)
    notes += [f"{live_map.name}: {live_map.method}" for live_map in maps if live_map.method.endswith(SEES_NOTHING)]
    if any(live_map.units != COUNTS for live_map in maps):
        notes += _phase_remarks(calibration, store, maps)
    return notes


def _phase_remarks(calibration: Calibration, store: Store | None, maps: Sequence[LiveMap]) -> list[str]:
    """Remarks on the calibration of maps of the phase, one sentence each."""
    notes = orientation_remarks(calibration)
    thick = any(live_map.caveat.startswith(TOO_THICK) for live_map in maps)
    if store is not None:
        seen = given_orientation_remarks(calibration, measured_rotation(calibration, store), thick=thick)
        notes += seen or given_half_turn_remarks(
            calibration, contradicted=contradicts_half_turn(calibration, store, maps)
        )
    return notes + contradicting_maps_remarks(maps)


def _some_patterns(source: FileSource) -> Array:
    """Patterns (n, Qy, Qx) as recorded, evenly spread over the scan."""
    received = np.flatnonzero(source.received)
    size = max(1, source.recorded(received[:1]).nbytes)
    count = min(LOOKED_AT, max(LEAST_LOOKED_AT, LOOKED_AT_BYTES // size))
    return source.recorded(received[np.unique(np.linspace(0, len(received) - 1, count).astype(int))])


def _tell(on_progress: Callable[[int, int, str], None] | None, path: Path, doing: str, done: int, count: int) -> None:
    if on_progress is None:
        return
    if done < count:
        on_progress(done, count, f"{path.name}: {doing}")
    else:  # the calibration after the last frame has no count, and may take longest
        on_progress(0, 0, f"{path.name}: calibration and maps")


def summed(
    source: FileSource, detectors: Iterable[DescribedDetector], calibration: Calibration, mean_pattern: DoubleArray
) -> list[LiveMap]:
    """Maps ``vd_<name>`` of virtual detectors; reads each frame once more. Raises MetadataError for an invalid one."""
    header = with_noted_pixels(source.header, calibration)
    bank = DetectorBank(header)
    equip(bank, detectors)
    for problem in bank.place(DetectorContext(calibration, mean_pattern, header.arrays.get("bad_pixel_mask"))):
        raise MetadataError(*problem.split("; ", 1))
    if bank.is_empty:
        return []
    for batch in source.batches(BATCH_FRAMES):
        bank.add(batch)
    return bank.maps(int(source.received.sum()))


def detector_maps(
    path: Path, values: Mapping[str, Any], detectors: Mapping[str, str | Array], calibration: Calibration
) -> tuple[list[LiveMap], list[str]]:
    """Maps of virtual detectors for a scan file with known calibration, and why others are not possible, a line each.

    ``values``: metadata that take precedence over the file's. Raises InputFileError, MetadataError if it is not a scan.
    """
    from ptylive.streamer.source import open_source

    with open_source(path, values) as opened:
        source = cleaned(opened)
        if not source.header.basis.is_raw:
            return [], [f"virtual detectors need raw frames, and {path.name} holds coefficients"]
        bank = DetectorBank(with_noted_pixels(source.header, calibration))
        fit: list[DescribedDetector] = []
        problems: list[str] = []
        for name, text in detectors.items():
            try:
                (detector,) = read_detectors({name: text})
                equip(bank, [*fit, detector])
                fit.append(detector)
            except PtyliveError as error:
                problems.append(error.line())
        equip(bank, fit)
        mean = None
        if any(isinstance(detector, ThresholdDetector) for detector in fit):
            mean = mean_frame(source.header, partial(source.batches, BATCH_FRAMES))
        pattern = np.zeros(source.header.detector_shape) if mean is None else mean.frame
        context = DetectorContext(calibration, pattern, bank.header.arrays.get("bad_pixel_mask"))
        problems += bank.place(context)
        for batch in source.batches(BATCH_FRAMES):
            bank.add(batch)
        return bank.maps(int(source.received.sum())), problems


def map_device(backend: str) -> MapDevice:
    """The device ``auto``, ``cpu`` or ``gpu`` for live maps; PtyliveError if it is not available."""
    check_name(backend)
    device = open_map_device(backend)
    if backend == "gpu" and device.arrays is None:
        raise PtyliveError(f"no GPU to make maps on: {device.why}", "use backend cpu")
    return device


def without(header: ScanHeader, values: Iterable[str]) -> ScanHeader:
    """Header of a scan as in its file, without the metadata that were replaced."""
    return overlay(header, dict.fromkeys(name for name in values if array_name(name) is None))


def read_dataset(source: FileSource, calibration: Calibration) -> Dataset:
    """All received patterns of an open file, or their coefficients, arranged for refinement."""
    source, index = cleaned(source), np.flatnonzero(source.received)
    return dataset_of(source.header, calibration, index, source.frames(index))


def refinable(source: FileSource, calibration: Calibration) -> Dataset:
    """The patterns of an open file for refinement: read now or, if they are large, on demand.

    The file must stay open as long as the data set is used.
    """
    source, index = cleaned(source), np.flatnonzero(source.received)
    index = index[source.header.scan.point_of(index) >= 0]
    rows, columns = source.header.detector_shape
    if not source.header.basis.is_raw or len(index) * rows * columns < STREAMED_PIXELS:
        return read_dataset(source, calibration)

    def at_rest(chosen: IndexArray) -> Array:
        return counts_at_rest(source.header, calibration, chosen, source.frames(chosen))

    first = at_rest(index[:1])
    outline = Dataset.of(
        source.header.of_counts, calibration, index, np.broadcast_to(first, (len(index), rows, columns))
    )

    def read(chosen: IndexArray) -> Array:
        return undo_transform(at_rest(index[chosen]), calibration.transform)

    shape = (len(index), int(outline.patterns.shape[1]), int(outline.patterns.shape[2]))
    return replace(outline, patterns=PatternView(shape, first.dtype, read).as_array())


def start_of(
    find: Callable[[str], LiveMap | None], wanted: StartSettings, calibration: Calibration
) -> StartGuess | None:
    """The start of a refinement according to its settings, from maps that ``find`` returns by name."""
    amplitude = find(AMPLITUDES[wanted.start_map]) if wanted.start_map_amplitude else None
    return start_guess(find(wanted.start_map), calibration, amplitude)


def start_guess(
    start_map: LiveMap | None, calibration: Calibration, amplitude: LiveMap | None = None
) -> StartGuess | None:
    """A live phase map, and the modulus on the same pixels if given, as the start of a refinement."""
    from ptylive.engine.refine.data.start_guess import StartGuess

    if start_map is None or start_map.sampling_A is None:
        return None
    scale = 1.0 if start_map.units == "rad" else 1 / CONTRAST_PER_RAD
    phase = start_map.data if scale == 1 else (start_map.data * np.float32(scale))
    origin_A, axes_deg = start_map.frame(calibration.rotation_deg)
    return StartGuess(phase, start_map.sampling_A, axes_deg, origin_A, None if amplitude is None else amplitude.data)


def stored_at_last(
    store: Callable[[], StorageLocation], give_up: Event, tell: Callable[[str], None]
) -> StorageLocation:
    """Store a finished refinement, retrying as long as there is no room for it.

    Raises ResultsFileError once ``give_up`` is set; ``tell`` gets the reason for the delay.
    """
    from ptylive.engine.results_file import ResultsFileError

    while True:
        try:
            return store()
        except ResultsFileError as error:
            tell(f"{error.line()}; the result is kept in memory, and writing is tried again every {RETRY_S:g} s")
            if give_up.wait(RETRY_S):
                raise


def method_of(map_name: str) -> str:
    """Name of the method that makes a map (wdd_phase: wdd)."""
    return next((method for method, names in OUTPUTS.items() if map_name in names), map_name)
