"""Quantities reported with the maps: dose, transfer, signal and noise, information limit."""

import h5py
import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging.noise.rings import WEAKEST, WeightedRings, picture_quality, ring_floor, ring_mean
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.results import write_maps
from ptylive.schema import Origin
from ptylive.schema.maps import LEAST_CORRELATION, RingQuality
from ptylive.schema.metadata import overlay
from ptylive.server.session.stored_scans import map_of, read_results

ELECTRONS = 20000


@pytest.fixture(scope="module")
def made():
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    frames = np.random.default_rng(0).poisson(scan.patterns * ELECTRONS).astype(np.float32)
    return scan, frames, *reconstruct(scan.header(), lambda: batches(frames), methods=["obf", "tcbf"])


def test_the_dose_is_that_of_the_simulated_electrons(made):
    scan, frames, engine, _ = made
    found, noise = engine.calibration, 5 / np.sqrt(ELECTRONS * len(frames))
    assert found.get("electrons_per_pattern") == pytest.approx(ELECTRONS, rel=noise)
    assert found.get("dose_e_per_A2") == pytest.approx(ELECTRONS / scan.step_A**2, rel=noise)
    assert found.origin("dose_e_per_A2") is Origin.DEFAULT
    told = overlay(scan.header(), {"counts_per_electron": 4.0})
    found = reconstruct(told, lambda: batches(frames), methods=["bf"])[0].calibration
    assert found.get("electrons_per_pattern") == pytest.approx(ELECTRONS / 4, rel=noise)
    assert found.origin("electrons_per_pattern") is Origin.ESTIMATED


def test_they_are_in_the_results_file(made, tmp_path):
    _, _, engine, rendering = made
    path = tmp_path / "maps.h5"
    write_maps(path, rendering.maps, engine.coverage, engine.calibration, {})
    with h5py.File(path) as file:
        group = file["snr/obf"]
        transfer, frequency = group["transfer"][()], group["frequency_invA"][()]
        assert transfer.shape == frequency.shape == group["signal_to_noise"].shape
        assert 0.5 < transfer.max() <= 1.0
        assert transfer[-1] < 0.5 * transfer.max(), "little is passed near twice the aperture"
        assert "transfer" not in file["snr/tcbf"]
        assert 1.0 < file["maps/obf"].attrs["information_limit_A"] < 5.0  # twice the aperture is 1.1 Å
        assert file["calibration"].attrs["electrons_per_pattern"] > 0
    by_name = {one["name"]: map_of(one) for one in read_results(path)["maps"]}
    assert "obf_deviation" in by_name
    for one in rendering.maps:
        stored = by_name[one.name]
        assert (stored.deviation, stored.buried, stored.faint) == (one.deviation, one.buried, one.faint), one.name
    assert by_name["obf"].deviation > 0


def test_information_limit_is_where_halves_first_disagree():
    frequency = np.arange(8) * 0.1 + 0.05
    falling = np.array([0.0, 0.9, 0.9, 0.8, 0.3, 0.0, 0.0, 0.0])
    quality = RingQuality(frequency, np.full(8, 0.75), falling)
    means = (0.8 + 0.3 + 0.0) / 3, (0.3 + 0.0 + 0.0) / 3  # means over three rings, around the fourth and the fifth
    between = frequency[4] + 0.1 * (means[0] - LEAST_CORRELATION) / (means[0] - means[1])
    assert 1 / quality.expected(1.0, 1e4).period_A == pytest.approx(between)
    np.testing.assert_allclose(quality.signal_to_noise, 3.0)
    assert 1 / RingQuality(frequency, falling, np.ones(8)).expected(1.0, 1e4).period_A == pytest.approx(frequency[-1])
    assert not quality.is_noise
    one_ring = np.array([0.9, 0.0, 0.0, 0.4, 0.0, -0.1, 0.0, 0.0])  # the first ring, and one by chance
    assert RingQuality(frequency, falling, one_ring).is_noise
    assert not RingQuality(frequency[:3], falling[:3], np.zeros(3)).is_noise
    assert not RingQuality(frequency[:1], falling[:1], np.zeros(1)).is_noise


def test_noise_floor_does_not_mind_beams():
    rng = np.random.default_rng(0)
    ring = np.repeat([0, 1, 3], 4000)
    noise = rng.exponential(2.0, len(ring))
    noise[:40] += 1e4
    use = rng.random(len(ring)) < 0.9
    floor, count = ring_floor(ring, noise, use), np.bincount(ring[use], minlength=4)
    # a median of 3600 exponential numbers scatters by 1 / sqrt(3600) / ln 2 = 2.4 %; the beams would add 5000 %
    np.testing.assert_allclose(floor[[0, 1, 3]] / count[[0, 1, 3]], 2.0, rtol=0.1)
    assert floor[2] == 0.0
    np.testing.assert_allclose(ring_mean(ring, np.ones(len(ring))), [1, 1, 0, 1])


def beams(side, cycles, rng):
    """A picture of waves (cycles over the side, rows and cols), and one of white noise, a hundredth as strong."""
    rows, cols = np.indices((side, side)) / side
    waves = sum(np.cos(2 * np.pi * (a * rows + b * cols) + 1) for a, b in cycles)
    noise = [0.01 * rng.normal(size=(side, side)) for _ in range(2)]
    return (waves + noise[0]).astype(np.float32), noise[1].astype(np.float32)


def test_rings_that_noise_reaches_unevenly_are_compared_evenly():
    """The sums that a filter keeps for every refresh equal those computed from its frequencies one by one."""
    rng = np.random.default_rng(3)
    ring = rng.integers(0, 4, 20_000) * 2  # odd rings are empty
    variance = rng.uniform(0.5, 2.0, ring.size)
    variance[::7] = 0.1 * WEAKEST
    power = variance * rng.exponential(3.0, ring.size)
    kept, use = WeightedRings(ring, variance), variance > WEAKEST * variance.max()
    members = [use & (ring == number) for number in range(7)]
    even = np.where(use, power / variance, 0.0)
    # sums of 5 000 numbers in double precision
    near = {"rtol": 5000 * np.finfo(float).eps}
    np.testing.assert_array_equal(kept.count, [part.sum() for part in members])
    np.testing.assert_allclose(kept.variance, [variance[part].sum() for part in members], **near)
    np.testing.assert_allclose(kept.sum(power), [even[part].sum() for part in members], **near)
    floor = kept.floor(power)
    np.testing.assert_allclose(floor, ring_floor(ring, even, use), **near)
    unused = [power[~use & (ring == number)].sum() for number in range(7)]
    expected = floor / np.maximum(kept.count, 1) * kept.variance + unused
    np.testing.assert_allclose(kept.noise(power, floor), expected, **near)


def test_beams_of_a_lattice_leak_into_no_ring_beside_them():
    """The beam lies halfway between two points of the discrete transform, where leakage is largest."""
    side, width = 96, 4
    picture, noise = beams(side, [(16.5, 0.0)], np.random.default_rng(1))
    frequency = (np.arange(side // 2 // width) + 0.5) * width / side
    before = RingQuality(frequency, np.zeros(len(frequency)), np.zeros(len(frequency)))
    found = picture_quality(before, picture, noise, (1.0, 1.0))
    # twelve rings; the beam lies in the fifth, and a Hann window spreads it over two points on each side
    assert found.half_data_correlation[4] > 0.999
    # three errors for a ring of two hundred frequencies under the window: 0.21
    assert np.abs(found.half_data_correlation[7:]).max() < 0.25
    assert found.independent[-1] > 0


def test_what_is_only_an_alias_of_the_scan_is_no_signal():
    """A beam at 10 cycles also shows at 10 + 48, 48 being the scan's own frequency, with a tenth of its power."""
    side, scan, width = 192, 48, 8
    rng = np.random.default_rng(2)
    noise = beams(side, [], rng)[1]
    places = [(10 + a * scan, b * scan) for a in range(-2, 2) for b in range(-2, 2)]
    share = {(10, 0): 1.0, (10 + scan, 0): 0.1}  # of its power; 1 % at all the others
    picture = sum(np.float32(np.sqrt(share.get(at, 0.01))) * beams(side, [at], rng)[0] for at in places)
    frequency = (np.arange(side // 2 // width) + 0.5) * width / side
    before = RingQuality(frequency, np.zeros(len(frequency)), np.zeros(len(frequency)))
    at = (10 // width, (10 + scan) // width)
    plain, aware = (picture_quality(before, picture, noise, (1.0, 1.0), finer) for finer in (1, 4))
    assert plain.half_data_correlation[list(at)].min() > 0.99
    assert aware.half_data_correlation[at[0]] > 0.99
    assert aware.half_data_correlation[at[1]] < 0.01
    assert (plain.beams[list(at)] >= 1).all()
    assert aware.beams[list(at)].tolist() == [1, 0]


def test_a_lattice_carries_information_as_far_as_its_last_beam():
    frequency = np.arange(12) * 0.1 + 0.05
    correlation = np.array([0.0, 0.0, 1.0, 0.9, 0.0, 0.0, 0.0, 0.9, 0.8, 0.0, 0.0, 0.9])
    sure = RingQuality(frequency, correlation, correlation)
    assert sure.expected(1.0, 1e4).finer, "the last ring is one of it"
    counted = RingQuality(frequency, correlation, correlation, independent=np.where(frequency < 1.1, 1e3, 0.0))
    means = (0.8 + 0.0 + 0.0) / 3, 0.0  # over three rings, around the tenth and the eleventh; the twelfth is incomplete
    limit = counted.expected(1.0, 1e4)
    assert not limit.finer
    assert 1 / limit.period_A == pytest.approx(frequency[9] + 0.1 * (means[0] - LEAST_CORRELATION) / means[0])
