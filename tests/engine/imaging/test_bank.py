"""The filter bank: contraction against its definition, rows kept between refreshes, filters interpolated in Q."""

import numpy as np
import pytest
from quick_first import quick_first
from rounding import MAP_ROUNDING, U
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine import memory
from ptylive.engine.backend.imaging import bank as contraction
from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging import band as band_module
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.imaging.bank import Spectra, mean_bins
from ptylive.engine.imaging.filters import BUILDERS, Filter
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps import wdd
from ptylive.engine.imaging.maps.wdd import WignerDeconvolution
from ptylive.engine.live.engine import LiveEngine, reconstruct


@pytest.fixture(scope="module")
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    made.patterns = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.float32)
    return made


@pytest.fixture
def engine(scan):
    live = LiveEngine(scan.header(lies_still=True))
    for batch in batches(scan.patterns[: 15 * scan.n]):
        live.add(batch)
    return live


def setting_of(engine):
    return engine._conditions()


def passes(shape):
    """Roundings in a transform: some three in each of log2(n) passes."""
    return 3 * np.log2(np.prod(shape))


def sums_and_transform(weights, c_hat, whole):
    """Bound on the error in single precision.

    The bound of the sums is that of test_bank_arrays. The error of the planes is equally strong at every frequency and,
    with six times its mean, allows for chance.
    """
    n = weights.shape[1]
    mean = np.sqrt((np.abs(whole) ** 2).mean(axis=(1, 2)))
    of_planes = 6 * passes(whole.shape[1:]) * (np.abs(weights) * mean).sum(axis=1)
    return U * (4 * (2 * n + 2) * (np.abs(weights) * np.abs(c_hat)).sum(axis=1) + of_planes)


def test_contraction_is_the_sum_it_says(engine):
    """Half planes, folded and upsampled, compared with the whole planes of a plain transform."""
    conditions, store = setting_of(engine), engine.store
    spectra = Spectra.of(store, conditions)
    scaled = store.bins.astype(float) * spectra.scale
    centred = np.where(store.visited.reshape(-1, 1), scaled - spectra.mean, 0)
    whole = np.fft.fft2(centred.T.reshape(-1, *store.shape), s=conditions.padded)
    band = conditions.band(2)
    rng = np.random.default_rng(1)
    weights = (rng.normal(size=(len(band.q), conditions.basis.count)) + 1j).astype(np.complex64)
    found, noise = spectra.contract_with_noise(band, weights)
    alone = spectra.contract(band, weights)  # another loop, whose terms may be added in another order
    for values, shift in ((found, (0, 0)), (alone, (0, 0)), (noise, [n // 2 for n in conditions.padded])):
        col, row = np.divmod(band.index, band.plane[0])
        c_hat = whole[:, (row + shift[0]) % conditions.padded[0], (col + shift[1]) % conditions.padded[1]]
        expected = (weights * c_hat.T).sum(axis=1)
        assert (np.abs(values - expected) < sums_and_transform(weights, c_hat.T, whole)).all()


def test_rows_kept_give_what_a_fresh_transform_gives(scan):
    live, kept = LiveEngine(scan.header(lies_still=True)), RowTransforms()
    for batch in batches(scan.patterns, np.random.default_rng(3).permutation(scan.n**2), 90):
        live.add(batch)
        conditions = setting_of(live)
        found, fresh = Spectra.of(live.store, conditions, kept).planes, Spectra.of(live.store, conditions).planes
        assert np.abs(found - fresh).max() < passes(conditions.padded) * U * np.abs(fresh).max()


def test_lanes_make_the_same_maps(scan, monkeypatch):
    """Columns and frequencies are shared by threads; the buffer of the transforms is reused at every refresh."""
    monkeypatch.setattr(contraction, "WORTH_SHARING", 16)
    pool = ThreadPool(3)
    shared, alone = LiveEngine(scan.header(lies_still=True), pool=pool), LiveEngine(scan.header())
    for batch in batches(scan.patterns, size=8 * scan.n):
        shared.add(batch)
        alone.add(batch)
        found, expected = ({m.name: m.data for m in live.refresh().maps} for live in (shared, alone))
        for name, data in expected.items():
            assert np.abs(found[name] - data).max() <= MAP_ROUNDING * np.abs(data).max(), name
    pool.close()
    assert shared.finish().maps  # works without the pool


def test_only_rows_that_changed_are_transformed_again(scan, monkeypatch):
    live, kept, seen = LiveEngine(scan.header(lies_still=True)), RowTransforms(), []
    transform = RowTransforms._transform
    monkeypatch.setattr(
        RowTransforms, "_transform", lambda self, store, rows: (seen.extend(rows), transform(self, store, rows))
    )
    for batch in batches(scan.patterns, size=6 * scan.n):
        live.add(batch)
        Spectra.of(live.store, setting_of(live), kept)
    assert len(seen) <= 2 * scan.n  # the reference may have moved once
    seen.clear()
    Spectra.of(live.store, setting_of(live), kept)
    assert not seen


def test_transforms_that_do_not_fit_go_to_a_file(engine, monkeypatch, caplog):
    conditions = setting_of(engine)
    expected = Spectra.of(engine.store, conditions).planes
    monkeypatch.setattr(memory, "fits", lambda nbytes: False)
    spilled = Spectra.of(engine.store, conditions)
    assert isinstance(spilled.planes, np.memmap)
    np.testing.assert_array_equal(spilled.planes, expected)
    band = conditions.band()
    weights = np.ones((len(band.q), conditions.basis.count), dtype=np.complex64)
    assert np.isfinite(spilled.contract(band, weights)).all()
    assert "go to a file" in caplog.text


def test_coefficients_that_do_not_fit_go_to_a_file(scan, monkeypatch, caplog, tmp_path):
    expected = {
        m.name: m.data for m in reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns))[1].maps
    }
    monkeypatch.setattr(memory, "fits", lambda nbytes: False)
    live = LiveEngine(scan.header(lies_still=True), scratch=memory.Scratch(tmp_path))
    for batch in batches(scan.patterns):
        live.add(batch)
    live.refresh()
    whole, in_files = live.memory
    assert isinstance(live.store.bins, np.memmap)
    assert live.store.bins.nbytes < in_files < whole
    assert isinstance(live.store.snapshot().bins, np.memmap)
    assert f"coefficients do not fit into memory and go to a file in {tmp_path}" in caplog.text
    assert not list(tmp_path.iterdir()), "the file has no name"
    for live_map in live.finish().maps:
        limit = MAP_ROUNDING * np.abs(expected[live_map.name]).max()
        assert np.abs(live_map.data - expected[live_map.name]).max() <= limit, live_map.name


@pytest.mark.parametrize("method", BUILDERS)
@pytest.mark.parametrize("C10", quick_first([-80.0, 0.0]))
def test_interpolated_filters_make_the_same_maps(monkeypatch, method, C10):
    """On a scan of many points, filters are evaluated on a coarser grid of Q without changing the maps."""
    scan = WeakPhaseScan.make({"C10": C10}, n=24, strength=0.05)
    n = 80
    frames = scan.patterns.reshape(24, 24, 24, 24)[np.arange(n)[:, None] % 24, np.arange(n)[None] % 24].reshape(
        -1, 24, 24
    )
    header = scan.header(frames=n * n)
    header = type(header)(
        header.uid,
        header.series,
        n * n,
        header.scan.model_copy(update={"shape": (n, n)}),
        header.optics,
        header.detector,
    )
    live = LiveEngine(header, methods=["bf"])
    for batch in batches(frames.astype(np.float32)):
        live.add(batch)
    grid = DetectorGrid.of((24, 24), (12, 12), "none", scan.probe.edge_invA)
    basis = live.store.reduction.basis
    assert isinstance(basis, BinnedPixels)
    conditions = ImagingConditions(scan.probe, grid, basis, (n, n), (scan.step_A,) * 2, 0.0)
    assert band_module._CoarsePlane.of(conditions.band(half=method != "wdd")) is not None
    spectra = Spectra.of(live.store, conditions)
    found = [next(iter(Filter.build(method, conditions, spectra.mean).linear_map.pictures(spectra))).data]
    monkeypatch.setattr(band_module, "WORTHWHILE", np.inf)
    found.append(next(iter(Filter.build(method, conditions, spectra.mean).linear_map.pictures(spectra))).data)
    # cubic polynomials, twice as fine as the kernels require; found: at most 1 %, where overlaps have edges
    assert correlation(*found) > 0.999
    assert np.abs(found[0] - found[1]).max() < 0.05 * np.abs(found[1]).max()


def test_deconvolution_of_a_large_disc_in_blocks_of_pixels(monkeypatch, engine):
    conditions, mean = setting_of(engine), mean_bins(engine.store)
    spectra = Spectra.of(engine.store, conditions)
    exact = WignerDeconvolution.build(conditions, mean).field(spectra)
    monkeypatch.setattr(wdd, "MOST_RADIUS", 3)
    blocks = WignerDeconvolution.build(conditions, mean).field(spectra)
    seen = spectra.visited
    assert (
        correlation(np.angle(blocks[seen]), np.angle(exact[seen])) > 0.98
    )  # blocks of two pixels blur the aperture's edge: found 0.992
