"""Radial profiles: the sums, and the shapes of variation that are found in them above counting noise."""

import numpy as np
import pytest

from ptylive.engine.imaging.radial_profiles import RadialProfiles
from ptylive.schema import Detector, FrameBatch, MetadataError, Scan, ScanHeader

SHAPE, PIXELS, CENTER = (24, 20), 16, (7.6, 8.1)
RADIUS = np.hypot(*(np.indices((PIXELS, PIXELS)) - np.reshape(CENTER, (2, 1, 1))))


def header(bad=None):
    detector = Detector(shape=(PIXELS, PIXELS), dtype="<u2")
    scan = Scan(shape=SHAPE, step_A=(1.0, 1.0))
    return ScanHeader(
        "u", "s", scan.frames, scan, detector=detector, arrays={} if bad is None else {"bad_pixel_mask": bad}
    )


def profiles_of(frames, bad=None):
    found = RadialProfiles(header(bad), CENTER)
    for part in np.array_split(np.arange(len(frames)), 5):
        found.add(FrameBatch("u", part, frames[part]))
    return found


def patterns(seed, strength):
    """A disc, and a ring that is brighter in the right half of the scan."""
    right = (np.arange(SHAPE[0] * SHAPE[1]) % SHAPE[1] >= SHAPE[1] // 2).astype(float)
    mean = 20.0 * (RADIUS < 4) + 1.0 + strength * right[:, None, None] * (np.abs(RADIUS - 6) < 1)
    return np.random.default_rng(seed).poisson(mean).astype(np.uint16), right.reshape(SHAPE)


def test_rings_are_sums_of_the_good_pixels_around_the_beam():
    bad = np.zeros((PIXELS, PIXELS), bool)
    bad[8, 8] = bad[3, 2] = True
    frames, _ = patterns(1, 1.0)
    found = profiles_of(frames, bad)
    ring = RADIUS.astype(int)
    for number in range(found.counts.shape[1]):
        np.testing.assert_array_equal(found.counts[:, number], frames[:, (ring == number) & ~bad].sum(axis=1))
        assert found.pixels[number] == np.count_nonzero((ring == number) & ~bad)


def test_the_first_component_is_what_changes():
    frames, right = patterns(2, 1.0)
    first, second, third = profiles_of(frames).maps("p", 3)
    assert [one.name for one in (first, second, third)] == ["vd_p_1", "vd_p_2", "vd_p_3"]
    assert np.corrcoef(first.data.ravel(), right.ravel())[0, 1] > 0.9
    shape = np.asarray(first.settings["shape_counts"])
    assert set(np.argsort(shape)[-2:]) == {5, 6}, "the ring"
    # scores are one standard deviation above 0 in one half of the scan and one below in the other: 1 count brighter
    assert 2 * shape[5] == pytest.approx(1.0, rel=0.15)
    assert not first.buried and second.buried and third.buried


def test_of_noise_alone_every_component_is_noise():
    buried = [one.buried for seed in range(20) for one in profiles_of(patterns(seed, 0.0)[0]).maps("p", 2)]
    assert np.mean(buried) > 0.8, "the edge of the spectrum of noise is passed now and then"


def test_points_that_never_came_have_no_score():
    frames, _ = patterns(3, 1.0)
    found = RadialProfiles(header(), CENTER)
    found.add(FrameBatch("u", np.arange(200), frames[:200]))
    (one,) = found.maps("p", 1)
    assert not one.data.ravel()[200:].any() and one.data.ravel()[:200].any() and one.frames == 200


def test_rings_that_no_memory_holds_are_refused():
    with pytest.raises(MetadataError, match="rings at 480 points would take"):
        RadialProfiles(header(), (1e11, 8.0))
