"""Scans whose pattern wanders over the detector: read again, moved back, live as offline.

Moved back, they give maps that correlate with those of patterns at rest by 0.97 and more; without correction, by 0.03.
The remaining descan is some hundredths of a pixel; a quarter of a pixel would count as one.
"""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.backend.imaging.wandering_mean import counting_noise_px2
from ptylive.engine.calibrate.descan.measurement import find_descan, first_look, may_be_hidden, sharpened
from ptylive.engine.calibrate.disc import Disc, edge_of
from ptylive.engine.descan import header_at_rest, moved, nearly_moved_back, seen_everywhere
from ptylive.engine.live import reading
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.live.plan import ReductionPlan
from ptylive.engine.live.reading import brought_to_rest, mean_frame, means_at_rest, read
from ptylive.schema import Detector, MetadataError, Optics, Origin, Scan, ScanHeader
from ptylive.schema.detector import Descan, scan_places

METHODS = ("com", "idpc", "obf", "tcbf", "wdd")
BOW = Descan.of([1.5, 0.4, 0.3, 0.0, -0.4, 0.2, -1.2, 0.0, 0.5, 0.0])
POINTS = np.arange(1024)
DISC = Disc((16.0, 16.0), 7.2)


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -60.0}, strength=0.05)


@pytest.fixture(scope="module")
def wandering(scan):
    return moved(scan.patterns, -BOW.at_points(POINTS, (32, 32)))


def found_beam(header):
    """The header without the place of the beam."""
    return replace(header, detector=header.detector.model_copy(update={"beam_center_px": None}))


def maps_of(rendering):
    """Maps without deviations: these frames have no noise, so their deviations only reflect rounding."""
    return {one.name: np.asarray(one.data) for one in rendering.maps if not one.name.endswith("_deviation")}


@pytest.fixture(scope="module")
def undisturbed(scan):
    return maps_of(reconstruct(found_beam(scan.header()), lambda: batches(scan.patterns), METHODS)[1])


def agreement(maps, wanted):
    return {name: correlation(maps[name], wanted[name]) for name in wanted if maps[name].shape == wanted[name].shape}


def test_full_pixels_count_what_they_can_tell_in_blocks_too(scan):
    frames = np.ones((1024, 32, 32), np.float32)
    frames[:, 16, 16] = 1e9
    header = scan.header()
    header = replace(header, detector=header.detector.model_copy(update={"saturation_value": 5.0}))
    blocks = means_at_rest(header, lambda: batches(frames), Descan.of([0]), DISC)
    assert blocks.mean.max() < 5.01  # transforms in single precision
    assert mean_frame(header, lambda: batches(frames)).frame.max() == 5.0


def test_maps_are_those_of_patterns_that_lie_still(scan, wandering, undisturbed):
    engine, rendering = reconstruct(found_beam(scan.header()), lambda: batches(wandering), METHODS)
    entry = engine.calibration.entries["descan_px"]
    assert entry.origin is Origin.ESTIMATED
    assert np.abs(Descan.of(entry.value).minus(BOW).at_points(POINTS, (32, 32))).max() < 0.05
    found = agreement(maps_of(rendering), undisturbed)
    told = ("com_row", "com_col", "idpc", "obf", "tcbf", "wdd_phase")
    assert min(found[name] for name in told) > 0.98, found
    switched_off = found_beam(scan.header())
    switched_off = replace(switched_off, detector=switched_off.detector.model_copy(update={"descan_px": (0.0,) * 10}))
    (com, also) = (maps_of(reconstruct(switched_off, lambda: batches(wandering), ("com",))[1]), undisturbed)
    left = agreement(com, {name: also[name] for name in com})
    assert min(left.values()) < 0.5


JUMPS = np.random.default_rng(11).normal(0.0, 0.8, (32, 2))


@pytest.fixture(scope="module")
def jumping(scan):
    """A bow, with an additional jump of each line."""
    descan = BOW.plus(Descan.of([0.0] * 10 + (JUMPS - JUMPS.mean(axis=0)).ravel().tolist()))
    return descan, moved(scan.patterns, -descan.at_points(POINTS, (32, 32)))


@pytest.mark.slow
def test_maps_are_those_of_lines_that_lie_still(scan, jumping, undisturbed):
    descan, patterns = jumping
    engine, rendering = reconstruct(found_beam(scan.header()), lambda: batches(patterns), METHODS)
    entry = engine.calibration.entries["descan_px"]
    found = Descan.of(entry.value)
    assert len(found.lines) == 32
    assert np.abs(found.minus(descan).at_points(POINTS, (32, 32))).max() < 0.05
    # WDD's amplitude, for an object that has none, correlates least
    found = agreement(maps_of(rendering), undisturbed)
    assert min(found.values()) > 0.97, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["step", "both ways"])
def test_maps_are_those_of_a_scan_without_a_step_or_two_ways(scan, undisturbed, kind):
    """The projector moves by 3.6 px in mid-scan, or every other line of a snake lies about a pixel off."""
    line = np.arange(32)
    moves = np.outer(line >= 13, [3.0, -2.0]) if kind == "step" else np.outer(line % 2, [0.9, 0.4])
    descan = BOW.plus(Descan.of([0.0] * 10 + (moves - moves.mean(axis=0)).ravel().tolist()))
    patterns, header = moved(scan.patterns, -descan.at_points(POINTS, (32, 32))), found_beam(scan.header())
    if kind == "both ways":  # frames of every other line arrive in the opposite direction
        header = replace(header, scan=header.scan.model_copy(update={"pattern": "snake"}))
        patterns = patterns[header.scan.point_of(POINTS)]
    engine, rendering = reconstruct(header, lambda: batches(patterns), METHODS)
    found = Descan.of(engine.calibration.entries["descan_px"].value)
    assert np.abs(found.minus(descan).at_points(POINTS, (32, 32))).max() < 0.08
    # WDD's amplitude, for an object that has none, correlates least
    assert min(agreement(maps_of(rendering), undisturbed).values()) > 0.96


@pytest.mark.slow
def test_the_edge_of_the_disc_is_read_by_halves_of_lines_where_lines_jump(scan, jumping):
    descan, patterns = jumping
    header = scan.header()
    means = means_at_rest(header, lambda: batches(patterns), descan, DISC)
    ring = edge_of(DISC, (32, 32))
    still = moved(patterns, descan.at_points(POINTS, (32, 32))).reshape(32, 32, 32, 32)
    assert means.lines.points.tolist() == [16] * 64
    assert np.allclose(means.lines.counts[5], still[2, 16:][:, ring].mean(axis=0), rtol=1e-3, atol=1e-6)
    assert means_at_rest(header, lambda: batches(patterns), BOW, DISC).lines is None


def test_centre_of_mass_and_dark_field_of_each_point_are_of_patterns_moved_back(scan, wandering):
    """The dark field uses unmodified counts, on pixels that all patterns have."""
    header = scan.header()
    means = means_at_rest(header, lambda: batches(wandering, np.arange(1000)), BOW, DISC)
    found = means.sums
    still = moved(wandering, BOW.at_points(POINTS, (32, 32)))
    rows = np.arange(32) - 15.5
    assert np.allclose(found.moments[:1000, 1], (still.sum(axis=2) @ rows)[:1000], atol=1e-4)
    assert not found.moments[1000:].any()
    near, _ = nearly_moved_back(header, BOW, POINTS, wandering)
    row, col = np.indices((32, 32))
    area = (np.hypot(row - 16, col - 16) > 7.2 + 2) & seen_everywhere((32, 32), BOW.at_points(POINTS, (32, 32)))
    assert np.allclose(found.dark[:1000], near[:1000, area].sum(axis=1), rtol=1e-4, atol=1e-6)
    assert found.noise_px2 == pytest.approx(counting_noise_px2(still[:1000].mean(axis=0), 1.0), rel=0.1)
    mean, place = scan.patterns[:1000].mean(axis=0), np.array([[-0.5, 0.5]])
    off = means.wandering.at(place)[0] - moved(mean[None], -place)[0]  # known between pixels, too
    assert np.abs(off).max() < 0.02 * mean.max()  # found: 0.008; the mean at rest is 0.76 off


def discs(true, width_px, side=40, radius=12.0, shape=(24, 30)):
    """Header and patterns of a wandering disc whose edge is ``width_px`` wide."""
    row, col = (true.at_points(np.arange(720), shape) + side / 2).T[:, :, None, None]
    axis = np.arange(side)
    distance = np.hypot(axis[:, None] - row, axis - col)
    patterns = (100 * np.clip((radius - distance) / width_px + 0.5, 0, 1)).astype(np.float32)
    detector = Detector(shape=(side, side), dtype="<f4")
    return ScanHeader("u", "s", 720, Scan(shape=shape, step_A=1.0), detector=detector), patterns


def off_px(true, missing, width_px, *, known):
    """Largest error of places after two measurements that start from a first look lacking ``missing``."""
    (header, patterns), found = discs(true, width_px), true.plus(missing)
    disc = Disc((20.0, 20.0), 12.0)
    for _ in range(2):
        means = means_at_rest(header, lambda: batches(patterns), found, disc)
        common = means.wandering if known else None
        found = sharpened(found, replace(means, wandering=common), (24, 30), disc)
    return np.linalg.norm(found.minus(true).at_points(np.arange(720), (24, 30)), axis=1).max()


MISSING = Descan.of([0.15, -0.1, 0.1, 0.1])


@pytest.mark.slow
def test_places_do_not_lean_to_whole_pixels():
    """Displacements of a hard edge are distorted by the pixels and biased towards whole ones after a sub-pixel shift.

    Where the mean pattern is known between pixels, only rounding and the curvature of the edge remain: some thousandths
    of a pixel here, and twenty where it is not known.
    """
    wander = Descan.of([2.0, 0.5, -0.5, 1.2])
    assert off_px(wander, MISSING, 0.25, known=True) < 0.004 < 0.01 < off_px(wander, MISSING, 0.25, known=False)


@pytest.mark.slow
def test_of_a_wander_within_a_pixel_what_is_missing_is_no_bias():
    """Sub-pixel fractions determine such a wander as well as places do, so an error of the first look would persist."""
    wander = Descan.of([0.4, 0.2, -0.1, 0.5])
    assert off_px(wander, MISSING, 1.0, known=True) == off_px(wander, MISSING, 1.0, known=False) < 0.03


HIDDEN = Descan.of([0.6, 0.2, -0.15, 0.45])


def crystal(wander, *, swells=False):
    """Header and patterns of a thick crystal: atoms tilt the disc's brightness, some four of them along the field.

    With ``swells`` the crystal is thickest in the middle of the field, and scatters more there than elsewhere.
    """
    header, patterns = discs(wander, 1.0)
    u, v = scan_places(np.arange(720), (24, 30))
    tilt = np.stack([np.sin(3.5 * np.pi * u + 0.7), np.sin(3.5 * np.pi * v + 0.4)], axis=1)
    row, col = (np.indices((40, 40)) - 20) / 12.0
    patterns *= 1 + 0.45 * (tilt[:, :1, None] * row + tilt[:, 1:, None] * col)
    scattered = 2.0 + (np.exp(-2 * (u * u + v * v)) if swells else 0.0 * u)
    patterns += scattered[:, None, None].astype(np.float32)
    counts = np.random.default_rng(8).poisson(patterns).astype(np.float32)
    return replace(header, optics=Optics(energy_eV=2e5, convergence_semiangle_mrad=20.0)), counts


@pytest.mark.slow
def test_a_wander_that_a_crystal_hides_is_told_by_the_edge_of_the_disc():
    """The remainder, root mean square, is a tenth of a wander that the centre of mass does not show at all."""
    header, counts = crystal(HIDDEN)
    store = read(header, lambda: batches(counts))
    assert first_look(store, 12.0, lines=False) is None
    found = brought_to_rest(store, lambda: batches(counts)).descan
    at = HIDDEN.at_points(np.arange(720), (24, 30))
    left = found.at_points(np.arange(720), (24, 30)) - at
    assert np.sqrt((left**2).mean()) < 0.1 * np.sqrt((at**2).mean())


def test_a_crystal_that_lies_still_is_left_where_it_is():
    header, counts = crystal(Descan.of([0]))
    store = read(header, lambda: batches(counts))
    assert may_be_hidden(store, 12.0)
    assert brought_to_rest(store, lambda: batches(counts)) is store
    assert not store.descan.moves, "which has been looked for, and is not again"


def test_of_what_is_as_thick_as_a_lens_the_edge_is_not_asked(monkeypatch):
    """Such a specimen deflects the whole probe just as a wander does. Only lines of atoms are looked at, in vain."""
    header, counts = crystal(HIDDEN, swells=True)
    store = read(header, lambda: batches(counts))
    asked, measure = list[Descan](), reading.means_at_rest
    monkeypatch.setattr(reading, "means_at_rest", lambda *given: (asked.append(given[2]), measure(*given))[1])
    assert brought_to_rest(store, lambda: batches(counts)) is store
    assert not store.descan.moves
    assert all(descan.lines for descan in asked)


def test_where_the_centre_of_mass_can_tell_frames_are_not_read_again(monkeypatch):
    header, patterns = discs(Descan.of([0]), 1.0)
    counts = np.random.default_rng(8).poisson(patterns + 2.0).astype(np.float32)
    store = read(header, lambda: batches(counts))
    monkeypatch.setattr(reading, "means_at_rest", lambda *_: pytest.fail("read"))
    assert brought_to_rest(store, lambda: batches(counts)) is store


@pytest.mark.slow
def test_live_equals_offline(scan, wandering):
    header = found_beam(scan.header())
    methods = ("com", "obf")  # the descan that both were made with differs in all maps or in none
    live = LiveEngine(header, methods=methods)
    for batch in batches(wandering, np.random.default_rng(2).permutation(1024)):
        live.add(batch)
    live.refresh()
    ended = maps_of(live.finish(lambda: batches(wandering)))
    offline = maps_of(reconstruct(header, lambda: batches(wandering), methods)[1])
    for name, data in offline.items():
        # the descan is rounded, so that sums of blocks in another order change nothing
        assert np.allclose(ended[name], data, rtol=1e-5, atol=1e-6 * np.abs(data).max()), name


def test_offline_the_disc_of_patterns_at_rest_decides_the_bins_as_it_does_live(scan, wandering, monkeypatch):
    header = found_beam(scan.header())
    off_center = replace(header, detector=header.detector.model_copy(update={"beam_center_px": (17.0, 16.0)}))
    wrong = ReductionPlan.of(off_center, wandering.mean(axis=0)).reduction
    to_rest = reading.brought_to_rest
    monkeypatch.setattr(
        reading, "brought_to_rest", lambda *given: reading.reduced_again(to_rest(*given), wrong, given[1])
    )
    store = reconstruct(header, lambda: batches(wandering), ("com",))[0].store
    right = ReductionPlan.of_pattern(header_at_rest(header, store.descan), store.mean_pattern).reduction
    assert not right.same_as(wrong)
    assert right.same_as(store.reduction)


def test_while_the_scan_runs_the_centre_of_mass_is_corrected_and_it_is_said(scan, wandering, undisturbed, caplog):
    live = LiveEngine(found_beam(scan.header()), methods=METHODS)
    for batch in batches(wandering):
        live.add(batch)
    maps = maps_of(live.refresh())
    assert correlation(maps["com_row"], undisturbed["com_row"]) > 0.97
    live.refresh()
    said = [record.getMessage() for record in caplog.records if "descan" in record.getMessage()]
    assert len(said) == 1
    assert "moves by 4." in said[0]


def test_a_given_descan_is_taken_out_from_the_first_frame(scan, wandering, undisturbed):
    header = found_beam(scan.header())
    header = replace(header, detector=header.detector.model_copy(update={"descan_px": BOW.numbers}))
    live = LiveEngine(header, methods=("com", "obf", "tcbf"))
    for batch in batches(wandering):
        live.add(batch)
    seen = maps_of(live.refresh())
    assert {"com_row", "obf", "tcbf"} <= set(seen)
    assert min(agreement(seen, {name: undisturbed[name] for name in seen}).values()) > 0.95
    assert live.calibration.entries["descan_px"].origin is Origin.GIVEN
    first = live.store
    live.finish(lambda: batches(wandering))
    assert live.store is not first, "read again once: what all patterns have in common is known now"
    kept = live.store
    live.finish(lambda: batches(wandering))
    assert live.store is kept, "and no more"


def test_full_pixels_are_counted_where_they_were(scan):
    frames = np.round(1000 * scan.patterns / scan.patterns.max())
    most = float(np.sort(frames.max(axis=(1, 2)))[-50])
    header = scan.header()
    expected = int((frames >= most).any(axis=(1, 2)).sum())
    for numbers in (None, BOW.numbers):
        told = header.detector.model_copy(update={"saturation_value": most, "descan_px": numbers})
        store = read(replace(header, detector=told), lambda: batches(frames), None if numbers is None else BOW)
        assert store.saturated_frames == expected


def test_what_lies_still_is_not_read_again(scan):
    header = scan.header()
    store = read(header, lambda: batches(scan.patterns))
    assert brought_to_rest(store, lambda: pytest.fail("read again")) is store


def test_block_means_are_bounded(scan, monkeypatch):
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 1e4)
    with pytest.raises(MetadataError, match="mean patterns for the descan would take"):
        means_at_rest(scan.header(), lambda: batches(scan.patterns), BOW, DISC)


def test_no_frames_have_no_mean(scan):
    assert mean_frame(scan.header(), lambda: []) is None
    assert read(scan.header(), lambda: [], BOW) is None


def test_a_value_given_later_wins_over_the_one_taken_out(scan, wandering):
    header = scan.header()
    told = replace(header, detector=header.detector.model_copy(update={"descan_px": BOW.numbers}))
    store = read(told, lambda: batches(wandering), BOW)
    assert brought_to_rest(store, lambda: pytest.fail("read again")) is store
    store.header = replace(header, detector=header.detector.model_copy(update={"descan_px": (0.0,) * 10}))
    again = brought_to_rest(store, lambda: batches(wandering))
    assert again is not store
    assert again.descan is None


@pytest.mark.slow
def test_what_only_the_centre_of_mass_shows_is_left_to_the_specimen(scan, wandering, monkeypatch):
    monkeypatch.setattr("ptylive.engine.live.reading.sharpened", lambda *_: Descan.of([0]))
    header = replace(scan.header(), arrays={"bad_pixel_mask": np.eye(32) > 0})
    store = read(header, lambda: batches(wandering))
    assert brought_to_rest(store, lambda: batches(wandering)) is store
    assert not store.descan.moves
    assert find_descan(store, 7.2).value == (0.0,) * 10
    assert "bad_pixel_mask" in header_at_rest(header, store.descan).arrays
    assert np.array_equal(store.moments_without(store.descan), store.moments)


@pytest.mark.slow
def test_a_value_taken_back_is_measured_anew(scan, wandering):
    header = scan.header()
    wrong = Descan.of([1.0, 0.0, 0.0, 0.0])
    store = read(
        replace(header, detector=header.detector.model_copy(update={"descan_px": wrong.numbers})),
        lambda: batches(wandering),
        wrong,
    )
    store.header = header
    measured = brought_to_rest(store, lambda: batches(wandering)).descan
    assert np.abs(measured.minus(BOW).at_points(POINTS, (32, 32))).max() < 0.05


def test_lines_whose_brightness_alone_changes_lie_still_and_so_does_the_rest(scan):
    """A specimen along the lines moves the centre of mass; the disc's edge shows that the beam does not move."""
    tilt = np.random.default_rng(12).normal(0.0, 0.3, (32, 1, 1, 1))
    rows = (np.arange(32) - 16)[:, None] / 7.2
    patterns = (scan.patterns.reshape(32, 32, 32, 32) * np.maximum(1 + tilt * rows, 0)).reshape(1024, 32, 32)
    header = found_beam(scan.header())
    store = read(header, lambda: batches(patterns.astype(np.float32)))
    assert first_look(store, 7.2, lines=True).lines, "the centre of mass jumps"
    still = brought_to_rest(store, lambda: batches(patterns.astype(np.float32)))
    assert still.descan is None or not still.descan.moves


def test_a_slope_that_nobody_saw_is_not_taken_because_lines_were_asked_for(scan, monkeypatch):
    header = found_beam(scan.header())
    store = read(header, lambda: batches(scan.patterns))
    seen = {True: Descan.of([0.0] * 10 + JUMPS.ravel().tolist()), False: None}
    monkeypatch.setattr(reading, "first_look", lambda _store, _radius, *, lines: seen[lines])
    monkeypatch.setattr(reading, "_sharpened", lambda *_: BOW)  # the edge shows no jumps, but this bow
    assert not brought_to_rest(store, lambda: batches(scan.patterns)).descan.moves
