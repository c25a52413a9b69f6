"""Statistics of patterns: which counts belong to the dark field."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema import Calibration, Origin, Quantity

SIZE, RADIUS_PX, BRIGHT, DARK = 24, 6.0, 40.0, 0.5
K = np.arange(SIZE) - SIZE // 2


def discs(offsets_px):
    """Noise-free patterns of a disc with an edge one pixel wide, each ``offsets_px`` (n, 2) off the middle."""
    away = [np.hypot(K[:, None] - row, K - col) for row, col in offsets_px]
    patterns = DARK + BRIGHT * np.clip(RADIUS_PX + 0.5 - np.stack(away), 0, 1)
    values = {"detector_pixel_invA": Quantity(0.05, Origin.GIVEN)}
    return Dataset(
        patterns.astype(np.float32),
        np.arange(len(patterns)),
        np.stack([np.arange(len(patterns)), np.zeros(len(patterns))], axis=1),
        np.zeros((SIZE, SIZE), bool),
        np.full(2, SIZE // 2, float),
        (1, len(patterns)),
        Calibration(values),
        offsets_px=np.asarray(offsets_px, dtype=float),
    )


def statistics(dataset):
    probe = Probe.of(0.04, 1e3 * 0.04 * 0.05 * RADIUS_PX, 0.05, {})
    return PatternStatistics.of(dataset, ScanWindow.of(dataset, SIZE), probe)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_rim_that_lies_half_a_pixel_off_is_no_dark_field(axis):
    """If included, such a rim raised the background that a refinement assumes to be flat, by half at a flake's edge."""
    offsets = np.zeros((20, 2))
    offsets[:, axis] = np.linspace(-0.5, 0.5, 20)
    wandering = discs(offsets)
    assert statistics(wandering).dark_counts == pytest.approx(DARK)
    assert statistics(replace(wandering, offsets_px=None)).dark_counts > 1.01 * DARK


def test_what_lies_still_keeps_its_pixels():
    still = discs(np.zeros((20, 2)))
    assert statistics(still).dark_counts == pytest.approx(DARK)
    assert statistics(still) == statistics(replace(still, offsets_px=None))


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 20), (20, 20)])
@pytest.mark.parametrize("turned_deg", [0.0, 30.0])
def test_the_dose_of_a_line_is_that_of_its_points(shape, turned_deg):
    """Regression: a line without width had a thousand million electrons per Å²."""
    still = discs(np.zeros((shape[0] * shape[1], 2)))
    turn = np.radians(turned_deg)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grid = np.stack(np.indices(shape), axis=-1).reshape(-1, 2).astype(float)
    found = statistics(replace(still, positions_A=0.5 * grid @ turned.T))
    assert found.dose_e_per_A2 == pytest.approx(found.counts_per_pattern / 0.25, rel=0.2)


def counted(counts_per_electron, *, changing=0.0, points=600):
    """Patterns of counted electrons; ``changing``: share by which the brighter, inner dark field comes and goes."""
    dataset = discs([(0.0, 0.0)] * points)
    inner = np.hypot(K[:, None], K) < 10
    varying = np.where(inner & (changing > 0), 4 * (1 + changing * np.resize([[[1.0]], [[-1.0]]], (points, 1, 1))), 1.0)
    electrons = np.random.default_rng(5).poisson(dataset.patterns * varying)
    return replace(dataset, patterns=(counts_per_electron * electrons).astype(np.float32))


@pytest.mark.parametrize("counts_per_electron", [1.0, 5.0])
def test_faint_pixels_tell_the_counts_per_electron(counts_per_electron):
    """About 100 faint pixels in 600 patterns: a variance to 1 %, and as much for the choice of the faintest."""
    seen = statistics(counted(counts_per_electron))
    assert seen.faint_share == pytest.approx(counts_per_electron, rel=0.06)
    assert seen.counting_share == pytest.approx(counts_per_electron, rel=0.06)


def test_few_faint_pixels_tell_nothing():
    blank = counted(1.0)
    kept = np.zeros((SIZE, SIZE), bool)
    kept[:, 4:20] = True
    blank.patterns[:, ~kept] = 0
    blank.patterns[:, :3] = blank.patterns[:, -3:] = 0
    assert statistics(replace(blank, patterns=blank.patterns * (np.hypot(K[:, None], K) < 8))).faint_share is None


def test_patterns_that_are_few_tell_nothing():
    assert statistics(counted(1.0, points=8)).faint_share is None


def test_what_the_specimen_changes_is_in_the_brighter_ones():
    seen = statistics(counted(1.0, changing=0.9))
    assert seen.counting_share > 1.1
    assert seen.faint_share == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("counts_per_electron", [1.0, 5.0, 1e-9, 1e7])
def test_what_a_strong_specimen_changes_in_faint_pixels_too_is_no_counting(counts_per_electron):
    """Every pixel comes and goes by its mean: gold and crystals had up to 4.8 counts per electron, which are 1."""
    dataset, rng = discs([(0.0, 0.0)] * 600), np.random.default_rng(7)
    tail = 0.2 + 40.0 / (1 + (np.hypot(K[:, None], K) / 6) ** 4)
    speckle = rng.gamma(2.0, 0.5, (600, SIZE, SIZE))
    electrons = rng.poisson(tail * speckle)
    seen = statistics(replace(dataset, patterns=(counts_per_electron * electrons).astype(np.float32)))
    assert seen.counting_share > 1.5 * counts_per_electron
    assert seen.faint_share == pytest.approx(counts_per_electron, rel=0.15)


@pytest.mark.parametrize("seed", range(4))
def test_a_flat_dark_field_does_not_tell_the_two_apart(seed):
    """Means that differ by a tenth determine no slope: what counting contributes would come out as 3 to 6 of 5."""
    dataset, rng = discs([(0.0, 0.0)] * 600), np.random.default_rng(seed)
    tail = DARK * (1 + 0.1 * K / SIZE) * np.ones((SIZE, 1))
    counts = (5 * rng.poisson(tail, (600, SIZE, SIZE))).astype(np.float32)
    assert statistics(replace(dataset, patterns=counts)).faint_share == pytest.approx(5.0, rel=0.06)


def smeared(electrons):
    """Each electron counted by its own pixel and by the two next to it."""
    return electrons + np.roll(electrons, 1, 1) + np.roll(electrons, 1, 2)


def changing_finely(amount, points=600):
    """Counted electrons of a specimen that moves grains of one to two detector pixels over the disc."""
    grains = ndimage.gaussian_filter(np.random.default_rng(8).normal(size=(points, SIZE, SIZE)), (0, 0.6, 0.6))
    mean = discs([(0.0, 0.0)] * points).patterns * np.exp(amount * grains / grains.std())
    return np.random.default_rng(9).poisson(mean)


def test_noise_of_counted_electrons_is_not_correlated():
    assert statistics(counted(1.0)).noise_spread < 0.02  # 600 differences of 80 pairs of pixels: 0.005 by chance


@pytest.mark.parametrize("counts_per_electron", [1.0, 5.0])
def test_a_detector_that_smears_electrons_correlates_their_noise(counts_per_electron):
    dataset = counted(counts_per_electron)
    found = statistics(replace(dataset, patterns=smeared(dataset.patterns)))
    assert found.noise_spread == pytest.approx(1 / 3, abs=0.05)  # neighbours share one of three pixels


@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_a_specimen_that_changes_as_finely_is_not_a_detector(amount):
    """Regression: under many electrons sheets and crystals were taken for detectors that smear electrons.

    Several slices were then never compared with one slice, nor either with counting noise.
    """
    dataset = counted(1.0)
    changing = replace(dataset, patterns=changing_finely(amount).astype(np.float32))
    assert statistics(changing).noise_spread < 0.05


def test_nor_where_the_calibration_states_what_an_electron_counts():
    """The disc alone, as from a detector that is no larger: no faint pixels tell the noise."""
    patterns = 5 * changing_finely(0.3) * (np.hypot(K[:, None], K) < RADIUS_PX)
    alone = replace(counted(1.0), patterns=patterns.astype(np.float32))
    assert statistics(alone).faint_share is None
    assert statistics(alone).noise_spread > 0.2
    stated = alone.calibration.having(counts_per_electron=Quantity(5.0, Origin.GIVEN))
    assert statistics(replace(alone, calibration=stated)).noise_spread < 0.05


def test_noise_below_that_of_stated_electrons_is_all_noise():
    """A detector that smears electrons varies by less than it counts for each of them."""
    dataset = counted(1.0)
    patterns = smeared(dataset.patterns) * (np.hypot(K[:, None], K) < RADIUS_PX)
    stated = dataset.calibration.having(counts_per_electron=Quantity(10.0, Origin.GIVEN))
    found = statistics(replace(dataset, patterns=patterns, calibration=stated))
    assert found.faint_share is None
    assert found.noise_spread == pytest.approx(1 / 3, abs=0.05)
