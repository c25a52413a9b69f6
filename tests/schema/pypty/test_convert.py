"""PyPty's parameter table: no empty row, the document matches the code, and the conversions."""

from pathlib import Path

import numpy as np
import pytest

from ptylive.schema import MetadataError
from ptylive.schema.metadata import ARRAY_NAMES, NAMES
from ptylive.schema.preset import Preset
from ptylive.schema.pypty import ROWS, Support, import_preset, parity_table
from ptylive.schema.pypty.convert import is_all_pypty, looks_like_pypty, means_otherwise
from ptylive.schema.pypty.converters import aberrations
from ptylive.schema.scan import Scan

ROOT = Path(__file__).resolve().parents[3]


def settings(**given):
    return import_preset(given).settings


def metadata(**given):
    return import_preset(given).metadata


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_row_is_empty(row):
    assert len(row.remark) > 3
    assert (row.support is Support.MAPPED) == (row.convert is not None)
    assert (row.support is Support.MAPPED) == bool(row.keys)
    for key in row.keys:
        assert key in Preset.settings() or key in NAMES or key in ARRAY_NAMES
    if row.support is Support.ELSEWHERE:
        assert "ptylive" in row.remark or "--set" in row.remark


def test_the_whole_table_of_pypty_is_there():
    """Names as in PyPty's README, written down by hand."""
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    readme = (Path(__file__).parent / "pypty_parameters.txt").read_text().split()
    assert set(readme) <= set(names)
    of_the_source = {"num_obj_modes", "obj_phase_sigma", "chemical_formula", "sample_name"}
    assert set(names) - set(readme) - of_the_source == {"slow_axis_reg_weight_positions", "slow_axis_reg_weight_tilts"}


def test_the_document_is_the_code():
    assert parity_table() in (ROOT / "docs" / "pypty-parity.md").read_text(encoding="utf-8")


def test_lambdas_and_switches():
    found = settings(
        update_probe_pos="lambda x: x > 5", update_probe=1, update_tilts=0, atv_weight="lambda n: 1e-3 if n < 9 else 0"
    )
    assert found == {"update_probe_pos": "epoch > 5", "update_probe": True, "atv_weight": "0.001 if epoch < 9 else 0"}


def test_units_and_names():
    assert metadata(acc_voltage=60, Cs=1e7, conv_semiangle_mrad=25) == {
        "energy_eV": 60e3,
        "Cs_A": 1e7,
        "convergence_semiangle_mrad": 25.0,
    }
    assert metadata(fov_nm=10, scan_size=[40, 50]) == {"scan_shape": [40, 50], "scan_step_A": 2.0}
    assert metadata(PLRotation_deg=0) == {"rotation_deg": 0.0}
    assert metadata(PLRotation_deg="auto", data_multiplier=1) == {}
    assert metadata(data_multiplier=0.5) == {"counts_per_electron": 2.0}
    matrix = metadata(transform_axis_matrix=[[1, 0.1], [0, 1]], scan_step_A=2.0)["scan_matrix"]
    np.testing.assert_allclose(matrix, [[2, 0.2], [0, 2]])
    assert settings(phase_only_obj=False) == {"phase_only_obj": False}
    assert settings(slice_distances=[5.0], num_slices=3)["slice_distances_A"] == [5.0]
    assert settings(slice_distances=[5, 6, 7], num_slices=3)["slice_distances_A"] == [5, 6]
    assert "slice_distances_A" not in settings(slice_distances=[0.0], num_slices=1), "as our own export says it"
    assert settings(tune_only_probe_abs=True) == {"probe_part": "amplitude"}
    assert settings(damping_cutoff_multislice=-1)["damping_cutoff_multislice"] == pytest.approx(2 / 3)
    assert settings(hist_length=float("inf"))["hist_length"] == 100_000
    assert settings(hist_length="lambda x: 10 * x")["hist_length"] == "min(10 * epoch, 100000)"
    assert settings(reduce_factor=1 / 15, update_step_bfgs="lambda x: 1 if x else 2") == {
        "optimizer": "pypty",
        "reduce_factor": 1 / 15,
        "update_step_bfgs": "1 if epoch else 2",
    }
    assert settings(wolfe_c1_constant=0.5, max_count=None) == {"wolfe_c1_constant": 0.49, "max_count": 100}
    assert settings(algorithm="lsq_sqrt") == {"algorithm": "lsq_sqrt"}, "written out, although it is PyPty's default"
    assert settings(apply_gaussian_filter=True)["apply_gaussian_filter_px"] == 1.0
    assert settings(apply_gaussian_filter_amplitude=30)["apply_gaussian_filter_amplitude_px"] == 30
    assert settings(fancy_sigma=[[3, 2], None]) == {"fancy_sigma_phase_px": [3.0, 2.0]}
    assert settings(sequence=[3, 4, 9]) == {"sequence": [3, 4, 9]}
    assert settings(window=[0.1, 0.5], n_hermite_probe_modes=[2, 2])["window"] == [0.1, 0.5]


def test_what_goes_together():
    assert settings(algorithm="lsq_compressed") == {"algorithm": "lsq_compressed", "noise_weighting": False}
    assert settings(obj="co.npy", probe="cp.npy") == {"start_object": "co.npy", "start_probe": "cp.npy"}
    with pytest.raises(MetadataError, match="obj: a text preset cannot contain an array"):
        import_preset({"obj": [[[[0.5]]]]})
    near = {"recon_type": "near_field", "pixel_size_x_A": 2.0, "pixel_size_y_A": 2.0, "alpha_near_field": 1e-4}
    assert settings(**near) == {"recon_type": "near_field", "image_pixel_A": 2.0, "alpha_near_field_mrad": 0.1}
    assert metadata(**near) == {}


def test_defoci_of_pypty_change_their_sign():
    beside_a_probe = settings(extra_probe_defocus=50.0, probe="cp.npy")
    assert beside_a_probe == {"extra_probe_defocus_A": -50.0, "start_probe": "cp.npy"}
    assert settings(defocus_spread_modes=[-10, 0, 10]) == {"defocus_spread_modes_A": [10.0, 0.0, -10.0]}
    assert settings(defocus_array=[100.0], recon_type="near_field")["defocus_array_A"] == [-100.0]
    assert settings(tilts=[[1e-3, 0, 2e-3, 0, 0, 3e-3]])["tilts_mrad"] == [[1.0, 0, -2.0, 0, 0, 3.0]]


def test_a_defocus_is_the_whole_defocus_of_the_probe():
    """PyPty adds it to C10, which is 0 unless ``aberrations`` give it; nothing is estimated and added to it here."""
    for name in ("defocus", "extra_probe_defocus"):
        found = import_preset({name: -150.0})
        assert (dict(found.settings), dict(found.metadata)) == ({}, {"C10": -150.0})
        for both in ({name: -150.0, "aberrations": [30.0, 2.0]}, {"aberrations": [30.0, 2.0], name: -150.0}):
            assert metadata(**both)["C10"] == -120.0
    assert metadata(defocus=-150.0, extra_probe_defocus=40.0) == {"C10": -150.0}
    assert metadata(extra_probe_defocus=0, defocus=0) == {}


def test_the_scan_is_rotated_as_pypty_rotates_it():
    """Places of scan points by ``get_positions_pixel_size`` with ``rot_angle_deg = -PLRotation_deg``."""
    angle, (row, column) = 25.0, np.mgrid[:3, :4].reshape(2, -1)
    turn = np.deg2rad(-angle)
    columns = column * np.cos(turn) + row * np.sin(turn)
    rows = -column * np.sin(turn) + row * np.cos(turn)
    ours = Scan(shape=(3, 4), step_A=1.0).positions_A(metadata(PLRotation_deg=angle)["rotation_deg"])
    np.testing.assert_allclose(ours, np.stack([rows, columns], axis=1), atol=1e-12)


def test_aberrations_describe_the_same_phase():
    """chi from coefficients with angles from +col equals chi from the converted ones with angles from +row."""
    rng = np.random.default_rng(0)
    given = rng.normal(size=8)
    row, col = rng.normal(size=(2, 20))
    radius, phi, theta = np.hypot(row, col), np.arctan2(row, col), np.arctan2(col, row)
    orders = [(1, 0, "a"), (1, 2, "a"), (1, 2, "b"), (2, 1, "a"), (2, 1, "b"), (2, 3, "a"), (2, 3, "b"), (3, 0, "a")]

    def chi(coefficients, angle):
        parts = zip(coefficients, orders, strict=True)
        return sum(
            c * radius ** (n + 1) / (n + 1) * (np.sin(m * angle) if kind == "b" else np.cos(m * angle))
            for c, (n, m, kind) in parts
        )

    names = ("C10", "C12a", "C12b", "C21a", "C21b", "C23a", "C23b", "C30")
    ours = aberrations(given)
    np.testing.assert_allclose(chi([ours[name] for name in names], theta), chi(given, phi))
    assert metadata(aberrations=list(given))["C10"] == given[0]
    with pytest.raises(MetadataError, match="third order"):
        aberrations([0] * 12 + [5])


def test_weights_change_their_units():
    given = {"pixel_size_y_A": 0.5, "pixel_size_x_A": 0.5, "scan_size": [8, 10]}
    found = settings(
        **given,
        fast_axis_reg_weight_positions=1.0,
        slow_axis_reg_weight_positions="lambda x: x",
        deformation_reg_weight_tilts=2.0,
        probe_reg_constraint_weight=3.0,
        n_hermite_probe_modes=[2, 3],
    )
    assert found["fast_axis_reg_weight_positions"] == 4.0
    assert found["slow_axis_reg_weight_positions"] == "epoch * 100.0 * 4.0"
    assert found["deformation_reg_weight_tilts"] == 2e-6
    assert found["probe_reg_constraint_weight"] == 18.0


def test_beside_a_recording_pixels_are_known():
    given = {"pixel_size_y_A": 0.2, "pixel_size_x_A": 0.2, "data_pad": 16, "window_weight": 1.0, "window": [0.5, 0.9]}
    found = import_preset(given, pattern_shape=(64, 64))
    assert found.metadata["detector_pixel_invA"] == pytest.approx(1 / (96 * 0.2))
    assert found.settings["window_px"] == 96
    assert found.settings["window_weight"] == pytest.approx(1 / 96**2)
    assert not found.notes
    assert len(import_preset(given).notes) == 4


def test_an_upsampled_pattern_has_larger_recorded_pixels():
    """The window is 2 · 64 + 2 · 16 model pixels of half a recorded one each."""
    given = {"pixel_size_y_A": 0.2, "pixel_size_x_A": 0.2, "data_pad": 16, "upsample_pattern": 2}
    found = import_preset(given, pattern_shape=(64, 64))
    assert found.metadata["detector_pixel_invA"] == pytest.approx(2 / (160 * 0.2))
    assert found.settings["window_px"] == 80


def test_arrays_of_pypty_are_converted_with_their_units():
    found = import_preset(
        {
            "positions": [[0, 0], [2, 4]],
            "pixel_size_y_A": 0.5,
            "beam_ctf": [[0.0, 1.0], [2.0, 3.0]],
            "window": [[0, 1]] * 2,
        }
    )
    np.testing.assert_array_equal(found.positions_A, [[0, 0], [1, 2]])
    assert set(found.arrays) == {"beam_ctf", "window"}


def test_what_is_not_done_is_said():
    with pytest.raises(MetadataError, match="data_bin: `ptylive convert --bin N`"):
        import_preset({"data_bin": 2})
    with pytest.raises(MetadataError, match="did you mean 'acc_voltage'"):
        import_preset({"acc_volt": 60})
    lenient = import_preset({"data_bin": 2, "crop_left": 2, "num_slices": 1}, lenient=True)
    assert len(lenient.left_behind) == 2
    assert lenient.preset.object.num_slices == 1
    assert import_preset({"data_bin": 1, "data_path": "x.h5", "print_flag": 4, "smart_memory": False}).settings == {}
    with pytest.raises(MetadataError, match="cannot follow the epoch"):
        import_preset({"propmethod": "lambda x: x > 3"})
    with pytest.raises(MetadataError, match="window cannot follow the epoch"):
        import_preset({"window": "lambda x: [0.3, 0.5]"})
    for radii in (0.5, [0.5, 0.3]):
        with pytest.raises(MetadataError, match="is not two pairs of radii"):
            import_preset({"fancy_sigma": radii})
    with pytest.raises(MetadataError, match="num_slices"):
        import_preset({"num_slices": -1})
    with pytest.raises(MetadataError, match="scan_size = 5"):
        import_preset({"scan_size": 5})


def test_whose_preset_it_is():
    assert looks_like_pypty({"acc_voltage": 60, "num_slices": 2})
    assert not looks_like_pypty({"num_slices": 2, "sweeps": 1})


def test_names_of_both_that_mean_something_else():
    shared = {
        "fast_axis_reg_weight_tilts": 1.0,
        "fast_axis_reg_weight_positions": 2.0,
        "atv_weight": 0.1,
        "epoch_max": 5,
    }
    assert not looks_like_pypty(shared)
    assert is_all_pypty(shared)
    assert means_otherwise(shared) == ("fast_axis_reg_weight_tilts", "fast_axis_reg_weight_positions")
    assert means_otherwise({"atv_weight": 0.1, "epoch_max": 5, "seed": 3, "window": "x"}) == ()
    assert not is_all_pypty({"atv_weight": 0.1, "seed": 3})
    assert not is_all_pypty({})


def test_a_given_mean_pattern_is_the_amplitude_of_the_start_probe():
    counts = [[0.0, 4.0], [16.0, -1.0]]
    np.testing.assert_allclose(import_preset({"mean_pattern": counts}).arrays["aperture_mask"], [[0, 0.5], [1, 0]])
    for order in (
        {"aperture_mask": [[1, 1], [0, 1]], "mean_pattern": counts},
        {"mean_pattern": counts, "aperture_mask": [[1, 1], [0, 1]]},
    ):
        np.testing.assert_allclose(import_preset(order).arrays["aperture_mask"], [[0, 0.5], [0, 0]])
    assert settings(mean_pattern="yes") == {"probe_amplitude": "mean_pattern"}
    for none in ([1.0, 2.0], [[0.0, 0.0]], [[np.inf, 1.0]]):
        with pytest.raises(MetadataError, match="not a pattern of counts"):
            import_preset({"mean_pattern": none})


def test_what_pypty_itself_writes():
    """As ``append_exp_params`` leaves it: a padded aperture, a mean pattern without padding, 0 for values not given."""
    rows, columns = np.divmod(np.arange(12), 4)
    pixels = np.stack([3.0 * rows, 2.0 * columns], axis=1)
    found = import_preset(
        {
            "positions": pixels.tolist(),
            "pixel_size_x_A": 0.5,
            "pixel_size_y_A": 0.5,
            "scan_size": [3, 4],
            "scan_step_A": 0.0,
            "fov_nm": 0,
            "aperture_mask": np.ones((8, 8)).tolist(),
            "mean_pattern": np.full((4, 4), 4.0).tolist(),
        }
    )
    assert found.metadata["scan_step_A"] == [1.5, 1.0]  # from the positions
    mask = found.arrays["aperture_mask"]
    assert mask.shape == (8, 8)
    assert mask[2:6, 2:6].min() == 1.0
    assert mask.sum() == 16.0
    with pytest.raises(MetadataError, match="differ"):
        import_preset({"aperture_mask": np.ones((7, 8)).tolist(), "mean_pattern": np.ones((4, 4)).tolist()})
