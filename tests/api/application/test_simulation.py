"""Files of simulations: native, complete or absent, with their truth; random settings give a file or an error line."""

import h5py
import numpy as np
import pytest
import zoo_scans  # noqa: F401  (makes the benchmarks importable)

import ptylive
from benchmarks.plan_experiment import truth_of
from benchmarks.zoo.score import Reconstruction, score
from ptylive.application.simulation import merged, read_settings, simulate_file
from ptylive.schema import InputFileError, MetadataError, PtyliveError
from ptylive.schema.simulation.groups import MEANINGFUL
from ptylive.schema.simulation.settings import HOMES, SimulationSettings
from ptylive.streamer.source import open_source

SMALL = {"scan_shape": (5, 6), "detector_shape": 32, "reach": 1}


def written(path, **values):
    return simulate_file(path, SimulationSettings.of({**SMALL, **values}), overwrite=True)


@pytest.mark.slow
def test_a_file_is_read_as_any_recording(tmp_path):
    values = {"flyback_frames": 2, "scan_pattern": "snake", "dead_pixels": 2, "gain_spread": 0.1, "dark_counts": 5}
    made = written(tmp_path / "s.h5", **values, rotation_deg=7, detector_transform="transpose")
    with open_source(tmp_path / "s.h5") as source:
        header = source.header
        frames = source.frames(np.arange(header.frames))
        assert source.received.all()
    assert made.frames == header.frames == 5 * 8
    assert (header.scan.shape, header.scan.flyback_frames, header.scan.pattern) == ((5, 6), 2, "snake")
    assert (header.scan.rotation_deg, header.detector.transform) == (7, "transpose")
    assert np.count_nonzero(header.arrays["bad_pixel_mask"]) == 2
    counts, _ = header.readout.counts(frames)
    good = ~header.arrays["bad_pixel_mask"]
    # dark and gain are corrected again, which leaves the electrons within noise and rounding
    expected = made.electrons_per_pattern * made.detected_fraction
    assert counts[:, good].sum(axis=1).mean() == pytest.approx(expected, rel=0.02)


def test_a_file_that_another_process_writes_meanwhile_is_not_replaced(tmp_path):
    path, settings = tmp_path / "scan.h5", SimulationSettings.of(SMALL)

    def another(_done, _total):
        path.write_text("of somebody else")

    with pytest.raises(InputFileError, match="exists"):
        simulate_file(path, settings, another)
    assert path.read_text() == "of somebody else"


def test_missing_frames_are_missing_in_the_file(tmp_path):
    made = written(tmp_path / "gaps.h5", missing_share=0.3, gap_frames=4)
    assert (made.frames, made.missing) == (21, 9)
    with open_source(tmp_path / "gaps.h5") as source:
        assert np.count_nonzero(~source.received) == 9
    with h5py.File(tmp_path / "gaps.h5") as file:
        assert file["metadata/received"].shape == (5, 6)


def test_the_truth_lies_beside(tmp_path):
    written(tmp_path / "t.h5", seed=9, specimen="gaussians", phase_rad=0.3)
    with h5py.File(tmp_path / "t.h5") as file:
        truth = file["truth"]
        assert truth["phase"][()].max() > 0.25
        assert truth.attrs["seed"] == 9
        assert truth.attrs["simulator"] == f"ptylive {ptylive.__version__}"
        assert {"slices", "probe", "positions_A", "descan_px", "flyback_mask"} <= set(truth)


def test_the_same_seed_makes_the_same_file(tmp_path):
    parts = {}
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        written(tmp_path / f"{name}.h5", seed=seed, position_jitter_A=0.1, read_noise_counts=1, dead_pixels=3)
        with h5py.File(tmp_path / f"{name}.h5") as file:
            parts[name] = [file[key][()] for key in ("data", "metadata/bad_pixel_mask", "truth/positions_A")]
    for one, two, other in zip(*parts.values(), strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != other).any()


def test_full_pixels_are_counted(tmp_path):
    values = {"dtype": "u1", "hot_pixels": 3, "specimen": "vacuum"}
    assert written(tmp_path / "s.h5", **values, electrons_per_pattern=100).full_pixels == 0
    assert written(tmp_path / "s.h5", **values, electrons_per_pattern=1e6).full_pixels > 30


def test_a_file_that_is_there_is_kept(tmp_path):
    path = tmp_path / "there.h5"
    path.write_text("mine")
    with pytest.raises(InputFileError, match="exists") as caught:
        simulate_file(path, SimulationSettings.of(SMALL))
    assert "--overwrite" in caught.value.line()
    assert path.read_text() == "mine"
    with pytest.raises(InputFileError, match="is a folder"):
        simulate_file(tmp_path, SimulationSettings.of(SMALL), overwrite=True)


def test_nothing_is_left_of_what_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ptylive.application.simulation.write_truth", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        written(tmp_path / "s.h5")
    assert not list(tmp_path.iterdir())


def test_settings_come_from_toml_and_later_ones_win(tmp_path):
    path = tmp_path / "sim.toml"
    path.write_text('seed = 4\nrotation_deg = "3°"\n[probe]\nenergy_eV = "200 keV"\ndefocus_A = "20 nm"\n')
    found = SimulationSettings.of(merged(read_settings(path), {"probe.defocus_A": 5.0}))
    assert (found.probe.energy_eV, found.probe.defocus_A) == (200e3, 5.0)
    assert (found.model.seed, found.scan.rotation_deg) == (4, pytest.approx(3.0))
    path.write_text("[probe\n")
    with pytest.raises(MetadataError, match=r"sim\.toml"):
        read_settings(path)


def test_the_front_door_opens_what_it_made(tmp_path):
    scan = ptylive.simulate(tmp_path / "d.h5", SMALL, energy_eV="200 keV", overwrite=False)
    assert "5 x 6 points of 32 x 32 pixels" in repr(scan)
    with pytest.raises(InputFileError, match="exists"):
        ptylive.simulate(tmp_path / "d.h5", SMALL)
    with pytest.raises(MetadataError, match="unknown setting 'colour'"):
        ptylive.simulate(tmp_path / "e.h5", colour="red")


SPECIMENS = ("bilayer", "monolayer", "crystal", "atoms", "particles", "gaussians", "circles", "gradient")


def drawn(rng):
    """Random settings, as a user might combine them."""
    some = {
        "specimen": rng.choice(SPECIMENS),
        "thickness_A": float(rng.uniform(5, 60)), "slice_thickness_A": float(rng.uniform(1, 30)),
        "feature_A": float(rng.uniform(0.5, 20)), "configurations": int(rng.integers(1, 4)),
        "displacement_A": float(rng.uniform(0, 0.2)), "vacancies": float(rng.uniform(0, 0.5)),
        "energy_eV": float(rng.choice([30e3, 80e3, 300e3])), "convergence_semiangle_mrad": float(rng.uniform(2, 40)),
        "defocus_A": float(rng.normal(0, 150)), "astigmatism_A": float(rng.uniform(0, 50)),
        "C21a": float(rng.normal(0, 500)),
        "source_size_A": float(rng.uniform(0, 2)), "focal_spread_A": float(rng.uniform(0, 50)),
        "source_points": int(rng.integers(1, 4)), "focal_points": int(rng.integers(1, 4)),
        "scan_shape": tuple(int(n) for n in rng.integers(1, 9, 2)), "scan_step_A": float(rng.uniform(0.1, 5)),
        "scan_pattern": rng.choice(["raster", "snake"]), "flyback_frames": int(rng.integers(0, 4)),
        "rotation_deg": float(rng.uniform(-180, 180)), "position_jitter_A": float(rng.uniform(0, 1)),
        "drift_A": tuple(rng.normal(0, 3, 2).tolist()), "line_jump_A": float(rng.uniform(0, 1)),
        "missing_share": float(rng.uniform(0, 0.9)), "gap_frames": int(rng.integers(1, 20)),
        "detector_shape": tuple(int(n) for n in rng.integers(8, 49, 2)), 
        "detector_pixel_mrad": float(rng.uniform(0.2, 8)),
        "beam_offset_px": tuple(rng.normal(0, 3, 2).tolist()),
        "detector_transform": rng.choice(["none", "transpose", "flip_rows", "flip_cols+transpose"]),
        "descan_px": tuple(rng.normal(0, 1, 4).tolist()), "descan_jump_px": float(rng.uniform(0, 1)),
        "ellipticity": float(rng.uniform(-0.2, 0.2)), "distortion_third": float(rng.uniform(-0.1, 0.1)),
        "point_spread_px": float(rng.uniform(0, 2)), "counts_per_electron": float(rng.uniform(0.5, 5)),
        "gain_spread": float(rng.uniform(0, 0.3)), "dark_counts": float(rng.uniform(0, 20)),
        "read_noise_counts": float(rng.uniform(0, 3)), "saturation_value": float(rng.uniform(20, 2000)),
        "dead_pixels": int(rng.integers(0, 5)), "hot_pixels": int(rng.integers(0, 5)),
        "dtype": rng.choice(["u1", "u2", "u4", "f4"]), "dose_e_per_A2": float(10 ** rng.uniform(0, 6)),
        "poisson": bool(rng.integers(0, 2)), "oversampling": int(rng.integers(1, 3)),
        "reach": float(rng.uniform(1, 2.5)),
        "tell": rng.choice(["everything", "microscope"]), "seed": int(rng.integers(0, 2**31)),
    }  # fmt: skip
    kept = rng.random(len(some)) < rng.uniform(0.05, 0.9)
    small = {"scan_shape": (4, 4), "detector_shape": 32}
    found = {**small, **{name: value for (name, value), keep in zip(some.items(), kept, strict=True) if keep}}
    if rng.random() < 0.9:  # settings that have no meaning for the specimen are refused
        takes = {"specimen", *MEANINGFUL[str(found.get("specimen", "bilayer"))]}
        found = {
            name: value for name, value in found.items() if HOMES[name] != "specimen" or name in takes | {"specimen"}
        }
    return found


SEED = 20261122


def outcomes(folder, numbers, **fixed):
    """For each number of a draw, the path of its file or the line with which it was refused."""
    for number in numbers:
        values = {**drawn(np.random.default_rng([SEED, number])), **fixed}
        path = folder / f"{number}.h5"
        try:
            simulate_file(path, SimulationSettings.of(values))
        except PtyliveError as error:
            assert error.hint and not path.exists(), f"seed {SEED}, draw {number}: {values}"
            yield number, error.line()
            continue
        yield number, path


def test_settings_at_random_make_a_file_or_a_line(tmp_path):
    files = 0
    for number, found in outcomes(tmp_path, range(15), detector_shape=32, oversampling=1, reach=1):
        if isinstance(found, str):
            continue
        files += 1
        with open_source(found) as source:
            frames = source.frames(np.flatnonzero(source.received))
            assert np.isfinite(frames).all(), f"seed {SEED}, draw {number}"
    assert files >= 5


@pytest.mark.slow
def test_files_of_settings_at_random_are_reconstructed(tmp_path):
    files = lines = 0
    for number, found in outcomes(tmp_path, range(100)):
        if isinstance(found, str):
            lines += 1
            continue
        files += 1
        try:
            ptylive.open_scan(found).reconstruct(["bf", "com"])
        except PtyliveError as error:
            assert error.hint, f"seed {SEED}, draw {number}"
        except Exception as error:
            raise AssertionError(f"seed {SEED}, draw {number}") from error
        found.unlink()
    print(f"seed {SEED}: {files} files, {lines} refusals")
    assert files >= 40


@pytest.mark.slow
def test_a_refinement_finds_the_object_with_exactly_these_numbers(tmp_path):
    """Rotated, transposed, with descan, defocus and astigmatism, all given; measured: 0.978, and no shift at all."""
    path = tmp_path / "s.h5"
    scan = ptylive.simulate(
        path,
        specimen="monolayer",
        scan_shape=(32, 30),
        rotation_deg=33,
        detector_transform="transpose",
        descan_px=(2, -1, 1, 0.5),
        beam_offset_px=(1.4, -0.7),
        astigmatism_A=20,
        astigmatism_deg=25,
    )
    result = scan.refine(epoch_max=20, num_slices=1).result
    phase, origin = np.angle(result.object[0]).astype(float), tuple(float(value) for value in result.origin_A)
    found = Reconstruction(phase, result.object_sampling_A, origin)
    scored = score(truth_of(path), found)
    assert scored["corr"] > 0.97
    assert np.hypot(*scored["shift_A"]) < 0.05
