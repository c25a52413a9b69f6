"""Bad pixels that were not listed are found where they are, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan, batches, correlation, spoilt

from ptylive.application.stream_compression import StreamCompression
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.calibrate import bad_pixels as module
from ptylive.engine.calibrate.bad_pixels import MOST_SHARE, BadPixels, find_bad_pixels
from ptylive.engine.compression import SavedBasis, compressor_for
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.live.reading import with_bad_pixels
from ptylive.schema import Basis, Calibration, Origin

FRAMES = 500
NONE_KNOWN = np.zeros((64, 64), dtype=bool)


def disc(radius=14.0, centre=(31.3, 32.6), inside=40.0, outside=0.05, side=64):
    """Mean counts of a disc whose edge falls off within a pixel, on a slowly decreasing background."""
    rows, cols = np.indices((side, side))
    away = np.hypot(rows - centre[0], cols - centre[1])
    return inside * np.clip(radius + 0.5 - away, 0, 1) + outside * np.exp(-away / side)


def counted(mean, rng, frames=FRAMES):
    return rng.poisson(mean * frames) / frames


def places(found):
    return {tuple(place) for place in np.argwhere(found).tolist()}


@pytest.mark.parametrize("seed", quick_first(range(20), 6))
def test_what_was_spoilt_is_found_and_nothing_else(seed):
    """Hot pixels, alone and in pairs, and dark pixels in a randomly drawn disc."""
    rng = np.random.default_rng(seed)
    pattern = counted(disc(rng.uniform(5, 24), rng.uniform(28, 36, 2), rng.uniform(2, 400)), rng)
    spots = np.array([(3, 7), (3, 8), (60, 50), (31, 31), (33, 36)])
    for row, col in spots[:3]:
        pattern[row, col] = 10 ** rng.uniform(0, 4)
    pattern[31, 31] *= 0.01
    pattern[33, 36] = 4000.0
    assert places(find_bad_pixels(pattern, FRAMES, NONE_KNOWN)) == {tuple(spot) for spot in spots.tolist()}, seed


@pytest.mark.parametrize("seed", quick_first(range(20), 6))
def test_a_sound_detector_has_none(seed):
    """This holds at any dose, with and without scattering outside the disc, also for a beam at the detector's edge."""
    rng = np.random.default_rng(seed)
    mean = disc(rng.uniform(3.5, 25), rng.uniform(5, 58, 2), 10 ** rng.uniform(-3, 3), 10 ** rng.uniform(-4, 0))
    for pattern in (counted(mean, rng), mean, disc(outside=0.0)):
        assert not find_bad_pixels(pattern, FRAMES, NONE_KNOWN).any(), seed


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-30, 1e9])
def test_the_unit_of_the_counts_does_not_matter(unit):
    """Regression: the squares of counts of 1e-200 are 0, by which was divided."""
    pattern = counted(disc(), np.random.default_rng(7))
    pattern[3, 7] = 300.0
    assert places(find_bad_pixels(pattern * unit, FRAMES, NONE_KNOWN)) == {(3, 7)}


def test_lines_and_discs_that_touch_are_diffraction():
    """A dark and a bright line one pixel wide, and five discs that touch."""
    pattern = disc(outside=0.2)
    index = np.arange(20, 44)
    pattern[index, index] *= 0.3
    pattern[5] = 30.0
    beside = [disc(9.0, centre, 8.0, 0.0) for centre in ((12.0, 32), (48.2, 32), (30, 14), (30, 50.1))]
    for one in (pattern, disc(9.0, (30, 32), 40.0, 0.0) + np.sum(beside, axis=0)):
        assert not find_bad_pixels(one, FRAMES, NONE_KNOWN).any()


def test_gaps_are_left_to_a_mask():
    """Gaps between modules, and between discs that nearly touch and together could pass for one disc."""
    modules = disc(outside=0.0)
    modules[33:35] = 0.0
    rows, cols = np.indices((128, 128))
    lattice = np.zeros((128, 128))
    for row in range(22, 128, 21):
        for col in range(22, 128, 21):
            away = np.hypot(rows - row, cols - col)
            lattice = lattice + (40.0 if (row, col) == (64, 64) else 24.0) * np.clip(10.5 - away, 0, 1)
    assert not find_bad_pixels(modules, FRAMES, NONE_KNOWN).any()
    none = np.zeros(lattice.shape, dtype=bool)
    for told in (None, 10.0):
        assert not find_bad_pixels(lattice, FRAMES, none, given_radius_px=told).any()


def test_a_lattice_of_spots_is_known_by_the_semi_angle():
    """Spots one pixel wide on a diffuse background look like hot pixels unless the size of the disc is known."""
    pattern = disc(25.0, inside=1.0)
    pattern[4::20, 4::20] = 300.0
    assert find_bad_pixels(pattern, FRAMES, NONE_KNOWN).any()
    assert not find_bad_pixels(pattern, FRAMES, NONE_KNOWN, given_radius_px=1.2).any()


def test_a_detector_without_flat_field_shows_its_hot_pixels_beside_the_disc():
    """Sensitivity varies by a tenth between pixels, which in the disc hides all below the noise of 1000 electrons."""
    rng = np.random.default_rng(2)
    pattern = counted(disc(outside=0.1) * rng.normal(1, 0.1, (64, 64)), rng, 16384)
    pattern[4, 9] = 1.2
    assert places(find_bad_pixels(pattern, 16384, NONE_KNOWN)) == {(4, 9)}


def test_where_discs_are_as_small_as_a_pixel_nothing_is_said():
    pattern = np.full((64, 64), 0.1)
    pattern[::12, ::12] = 50.0  # a lattice of spots
    assert not find_bad_pixels(pattern, FRAMES, NONE_KNOWN).any()
    small = disc(2.0)
    small[10, 10] = 500.0
    assert not find_bad_pixels(small, FRAMES, NONE_KNOWN).any()


def test_what_is_known_is_not_found_again_and_bears_no_witness():
    pattern = disc()
    pattern[30, 30] = pattern[30, 31] = 1e5
    pattern[29, 30] = 1e5  # three that touch would hide each other
    known = NONE_KNOWN.copy()
    known[30, 30] = True
    assert places(find_bad_pixels(pattern, FRAMES, known)) == {(30, 31), (29, 30)}


def test_many_are_no_defect_here_and_there():
    rng, pattern = np.random.default_rng(0), disc()
    rows, cols = np.divmod(rng.choice(64 * 64, int(1.5 * MOST_SHARE * 64 * 64), replace=False), 64)
    pattern[rows, cols] = 1e4
    assert not find_bad_pixels(pattern, FRAMES, NONE_KNOWN).any()


@pytest.mark.slow
def test_maps_are_those_of_a_scan_whose_mask_was_given(caplog):
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    frames, where = spoilt(scan)
    mask = np.zeros(scan.header().detector_shape, dtype=bool)
    mask[tuple(np.array(sorted(where)).T)] = True
    told = replace(scan.header(), arrays={"bad_pixel_mask": mask})
    methods = ("com", "idpc", "tcbf", "wdd")
    wanted = {one.name: one.data for one in reconstruct(told, lambda: batches(frames), methods)[1].maps}
    engine, rendering = reconstruct(scan.header(), lambda: batches(frames), methods)
    assert {one.name: correlation(one.data, wanted[one.name]) for one in rendering.maps} == pytest.approx(
        dict.fromkeys(wanted, 1.0), abs=1e-6
    )
    noted = engine.calibration.entries["bad_pixels_px"]
    assert noted.origin is Origin.ESTIMATED
    assert {tuple(place) for place in np.reshape(noted.value, (-1, 2)).astype(int).tolist()} == where
    assert "are left out: (1, 2)" in caplog.text


def test_live_finds_them_too_and_keeps_them_when_values_are_changed():
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    frames, where = spoilt(scan)
    live = LiveEngine(scan.header(), methods=("com", "idpc", "tcbf"))
    for batch in batches(frames):
        live.add(batch)
    assert places(live.bad_pixels.found) == {(1, 2)}, "a few frames tell of no dead ones"
    live.configure(replace(scan.header(), optics=scan.header().optics.model_copy(update={"C10": -50.0})))
    assert live.header.arrays["bad_pixel_mask"][1, 2]
    rendering = live.finish(lambda: batches(frames))
    assert places(live.bad_pixels.found) == where
    offline = reconstruct(live.header, lambda: batches(frames), ("com", "idpc", "tcbf"))[1]
    for ours, theirs in zip(rendering.maps, offline.maps, strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-4, atol=1e-4 * np.abs(theirs.data).max())


def test_a_given_descan_hides_none_and_a_scan_made_again_keeps_them():
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    frames, where = spoilt(scan)
    told = replace(scan.header(), detector=scan.header().detector.model_copy(update={"descan_px": (0.9, 0, 0, 0.6)}))
    live = LiveEngine(told, methods=("com",))
    for batch in batches(frames):
        live.add(batch)
    first = live.finish(lambda: batches(frames))
    assert places(live.bad_pixels.found) == where
    live.header = live.store.header = told  # as given by a user who knows only what was sent
    again = live.finish(lambda: batches(frames))
    assert places(live.bad_pixels.found) == where
    unread = with_bad_pixels(told, live.store, None, live.bad_pixels)
    assert places(unread.arrays["bad_pixel_mask"]) == where, "of moved patterns nobody can read what was found is kept"
    for ours, theirs in zip(again.maps, first.maps, strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-4, atol=1e-4 * np.abs(theirs.data).max())


@pytest.mark.slow
def test_what_the_first_frames_showed_and_all_of_them_do_not_is_taken_back():
    bad, scan = BadPixels(), WeakPhaseScan.make({}, n=64, strength=0.0).header()
    struck = disc()
    struck[3, 3] = 60.0
    masked = bad.look(scan, struck, 64, dead=False)
    assert places(masked.arrays["bad_pixel_mask"]) == {(3, 3)}
    assert not bad.look(masked, disc(), 4096).arrays["bad_pixel_mask"].any()


def test_coefficients_are_described_with_the_pixels_they_leave_out():
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    frames, where = spoilt(scan)
    header = replace(scan.header(), detector=scan.header().detector.model_copy(update={"beam_center_px": None}))
    made = compressor_for(header, parse_basis("zernike:15+1"), frames)
    described = made.described(header)
    assert places(described.arrays["bad_pixel_mask"]) == where
    again = compressor_for(
        replace(described, basis=Basis()),
        parse_basis("zernike:15+1"),
        frames[:0],
        SavedBasis(described.basis, made.basis.masks),
    )
    np.testing.assert_array_equal(again.vectors(frames[:3]), made.vectors(frames[:3]))


def test_masks_of_a_stream_leave_dead_pixels_in():
    """They are made from the first frames, which may show dark speckles."""
    scan = WeakPhaseScan.make({"C10": -60.0}, strength=0.05)
    frames, _ = spoilt(scan)
    said = StreamCompression(parse_basis("zernike:15+1"), lambda header: header, lambda level, text: None)
    made = said.learn(scan.header(), np.arange(320), frames[:320])
    assert places(made.header.arrays["bad_pixel_mask"]) == {(1, 2)}


def test_full_pixels_are_not_hot():
    """Detectors mark pixels that overflowed with a value that no pixel can count; here it occurs in one frame each."""
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    frames = np.rint(2000 * scan.patterns / scan.patterns.mean()).astype(np.uint32)
    detector = scan.header().detector.model_copy(update={"saturation_value": 60000})
    frames[7, 16, 16] = frames[300, 18, 15] = 2**32 - 1
    engine, _ = reconstruct(replace(scan.header(dtype="<u4"), detector=detector), lambda: batches(frames), ("com",))
    assert not engine.bad_pixels.found.any()


def test_coefficients_have_no_pixels():
    scan, bad = WeakPhaseScan.make({}, n=8).header(), BadPixels()
    compressed = replace(scan, basis=scan.basis.model_copy(update={"kind": "zernike", "n_bright": 3}))
    assert bad.look(compressed, np.ones(5), 10) is compressed
    assert bad.masked(compressed) is compressed
    nothing = Calibration()
    assert bad.noted(nothing) is nothing


def test_a_dark_pixel_with_two_dark_neighbours_is_a_shadow():
    """Such a shadow is a beam stop's edge or a gap in the disc; at most one neighbour of a dead pixel is dead, too."""
    counts = np.full((9, 9), 1e4)
    counts[4, 4] = counts[2, 6] = 10.0
    assert places(module._dead(counts, 1.0)) == {(4, 4), (2, 6)}
    counts[4, 5] = 10.0
    assert places(module._dead(counts, 1.0)) >= {(4, 4), (4, 5), (2, 6)}
    counts[3, 4] = 10.0
    assert not places(module._dead(counts, 1.0)) & {(4, 4), (4, 5), (3, 4)}
