"""Coefficients of a wandering pattern: corrected once, when the scan has ended, live as offline.

With masks that stay in place, OBF of this scan correlates with that of the undisturbed scan by 0.1.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.application.stream_compression import StreamCompression
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.compression import compressor_for
from ptylive.engine.dataset import Dataset
from ptylive.engine.descan import moved
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.live.reading import brought_to_rest, found_descan, read
from ptylive.engine.live.vectors_at_rest import left_px
from ptylive.schema import FrameBatch, Origin
from ptylive.schema.detector import Descan

METHODS = ("bf", "com", "obf", "tcbf", "wdd")
SHAPE, POINTS = (32, 32), np.arange(1024)
SMALL = Descan.of([0.7, 0.3, -0.4, 0.6])
LARGE = Descan.of([3.5, 1.5, -2.0, 3.0])
CHOICE, FEWER = parse_basis("zernike:45+1"), parse_basis("zernike:28+1")


def made_scan():
    return WeakPhaseScan.make({"C10": -60.0}, strength=0.05)


@pytest.fixture(scope="module")
def scan():
    return made_scan()


@pytest.fixture(scope="module")
def undisturbed(scan):
    compressor = compressor_for(scan.header(), CHOICE, scan.patterns)
    vectors = compressor.vectors(scan.patterns)
    return maps_of(reconstruct(compressor.described(scan.header()), lambda: batches(vectors), METHODS)[1])


def wandering(descan):
    return _wandering(descan.numbers)


@cache
def _wandering(numbers):
    frames = moved(made_scan().patterns, -Descan.of(numbers).at_points(POINTS, SHAPE))
    frames.flags.writeable = False
    return frames


def maps_of(rendering):
    return {one.name: np.asarray(one.data) for one in rendering.maps if not one.name.endswith("_deviation")}


def agreement(maps, wanted):
    """Correlation of phases; the bright field has hardly any contrast here, so its bound is lower."""
    assert correlation(maps["bf"], wanted["bf"]) > 0.95
    return {name: correlation(maps[name], wanted[name]) for name in ("obf", "tcbf", "wdd_phase")}


def after(rows, header, vectors):
    """An engine that has received some lines."""
    engine = LiveEngine(header, methods=METHODS)
    for line in POINTS.reshape(SHAPE)[:rows]:
        engine.add(FrameBatch("x", line, vectors[line]))
    return engine


def followed(header, frames):
    """The scan as described by a server that compresses it, and the vectors, line by line."""
    compression = StreamCompression(CHOICE, lambda told: told, lambda _level, _text: None)
    made = compression.learn(header, POINTS[:320], frames[:320])
    return made.header, np.concatenate([made.vectors(line, frames[line]) for line in POINTS.reshape(SHAPE)])


@pytest.fixture(scope="module")
def at_rest(scan):
    """Coefficients of the scan whose patterns lie still, and what describes them."""
    return followed(scan.header(), scan.patterns)


@cache
def followed_large():
    """Those of the patterns that wander far."""
    header, vectors = followed(made_scan().header(), wandering(LARGE))
    vectors.flags.writeable = False
    return header, vectors


@cache
def found_of_large():
    """What is found of them when they are read again."""
    header, vectors = followed_large()
    return reconstruct(header, lambda: batches(vectors), METHODS)


def beside(scan, descan, choice=FEWER):
    """Coefficients of masks that stay in place."""
    frames = wandering(descan)
    compressor = compressor_for(scan.header(), choice, scan.patterns)
    return compressor.described(scan.header()), compressor.vectors(frames)


@pytest.mark.slow
def test_a_small_wander_beside_masks_that_stood_still_is_taken_out(scan, undisturbed):
    header, vectors = beside(scan, SMALL, CHOICE)
    engine, made = reconstruct(header, lambda: batches(vectors), METHODS)
    found = agreement(maps_of(made), undisturbed)
    print(found)
    assert min(found.values()) > 0.99
    assert engine.calibration.entries["descan_px"].origin is Origin.ESTIMATED
    assert Descan.of(engine.calibration.get("descan_px")).minus(SMALL).extent_px < 0.1


@pytest.mark.parametrize(("descan", "running"), quick_first([(LARGE, 0.97), (SMALL, 0.85)]), ids=["large", "small"])
def test_masks_that_follow_make_the_maps_of_patterns_that_lie_still(scan, at_rest, undisturbed, descan, running):
    """While the scan runs, a wander of a quarter of a pixel is not followed."""
    header, vectors = followed_large() if descan is LARGE else followed(scan.header(), wandering(descan))
    early = [maps_of(after(20, *one).refresh()) for one in ((header, vectors), at_rest)]
    assert correlation(early[0]["tcbf"], early[1]["tcbf"]) > running
    live = maps_of(after(32, header, vectors).finish(None))
    found = agreement(live, undisturbed)
    print(found)
    assert min(found.values()) > 0.995
    made = found_of_large() if descan is LARGE else reconstruct(header, lambda: batches(vectors), METHODS)
    offline = maps_of(made[1])
    for name, one in offline.items():
        assert one == pytest.approx(live[name], abs=1e-4 * float(np.abs(one).max())), name


def test_what_was_given_is_followed_from_the_first_frame(scan, undisturbed):
    told = scan.header()
    told = replace(told, detector=told.detector.model_copy(update={"descan_px": LARGE.numbers}))
    header, vectors = followed(told, wandering(LARGE))
    places = LARGE.at_points(POINTS, SHAPE)
    assert np.abs(header.basis.moved_px(vectors) - places).max() <= 0.125
    engine, made = reconstruct(header, lambda: batches(vectors), METHODS)
    assert min(agreement(maps_of(made), undisturbed).values()) > 0.995
    assert engine.calibration.entries["descan_px"].origin is Origin.GIVEN


def test_the_refinement_is_told_what_was_not_followed(scan):
    header, vectors = followed_large()
    engine, _ = found_of_large()
    data = Dataset.of(header, engine.calibration, POINTS, vectors)
    center = np.array(header.basis.center_px) - np.array(scan.header().detector.beam_center_px)
    left = LARGE.at_points(POINTS, SHAPE) - center - header.basis.moved_px(vectors)
    assert np.abs(data.offsets_px - left).max() < 0.2
    assert np.abs(data.offsets_px).max() < 1.5


def test_it_is_corrected_once_and_anew_for_another_descan(scan):
    header, vectors = beside(scan, SMALL)
    store = read(header, lambda: batches(vectors))
    still = brought_to_rest(store, None)
    assert still is not store
    assert brought_to_rest(still, lambda: pytest.fail("read again")) is still
    assert np.abs(left_px(still, still.descan)).max() == 0
    none = header.detector.model_copy(update={"descan_px": (0.0,) * 10})
    still.header = replace(header, detector=none)
    again = brought_to_rest(still, lambda: batches(vectors))
    assert again.bins == pytest.approx(store.bins)
    assert brought_to_rest(again, None) is again


def test_what_lies_still_stays_as_it_is(at_rest):
    header, vectors = at_rest
    assert not header.basis.moved_px(vectors).any()
    store = read(header, lambda: batches(vectors))
    still = brought_to_rest(store, None)
    assert np.array_equal(still.bins, store.bins)


def test_what_the_masks_did_not_see_is_told(scan, caplog):
    header, vectors = beside(scan, LARGE, parse_basis("zernike:10+1"))
    brought_to_rest(read(header, lambda: batches(vectors)), None)
    assert "detector pixels off the masks of its coefficients (descan)" in caplog.text


def test_the_mean_pattern_and_the_sums_go_with_the_coefficients(scan):
    header, vectors = beside(scan, SMALL)
    store = read(header, lambda: batches(vectors))
    still = brought_to_rest(store, None)
    assert still.frame_sum[:29] == pytest.approx(still.bins.sum(axis=0, dtype=float), rel=1e-4, abs=1.0)
    assert still.regions == pytest.approx(still.bins @ store.reduction.to_regions[:29], rel=1e-3, abs=0.5)
    assert np.ptp(still.moments[:, 1] / still.moments[:, 0]) < np.ptp(store.moments[:, 1] / store.moments[:, 0])


class OpenScan:
    """Frames in memory that are read like a file."""

    path = None

    def __init__(self, header, patterns):
        self.header, self._patterns = header, patterns
        self.received = np.ones(len(patterns), dtype=bool)

    def frames(self, index):
        return self._patterns[index]


def test_the_descan_of_a_file_is_found_before_it_is_compressed(scan):
    header = scan.header()
    found = found_descan(OpenScan(header, wandering(LARGE)))
    assert np.abs(found.minus(LARGE).at_points(POINTS, SHAPE)).max() < 0.05
    none = found_descan(OpenScan(header, scan.patterns))
    assert none is None or not none.moves
    given = replace(header, detector=header.detector.model_copy(update={"descan_px": LARGE.numbers}))
    assert found_descan(OpenScan(given, ())) is None
