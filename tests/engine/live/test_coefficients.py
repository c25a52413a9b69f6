"""Coefficients instead of frames: the same maps as far as the basis allows, and identical numbers from exact extras."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from rounding import MAP_ROUNDING
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.filters import BUILDERS
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Basis, MetadataError
from ptylive.schema.detector import MOST_COUNTS

LEAST = {"bf", "abf", "adf", "com_row", "com_col", "idpc", "dpc_iterative", "tcbf", "obf", "ssb"}
LEAST |= {"wdd_phase", "wdd_amplitude"}


@pytest.fixture(scope="module")
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    made.patterns = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def raw(scan):
    return reconstruct(scan.header(), lambda: batches(scan.patterns))


@pytest.fixture(scope="module")
def field(raw):
    calibration = raw[0].calibration
    return DetectorField(calibration.get("beam_center_px"), calibration.get("disc_radius_px"), np.ones((24, 24), bool))


def compressed(scan, field, text, extras=None):
    choice = parse_basis(text)
    compressor = Compressor(make_basis(choice, field, scan.patterns), field, choice.square_root)
    if extras is not None:
        compressor = replace(compressor, extras=extras)
    return compressor.described(scan.header()), compressor.vectors(scan.patterns)


def by_name(rendering):
    """Maps at the scan points, whether upsampled or not."""
    return {m.name: m.data[:: m.data.shape[0] // 24, :: m.data.shape[1] // 24] for m in rendering.maps}


def test_as_many_masks_as_bins_give_the_raw_maps(scan, raw, field):
    """The bins of the raw engine are sent as masks; every linear map is the same up to rounding."""
    reduction = raw[0].store.reduction
    assert isinstance(reduction, PixelReduction)
    bins = reduction.basis
    masks = (bins.bin_of == np.arange(bins.count)[:, None, None]).astype(np.float32)
    rest = (bins.bin_of < 0).astype(np.float32)
    compressor = Compressor(MaskBasis("custom", np.concatenate([masks, rest[None]]), bins.count), field)
    _, rendering = reconstruct(compressor.described(scan.header()), lambda: batches(compressor.vectors(scan.patterns)))
    found, expected = by_name(rendering), by_name(raw[1])
    for name in ("com_row", "com_col", "idpc", "tcbf", "obf", "wdd_phase"):
        assert np.abs(found[name] - expected[name]).max() < MAP_ROUNDING * np.abs(expected[name]).max(), name
    assert LEAST <= set(found)


@pytest.mark.parametrize(
    ("text", "least"), quick_first([("zernike:45+1", 0.97), ("data:40+1", 0.85), ("binning:45+1", 0.95)], 2)
)
def test_maps_from_coefficients(scan, raw, field, text, least):
    header, vectors = compressed(scan, field, text)
    _, rendering = reconstruct(header, lambda: batches(vectors))
    found, expected = by_name(rendering), by_name(raw[1])
    assert LEAST <= set(found)
    assert not rendering.missing
    for name in ("com_row", "com_col", "idpc"):
        # moments are integers below 2^24, and exact
        np.testing.assert_allclose(found[name], expected[name], atol=MAP_ROUNDING * np.abs(expected[name]).max())
    for name in ("obf", "tcbf", "wdd_phase", "bf"):  # found at least 0.998, 0.986 and 0.992; the last learns from noise
        assert correlation(found[name], expected[name]) > least, name


@pytest.mark.parametrize("text", ["zernike:45+1", "zernike:45+1:sqrt"])
def test_numbers_that_are_none_are_left_out_and_counted(scan, field, text):
    """So are markers beyond the highest possible count; those in flyback frames are counted too, as for raw frames."""
    header, vectors = compressed(scan, field, text)
    header = replace(header, frames=len(vectors) + 1)  # one more than the scan has points
    damaged = np.concatenate([vectors, vectors[-1:]])
    for place, value in (((3, 5), np.nan), ((8, 2), np.inf), ((9, 1), -2 * MOST_COUNTS), ((-1, 0), np.nan)):
        damaged[place] = value
    cleaned = np.where(np.abs(damaged) <= MOST_COUNTS, damaged, 0)
    live, other = LiveEngine(header), LiveEngine(header)
    for engine, frames in ((live, damaged), (other, cleaned)):
        for batch in batches(frames):
            engine.add(batch)
    for name in ("bins", "regions", "moments", "frame_sum"):
        np.testing.assert_array_equal(getattr(live.store, name), getattr(other.store, name), err_msg=name)
    assert (live.store.masked_counts, live.store.snapshot().masked_counts, other.store.masked_counts) == (4, 4, 0)


def test_live_equals_offline_in_any_order(scan, field):
    header, vectors = compressed(scan, field, "zernike:45+1")
    live = LiveEngine(header)
    for batch in batches(vectors, np.random.default_rng(5).permutation(len(vectors))):
        live.add(batch)
        assert live.refresh().maps
    assert live.mean_pattern.shape == live.last_pattern.shape == (24, 24)
    found = by_name(live.finish(lambda: batches(vectors)))
    for name, data in by_name(reconstruct(header, lambda: batches(vectors))[1]).items():
        assert np.abs(found[name] - data).max() <= MAP_ROUNDING * np.abs(data).max(), name


def test_without_extras_the_moments_come_from_the_masks(scan, raw, field):
    header, vectors = compressed(scan, field, "zernike:45+1", extras=())
    _, rendering = reconstruct(header, lambda: batches(vectors))
    found = by_name(rendering)
    # found 0.9993: masks hold a slope except at the edge
    assert correlation(found["com_row"], by_name(raw[1])["com_row"]) > 0.99
    assert LEAST <= set(found)


def test_square_roots_feed_only_the_extras_maps(scan, raw, field):
    header, vectors = compressed(scan, field, "zernike:45+1:sqrt")
    _, rendering = reconstruct(header, lambda: batches(vectors))
    found, expected = by_name(rendering), by_name(raw[1])
    most = {*LEAST, "dpc_iterative", "idpc_deviation", "dpc_iterative_deviation"} - set(BUILDERS) - {"abf"}
    assert {"bf", "adf", "com_row", "com_col", "idpc"} <= set(found) <= most
    np.testing.assert_allclose(found["idpc"], expected["idpc"], atol=MAP_ROUNDING * np.abs(expected["idpc"]).max())
    assert correlation(found["bf"], expected["bf"]) > 0.9  # found 0.97: a sum of squares of what masks hold of roots
    assert rendering.missing["obf"] == "needs intensities, not their square roots"
    bare, few = compressed(scan, field, "zernike:45+1:sqrt", extras=("sum",))
    _, rendering = reconstruct(bare, lambda: batches(few))
    assert not rendering.maps
    assert rendering.missing["com"] == "needs the extra k_row"


def test_a_sender_need_not_say_where_its_disc_is(scan, field):
    header, vectors = compressed(scan, field, "zernike:45+1")
    words = header.basis.model_dump()
    words.update(center_px=None, radius_px=None)
    silent = replace(header, basis=Basis.model_validate(words))
    engine, rendering = reconstruct(silent, lambda: batches(vectors))
    # measured on a pattern of 45 masks, which round its edge
    assert engine.calibration.get("disc_radius_px") == pytest.approx(field.radius_px, abs=0.3)
    told = by_name(reconstruct(header, lambda: batches(vectors))[1])
    assert correlation(by_name(rendering)["obf"], told["obf"]) > 0.99


def test_a_position_that_is_no_number_spoils_nothing_else(scan, field):
    header, vectors = compressed(scan, field, "zernike:45+1")
    broken = vectors.copy()
    broken[100] = np.nan
    _, rendering = reconstruct(header, lambda: batches(broken))
    assert all(np.isfinite(m.data).all() for m in rendering.maps)


def test_what_would_not_fit_is_left_out(scan, field):
    header, _ = compressed(scan, field, "zernike:45+1")
    huge = replace(header, scan=header.scan.model_copy(update={"shape": (2048, 2048)}))
    assert not LiveEngine(huge).impossible
    huge = replace(header, scan=header.scan.model_copy(update={"shape": (2048, 4096)}))
    assert set(LiveEngine(huge).impossible) == {"wdd"}  # its filters are twice as large
    assert LiveEngine(huge).impossible["wdd"] == "needs 5 GB for filters: send fewer masks"
    huge = replace(header, scan=header.scan.model_copy(update={"shape": (4096, 4096)}))
    assert set(LiveEngine(huge).impossible) == set(BUILDERS)
    many = replace(header, basis=header.basis.model_copy(update={"n_bright": 2000}))
    with pytest.raises(MetadataError, match="2001 masks"):
        LiveEngine(many)
