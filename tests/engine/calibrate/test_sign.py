import math
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.calibrate import sign
from ptylive.engine.calibrate.sign import (
    LEAST_POINTS,
    MOST_OPPOSITE,
    SKEWED,
    TRUSTED_SIGN,
    Agreement,
    Contrast,
    Skewness,
    agreement,
    contrast_of,
    ranked,
)
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.probe_transfer import probe_transfer
from ptylive.engine.probe import Probe
from ptylive.schema.maps import Strength

SIZE = 64
WEAK = Strength(0.1)


def test_equal_values_share_the_mean_of_theirranked():
    from scipy import stats  # takes half a second, so it is not imported in every process that collects tests

    np.testing.assert_array_equal(ranked(np.array([3.0, 1.0, 3.0, 7.0])), [2.5, 1.0, 2.5, 4.0])
    values = np.random.default_rng(0).integers(0, 40, 300).astype(float)
    np.testing.assert_array_equal(ranked(values), stats.rankdata(values))


@pytest.fixture
def atoms():
    return np.random.default_rng(1).random((24, 24))


def test_the_sign_is_that_of_the_detail(atoms):
    from scipy import stats

    everywhere = np.ones(atoms.shape, dtype=bool)
    assert agreement(atoms, np.exp(20 * atoms), everywhere).correlation > 0.9  # ranks: any rising function works; of 1
    assert agreement(-atoms, np.exp(20 * atoms), everywhere).correlation < -0.9
    ramp = 0.1 * np.arange(24.0) * np.ones((24, 1))
    # only the signs matter: slow changes correlate by more than 0.5, the remaining detail by less than -0.5
    assert stats.spearmanr(atoms + ramp, ramp - atoms, axis=None).statistic > 0.5
    assert agreement(atoms + ramp, ramp - atoms, everywhere).correlation < -0.5


def test_too_few_points_say_nothing(atoms):
    few = np.zeros(atoms.shape, dtype=bool)
    few.flat[: LEAST_POINTS - 1] = True
    assert agreement(atoms, atoms, few).correlation == 0.0


def test_a_small_scan_needs_a_stronger_correlation():
    above = 1.1 * TRUSTED_SIGN
    assert Agreement(above, points=100_000).settles
    assert Agreement(-above, points=100_000).settles
    assert not Agreement(above, points=100).settles
    assert not Agreement(0.9 * TRUSTED_SIGN, points=100_000).settles


def test_a_correlation_leans_from_one_standard_deviation():
    assert Agreement(-0.06, points=400).leans
    assert not Agreement(0.04, points=400).leans


@pytest.mark.parametrize("turned", [1, -1])
def test_a_lattice_agrees_with_its_displaced_opposite_and_settles_nothing(turned):
    row, col = np.mgrid[:32, :32]
    lattice = np.cos(2 * np.pi * row / 8) * np.cos(2 * np.pi * col / 8)
    found = agreement(turned * lattice, lattice, np.ones(lattice.shape, dtype=bool))
    assert found.is_beyond_chance
    assert math.copysign(1, found.correlation) == turned
    assert found.opposite == pytest.approx(abs(found.correlation), rel=0.05)  # half a period aside
    assert not found.settles


@pytest.mark.parametrize("turned", [1, -1])
def test_an_irregular_specimen_has_no_opposite(atoms, turned):
    found = agreement(turned * atoms, atoms, np.ones(atoms.shape, dtype=bool))
    assert found.opposite < MOST_OPPOSITE * abs(found.correlation)
    assert found.settles


def test_the_skewness_is_that_of_the_third_moment():
    """An exponential distribution has 2; for n = 4096 the estimate scatters by a few tenths."""
    values = np.random.default_rng(0).exponential(size=(SIZE, SIZE))
    found = Skewness.of(values)
    centred = values - values.mean()
    assert found.value == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5)
    assert abs(found.value - 2) < 3 * found.deviation < 1.5


def test_the_deviation_is_that_of_noise():
    """The skewness of n normal values scatters by sqrt(6 / n): in units of it, the root mean square is 1 on average."""
    found = [Skewness.of(np.random.default_rng(seed).normal(size=(SIZE, SIZE))) for seed in range(40)]
    assert np.mean([one.deviation for one in found]) == pytest.approx(math.sqrt(6) / SIZE, rel=0.1)
    in_units = np.array([one.value / one.deviation for one in found])
    assert np.sqrt((in_units**2).mean()) == pytest.approx(1.0, abs=3 / math.sqrt(2 * 40))


@pytest.fixture
def seen(monkeypatch):
    """The contrast of an image (rows, cols) sampled twice as finely as its scan; ``visited``: of the scan."""

    def contrast(image, visited, semiangle_invA=1.0, *, ended=True, strength=WEAK):
        conditions = SimpleNamespace(probe=SimpleNamespace(semiangle_invA=semiangle_invA), padded=visited.shape)
        conditions.step_A = (0.4 / semiangle_invA, 0.4 / semiangle_invA)
        monkeypatch.setattr(sign, "_phase_correlation", lambda *_, undersampled: Agreement(0.3))
        monkeypatch.setattr(sign, "mean_bins", lambda store: None)
        monkeypatch.setattr(sign.Spectra, "of", lambda store, conditions: SimpleNamespace(visited=visited))
        drawn = {2: SimpleNamespace(image=lambda spectra: image)}
        monkeypatch.setattr(sign.OptimumBrightField, "build", lambda conditions, mean, upsample: drawn[upsample])
        monkeypatch.setattr(sign, "strength_under", lambda store, conditions: strength)
        monkeypatch.setattr(sign, "_deconvolved_agreement", lambda *_: Agreement(-0.4))
        store = SimpleNamespace(visited=visited)
        return contrast_of(store, conditions, np.zeros(visited.shape), undersampled=False, ended=ended)

    return contrast


def test_the_finer_phase_is_skewed_like_its_atoms(seen):
    atoms, everywhere = np.random.default_rng(2).exponential(size=(SIZE, SIZE)), np.ones((SIZE // 2, SIZE // 2), bool)
    found = seen(atoms, everywhere)
    assert (found.agreement, found.resolved) == (Agreement(0.3), True)
    assert found.skewness > SKEWED
    assert not found.speaks_against(as_fitted=True)
    assert found.speaks_against(as_fitted=False)
    assert not seen(atoms, everywhere, 0.49).speaks_against(as_fitted=False), "not resolved: 1.02 Å"


def test_neither_edges_nor_what_was_not_visited_are_skewed(seen):
    image, visited = np.random.default_rng(3).normal(size=(SIZE, SIZE)), np.zeros((SIZE // 2, SIZE // 2), bool)
    visited[4:-6] = True
    inner = image[8 + 3 : -12 - 3, 4:-4]  # 6 % of 44 rows, and of 64 columns
    assert seen(image, visited).skewness == Skewness.of(inner).deviations


def test_a_running_scan_is_judged_by_its_dark_field_alone(seen):
    atoms, everywhere = np.random.default_rng(2).exponential(size=(SIZE, SIZE)), np.ones((SIZE // 2, SIZE // 2), bool)
    assert seen(atoms, everywhere, ended=False) == Contrast(Agreement(0.3))


@pytest.mark.parametrize(
    ("correlation", "skewness", "resolved", "inverted"),
    [(-0.5, -20.0, True, True), (-0.5, 20.0, True, False), (-0.5, 20.0, False, True), (0.5, -20.0, True, False)],
)
def test_a_phase_is_inverted_if_the_dark_field_says_so_and_atoms_do_not_disagree(
    correlation, skewness, resolved, inverted
):
    """Regression: ice and SrTiO3 with their true defocus correlated with the opposite, and showed atoms as peaks."""
    assert Contrast(Agreement(correlation), skewness, resolved).is_inverted is inverted


def test_what_the_dark_field_does_not_settle_is_not_inverted():
    assert not Contrast(Agreement(-0.5, opposite=0.4), -20.0, True).is_inverted


def test_the_phase_by_deconvolution_is_asked_about_strong_specimens_and_dense_scans(seen):
    atoms, everywhere = np.random.default_rng(2).exponential(size=(SIZE, SIZE)), np.ones((SIZE // 2, SIZE // 2), bool)
    strong, weak, coarse = Strength(0.7, 0.2), Strength(0.7, 0.6), Strength(0.7)
    assert strong.is_strong
    assert coarse.is_strong
    assert seen(atoms, everywhere, strength=strong).deconvolved == Agreement(-0.4)
    for other in (weak, coarse):
        assert seen(atoms, everywhere, strength=other).deconvolved is None
    assert seen(atoms, everywhere, strength=strong, ended=False).deconvolved is None


@pytest.mark.parametrize(("deconvolved", "inverted"), [(-0.5, True), (-0.05, False), (0.5, False)])
def test_a_strong_specimen_is_inverted_if_its_deconvolved_phase_is(deconvolved, inverted):
    weak, strong = Agreement(0.5 if inverted else -0.5), Agreement(deconvolved, points=400)
    assert Contrast(weak, 0.0, True, strong).is_inverted is inverted


@pytest.mark.parametrize("turned", [1, -1])
def test_the_deconvolved_phase_is_that_of_the_field(monkeypatch, atoms, turned):
    """Its phase alone counts: the modulus is 2 here."""
    field = SimpleNamespace(field=lambda spectra: 2 * np.exp(1j * turned * atoms))
    monkeypatch.setattr(sign.WignerDeconvolution, "build", lambda conditions, mean: field)
    spectra = SimpleNamespace(conditions=None, visited=np.ones(atoms.shape, dtype=bool))
    found = sign._deconvolved_agreement(spectra, np.zeros(1), atoms)
    assert found.correlation == pytest.approx(turned)


@pytest.mark.parametrize(("c10_A", "factor"), [(0.0, 6), (-3000.0, 4)])
def test_frequencies_that_the_probe_blurs_away_are_not_filtered(c10_A, factor):
    pixel_invA = 0.02
    probe = Probe.of(0.025, 7.5, pixel_invA, {"C10": c10_A})  # a disc of 15 pixels
    grid = DetectorGrid.of((64, 64), (32, 32), "none", pixel_invA)
    basis = BinnedPixels.of(grid, probe.semiangle_invA, np.zeros((64, 64), bool), 60)
    conditions = ImagingConditions(probe, grid, basis, (20, 24), (5.0, 4.0), 30.0)
    assert sign._finer(conditions, sign.MOST_POINTS) == 6
    assert sign._not_blurred_away(conditions, 6, probe_transfer(conditions, 6)) == factor
