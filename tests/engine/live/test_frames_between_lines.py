"""Frames recorded between two lines may fill a batch of their own: it changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.descan import moved
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema.detector import Descan

LINES, FLYBACK = 32, 3
STILL, BOW = Descan.of([0.0] * 10), Descan.of([1.5, 0.4, 0.3, 0.0, -0.4, 0.2, -1.2, 0.0, 0.5, 0.0])
JUMPS = np.random.default_rng(11).normal(0.0, 0.8, (LINES, 2))
JUMPING = BOW.plus(Descan.of([0.0] * 10 + (JUMPS - JUMPS.mean(axis=0)).ravel().tolist()))
METHODS = ("bf", "com", "obf")


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -60.0}, strength=0.05)


def recorded(scan, descan):
    """Frames of a scan with this descan, each line followed by frames of no point."""
    shape = scan.patterns.shape[1:]
    lines = moved(scan.patterns, -descan.at_points(np.arange(LINES * LINES), (LINES, LINES)))
    between = np.broadcast_to(lines.mean(axis=0), (LINES, FLYBACK, *shape))
    return np.concatenate([lines.reshape(LINES, LINES, *shape), between], axis=1).reshape(-1, *shape)


def apart(frames):
    """Batches of the points of a line, and of the frames after it."""
    for line in range(LINES):
        first = line * (LINES + FLYBACK)
        yield from batches(frames, np.arange(first, first + LINES), LINES)
        yield from batches(frames, np.arange(first + LINES, first + LINES + FLYBACK))


def together(frames):
    """Batches of whole lines."""
    yield from batches(frames, size=LINES + FLYBACK)


def live(header, frames):
    """Maps of the live engine at the end of a scan."""
    engine = LiveEngine(header, methods=METHODS)
    for n, batch in enumerate(frames()):
        engine.add(batch)
        if n % 16 == 15:
            engine.refresh()
    return engine.finish(frames)


def offline(header, frames):
    """Maps of a file."""
    return reconstruct(header, frames, METHODS)[1]


QUICK = {"jumps found offline", "bow found live", "bow given live", "still found offline"}
CASES = {
    f"{name} {'given' if given else 'found'} {way.__name__}": (descan, given, way)
    for name, descan in (("still", STILL), ("bow", BOW), ("jumps", JUMPING))
    for given in (False, True)
    for way in (live, offline)
}


@pytest.mark.parametrize(
    ("descan", "given", "way"),
    [pytest.param(*case, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, case in CASES.items()],
)
def test_a_batch_of_frames_between_lines_changes_nothing(scan, descan, given, way):
    frames = recorded(scan, descan)
    header = scan.header(frames=len(frames), flyback_frames=FLYBACK)
    stated = descan.numbers if given else None
    detector = header.detector.model_copy(update={"beam_center_px": None, "descan_px": stated})
    header = replace(header, detector=detector)
    found = {one.name: np.asarray(one.data) for one in way(header, lambda: apart(frames)).maps}
    wanted = {one.name: np.asarray(one.data) for one in way(header, lambda: together(frames)).maps}
    assert found.keys() == wanted.keys()
    for name, data in wanted.items():
        if not name.endswith("_deviation"):  # there is no noise, so deviations only reflect rounding
            assert np.allclose(found[name], data, rtol=1e-5, atol=1e-6 * np.abs(data).max()), name
