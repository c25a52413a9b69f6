"""Noise of a map: the estimate against known noise, and against repeated scans."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging.noise.deviation import is_faint, local_deviation
from ptylive.engine.live.engine import reconstruct
from ptylive.schema import MetadataError
from ptylive.schema.metadata import overlay

BLUR_PX = 1.5
SHAPE = (128, 96)


def noise(seed, shape=SHAPE, deviation=1.0):
    """Noise that is correlated over 4 pi BLUR_PX^2 pixels."""
    white = gaussian_filter(np.random.default_rng(seed).normal(size=shape), BLUR_PX, mode="wrap")
    return deviation * white / white.std()


def lattice(shape=SHAPE):
    rows, cols = np.indices(shape)
    return np.cos(2 * np.pi * rows / 8) + np.cos(2 * np.pi * cols / 6)


def test_the_deviation_follows_the_noise_over_the_field():
    deviation = np.where(np.arange(160) < 80, 0.03, 0.12)[None, :] * np.ones((160, 160))
    found = local_deviation(noise(1, (160, 160), deviation))
    # a Gaussian of sigma s correlates noise over 4 pi s^2 pixels; a window of sigma w holds 4 pi w^2 / (4 pi s^2 / 2)
    assert found.window_px == pytest.approx(np.sqrt(100 / 2) * BLUR_PX, rel=0.2)
    away = np.abs(np.arange(160) - 79.5) > 50  # at least two windows from the step
    assert np.abs(found.data[:, away] / deviation[:, away] - 1).max() < 5 * 0.07


def test_beams_are_taken_out_and_noise_stays():
    plain = noise(2)
    with_beams = plain + 3 * lattice()
    assert local_deviation(with_beams).data.mean() > 2.5  # true value: 1
    found = local_deviation(with_beams, beams=False)
    assert found.data.mean() == pytest.approx(1.0, rel=0.05)  # beams are scaled down to the noise level, not to zero
    untouched = local_deviation(plain, beams=False)
    np.testing.assert_allclose(untouched.data, local_deviation(plain).data, rtol=0.05)


def test_several_pictures_make_it_surer():
    one, several = local_deviation(noise(3)), local_deviation(np.stack([noise(3 + k) for k in range(16)]))
    assert several.window_px == pytest.approx(one.window_px / 4, rel=0.2)
    assert np.abs(several.data - 1).max() < 5 * 0.07


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (16, 2)])
def test_nothing_at_all_has_none(shape):
    assert not local_deviation(np.zeros(shape), beams=False).data.any()
    assert np.isfinite(local_deviation(np.ones(shape), beams=False).data).all()


def test_what_does_not_fit_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 1000.0)
    with pytest.raises(MetadataError, match="standard deviation of a map would take"):
        local_deviation(noise(2))


def test_a_map_is_faint_until_one_pixel_is_sure():
    values, deviation = np.full(100, 7.0), np.full(100, 0.5)
    values[:9] = 7.0 + 1.4, 7.0 - 1.4, *values[2:9]
    assert is_faint(values, deviation, 1)
    for sure in (7.0 + 1.6, 7.0 - 1.6):
        values[3] = sure
        assert not is_faint(values, deviation, 1)
    values[3] = 7.0 + 0.5 * 3.9
    assert is_faint(values, deviation, 1000), "of a thousand values one in three maps has one beyond 3.5 deviations"
    assert not is_faint(values, deviation, 100)
    assert not is_faint(np.zeros(0), np.zeros(0), 1), "of nothing nothing is said"
    assert not is_faint(np.zeros(9), np.zeros(9), 1), "a map without noise is not in doubt"


MEASURED = ("idpc", "dpc_iterative", "obf", "tcbf", "ssb", "ssb_amplitude", "wdd_phase", "wdd_amplitude")


def repeated(aberrations, electrons, scans):
    """Maps of several scans of one object, each with its own noise: {name: (scans, Y, X)}; the optics are known."""
    scan = WeakPhaseScan.make(aberrations, n=48, step_A=0.4, strength=0.1)
    maps = {}
    for seed in range(scans):
        frames = np.random.default_rng(seed).poisson(scan.patterns * electrons).astype(np.float32)
        given = {"C10": aberrations.get("C10", 0.0), "rotation_deg": 0.0}
        _, rendering = reconstruct(overlay(scan.header(lies_still=True), given), lambda frames=frames: batches(frames))
        for one in rendering.maps:
            maps.setdefault(one.name, []).append(one)
    return maps


def ratio(maps, name):
    """Noise estimated from one scan, divided by the scatter of the other scans, per pixel."""
    pictures = np.array([one.data - one.data.mean() for one in maps[name][1:]])
    window_px = maps[f"{name}_deviation"][0].settings["window_px"]
    scatter = np.sqrt(gaussian_filter(pictures.var(axis=0, ddof=1), window_px, mode="reflect"))
    return maps[f"{name}_deviation"][0].data / scatter


@pytest.mark.slow
def test_scans_scatter_by_what_each_says():
    """Over each map's whole field; five scans with hundreds of independent values each give it to a few per cent."""
    maps = repeated({"C10": -60.0}, 500, 6)
    for name in MEASURED:
        assert np.median(ratio(maps, name)) == pytest.approx(1.0, abs=0.25), name
        assert maps[name][0].deviation == pytest.approx(np.median(maps[f"{name}_deviation"][0].data), rel=1e-6)
        assert not maps[name][0].buried, name


@pytest.mark.slow
@pytest.mark.parametrize("electrons", [300, 1000, 10000])
@pytest.mark.parametrize(
    "aberrations", [{}, {"C10": -60.0}, {"C10": 150.0, "C12a": 60.0}], ids=["focus", "under", "over"]
)
def test_twenty_scans_scatter_by_what_each_says_at_each_pixel(aberrations, electrons):
    """Both quantities scatter: the deviation by 7 % and more in so small a field, the scatter of twenty scans also."""
    maps = repeated(aberrations, electrons, 21)
    within = {name: np.mean(np.abs(ratio(maps, name) - 1) < 0.25) for name in MEASURED}
    assert min(within.values()) > 0.8, within


@pytest.mark.parametrize(("electrons", "faint"), [(0.3, True), (3000, False)])
def test_phases_of_which_no_pixel_is_sure_are_doubted(electrons, faint):
    """With hardly any electrons most maps are doubted, with many none (amplitudes of so weak an object stay noise)."""
    maps = {name: ones[0] for name, ones in repeated({"C10": -60.0}, electrons, 1).items() if name in MEASURED}
    phases = [one for name, one in maps.items() if not name.endswith("_amplitude")]
    doubted = [one.name for one in phases if one.doubt]
    assert len(doubted) > len(phases) / 2 if faint else not doubted, doubted


@pytest.mark.slow
def test_next_to_no_electrons_leave_nothing_but_noise():
    """In so small a field, rings sometimes agree by chance: found 8 of 10 in five scans."""
    maps = repeated({"C10": -60.0}, 0.3, 2)
    assert sum(one.buried for one in maps["obf"] + maps["tcbf"]) >= 2
