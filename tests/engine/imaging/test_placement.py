"""Scans off a regular grid: the spreading form equals the FFT form on a grid, and handles points that moved."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.imaging.bank import Spectra
from ptylive.engine.imaging.placement import Placement
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Scan
from ptylive.schema.metadata import overlay

SIZE = 24
PLACED = {"bf", "adf", "com_row", "com_col", "idpc", "obf", "tcbf", "wdd_phase", "ssb"}


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -60.0}, n=SIZE, strength=0.05)


def filled(scan, header=None, frames=None):
    live = LiveEngine(scan.header(lies_still=True) if header is None else header)
    for batch in batches((scan.patterns if frames is None else frames).astype(np.float32)):
        live.add(batch)
    return live


def by_name(rendering):
    return {m.name: m.data for m in rendering.maps}


def displaced(scan, shift_A):
    """Patterns at positions displaced from the grid by ``shift_A`` (points, 2), each with its own shifted probe."""
    f = np.fft.fftfreq(SIZE, scan.step_A)
    ky, kx = np.meshgrid(f, f, indexing="ij")
    wave = scan.probe.wave(ky, kx)
    wave /= np.sqrt((np.abs(wave) ** 2).sum())
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), -1).reshape(-1, 2) * scan.step_A
    positions = grid + shift_A
    patterns = []
    for y, x in positions:
        shifted = np.fft.ifft2(wave * np.exp(-2j * np.pi * (ky * y + kx * x)))
        patterns.append(np.fft.fftshift(np.abs(np.fft.fft2(shifted * np.exp(1j * scan.phase))) ** 2))
    return positions, np.array(patterns)


@pytest.mark.parametrize("rows", [SIZE, 17])
def test_on_a_grid_the_splat_form_is_the_fft_form(scan, rows):
    live = filled(scan, frames=scan.patterns[: rows * SIZE])
    conditions = live._conditions()
    placement = Placement.of(live.header.scan.positions_A(0.0), live.header.scan, 0.0)
    assert (placement.weight == 1).all()
    regular, placed = Spectra.of(live.store, conditions), Spectra.of(live.store, conditions.placed(placement))
    # the kernel's own error, as in test_nufft
    assert np.abs(placed.planes - regular.planes).max() < 3e-5 * np.abs(regular.planes).max()
    np.testing.assert_array_equal(placed.visited, regular.visited)
    band = conditions.band()
    weights = np.ones((len(band.q), conditions.basis.count), dtype=np.complex64)
    pairs = zip(placed.contract_with_noise(band, weights), regular.contract_with_noise(band, weights), strict=True)
    for found, expected in pairs:
        assert np.abs(found - expected).max() < 3e-5 * np.abs(expected).max()


def test_maps_on_a_grid_do_not_depend_on_how_it_is_said(scan):
    live = filled(scan)
    live.configure(overlay(live.header, {"C10": 0.0, "rotation_deg": 5.0}))  # in focus both are sampled like the scan
    regular = by_name(live.refresh())
    live.place(live.header.scan.positions_A(5.0))
    placed = by_name(live.refresh())
    assert set(regular) == set(placed)
    for name, data in regular.items():  # the kernel's error, amplified by the filters
        assert np.abs(placed[name] - data).max() < 1e-4 * np.abs(data).max(), name
    live.place(None)
    np.testing.assert_array_equal(by_name(live.refresh())["obf"], regular["obf"])


def test_true_positions_mend_the_map_of_a_drifted_scan(scan):
    rng = np.random.default_rng(2)
    drift = np.linspace(0, 2.0, SIZE**2)[:, None] * np.array([0.6, -0.8]) + rng.normal(size=(SIZE**2, 2)) * 0.1
    positions, frames = displaced(scan, drift)
    live = filled(scan, frames=frames)
    inner = (slice(3, -3), slice(3, -3))
    naive = by_name(live.refresh())["obf"][::2, ::2]
    live.place(positions)
    mended = by_name(live.refresh())
    # found 0.99 at the true positions, and 0.05 on the grid
    assert correlation(mended["obf"][inner], scan.phase[inner]) > 0.85
    assert correlation(mended["obf"][inner], scan.phase[inner]) > correlation(naive[inner], scan.phase[inner]) + 0.1
    assert set(mended) >= PLACED - {"ssb"}


def test_a_list_of_positions_makes_every_map(scan):
    rng = np.random.default_rng(4)
    order = rng.permutation(SIZE**2)
    jitter = rng.normal(size=(SIZE**2, 2)) * 0.05
    positions, frames = displaced(scan, jitter)
    header = scan.header(lies_still=True)
    listed = replace(header, scan=Scan(shape=(1, SIZE**2), rotation_deg=0.0), arrays={"positions_A": positions[order]})
    engine, rendering = reconstruct(listed, lambda: batches(frames[order].astype(np.float32)))
    found = by_name(rendering)
    assert set(found) >= PLACED
    assert not rendering.missing
    obf = next(m for m in rendering.maps if m.name == "obf")
    # 23 steps over 24 points; jitter stretches them by 0.3 Å
    assert obf.sampling_A == pytest.approx((0.48, 0.48), abs=0.03)
    assert obf.settings["origin_A"] == pytest.approx(positions.min(axis=0), abs=1e-9)
    at = (positions - positions.min(axis=0)) / obf.sampling_A[0]
    pixel = np.clip(np.rint(at).astype(int), 0, np.array(obf.data.shape) - 1)
    inside = ((at > 3) & (at < SIZE - 4)).all(axis=1)
    # found 0.79, reading at the nearest pixel, which is a quarter of a step off on average
    assert correlation(obf.data[pixel[inside, 0], pixel[inside, 1]], scan.phase.ravel()[inside]) > 0.7
    assert engine.coverage.all()


def test_a_scan_matrix_stands_for_steps(scan):
    header = scan.header(lies_still=True)
    matrix = ((scan.step_A, 1e-6), (0.0, scan.step_A))  # without the 1e-6 it would be a plain step
    by_matrix = replace(header, scan=Scan(shape=(SIZE, SIZE), matrix=matrix, rotation_deg=0.0))
    maps = by_name(filled(scan, by_matrix).refresh())
    assert correlation(maps["obf"][2:22, 2:22], scan.phase[2:-2, 2:-2]) > 0.95  # found 0.998


def test_a_matrix_typed_while_the_scan_runs_places_its_points_and_a_step_takes_them_back(scan):
    header = scan.header(lies_still=True)
    live = filled(scan, header, scan.patterns[:300])
    live.refresh()
    turned = overlay(header, {"scan_matrix": [0.0, scan.step_A, -scan.step_A, 0.0]})
    live.configure(turned)
    obf = next(one for one in live.refresh().maps if one.name == "obf")
    assert obf.is_placed
    from_the_start = next(one for one in filled(scan, turned, scan.patterns[:300]).refresh().maps if one.name == "obf")
    assert obf.data == pytest.approx(from_the_start.data, abs=1e-6)
    live.configure(overlay(turned, {"rotation_deg": 30.0}))
    assert next(one for one in live.refresh().maps if one.name == "obf").data.shape != obf.data.shape, "points turn"
    live.configure(header)
    assert not next(one for one in live.refresh().maps if one.name == "obf").is_placed


def test_impossible_positions_leave_the_regular_grid(scan, caplog):
    header = scan.header(lies_still=True)
    for wrong in (np.zeros((10, 2)), np.full((SIZE**2, 2), np.nan)):
        live = filled(scan, replace(header, arrays={"positions_A": wrong}), scan.patterns[:200])
        assert by_name(live.refresh())["obf"].any()
        assert "are not used" in caplog.text
    line = np.stack([np.arange(9.0), np.arange(9.0)], 1)
    assert (Placement.of(line, Scan(shape=(1, 9)), 0.0).weight == 1).all()


def test_positions_must_be_as_many_as_points(scan):
    with pytest.raises(ValueError, match="24 x 24 scan points"):
        filled(scan).place(np.zeros((10, 2)))


def test_a_pixel_is_the_mean_of_its_points_by_the_areas_they_stand_for():
    at = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.25]])
    weight = np.array([3.0, 1.0, 1.0], np.float32)
    placement = Placement(at, weight, (2, 2), (1.0, 1.0), 0.0, (0.0, 0.0))
    values, visited = placement.gridded(np.array([[1.0], [5.0], [7.0]]), np.ones(3, bool))
    np.testing.assert_allclose(values.ravel(), [(3 * 1 + 5) / 4, 0, 7, 0])
    np.testing.assert_array_equal(visited, [[True, False], [True, False]])  # a quarter of a point does not count
