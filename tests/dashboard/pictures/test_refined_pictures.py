"""Object and probe of a refinement as shown in panels."""

import numpy as np
import pytest

from ptylive.dashboard.pictures import RawPicture, Surroundings, middle_that_matters, prepare


def test_probe_modes_stand_side_by_side_with_their_powers() -> None:
    modes = np.stack([np.full((8, 8), 3 + 0j), np.full((8, 8), 1j)]).astype(np.complex64)
    picture = prepare(RawPicture("probe", modes, sampling_A=(0.1, 0.1)), 1, Surroundings())
    assert picture.data.shape == (8, 16)
    assert picture.note == "90 · 10 %"


def test_the_object_is_framed_and_contrasted_by_the_scanned_area() -> None:
    phase = np.zeros((40, 40), np.float32)
    phase[:5] = 100.0
    phase[15:25, 10:30] = np.linspace(0, 1, 20)
    around = Surroundings(scan_shape=(20, 10), step_A=(1.0, 1.0), rotation_deg=90.0)
    picture = prepare(RawPicture("object", phase, "rad", (1.0, 1.0)), 1, around)
    assert picture.focus == pytest.approx((10.0, 20.0))
    assert picture.limits == pytest.approx((0.0, 1.0), abs=1e-3)
    small = prepare(RawPicture("object", phase[:4, :4], "rad", (1.0, 1.0)), 1, around)
    assert small.focus == (4.0, 4.0)


@pytest.mark.parametrize("turned", [0.0, 30.0, 90.0, -145.0])
def test_the_scanned_field_is_a_turned_rectangle_in_the_middle_of_the_object(turned: float) -> None:
    around = Surroundings(scan_shape=(20, 10), step_A=(0.5, 0.5), rotation_deg=turned)
    raw = RawPicture("object", np.zeros((80, 60), np.float32), "rad", (0.5, 0.5))
    picture = prepare(raw, 1, around)
    corners = np.array(picture.scanned)
    assert corners.mean(axis=0) == pytest.approx((39.5 * 0.5, 29.5 * 0.5))
    sides = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    assert sides == pytest.approx([5.0, 10.0, 5.0])
    along = corners[3] - corners[0]
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(turned), "rows of the scan on the detector"
    assert np.ptp(corners, axis=0) == pytest.approx(picture.focus)
    assert prepare(raw, 1, Surroundings()).scanned == ()


def test_a_small_probe_fills_its_picture() -> None:
    rows, cols = np.indices((128, 128)) - 64
    modes = np.exp(-(rows**2 + cols**2) / (2 * 4.0**2)).astype(np.float32)[None]
    shown = middle_that_matters(modes)
    assert 16 <= shown.shape[1] <= 32
    assert shown.shape[1] == shown.shape[2]
    assert (shown**2).sum() > 0.95 * (modes**2).sum()
    assert np.unravel_index(int(shown[0].argmax()), shown.shape[1:]) == (shown.shape[1] // 2, shown.shape[2] // 2)


def test_phase_is_hue_and_amplitude_brightness() -> None:
    phase = np.zeros((8, 8), np.float32)
    phase[:, 4:] = np.pi / 2
    amplitude = np.full((8, 8), 0.5, np.float16)
    amplitude[4:] = 1.0
    raws = [RawPicture("object", phase, "rad", (0.1, 0.1)), RawPicture("object_amplitude", amplitude, "", (0.1, 0.1))]
    picture = prepare(raws[0], 1, Surroundings(), wanted="object_wheel", more=raws[1:])
    assert picture.wheel
    right, down = picture.data[1], picture.data[0]
    assert right[6, 1] == pytest.approx(1.0, abs=0.05), "phase 0 to the right"
    assert down[6, 6] == pytest.approx(1.0, abs=0.05), "a quarter turn further: down"
    assert np.hypot(right, down)[1].max() < 0.05, "the darkest amplitude has no brightness"
    assert picture.note == "hue: phase; brightness: amplitude 0.50 to 1.00"


def test_a_probe_in_fourier_space_is_its_aperture() -> None:
    side, radius = 64, 10
    rows, cols = np.indices((side, side)) - side // 2
    aperture = (np.hypot(rows, cols) <= radius).astype(complex)
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(aperture)))
    modes = np.stack([3 * probe, np.roll(probe, 3, axis=0)]).astype(np.complex64)
    raw = RawPicture("probe", modes, sampling_A=(0.2, 0.2))
    picture = prepare(raw, 1, Surroundings(), wanted="probe_fourier")
    assert picture.frequencies
    assert picture.pixel == pytest.approx((1 / (side * 0.2),) * 2), "1/Å"
    assert picture.note == prepare(raw, 1, Surroundings()).note == "90 · 10 %"
    each = picture.data.shape[0]
    for mode in (picture.data[:, :each], picture.data[:, each:]):
        assert (mode > 0.5).sum() == aperture.sum().real, "flat inside, nothing outside, also of a shifted mode"
