"""The distortion of a detector, measured on simulated rings with the noise of counts."""

from types import SimpleNamespace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.distortion import rings
from ptylive.engine.calibrate.distortion.rings import GRADIENTS, OF_ONE_RING, middle_of, of_rings
from ptylive.schema.pattern.distortion import recorded_at, terms, true_places

SHAPE = (128, 128)
CENTER = (62.3, 65.1)
NONE = np.zeros(SHAPE, bool)
POWDER = (22.0, 31.0, 38.0, 51.0)
KINDS = [(k, m, f) for k, m in ((2, 2), (3, 3), (3, 1), (4, 4), (4, 2)) for f in (np.cos, np.sin)]


def drawn(seed, size=0.02, chosen=range(10)):
    """Coefficients of a random distortion without curl."""
    shares = np.random.default_rng([seed, 5]).uniform(-size, size, 10)
    return np.tensordot(np.where(np.isin(np.arange(10), list(chosen)), shares, 0.0), GRADIENTS, axes=1)


def recorded(coefficients, seed, radii=POWDER, width=1.5, texture=0.0, height=200.0):
    """Counts of rings around a bright beam, on a background; ``texture`` varies the brightness along each ring."""
    out, parts = np.zeros(SHAPE), np.random.default_rng([seed, 6]).normal(size=(len(radii), 16))
    for offset in np.stack(np.meshgrid(*[[-1 / 3, 0, 1 / 3]] * 2), -1).reshape(-1, 2):  # averages over a pixel
        place = true_places(np.argwhere(~NONE) + offset, coefficients, SHAPE) - CENTER
        r, angle = np.hypot(*place.T), np.arctan2(place[:, 1], place[:, 0])
        mean = 60 * np.exp(-r / 25) + 5 + 5000 * (r < 4)
        sector = ((angle / (2 * np.pi) + 0.5) * 16).astype(int).clip(0, 15)
        for n, radius in enumerate(radii):
            bright = np.maximum(1 + texture * (np.cos(2 * angle + n) + parts[n][sector]), 0)
            mean += height / (1 + n) * bright * np.exp(-((r - radius) ** 2) / (2 * width**2))
        out += mean.reshape(SHAPE) / 9
    return np.random.default_rng(seed).poisson(out).astype(float)


def left_px(found, true):
    """Residual displacement of the detector's pixels, except for scale, rotation and shift, which rings leave open."""
    places = np.argwhere(~NONE)[::7].astype(float)
    places = places[np.hypot(*(places - 63.5).T) < 60]
    back = true_places(recorded_at(places, true, SHAPE), found, SHAPE)
    row, col = (places - CENTER).T
    one, nothing = np.ones_like(row), np.zeros_like(row)
    design = np.block([[a[:, None] for a in (row, col, one, nothing)], [a[:, None] for a in (col, -row, nothing, one)]])
    target = back.T.ravel()
    return float(np.sqrt(2 * np.mean((target - design @ np.linalg.lstsq(design, target, rcond=None)[0]) ** 2)))


@pytest.mark.parametrize("term", range(10))
def test_terms_are_gradients_of_what_they_move_outwards(term):
    k, m, wave = KINDS[term]
    u = np.random.default_rng(term).uniform(-1, 1, (20, 2))
    r, angle, step = np.hypot(*u.T), np.arctan2(u[:, 1], u[:, 0]), 1e-5
    moved = terms(u) @ GRADIENTS[term]
    np.testing.assert_allclose((moved * u).sum(1) / r, r ** (k - 1) * wave(m * angle), atol=1e-12)
    along = [(terms(u + step * e) - terms(u - step * e)) @ GRADIENTS[term] / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(along[0][:, 1], along[1][:, 0], atol=1e-8)  # no curl


@pytest.mark.parametrize(("seed", "texture"), quick_first([(2, 0.4), (1, 0.0), (0, 0.4)]))
def test_a_powder_tells_all_terms(seed, texture):
    true = drawn(seed)
    found = of_rings(recorded(true, seed, texture=texture), NONE)
    np.testing.assert_allclose(found.radius_px, POWDER, atol=0.5)
    assert left_px(np.zeros((9, 2)), true) > 0.6
    # four rings with circumferences of 140 to 320 px, each pixel known to 0.3 px: 0.02 px for each of a dozen terms
    assert left_px(found.coefficients, true) < 0.06
    assert np.linalg.det(np.eye(2) + found.coefficients[:2].T) == pytest.approx(1, abs=1e-12)


def test_a_sector_s_shift_does_not_depend_on_its_brightness():
    """One half of a ring is four times as bright as the other, and both lie 0.3 px outside the mean profile."""
    offset = np.argwhere(~NONE) - 63.5  # the halves are mirror images of each other: no pixel lies between them
    r, angle = np.hypot(*offset.T), np.arctan2(offset[:, 1], offset[:, 0])
    radius, low, high = 40.0, 32.0, 48.0

    def height(r):
        return 10 + 100 * np.exp(-((r - radius) ** 2) / 8)

    def slope(r):
        return -(r - radius) / 4 * (height(r) - 10)

    bright = np.where(angle < 0, 0.5, 2.0)
    counts = 3 + bright * (height(r) - height(low) - 0.3 * slope(r))
    profile = SimpleNamespace(spline=height, derivative=slope, noise=1.0)
    _, found = rings._of_ring(rings._Pixels(r, angle, counts), profile, radius, low, high)
    shift_px, error_px, _ = found.T
    np.testing.assert_allclose(shift_px, 0.3, rtol=1e-9)
    half = len(found) // 2
    np.testing.assert_allclose(error_px[:half][::-1], 4 * error_px[half:], rtol=1e-9)


@pytest.mark.parametrize(("radii", "width"), quick_first([((35.0,), 1.5), ((30.0,), 6.0)]), ids=["a ring", "amorphous"])
def test_one_ring_tells_the_ellipse(radii, width):
    true = drawn(2, chosen=(0, 1))
    found = of_rings(recorded(true, 3, radii, width), NONE)
    assert np.abs(found.coefficients[:2] - true[:2]).max() < 0.002
    assert left_px(found.coefficients, true) < 0.08 * left_px(np.zeros((9, 2)), true)


def test_one_ring_tells_no_terms_that_it_cannot_tell_apart():
    found = of_rings(recorded(drawn(2), 3, (35.0,)), NONE)
    told = GRADIENTS[list(OF_ONE_RING)][:, 2:].reshape(len(OF_ONE_RING), -1).T
    higher = found.coefficients[2:].ravel()
    assert higher.any()
    np.testing.assert_allclose(told @ np.linalg.lstsq(told, higher, rcond=None)[0], higher, atol=1e-12)


@pytest.mark.slow
def test_a_beam_stop_is_left_out():
    true, bad = drawn(1), NONE.copy()
    bad[:66, 60:70] = True
    counts = recorded(true, 1)
    counts[bad] = 0
    found = of_rings(counts, bad)
    assert left_px(found.coefficients, true) < 0.06


@pytest.mark.parametrize("draws", quick_first([1, 6]))
def test_round_rings_are_left_as_they_are(draws):
    """At most one of six draws may be judged slightly distorted: the limit is two standard errors of eight wedges."""
    found = [of_rings(recorded(np.zeros((9, 2)), seed), NONE).coefficients for seed in range(draws)]
    assert sum(one.any() for one in found) <= 1
    assert max(left_px(one, np.zeros((9, 2))) for one in found) < 0.06


def test_where_no_rings_are_seen_none_are_told():
    noise = np.random.default_rng(3).poisson(20, SHAPE).astype(float)
    assert of_rings(noise, NONE) is None
    assert of_rings(np.zeros(SHAPE), NONE) is None
    assert of_rings(noise, ~NONE) is None


def test_the_middle_is_where_the_pattern_is_the_same_upside_down():
    assert middle_of(recorded(np.zeros((9, 2)), 0), ~NONE) == pytest.approx(CENTER, abs=0.5)
