"""PtyRAD's experiment in our units: calibration, aberrations, affine scans, slices, starts."""

import math

import numpy as np
import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.ptyrad import import_ptyrad

BASE = {"probe_kv": 200, "probe_conv_angle": 20.0, "meas_Npix": 64, "pos_N_scan_slow": 3, "pos_N_scan_fast": 4,
        "pos_scan_step_size": 0.5, "obj_Nlayer": 1, "obj_slice_thickness": 10}  # fmt: skip


def found(**more):
    return import_ptyrad({"init_params": {**BASE, **more}})


def metadata(**more):
    plain = found().metadata
    return {name: value for name, value in found(**more).metadata.items() if name not in plain}


@pytest.mark.parametrize(
    ("mode", "value", "name", "pixel"),
    [
        ("da", 1.25, "detector_pixel_mrad", 1.25),
        ("angleMax", 40.0, "detector_pixel_mrad", 1.25),
        ("n_alpha", 2.0, "detector_pixel_mrad", 1.25),
        ("RBF", 16, "detector_pixel_mrad", 1.25),
        ("dk", 0.05, "detector_pixel_invA", 0.05),
        ("kMax", 1.6, "detector_pixel_invA", 0.05),
        ("dx", 0.3125, "detector_pixel_invA", 0.05),
    ],
)
def test_seven_ways_to_say_a_pixel(mode, value, name, pixel):
    assert metadata(meas_calibration={"mode": mode, "value": value}) == {name: pytest.approx(pixel)}


def test_a_fitted_disc_says_nothing():
    assert metadata(meas_calibration={"mode": "fitRBF", "value": None}) == {}


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"C10": -60}, {"C10": -60}),
        ({"defocus": 60, "Cs": 1e4}, {"C10": -60, "C30": 1e4}),
        ({"C12": 25, "phi12": 0}, {"C12a": -25}),  # along the columns in PtyRAD, across the rows here
        ({"C12a": 25}, {"C12a": -25}),
        ({"C12": 25, "phi12": 45}, {"C12b": 25}),
        ({"A1": 25, "A1phi": 90}, {"C12a": 25}),
        ({"C21": 30, "phi21": 0}, {"C21b": 30}),
        ({"B2": 10}, {"C21b": 30}),
        ({"C34": 7, "phi34": 0}, {"C34a": 7}),
    ],
)
def test_aberrations_of_ptyrad_have_our_names_and_signs(given, ours):
    taken = {name: round(value, 9) for name, value in metadata(probe_aberrations=given).items()}
    assert {name: value for name, value in taken.items() if value} == ours


def test_higher_aberrations_are_one_line():
    with pytest.raises(MetadataError, match="is not supported"):
        found(probe_aberrations={"C50": 1e6})


def test_a_turned_scan():
    assert metadata(pos_scan_affine=[1, 0, -15, 0]) == {"rotation_deg": -15}


def test_a_sheared_and_stretched_scan():
    """PtyRAD: positions, as rows (y, x), times its matrix; ours: the rotation times the matrix of steps."""
    scale, asymmetry, rotation, shear = 1.1, 0.04, 12.0, 3.0
    taken = metadata(pos_scan_affine=[scale, asymmetry, rotation, shear])
    t, s = math.radians(rotation), math.tan(math.radians(shear))
    theirs = scale * np.diag([1 + asymmetry / 2, 1 - asymmetry / 2])
    theirs = theirs @ [[math.cos(t), math.sin(t)], [-math.sin(t), math.cos(t)]] @ [[1, 0], [s, 1]]
    turn = np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])
    ours = turn @ np.asarray(taken["scan_matrix"])
    for point in ([1, 0], [0, 1], [3, -2]):
        np.testing.assert_allclose(ours @ point, 0.5 * np.asarray(point) @ theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("more", "slices", "distance"),
    [
        ({"obj_Nlayer": 6}, 6, [10.0]),
        ({"obj_Nlayer": 6, "obj_z_resample": {"mode": "scale_Nlayer", "value": 2}}, 12, [5.0]),
        ({"obj_Nlayer": 6, "obj_z_resample": {"mode": "target_Nlayer", "value": 4}}, 4, [15.0]),
        ({"obj_Nlayer": 6, "obj_z_resample": {"mode": "scale_slice_thickness", "value": 2}}, 3, [20.0]),
        ({"obj_Nlayer": 6, "obj_z_resample": {"mode": "target_slice_thickness", "value": 5}}, 12, [5.0]),
        ({}, 1, None),
    ],
)
def test_slices_of_ptyrad_are_taken_over(more, slices, distance):
    taken = found(**more).settings
    assert (taken["num_slices"], taken.get("slice_distances_A")) == (slices, distance)


@pytest.mark.parametrize(
    ("more", "slices", "depth_A"),
    [
        ({"obj_z_pad": {"pad_layers": [2, 3], "pad_types": ["vacuum", "vacuum"]}}, 11, 20.0),
        ({"obj_z_pad": {"pad_layers": [0, 3], "pad_types": ["vacuum", "edge"]}}, 9, None),
        ({"obj_z_crop": [1, 5]}, 4, -10.0),
        ({"obj_z_crop": [2, 5], "obj_z_pad": {"pad_layers": [2, 0], "pad_types": ["vacuum", "vacuum"]}}, 5, None),
    ],
)
def test_vacuum_around_the_object_and_what_is_cut_off(more, slices, depth_A):
    taken = found(obj_Nlayer=6, obj_params="model.hdf5", obj_source="PtyRAD", **more)
    assert (taken.settings["num_slices"], taken.settings.get("start_depth_A")) == (slices, depth_A)
    assert any("vacuum is added there" in note for note in taken.notes) == ("edge" in str(more))


@pytest.mark.parametrize(
    ("more", "underfocus_A"),
    [
        ({"probe_z_shift": -20.0}, 20.0),
        ({"probe_z_shift": -20.0, "probe_source": "PtyRAD", "probe_params": "model.hdf5"}, 20.0),
        # PtyRAD needs this with two layers in front; here the probe of the file is moved automatically
        ({"probe_z_shift": -20.0, "probe_source": "PtyRAD", "probe_params": "model.hdf5",
          "obj_z_pad": {"pad_layers": [2, 0], "pad_types": ["vacuum", "vacuum"]}}, None),
    ],
)  # fmt: skip
def test_a_probe_that_is_moved_along_the_beam(more, underfocus_A):
    assert found(obj_Nlayer=6, **more).settings.get("extra_probe_defocus_A") == underfocus_A


def test_tilts_of_the_specimen():
    """[row, column] in mrad: PtyRAD's propagators have the ramp exp(i z k tan(tilt)), as ours do."""
    taken = found(tilt_params={"tilt_type": "all", "init_tilts": [[3.0, -4.0]]})
    assert taken.settings["tilts_mrad"] == [[0, 0, 3.0, -4.0, 0, 0]]
    assert "tilts_mrad" not in found(tilt_params={"tilt_type": "each", "init_tilts": [[0, 0]]}).settings
    each = found(tilt_params={"tilt_type": "each", "init_tilts": [[3.0, -4.0], [1, 1]]})
    assert any("single patterns" in note for note in each.notes)


def test_starts_and_windows():
    given = {f"{kind}_source": "PtyRAD" for kind in ("obj", "probe", "pos")}
    given |= {f"{kind}_params": f"{kind}.hdf5" for kind in ("obj", "probe", "pos")}
    given |= {"meas_pad": {"mode": "on_the_fly", "target_Npix": 96}, "meas_resample": {"scale_factors": [2, 2]}}
    taken = found(**given).settings
    assert taken["start_object"] == "obj.hdf5"
    assert (taken["start_probe"], taken["start_positions"]) == ("probe.hdf5", "pos.hdf5")
    assert (taken["window_px"], taken["upsample_pattern"]) == (96, 2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"probe_illum_type": "xray"}, "electrons only"),
        ({"meas_crop": [None, None, [2, 60], [2, 60]]}, "ptylive convert --crop"),
        ({"obj_source": "custom", "obj_params": [1, 1, 20, 20]}, "obj_source = 'custom' is not imported"),
        ({"meas_flipT": [1, 0]}, "is not a list of three"),
        ({"pos_scan_affine": [1, 0]}, "is not a list of four"),
        ({"meas_calibration": {"mode": "miles", "value": 2}}, "is unknown"),
        ({"probe_kv": "high"}, "is not a number"),
        ({"probe_kv": -80}, "energy_eV = -80000 eV is impossible"),
        ({"epochs": 3}, "epochs: PtyRAD has no such parameter"),
    ],
)
def test_what_cannot_be_is_one_line(more, said):
    with pytest.raises(MetadataError) as caught:
        found(**more)
    assert said in caught.value.line()
