"""Analysis of reconstructions, on cases with known answers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.analysis import half_dose
from ptylive.engine.analysis.aberrations import double_overlap_transfer, phase_contrast_transfer, report
from ptylive.engine.analysis.columns import find_columns
from ptylive.engine.analysis.fourier_correlation import (
    FourierCorrelation,
    common_part,
    ring_correlation,
    scanned_area,
    shell_correlation,
)
from ptylive.engine.analysis.half_dose import half_dose_pair
from ptylive.engine.analysis.probe_modes import ProbeModes
from ptylive.engine.analysis.sections import depth_section
from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.schema import Calibration, MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

PIXEL_A = 0.2
SINGLE = float(np.finfo(np.float32).eps)


def noise(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def smooth(shape, seed, sigma_px=2.0):
    """Noise whose spectrum falls off as a Gaussian."""
    f = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    filtered = np.fft.fftn(noise(shape, seed)) * np.exp(-2 * np.pi**2 * sigma_px**2 * sum(x**2 for x in f))
    return np.fft.ifftn(filtered).real


def test_equal_pictures_correlate_and_different_ones_do_not():
    picture = noise((64, 80), 0)
    same = ring_correlation(picture, picture * 3 + 5, PIXEL_A)
    np.testing.assert_allclose(same.correlation, 1, atol=1e-9)
    assert same.resolution_A(0.5) is None
    other = ring_correlation(picture, noise((64, 80), 1), PIXEL_A)
    # noise: a ring of n points, half of them mirrored, scatters by sqrt(2 / n)
    assert abs(other.correlation.mean()) < 3 * np.sqrt((2 / other.points).sum()) / len(other.points)
    assert same.points.sum() < picture.size


def test_the_deviation_of_a_ring_is_what_drawn_pictures_scatter_by():
    """Signal and noise have equal power; 40 pairs are drawn."""
    random = np.random.default_rng(8)
    pairs = []
    for _ in range(40):
        common, *noise = random.standard_normal((3, 48, 48))
        pairs.append(ring_correlation(common + noise[0], common + noise[1], 0.5))
    scatter = np.std([one.correlation for one in pairs], axis=0, ddof=1)
    expected = np.mean([one.deviation for one in pairs], axis=0)
    assert np.median(scatter[3:] / expected[3:]) == pytest.approx(1, abs=0.15)


def test_an_information_limit_has_an_error():
    """If the correlation falls slowly, the limit lies between those of curves shifted up and down by its deviation."""
    q = np.linspace(0.05, 1, 20)
    rings = FourierCorrelation(q, np.linspace(1, 0, 20), np.full(20, 200.0))
    sure, finer, coarser = (rings.resolution_A(deviations=number) for number in (0, 2, -2))
    assert finer < sure < coarser


def test_the_longest_periods_alone_do_not_end_the_agreement():
    """Refinements of one scan may differ in a bow over the field and yet agree in every atom."""
    q = np.linspace(0.05, 1, 20)
    agreed = np.where(q < 0.6, 1.0, 0.0)
    bowed, apart = agreed.copy(), agreed.copy()
    bowed[0], apart[:4] = -0.2, -0.2
    periods = [FourierCorrelation(q, values, np.full(20, 200.0)).resolution_A() for values in (agreed, bowed, apart)]
    assert periods == pytest.approx([1 / 0.6, 1 / 0.6, 1 / 0.05])


def test_the_resolution_is_where_signal_meets_noise():
    """A signal of power exp(-4 pi^2 s^2 f^2) with white noise sigma^2: FRC = S / (S + N), 0.5 where they are equal."""
    width_px, sigma = 1.5, 0.02
    signal = smooth((256, 256), 2, width_px)
    rings = ring_correlation(*(signal + sigma * noise(signal.shape, seed) for seed in (3, 4)), PIXEL_A)
    frequency = np.sqrt(np.log(1 / sigma**2) / (4 * np.pi**2 * width_px**2)) / PIXEL_A
    # rings are 1.3 % wide, and their noise is as large
    assert rings.resolution_A(0.5) == pytest.approx(1 / frequency, rel=0.05)
    assert rings.half_bit[0] > 0.5 > rings.half_bit[-1] > 0.2071 / 1.2071


def test_shells_correlate_for_the_same_object_only():
    stack = noise((4, 32, 32), 5)
    same = shell_correlation(stack, stack, PIXEL_A, 5.0)
    np.testing.assert_allclose(same.correlation, 1, atol=1e-9)
    other = shell_correlation(stack, noise((4, 32, 32), 6), PIXEL_A, 5.0)
    assert abs(other.correlation.mean()) < 3 * np.sqrt((2 / other.points).sum()) / len(other.points)
    with pytest.raises(MetadataError, match="distance between slices"):
        shell_correlation(stack, stack, PIXEL_A, 0.0)
    with pytest.raises(MetadataError, match="differ"):
        shell_correlation(stack, stack[:3], PIXEL_A, 5.0)


def test_the_common_part_of_shifted_objects():
    whole = noise((2, 40, 50), 7)
    first, second = whole[:, :30, 5:], whole[:, 4:, :45]
    parts = common_part(first, second, (4, -5))
    np.testing.assert_array_equal(parts[0], parts[1])
    assert parts[0].shape == (2, 26, 40)
    with pytest.raises(MetadataError, match="do not overlap"):
        common_part(first, second, (29, 0))
    area = scanned_area((40, 50), (-2.0, -1.0), np.array([[0.0, 0.0], [3.0, 4.0]]), 0.2)
    assert (area[0].start, area[0].stop, area[1].start, area[1].stop) == (10, 26, 5, 26)


def test_half_doses_are_independent_halves():
    rng = np.random.default_rng(8)
    patterns = rng.poisson(20, (50, 16, 16)).astype(np.uint16)
    dataset = Dataset(
        patterns, np.arange(50), np.zeros((50, 2)), np.zeros((16, 16), bool), np.zeros(2), (5, 10), Calibration()
    )
    first, second = half_dose_pair(dataset)
    np.testing.assert_array_equal(first.patterns + second.patterns, patterns)
    assert first.patterns.mean() == pytest.approx(10, abs=4 * np.sqrt(10 / patterns.size))  # counting noise of the mean
    correlation = np.corrcoef(first.patterns.ravel(), second.patterns.ravel())[0, 1]
    assert abs(correlation) < 3 / np.sqrt(patterns.size)
    with pytest.raises(MetadataError, match="whole counts"):
        half_dose_pair(replace(dataset, patterns=patterns.astype(float)))


def test_both_halves_have_the_slices_that_the_first_one_chose(monkeypatch):
    """On its own, the second half might choose one slice, or another thickness."""
    begun = []

    class Stop(Exception):
        pass

    def refine(dataset, preset, **_):
        begun.append(preset.object)
        if len(begun) == 2:
            raise Stop
        return SimpleNamespace(object=np.ones((1, 3, 4, 4)), slice_thickness_A=(8.0, 8.0, 8.0))

    monkeypatch.setattr(half_dose, "refine", refine)
    with pytest.raises(Stop):
        half_dose.compare_half_doses(scan_of_columns(points=4), Preset())
    assert [form.num_slices for form in begun] == ["auto", 3]
    assert begun[1].slice_thickness_A == (8.0, 8.0, 8.0)


def test_columns_are_found_where_they_are():
    centres = np.array([[10.3, 12.6], [25.0, 30.2], [40.7, 15.1]])
    heights, y_x = np.array([1.0, 0.8, 0.6]), np.indices((56, 48))
    away = ((y_x[None] - centres[:, :, None, None]) ** 2).sum(axis=1)
    atoms = (heights[:, None, None] * np.exp(-away / (2 * 2.0**2))).sum(axis=0)
    shares = np.array([0.2, 0.5, 0.3])
    columns = find_columns((shares[:, None, None] * atoms).astype(np.float32), PIXEL_A, radius_A=0.8)
    # a parabola through three samples of a Gaussian 2 pixels wide: off its centre by 0.02 pixels, 4 % too wide
    np.testing.assert_allclose(columns.positions_A, centres * PIXEL_A, atol=0.05 * PIXEL_A)
    np.testing.assert_allclose(columns.widths_A, 2.0 * PIXEL_A, rtol=0.1)
    depth = columns.depth_profiles_rad / columns.depth_profiles_rad.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(depth, np.tile(shares, (3, 1)), atol=50 * SINGLE)  # sums of 49 pixels
    assert columns.profile_rad[0] == pytest.approx(columns.peaks_rad.mean())
    assert np.all(np.diff(columns.profile_rad[:6]) < 0)
    assert len(find_columns(atoms[None].astype(np.float32), PIXEL_A, radius_A=1e9).peaks_rad) == 0


def test_probe_modes_do_not_depend_on_how_they_are_stored():
    y, x = np.indices((32, 32)) - 16
    gauss = np.exp(-(y**2 + x**2) / (2 * 3.0**2))
    orthogonal = np.stack([np.sqrt(3) * gauss / np.linalg.norm(gauss), x * gauss / np.linalg.norm(x * gauss)])
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    modes = ProbeModes.of(np.tensordot(turn, orthogonal, 1).astype(np.complex64), PIXEL_A)
    # stored in single precision, summed in double: squares are off by an eps or two each
    np.testing.assert_allclose(modes.powers, [0.75, 0.25], atol=8 * SINGLE)
    assert modes.purity == pytest.approx(0.75**2 + 0.25**2, abs=8 * SINGLE)
    assert modes.rms_radii_A[0] == pytest.approx(3.0 * PIXEL_A, rel=8 * SINGLE)
    assert modes.counts == pytest.approx(4.0, rel=8 * SINGLE)
    assert 0 < modes.half_width_A < 10 * PIXEL_A


def probe_with(aberrations, shift=(0.0, 0.0), size=64, pixel=0.25):
    wavelength = wavelength_A(80e3)
    k = np.fft.fftfreq(size, pixel)
    k_row, k_col = np.broadcast_arrays(k[:, None], k[None, :])
    wave = Probe.of(wavelength, 25.0, 1 / (size * pixel), aberrations).wave(k_row, k_col)
    wave = wave * np.exp(-2j * np.pi * (k_row * shift[0] + k_col * shift[1]))
    return np.fft.fftshift(np.fft.ifft2(wave)).astype(np.complex64), wavelength


def test_aberrations_are_read_from_a_probe():
    """Phases in single precision are off by 1e-7 rad each; the fit may increase this to 1e-4 rad at the rim of 25 mrad.

    One rad at the rim is 21 Å of C10 and 1300 Å of C21.
    """
    given = {"C10": -60.0, "C12a": 10.0}
    true = {"C10": -75.0, "C12a": 15.0, "C12b": -8.0, "C21a": 300.0, "C30": 2e4}
    mode, wavelength = probe_with(true, shift=(0.3, -0.2))
    found = report(mode, 0.25, wavelength, 25.0, given)
    values = {each.name: each for each in found.coefficients}
    for name in ("C10", "C12a", "C12b"):
        assert values[name].value_A == pytest.approx(true[name], abs=21e-4)
    assert values["C21a"].value_A == pytest.approx(300.0, abs=1300e-4)
    assert found.shift_A == pytest.approx((0.3, -0.2), abs=1e-4)
    assert found.residual_rad < 1e-4
    assert values["C10"].given_A == -60.0
    assert values["C10"].rim_rad == pytest.approx(np.pi / wavelength * values["C10"].value_A * 0.025**2, rel=1e-6)


def test_transfer_functions_have_their_known_values():
    q = np.linspace(0, 2.2, 45)
    ideal = double_overlap_transfer(q, 1.0)
    assert ideal[0] == 0
    assert ideal.max() == pytest.approx(ideal[(q > 0.8) & (q < 1.1)].max())
    assert np.all(ideal[q >= 2] == 0)
    wavelength = wavelength_A(80e3)
    assert phase_contrast_transfer(np.array([0.0, 0.2]), -100.0, 0.0, wavelength) == pytest.approx(
        [0, np.sin(np.pi * wavelength * 100 * 0.04)]
    )


def test_a_section_follows_its_line_through_the_slices():
    stack = np.arange(3, dtype=np.float32)[:, None, None] + np.linspace(0, 1, 21, dtype=np.float32)[None, None, :]
    stack = np.broadcast_to(stack, (3, 15, 21))
    section = depth_section(stack, PIXEL_A, 10.0, ((1.0, 0.0), (1.0, 4.0)))
    assert section.phase.shape == (3, 21)
    np.testing.assert_allclose(section.phase, stack[:, 5], atol=8 * SINGLE)  # numbers up to 3
    assert section.sampling_A == (10.0, PIXEL_A)
    diagonal = depth_section(stack, PIXEL_A, 10.0, ((0.4, 0.4), (2.4, 2.4)), width_A=0.6)
    assert diagonal.phase[1].mean() == pytest.approx(1.35, abs=0.5 / 20)  # 14.14 pixels: half a pixel more or less
    with pytest.raises(MetadataError, match="leaves the object"):
        depth_section(stack, PIXEL_A, 10.0, ((0.0, 0.0), (9.0, 0.0)))
    with pytest.raises(MetadataError, match="shorter than a pixel"):
        depth_section(stack, PIXEL_A, 10.0, ((1.0, 1.0), (1.0, 1.0)))
