"""The start probe as PyPty builds one, and the patterns that are used."""

from dataclasses import replace

import numpy as np
import pytest
from stored_runs import write_results

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.probe_resampling import in_window
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.patterns import PatternSettings

ROUNDING = 1e-5
"""Relative to the largest value: starts are stored in single precision after a transform or two, phases of some rad."""


def same(found, expected):
    """Check equality up to rounding."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


def start_probe(dataset, **values):
    """Modes (modes, P, P) in Fourier space."""
    setup = prepare(dataset, Preset.from_mapping({"window_px": 24, "probe_modes": 1, **values}), None)
    return setup.layout.to_complex(setup.start)[1]


def unit(modes):
    return modes / np.sqrt((np.abs(modes) ** 2).sum())


def test_extra_defocus_is_defocus(simulated):
    dataset = simulated.dataset
    entry = dataset.calibration.entries["C10"]
    deeper = replace(dataset, calibration=dataset.calibration.having(C10=replace(entry, value=entry.value - 40.0)))
    same(start_probe(dataset, extra_probe_defocus_A=40.0), start_probe(deeper))


def test_a_given_phase_turns_the_probe(simulated, tmp_path):
    chi = np.zeros((24, 24))
    chi[14, 12] = 0.7
    np.save(tmp_path / "chi.npy", chi)
    plain, turned = start_probe(simulated.dataset), start_probe(simulated.dataset, beam_ctf=str(tmp_path / "chi.npy"))
    assert np.angle(turned[0, 2, 0] / plain[0, 2, 0]) == pytest.approx(-0.7, abs=ROUNDING)
    assert np.angle(turned[0, 3, 0] / plain[0, 3, 0]) == pytest.approx(0, abs=ROUNDING)
    with pytest.raises(MetadataError, match="beam_ctf"):
        start_probe(simulated.dataset, beam_ctf=str(tmp_path / "none.npy"))


def test_amplitude_of_the_mean_pattern(simulated):
    dataset = simulated.dataset
    modes = start_probe(dataset, probe_amplitude="mean_pattern")
    mean = np.where(dataset.bad_pixels, 0, dataset.patterns.mean(axis=0))
    rolled = np.roll(mean, (-12, -12), (0, 1))
    same(np.abs(unit(modes)[0]) ** 2, rolled / rolled.sum())


def test_amplitude_of_the_vacuum_pattern(simulated):
    with pytest.raises(MetadataError, match="holds no vacuum pattern"):
        start_probe(simulated.dataset, probe_amplitude="vacuum_pattern")
    vacuum = np.zeros((24, 24))
    vacuum[10:15, 10:15] = 100
    modes = start_probe(replace(simulated.dataset, vacuum=vacuum), probe_amplitude="vacuum_pattern")
    assert (np.abs(modes[0]) > 1e-6).sum() == 25


@pytest.mark.parametrize("threshold", [{"bright_threshold": 0.5}, {"estimate_aperture_based_on_binary": 2.0}])
def test_apertures_by_threshold(simulated, threshold):
    mean = np.where(simulated.dataset.bad_pixels, 0, simulated.dataset.patterns.mean(axis=0))
    level = 0.5 * mean.max() if "bright_threshold" in threshold else 2 * mean.mean()
    lit = np.abs(start_probe(simulated.dataset, **threshold)[0]) > 1e-6
    assert lit.sum() == (mean > level).sum()
    with pytest.raises(MetadataError, match="threshold"):
        start_probe(simulated.dataset, estimate_aperture_based_on_binary=900.0)


def test_a_given_aperture(simulated, tmp_path):
    mask = np.zeros((24, 24))
    mask[10:15, 11:14] = 1
    np.save(tmp_path / "mask.npy", mask)
    modes = start_probe(simulated.dataset, aperture_mask=str(tmp_path / "mask.npy"))
    np.testing.assert_array_equal(np.abs(modes[0]) > 1e-6, np.fft.ifftshift(mask) > 0)


def test_hermite_modes_are_orthogonal_with_falling_powers(simulated):
    modes = unit(start_probe(simulated.dataset, n_hermite_probe_modes=(2, 3)))
    assert modes.shape == (6, 24, 24)
    overlap = modes.reshape(6, -1) @ modes.reshape(6, -1).conj().T
    same(overlap, np.diag(np.diag(overlap)))
    powers = np.diag(overlap).real
    np.testing.assert_allclose(powers / powers[0], [1, 1 / 4, 1 / 4, 1 / 16, 1 / 16, 1 / 64], rtol=ROUNDING)
    single = unit(start_probe(simulated.dataset))
    assert abs((modes[0] * single[0].conj()).sum()) / np.sqrt(powers[0]) == pytest.approx(1, abs=ROUNDING)


def test_modes_of_different_defocus(simulated):
    modes = start_probe(simulated.dataset, defocus_spread_modes_A=[-30.0, 0.0, 30.0])
    shifted = start_probe(simulated.dataset, extra_probe_defocus_A=30.0)
    same(unit(modes[2]), unit(shifted[0]))


def test_a_given_probe(simulated, tmp_path):
    """Given as npy in both axis orders, and as PyPty's export; of several probes the first is used."""
    fourier = start_probe(simulated.dataset, n_hermite_probe_modes=(2, 1))
    real = np.fft.ifft2(fourier, norm="ortho")
    np.save(tmp_path / "modes.npy", real)
    np.save(tmp_path / "cp.npy", np.moveaxis(real, 0, -1) / 24)
    several = np.stack([np.moveaxis(real, 0, -1) / 24, np.ones((24, 24, 2))], axis=-1)
    np.save(tmp_path / "several.npy", several)
    for name in ("modes.npy", "cp.npy", "several.npy"):
        for number in (2, "auto"):
            same(start_probe(simulated.dataset, start_probe=str(tmp_path / name), probe_modes=number), fourier)
    np.save(tmp_path / "small.npy", real[:, :8, :8])
    for name in ("small.npy", "none.npy"):
        with pytest.raises(MetadataError, match="start_probe"):
            start_probe(simulated.dataset, start_probe=str(tmp_path / name))


def test_the_probe_of_a_result_is_brought_to_this_window_and_number_of_modes(simulated, tmp_path):
    run = write_results(tmp_path / "results.h5")
    found = start_probe(simulated.dataset, start_probe=str(tmp_path / "results.h5"), probe_modes=2)
    pixel_A = 1 / (24 * 0.1)
    brought = in_window(run.probe[0], run.pixel_A, 24, pixel_A)
    same(unit(found), unit(brought))
    for number in (1, 3):
        assert (
            len(start_probe(simulated.dataset, start_probe=str(tmp_path / "results.h5"), probe_modes=number)) == number
        )


def test_a_run_from_a_pypty_like_start(simulated):
    values = {"window_px": 24, "n_hermite_probe_modes": (2, 2), "epoch_max": 4, "sweeps": 2}
    result = refine(simulated.dataset, Preset.from_mapping(values), backend="cpu")
    assert result.probe.shape[1] == 4
    assert result.loss[-1] < result.loss[0]


def test_a_sequence_chooses_patterns(simulated):
    dataset = simulated.dataset
    for sequence, numbers in (
        ("0:10:3", [0, 3, 6, 9]),
        ("5", [5]),
        ("140:, 2, 2", [2, 140, 141, 142, 143]),
        ("-2:", [142, 143]),
        ([3, 1], [1, 3]),
    ):
        chosen = selected(dataset, Preset.from_mapping({"sequence": sequence}).patterns)
        np.testing.assert_array_equal(chosen.patterns, dataset.patterns[numbers])
        np.testing.assert_array_equal(chosen.positions_A, dataset.positions_A[numbers])
    with pytest.raises(MetadataError, match="selects none"):
        selected(dataset, Preset.from_mapping({"sequence": "200:300"}).patterns)
    for wrong in ("a", "1:2:0", "1,,2", "0:5;"):
        with pytest.raises(MetadataError, match="is not a range"):
            Preset.from_mapping({"sequence": wrong})


def test_sequences_from_files(simulated, tmp_path):
    np.save(tmp_path / "mask.npy", np.arange(144) % 72 == 0)
    np.save(tmp_path / "numbers.npy", np.array([72, 0]))
    for name in ("mask", "numbers"):
        chosen = selected(simulated.dataset, PatternSettings(sequence=str(tmp_path / f"{name}.npy")))
        np.testing.assert_array_equal(chosen.point, simulated.dataset.point[[0, 72]])
    np.save(tmp_path / "floats.npy", np.zeros(3))
    for name in ("floats", "none"):
        with pytest.raises(MetadataError, match="sequence"):
            selected(simulated.dataset, PatternSettings(sequence=str(tmp_path / f"{name}.npy")))


def test_the_object_holds_all_patterns_or_the_chosen_ones(simulated):
    values = {"window_px": 24, "probe_modes": 1, "epoch_max": 2, "sweeps": 1, "sequence": "0:36"}
    whole = refine(simulated.dataset, Preset.from_mapping({k: v for k, v in values.items() if k != "sequence"}))
    full = refine(simulated.dataset, Preset.from_mapping(values))
    small = refine(simulated.dataset, Preset.from_mapping({**values, "use_full_FOV": False}))
    assert full.object.shape == whole.object.shape
    assert full.origin_A == pytest.approx(whole.origin_A)
    assert small.object.size < full.object.size
    assert len(full.positions_A) == len(small.positions_A) == 36


def test_extra_space_around_the_object(simulated):
    plain, wide = (
        prepare(simulated.dataset, Preset(window_px=24, extra_space_on_side_px=extra), None) for extra in (0, 7)
    )
    assert np.subtract(wide.grid.shape, plain.grid.shape).tolist() == [14, 14]
    np.testing.assert_allclose(wide.grid.origin_A, plain.grid.origin_A - 7 * plain.grid.pixel_A)
    np.testing.assert_array_equal(wide.grid.corners, plain.grid.corners + 7)


def test_a_given_probe_begins_higher_where_vacuum_is_put_in_front(simulated, tmp_path):
    write_results(tmp_path / "r.h5")
    given = start_probe(simulated.dataset, start_probe=str(tmp_path / "r.h5"))
    moved = start_probe(simulated.dataset, start_probe=str(tmp_path / "r.h5"), start_depth_A=30.0)
    underfocused = start_probe(simulated.dataset, start_probe=str(tmp_path / "r.h5"), extra_probe_defocus_A=30.0)
    # identical except for the fraction of a pixel between the beam and the pixel about which waves are propagated
    assert np.abs(moved - given).max() > 5 * np.abs(moved - underfocused).max()
    same(np.abs(moved), np.abs(given))
    same(start_probe(simulated.dataset, start_depth_A=30.0), start_probe(simulated.dataset))
