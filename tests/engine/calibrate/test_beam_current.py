"""Beam current from the totals of the patterns: found, told from the specimen, and taken out of the maps."""

import math

import numpy as np
import pytest
from rounding import MAP_ROUNDING
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.calibrate import beam_current as module
from ptylive.engine.calibrate.beam_current import beam_current
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Origin

N, ELECTRONS = 24, 20_000
TIME = np.arange(N**2) / N**2
SHOT = 1 / math.sqrt(ELECTRONS)
CHANGES = {
    "wave": 0.1 * np.sin(2 * np.pi * TIME),
    "decay": 0.15 * (0.5 - TIME),
    "lines": 0.05 * np.repeat(np.random.default_rng(5).normal(size=N), N),
}


def scan(current, seed, loss=None, onto=0.5):
    """``loss`` (points,): share of electrons scattered out of the bright field; ``onto``: of these, on the detector."""
    made = WeakPhaseScan.make({"C10": -60.0}, n=N, strength=0.05)
    patterns = made.patterns.astype(float)
    if loss is not None:
        bright = patterns.mean(axis=0) > 0.2 * patterns.mean(axis=0).max()
        scattered = loss[:, None, None] * patterns.sum(axis=(1, 2), keepdims=True) / np.count_nonzero(~bright)
        patterns = patterns * (1 - loss)[:, None, None] + onto * scattered * ~bright
    counts = np.random.default_rng(seed).poisson(ELECTRONS * current[:, None, None] * patterns)
    made.patterns = counts.astype(np.float32)
    return made


def in_order_of_acquisition(patterns):
    """Patterns of the points, every second row backwards."""
    rows = patterns.reshape(N, N, *patterns.shape[1:]).copy()
    rows[1::2] = rows[1::2, ::-1].copy()
    return rows.reshape(patterns.shape)


def reduced(made, methods=("bf",), **header):
    engine, rendering = reconstruct(made.header(lies_still=True, **header), lambda: batches(made.patterns), methods)
    return engine, {live_map.name: live_map for live_map in rendering.maps}


def blobs(seed):
    """Share of the electrons that particles of six points scatter away, up to 0.2."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((N, N))
    at = rng.uniform(0, N, (6, 2))
    return 0.2 * np.exp(-((rows[..., None] - at[:, 0]) ** 2 + (columns[..., None] - at[:, 1]) ** 2) / 8).max(2).ravel()


@pytest.mark.parametrize("seed", range(3))
def test_a_constant_current_is_left_alone(seed):
    engine, _ = reduced(scan(np.ones(N**2), seed))
    assert engine.store.beam is None
    assert not {"beam_current", "beam_flicker"} & set(engine.calibration.entries)


@pytest.mark.parametrize("name", CHANGES)
def test_slow_changes_are_found(name):
    true = 1 + CHANGES[name]
    engine, _ = reduced(scan(true, 1))
    found, by_row = engine.store.beam, true.reshape(N, N).mean(axis=1)
    assert found.slow == pytest.approx(by_row.std(), rel=0.1)
    # a row counts 24 patterns
    np.testing.assert_allclose(found.by_row / found.by_row.mean(), by_row / by_row.mean(), atol=4 * SHOT / math.sqrt(N))
    assert engine.calibration.get("beam_current") == pytest.approx(found.by_row, abs=1e-5)


@pytest.mark.parametrize("pattern", ["raster", "snake"])
@pytest.mark.parametrize(("name", "rest"), [("wave", 0.002), ("lines", 0.002)])
def test_within_rows_it_changes_as_between_them(name, rest, pattern):
    """Linearly, if it rises and falls steadily; not, if it jumps."""
    change = CHANGES[name].copy()
    made = scan(np.ones(N**2), 1)
    if pattern == "snake":
        change.reshape(N, N)[1::2] = change.reshape(N, N)[1::2, ::-1].copy()
    made.patterns = (made.patterns * (1 + change)[:, None, None]).astype(np.float32)
    if pattern == "snake":
        made.patterns = in_order_of_acquisition(made.patterns)
    found = reduced(made, pattern=pattern)[0].store.beam
    left = np.log(found.relative / (1 + change)).reshape(N, N)
    assert (left - left.mean(axis=1, keepdims=True)).std() < rest


@pytest.mark.parametrize("seed", range(3))
def test_flicker_is_found(seed):
    true = 1 + 0.05 * np.random.default_rng([seed, 1]).normal(size=N**2)
    found = reduced(scan(true, seed))[0].store.beam
    assert found.fast == pytest.approx(0.05, rel=0.1) and found.slow == 0
    assert np.log(found.relative / true).std() < 1.5 * SHOT


@pytest.mark.parametrize("seed", range(4))
def test_a_specimen_that_scatters_beyond_the_detector_is_no_beam(seed):
    loss = blobs(seed)
    assert (0.5 * loss).std() > 3 * SHOT, "totals scatter far more than electrons do"
    assert reduced(scan(np.ones(N**2), seed, loss))[0].store.beam is None


def test_the_edge_of_a_specimen_along_the_rows_is_no_beam():
    """Nothing changes within rows that could tell."""
    loss = np.repeat(np.where(np.arange(N) < N // 2, 0.0, 0.2), N)
    assert reduced(scan(np.ones(N**2), 1, loss))[0].store.beam is None


def test_a_wedge_does_not_hide_a_current_that_falls_far_more():
    loss = np.repeat(np.linspace(0, 0.005, N), N)
    found = reduced(scan(1 + CHANGES["decay"], 1, loss))[0].store.beam
    assert found.slow == pytest.approx(CHANGES["decay"].std(), rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_specimen_that_takes_electrons_away_is_no_beam(seed):
    """It changes rows as much as it changes columns, although no pattern changes its shape."""
    assert reduced(scan(np.ones(N**2), seed, 0.5 * blobs(seed), onto=0.0))[0].store.beam is None


def test_beam_and_specimen_are_told_apart():
    true, loss = 1 + CHANGES["wave"], blobs(2)
    found = reduced(scan(true, 2, loss))[0].store.beam
    assert found.slow == pytest.approx(true.std(), rel=0.1)
    by_row = true.reshape(N, N).mean(axis=1)
    total = by_row * (1 - 0.5 * loss).reshape(N, N).mean(axis=1)
    errors = [np.log(rows / by_row).std() for rows in (found.by_row, total)]
    assert errors[0] < 0.5 * errors[1], "closer to the beam's current than the totals are"


@pytest.mark.parametrize(
    ("name", "method", "gain"), [("wave", "tcbf", 0.3), ("wave", "ssb", 0.1), ("flicker", "ssb", 0.005)]
)
def test_maps_are_relative_to_the_current(name, method, gain, monkeypatch):
    """Regression: bands, and noise many times that of the electrons."""
    change = CHANGES.get(name, 0.05 * np.random.default_rng(7).normal(size=N**2))

    def quality(made):
        data = reduced(made, (method,))[1][method].data
        step = len(data) // N
        return correlation(data[::step, ::step][2:-2, 2:-2], made.phase[2:-2, 2:-2])

    undisturbed, corrected = quality(scan(np.ones(N**2), 3)), quality(scan(1 + change, 3))
    monkeypatch.setattr("ptylive.engine.live.reading.beam_current", lambda _: None)
    disturbed = quality(scan(1 + change, 3))
    assert corrected > max(undisturbed - 0.02, disturbed + gain)


def test_too_few_rows_tell_nothing():
    made = scan(1 + CHANGES["wave"], 1)
    made.patterns = made.patterns[: 7 * N]
    assert reduced(made)[0].store.beam is None


def test_rows_without_patterns_keep_the_mean():
    made = scan(1 + CHANGES["decay"], 1)
    made.patterns = made.patterns[: 20 * N]
    found = reduced(made)[0].store.beam
    assert found.slow > 0.02
    assert (found.by_row[20:] == 1).all() and (found.relative[20 * N :] == 1).all()


def test_rows_under_a_blanked_beam_are_not_brightened():
    """Their noise would cover the maps."""
    blanked = np.repeat(np.where(np.arange(N) < 8, 0.01, 1.0), N)
    assert reduced(scan(blanked, 1))[0].store.beam is None
    found = reduced(scan(blanked * (1 + CHANGES["lines"]), 1))[0].store.beam
    assert found.slow > 0.03 and (found.relative[: 8 * N] == 1).all()


def test_a_large_scan_is_measured_on_some_of_its_rows(monkeypatch):
    store = reduced(scan(1 + CHANGES["wave"], 1))[0].store
    whole = beam_current(store)
    monkeypatch.setattr(module, "MOST_NUMBERS", store.bins.size // 3)
    part = beam_current(store)
    assert part.slow == pytest.approx(whole.slow, rel=0.02)
    np.testing.assert_allclose(part.by_row, whole.by_row, atol=2 * SHOT)


def test_live_maps_end_as_those_of_the_file():
    """Transforms made while the scan ran, without the current, are not used any more."""
    made = scan(1 + CHANGES["wave"], 3)
    offline = reduced(made, ("tcbf",))[1]["tcbf"].data
    live = LiveEngine(made.header(lies_still=True), methods=("tcbf",))
    for batch in batches(made.patterns):
        live.add(batch)
        live.refresh()
    (ended,) = (each for each in live.finish(lambda: batches(made.patterns)).maps if each.name == "tcbf")
    np.testing.assert_allclose(ended.data, offline, atol=MAP_ROUNDING * np.abs(offline).max())


@pytest.mark.parametrize("pattern", ["alike", "of one pixel"])
def test_patterns_without_a_shape_predict_nothing(pattern):
    """Regression: LinAlgError."""
    made = scan(np.ones(N**2), 1)
    made.patterns[:] = made.patterns[:1]
    if pattern == "of one pixel":
        made.patterns[:, :, 1:] = made.patterns[:, 1:] = 0
        made.patterns[:, 0, 0] = 100
    made.patterns *= (1 + CHANGES["decay"])[:, None, None].astype(np.float32)
    assert reduced(made)[0].store.beam.slow == pytest.approx(CHANGES["decay"].std(), rel=0.05)


def test_a_given_current_is_used_and_a_constant_one_switches_it_off():
    made = scan(1 + CHANGES["wave"], 1)
    by_row = tuple((1 + CHANGES["lines"]).reshape(N, N).mean(axis=1).tolist())
    engine, _ = reduced(made, beam_current=by_row)
    mean = np.mean(by_row)
    np.testing.assert_allclose(engine.store.beam.relative, np.repeat(by_row, N) / mean)
    given = engine.calibration.entries["beam_current"]
    assert given.origin is Origin.GIVEN and given.value == pytest.approx(np.divide(by_row, mean))
    constant, _ = reduced(made, beam_current=(1.0,))
    assert constant.store.beam is None and constant.calibration.get("beam_current") == (1.0,)
