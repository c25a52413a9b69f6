"""Scans as written by a detector, with dark and gain references, give the same results as the counts themselves."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches, spoilt

from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.compression import SavedBasis, compressor_for
from ptylive.engine.dataset import dataset_of
from ptylive.engine.descan import moved
from ptylive.engine.imaging.virtual_detectors import DetectorBank, VirtualDetector
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Basis
from ptylive.schema.detector import Descan

METHODS = ("com", "idpc", "obf", "tcbf", "wdd")
ELECTRONS = 2000.0
LIMIT = 500.0


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -60.0}, strength=0.05)


@pytest.fixture(scope="module")
def references(scan):
    rng = np.random.default_rng(5)
    shape = scan.patterns.shape[1:]
    return {
        "dark_reference": rng.uniform(50, 150, shape).astype(np.float32),
        "gain_reference": rng.uniform(0.5, 2.0, shape).astype(np.float32),
    }


def recorded(counts, references):
    """Values as recorded, in single precision: rounded by less than 1e-7 of some hundred."""
    return (counts / references["gain_reference"] + references["dark_reference"]).astype(np.float32)


def described(scan, references, **detector):
    header = scan.header()
    return replace(header, arrays=references, detector=header.detector.model_copy(update=detector))


def maps_of(rendering):
    """Maps without deviations: these frames have no noise, so their deviations only reflect rounding."""
    return {one.name: np.asarray(one.data) for one in rendering.maps if not one.name.endswith("_deviation")}


def assert_alike(ours, theirs):
    """Check that maps agree to a thousandth of the contrast, with phases up to a constant."""
    assert set(ours) == set(theirs)
    for name, data in theirs.items():
        away = (ours[name] - ours[name].mean()) - (data - data.mean())
        assert np.abs(away).max() <= 1e-3 * np.abs(data).max(), name


@pytest.mark.parametrize("descan", [None, pytest.param((3.0, 0.0, 0.0, 2.0), marks=pytest.mark.slow)])
def test_maps_live_and_offline(scan, references, descan):
    counts = scan.patterns * ELECTRONS
    if descan is not None:
        counts = moved(counts, -Descan.of(descan).at_points(np.arange(len(counts)), (32, 32)))
    frames = recorded(counts, references)
    header = described(scan, references, descan_px=descan)
    plain = described(scan, {}, descan_px=descan)
    wanted = maps_of(reconstruct(plain, lambda: batches(counts.astype(np.float32)), METHODS)[1])
    engine, rendering = reconstruct(header, lambda: batches(frames), METHODS)
    assert_alike(maps_of(rendering), wanted)
    live = LiveEngine(header, methods=METHODS)
    for batch in batches(frames):
        live.add(batch)
    assert_alike(maps_of(live.finish(lambda: batches(frames))), wanted)
    np.testing.assert_allclose(live.last_pattern, counts[-1], atol=1e-3 * counts.max())
    patterns = dataset_of(header, engine.calibration, np.arange(len(frames)), frames).patterns
    straight = dataset_of(plain, engine.calibration, np.arange(len(frames)), counts.astype(np.float32)).patterns
    np.testing.assert_allclose(patterns, straight, atol=1e-4 * counts.max())


def test_bad_pixels_are_found_on_counts(scan, references):
    counts, where = spoilt(scan)
    dead = next(place for place in where if place != (1, 2))
    frames = recorded(counts * ELECTRONS, references)
    live = LiveEngine(described(scan, references), methods=("com",))
    for batch in batches(frames):
        live.add(batch)
    live.finish(lambda: batches(frames))
    assert {(1, 2), dead} == {tuple(place) for place in np.argwhere(live.bad_pixels.found).tolist()}


def test_full_pixels_are_full_as_recorded(scan, references):
    frames = recorded(scan.patterns * ELECTRONS, references)
    frames[900, 16, 16] = 60000.0
    header = described(scan, references, saturation_value=LIMIT)
    live = LiveEngine(header, methods=("com",))
    for batch in batches(frames):
        live.add(batch)
    assert live.store.saturated_frames == 1
    dark, gain = (references[name][16, 16] for name in ("dark_reference", "gain_reference"))
    full = (LIMIT - dark) * gain
    patterns = dataset_of(header, live.finish(lambda: batches(frames)) and live.calibration, np.arange(1024), frames)
    assert patterns.patterns[900].max() == pytest.approx(full, rel=1e-6)


def test_coefficients_are_those_of_counts(scan, references):
    counts = (scan.patterns * ELECTRONS).astype(np.float32)
    frames = recorded(counts, references)
    header, plain = described(scan, references), described(scan, {})
    choice = parse_basis("zernike:15+1")
    made, wanted = compressor_for(header, choice, frames), compressor_for(plain, choice, counts)
    found, expected = made.vectors(frames[:9]), wanted.vectors(counts[:9])
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert made.intact_angles_deg(frames[:9]) == pytest.approx(wanted.intact_angles_deg(counts[:9]), rel=1e-2)
    seen = made.described(replace(header, arrays={**references, "vacuum_pattern": frames[3]}))
    assert set(seen.arrays) == {"masks", "vacuum_pattern", *references}
    assert not seen.readout.corrects
    np.testing.assert_allclose(seen.arrays["vacuum_pattern"], counts[3], atol=1e-4 * counts.max())
    again = compressor_for(replace(seen, basis=Basis()), choice, frames[:0], SavedBasis(seen.basis, made.basis.masks))
    np.testing.assert_array_equal(again.vectors(frames[:9]), found)


def test_virtual_detectors_sum_counts(scan, references):
    counts = scan.patterns * ELECTRONS
    bank = DetectorBank(described(scan, references))
    bank.use([VirtualDetector(name="all", center_px=(16, 16), outer_px=30)])
    for batch in batches(recorded(counts, references)):
        bank.add(batch)
    [made] = bank.maps(1024)
    np.testing.assert_allclose(made.data.ravel(), counts.sum(axis=(1, 2)), rtol=1e-3)
