"""Recorded frames read into a store, and read again if the pattern wanders over the detector (descan)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ptylive.engine.backend.imaging.open import PROCESSOR, MapDevice
from ptylive.engine.backend.imaging.wandering_mean import WanderingMean, WanderingSums, counting_noise_px2, moments_of
from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.calibrate.bad_pixels import BadPixels
from ptylive.engine.calibrate.beam_current import beam_current, with_beam_current
from ptylive.engine.calibrate.descan.block_fits import LEAST_EXTENT_PX, blocks_of
from ptylive.engine.calibrate.descan.line_jumps import halves_of
from ptylive.engine.calibrate.descan.line_steps import StepLimits
from ptylive.engine.calibrate.descan.measurement import (
    LineEdges,
    MeansAtRest,
    PointSums,
    first_look,
    may_be_hidden,
    sharpened,
)
from ptylive.engine.calibrate.detector import calibrate_detector
from ptylive.engine.calibrate.disc import Disc, beyond, edge_of, find_disc
from ptylive.engine.calibrate.scan import calibrate_scan
from ptylive.engine.compression import PatternSource
from ptylive.engine.descan import (
    given_descan,
    header_at_rest,
    moved_back,
    nearly_moved_back,
    places_in_scan,
    seen_everywhere,
)
from ptylive.engine.imaging.accumulation.reduction import Reduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.live.plan import ReductionPlan
from ptylive.engine.live.vectors_at_rest import vectors_at_rest
from ptylive.engine.memory import Scratch, check_fits
from ptylive.schema import Calibration, FrameBatch, ScanHeader
from ptylive.schema.detector import Descan
from ptylive.schema.model import DoubleArray

log = logging.getLogger(__name__)

PASSES = 3
"""Maximum number of times that a descan is sharpened on the edge of the disc, each a pass over all frames."""
FRAMES_AT_A_TIME = 256  # some tens of MB of a common detector
DARK_FROM, CLEAR_PX = 1.15, 2.0
"""Where the disc is absent even if patterns lie half a pixel off: disc radii, and pixels beyond its edge."""
LARGE_PX = 0.05
"""A larger correction of the centre-of-mass estimate is measured once more: the edge of the disc is one pixel wide."""
FrameSource = Callable[[], Iterable[FrameBatch]]


class Workspace(NamedTuple):
    """Device that reduces frames, and storage for arrays that do not fit in memory."""

    scratch: Scratch | None = None
    device: MapDevice = PROCESSOR


DEFAULT_WORKSPACE = Workspace()


def first_read(
    header: ScanHeader, frames: FrameSource, bad: BadPixels, workspace: Workspace = DEFAULT_WORKSPACE
) -> Store | None:
    """Read all frames into a store, moved back by a given descan, looking for bad pixels on the way."""
    mean, descan = mean_frame(header, frames), given_descan(header)
    if mean is None:
        return None
    header = bad.look(header, mean.frame, mean.frames)
    if descan is not None:
        return read(header, frames, descan, workspace)
    return reduced(header, ReductionPlan.of(header, mean.frame).reduction, frames, workspace=workspace)


def read(
    header: ScanHeader, frames: FrameSource, descan: Descan | None = None, workspace: Workspace = DEFAULT_WORKSPACE
) -> Store | None:
    """Read all frames, twice, into a store, moved back by a descan; return None if there are none."""
    mean = mean_frame(header, frames, descan)
    if mean is None:
        return None
    plan = ReductionPlan.of(header_at_rest(header, descan), mean.frame)
    store = reduced(header, plan.reduction, frames, DescanRemoval(descan, mean.wandering), workspace)
    store.compared = True
    return store


def brought_to_rest(store: Store, frames: FrameSource | None, workspace: Workspace = DEFAULT_WORKSPACE) -> Store:
    """Return a store of patterns at rest: the same one, or one read again with the descan given or found.

    A found descan is measured once more on the edge of the disc. For coefficients only the centre of mass is available,
    and they are corrected directly; without ``frames`` that is all that can be done.
    """
    header = store.header
    if not header.basis.is_raw:
        return _vectors_brought_to_rest(store, frames, workspace)
    if frames is None:
        return store
    if header.detector.descan_px is not None:
        wanted = Descan.of(header.detector.descan_px)
        unchanged = wanted == store.descan or not (wanted.moves or store.descan is not None)
        if unchanged and (store.compared or not wanted.moves):
            return store
        return read(header, frames, given_descan(header), workspace) or store
    if store.descan_given:  # and withdrawn since: measure it on patterns as they were recorded
        store = read(header, frames, None, workspace) or store
    descan = None if store.descan is not None else _measured_descan(store, frames)
    if descan is None:
        return store
    if descan.moves:
        return read(header, frames, descan, workspace) or store
    store.descan = descan  # the specimen moved the centre of mass
    return store


def _measured_descan(store: Store, frames: FrameSource) -> Descan | None:
    """Find the descan of unmoved patterns; zero descan if the specimen moved the centre of mass, None if unknown."""
    disc = find_disc(store.mean_pattern, bad_pixels(store.header))
    if disc is None:
        return None
    first = first_look(store, disc.radius_px, lines=True)
    if first is None:
        return _smooth_descan(store, frames, disc)
    descan = _sharpened(first, store, frames, disc)
    if first.lines and not descan.lines:  # specimen features lie along the lines: use the smooth part alone
        descan = _smooth_descan(store, frames, disc) or Descan.of([0])
    return descan


def _smooth_descan(store: Store, frames: FrameSource, disc: Disc) -> Descan | None:
    """Find the descan without jumps between lines; None if the centre of mass shows none and none may be hidden."""
    first = first_look(store, disc.radius_px, lines=False)
    if first is None and not may_be_hidden(store, disc.radius_px):
        return None
    return _sharpened(first or Descan.of([0]), store, frames, disc)


def found_descan(source: PatternSource) -> Descan | None:
    """Find the descan of an open scan of frames if none was given; None if there is none or it cannot be determined."""
    header = source.header
    if not header.basis.is_raw or header.scan.shape is None or header.detector.descan_px is not None:
        return None
    numbers = np.flatnonzero(source.received)

    def frames() -> Iterator[FrameBatch]:
        for start in range(0, len(numbers), FRAMES_AT_A_TIME):
            index = numbers[start : start + FRAMES_AT_A_TIME]
            yield FrameBatch(header.uid, index, source.frames(index))

    store = first_read(header, frames, BadPixels())
    return None if store is None else _measured_descan(store, frames)


def _vectors_brought_to_rest(store: Store, frames: FrameSource | None, workspace: Workspace) -> Store:
    """Bring coefficients to rest: correct them once, and again from the recording if the given descan has changed."""
    if store.descan is None:
        return vectors_at_rest(store)
    given = store.header.detector.descan_px
    unchanged = not store.descan_given if given is None else Descan.of(given) == store.descan
    return store if unchanged or frames is None else reduced_again(store, store.reduction, frames, workspace)


def reduced_again(
    store: Store, reduction: Reduction, frames: FrameSource, workspace: Workspace = DEFAULT_WORKSPACE
) -> Store:
    """Return the frames of a store reduced in another way, with patterns at rest."""
    if store.header.basis.is_raw:
        reduced_store = reduced(
            store.header, reduction, frames, DescanRemoval(store.descan, store.wandering), workspace
        )
        reduced_store.compared = store.compared
        return reduced_store
    return vectors_at_rest(reduced(store.header, reduction, frames, workspace=workspace))


def _sharpened(descan: Descan, store: Store, frames: FrameSource, disc: Disc) -> Descan:
    """Refine a descan on the edge of the disc until it hardly changes; return it unchanged if no disc is seen."""
    for _ in range(PASSES):
        means = means_at_rest(store.header, frames, descan, disc)
        found = find_disc(means.mean, np.zeros(means.mean.shape, dtype=bool))
        if found is None:
            break
        previous, disc = descan, found
        descan = sharpened(descan, means, store.shape, disc)
        if descan.minus(previous).extent_px < LARGE_PX or bool(descan.lines) != bool(previous.lines):
            break
    return descan


def means_at_rest(header: ScanHeader, frames: FrameSource, descan: Descan, disc: Disc) -> MeansAtRest:
    """Return mean patterns of frames moved back by a descan."""
    shape, size = header.scan.require_shape(), header.detector_shape
    blocks, ring = blocks_of(np.arange(1), shape)[1], edge_of(disc, size)
    halves = 2 * shape[0] if descan.lines else 0
    check_fits(
        8.0 * (blocks * math.prod(size) + halves * np.count_nonzero(ring)),
        "mean patterns for the descan",
        "crop or bin the patterns",
    )
    sums, edges, number = np.zeros((blocks, *size)), np.zeros((halves, np.count_nonzero(ring))), np.zeros(blocks)
    visited = np.zeros(shape[0] * shape[1], dtype=bool)
    points, wandering = np.zeros(halves, dtype=np.int64), WanderingSums(header.detector.counts_per_electron or 1.0)
    moments, dark = np.zeros((len(visited), 3)), np.zeros(len(visited))
    scattered = beyond(disc, size, max(DARK_FROM * disc.radius_px, disc.radius_px + CLEAR_PX))
    scattered &= seen_everywhere(size, descan.at_points(np.arange(len(visited)), shape))
    for batch in frames():
        point = header.scan.point_of(batch.index)
        if not (keep := point >= 0).any():
            continue
        counts = header.readout.counts(batch.frames[keep])[0]
        near, remainder = nearly_moved_back(header, descan, batch.index[keep], counts)
        if descan.moves:  # otherwise nothing moves by a fraction of a pixel, and there is nothing to learn
            wandering.add(near, remainder, places_in_scan(header.scan, batch.index[keep]))
        at_rest = moved_back(header, descan, batch.index[keep], counts)
        block = blocks_of(point[keep], shape)[0]
        np.add.at(sums, block, at_rest)
        number += np.bincount(block, minlength=blocks)
        visited[point[keep]] = True
        np.add.at(moments, point[keep], moments_of(at_rest))
        np.add.at(dark, point[keep], near[:, scattered].sum(axis=1, dtype=float))
        if halves:
            half = halves_of(point[keep], shape)
            np.add.at(edges, half, at_rest[:, ring])
            points += np.bincount(half, minlength=halves)
    mean = sums.sum(axis=0) / max(number.sum(), 1)
    per_point = edges / np.maximum(points, 1)[:, None]
    lines = LineEdges(per_point, points, disc, StepLimits.of(header, disc.radius_px)) if halves else None
    per_block, common = sums / np.maximum(number, 1)[:, None, None], wandering.mean(slowly=False)
    spread_px2 = counting_noise_px2(mean, header.detector.counts_per_electron or 1.0)
    return MeansAtRest(per_block, np.flatnonzero(visited), lines, common, PointSums(moments, dark, spread_px2))


class DescanRemoval(NamedTuple):
    """What is needed to bring patterns to rest: a descan and, if known, what they have in common."""

    descan: Descan | None = None
    wandering: WanderingMean | None = None


AT_REST = DescanRemoval()


def reduced(
    header: ScanHeader,
    reduction: Reduction,
    frames: FrameSource,
    rest: DescanRemoval = AT_REST,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> Store:
    """Return a store filled from a source of frames."""
    store = Store(header, reduction, None, workspace.scratch, workspace.device, *rest)
    for batch in frames():
        store.add(batch)
    return store


class MeanFrame(NamedTuple):
    """Mean of frames (pixels or coefficients), and their number; ``wandering``: mean of patterns moved by a descan."""

    frame: DoubleArray
    frames: int
    wandering: WanderingMean | None = None


def mean_frame(header: ScanHeader, frames: FrameSource, descan: Descan | None = None) -> MeanFrame | None:
    """Return the mean of the frames of scan points, moved back by a descan, or None if there are none."""
    frame_sum, count = np.zeros(()), 0
    wandering = WanderingSums(header.detector.counts_per_electron or 1.0)
    for batch in frames():
        keep = header.scan.point_of(batch.index) >= 0
        if not keep.any():
            continue
        if batch.events is not None and descan is None and not header.readout.corrects:
            frame_sum = frame_sum + batch.events.kept(keep).at_most(header.readout.saturation_value).total()
            count += int(keep.sum())
            continue
        counts = header.readout.counts(batch.frames[keep])[0]
        if descan is not None:
            near = nearly_moved_back(header, descan, batch.index[keep], counts)
            wandering.add(*near, places_in_scan(header.scan, batch.index[keep]))
            counts = moved_back(header, descan, batch.index[keep], counts)
        frame_sum = frame_sum + counts.sum(axis=0, dtype=float)
        count += int(keep.sum())
    if not count:
        return None
    common = wandering.mean()
    return MeanFrame(np.asarray(frame_sum / count) if common is None else common.still.astype(float), count, common)


def report_descan(store: Store, descan: Descan | None) -> bool:
    """Warn that some maps are corrected only at the end of the scan, if that applies; return whether it did."""
    header = store.header
    if descan is None or not header.basis.is_raw or descan.minus(store.descan).extent_px <= LEAST_EXTENT_PX:
        return False
    log.warning(
        "scan %s: the pattern moves by %.1f detector pixels (descan); centre of mass, DPC and iDPC are"
        " corrected, the other maps will be at the end of the scan; a given descan_px corrects from the start",
        header.series,
        descan.minus(store.descan).extent_px,
    )
    return True


def with_bad_pixels(header: ScanHeader, store: Store, frames: FrameSource | None, bad: BadPixels) -> ScanHeader:
    """Return the header with the bad pixels that all frames show.

    Moved patterns no longer show them: with a given descan the frames are read once more for this. A descan that was
    found came after an examination of the whole scan.
    """
    if store.descan is None or not store.descan.moves:
        return bad.look(header, store.mean_pattern, store.total_frames)
    mean = mean_frame(header, frames) if frames is not None and store.descan_given else None
    return bad.masked(header) if mean is None else bad.look(bad.masked(header), mean.frame, mean.frames)


def recalibrated(header: ScanHeader, store: Store) -> Calibration:
    """Calibrate detector and scan on the content of a store."""
    found = calibrate_scan(calibrate_detector(header_at_rest(header, store.descan), store.mean_pattern), store)
    return with_beam_current(found, store)


def finally_calibrated(calibration: Calibration, store: Store) -> Calibration:
    """Calibrate a scan that has ended; from here on, its coefficients are relative to a beam current that changes."""
    store.beam = beam_current(store)
    return with_beam_current(calibrate_scan(calibration, store), store)
