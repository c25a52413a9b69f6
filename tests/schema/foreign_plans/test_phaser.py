"""phaser's plans: raw data, start, slices, engines as stages."""

import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.phaser import import_phaser, looks_like_phaser, phaser_parity

ENGINE = {
    "type": "gradient",
    "niter": 100,
    "probe_modes": 4,
    "grouping": 128,
    "noise_model": {"type": "poisson", "eps": 2.0},
}
PLAN = {"name": "x", "raw_data": {"type": "manual", "path": "a.npy", "diff_step": 1.25, "kv": 200}, "engines": [ENGINE]}
OF_ENGINE = {"epoch_max": 100, "probe_modes": 4, "batch_size": 128, "algorithm": "ml"}


def found(engine=None, lenient=False, **more):
    return import_phaser({**PLAN, **more, "engines": [{**ENGINE, **(engine or {})}]}, lenient=lenient)


def added(engine=None, **more):
    return {name: value for name, value in found(engine, **more).settings.items() if name not in OF_ENGINE}


def test_a_whole_plan():
    taken = found()
    assert taken.settings == OF_ENGINE
    assert taken.metadata == {"energy_eV": 200e3, "detector_pixel_mrad": 1.25}


def test_engines_are_stages():
    plan = {**PLAN, "engines": [ENGINE, {**ENGINE, "sim_shape": [256, 256], "update_positions": {"after": 30}}]}
    taken = import_phaser(plan)
    assert taken.settings == {"stages": [OF_ENGINE, {**OF_ENGINE, "window_px": 256, "update_probe_pos": "epoch >= 30"}]}
    assert any("engine 2: sim_shape" in str(line) for line in taken.table)


def test_the_start_of_a_phaser_plan_is_taken_over():
    aberrations = [{"n": 1, "m": 2, "mag": 25, "angle": 0}, {"n": 2, "m": 1, "re": 0, "im": 30}, {"c3": 1e4}]
    aberrations.append({"a2": {"re": 5}})
    probe = {"type": "focused", "conv_angle": 21.0, "defocus": -60, "aberrations": aberrations}
    scan = {"type": "raster", "shape": [3, 4], "step_size": 0.5, "rotation": -15}
    taken = found(init={"probe": probe, "scan": scan, "state": "iter100.h5"})
    assert taken.metadata["convergence_semiangle_mrad"] == 21
    # angles from the columns there; aberrations of odd symmetry have the opposite sign
    ours = {
        name: round(value, 9) for name, value in taken.metadata.items() if name.startswith("C") and abs(value) > 1e-9
    }
    assert ours == {"C10": -60, "C12a": -25, "C21a": -30, "C30": 1e4, "C23b": 5}
    assert (taken.metadata["scan_shape"], taken.metadata["scan_step_A"]) == ([3, 4], 0.5)
    assert taken.metadata["rotation_deg"] == -15
    assert taken.settings["start_object"] == taken.settings["start_positions"] == "iter100.h5"


def test_a_wavelength_is_an_energy():
    taken = found(raw_data={"type": "manual", "diff_step": 1.0, "wavelength": 0.02507934})
    assert taken.metadata["energy_eV"] == pytest.approx(200e3, rel=1e-5)


@pytest.mark.parametrize(
    ("slices", "number", "distances"),
    [
        ({"n": 10, "total_thickness": 200}, 10, [20.0]),
        ({"n": 10, "slice_thickness": 5}, 10, [5.0]),
        ({"thicknesses": [3, 4, 5]}, 3, [3.0, 4.0]),
        ({"n": 1, "total_thickness": 20}, 1, None),
    ],
)
def test_slices_of_a_phaser_plan_are_taken_over(slices, number, distances):
    taken = added(slices=slices)
    assert (taken["num_slices"], taken.get("slice_distances_A")) == (number, distances)


@pytest.mark.parametrize(
    ("engine", "ours"),
    [
        ({"iter_constraints": [{"type": "clamp_object_amplitude", "amplitude": 1.1}]},
         {"obja_thresh": True, "obja_thresh_min": 0.0, "obja_thresh_max": 1.1}),
        ({"iter_constraints": [{"type": "layers", "sigma": 100.0, "weight": 0.8}]},
         {"obj_zblur_A": 100.0, "obj_zblur_weight": 0.8}),
        ({"iter_constraints": ["nonneg_object_phase", "remove_phase_ramp"]},
         {"objp_postiv": True, "objp_postiv_relax": 0.0}),
        ({"bwlim_frac": 0.8, "update_probe": {"after": 5}, "update_object": False},
         {"damping_cutoff_multislice": 0.8, "update_probe": "epoch >= 5", "update_obj": False}),
        ({"bwlim_frac": 1.0}, {}),
        ({"mtf": {"type": "gaussian", "sigma": 0.7}}, {"detector_psf_px": 0.7}),
        ({"mtf": "empad"}, {}),
        ({"regularizers": [{"type": "obj_l2", "cost": 0.4}]}, {}),
    ],
)  # fmt: skip
def test_engines_of_phaser_become_settings(engine, ours):
    assert added(engine) == ours


def test_tilts_of_the_specimen():
    """[row, column] in mrad; the ramp of the propagator has the same sign in both."""
    assert added(init={"tilt": {"type": "global", "tilt": [3.0, -4.0]}}) == {"tilts_mrad": [[0, 0, 3.0, -4.0, 0, 0]]}
    taken = found(init={"tilt": {"type": "custom", "path": "tilts.npy"}})
    assert "tilts_mrad" not in taken.settings and any("--set tilts_mrad" in note for note in taken.notes)


def test_costs_of_another_measure_are_left_out_and_said():
    notes = found({"regularizers": [{"type": "layers_tikh", "cost": 500}], "solvers": {}}).notes
    assert any("layers_tikhonov_weight, but its cost is defined differently" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engines": []}, "has no engines"),
        ({"engines": [3]}, "is not a table"),
        ({"engines": [{**ENGINE, "mtf": {"type": "gaussian"}}]}, "mtf.sigma = None is not a number"),
        ({"engines": [{**ENGINE, "nitr": 3}]}, "did you mean 'niter'"),
        ({"engines": [{**ENGINE, "sim_shape": [128, 96]}]}, "is not square"),
        ({"engines": [{**ENGINE, "noise_model": "cauchy"}]}, "is unknown"),
        ({"init": {"probe": {"aberrations": [{"c5": 1e7}]}}}, "is not supported"),
        ({"slices": {"n": "ten"}}, "is not a number"),
    ],
)
def test_what_cannot_be_is_one_line(change, said):
    with pytest.raises(MetadataError) as caught:
        import_phaser({**PLAN, **change})
    assert said in caught.value.line()


def test_what_is_a_plan():
    assert looks_like_phaser(PLAN)
    assert looks_like_phaser({"file_type": "phaser_plan"})
    assert not looks_like_phaser({"raw_data": 1})


def test_the_table_is_on_its_page(repository):
    assert phaser_parity() in (repository / "docs" / "ptyrad-phaser-parity.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ({"probe": {"conv_angel": 25.0}}, "init.probe.conv_angel: phaser has no such key: did you mean 'conv_angle'?"),
        ({"scan": {"rotaton": 5.0}}, "init.scan.rotaton: "),
        ({"slices": {"n": 6}}, "init.slices: phaser has no slices in init: it belongs next to init"),
        ({"scan": {"step_size": 4e-11}}, "scan_step_A = "),
    ],
)
def test_what_is_misspelt_or_of_another_unit_within_init_is_not_taken(init, said):
    with pytest.raises(MetadataError) as caught:
        import_phaser({"raw_data": {}, "init": init, "engines": [{"type": "gradient"}]})
    assert said in caught.value.line()


def test_a_misspelt_key_is_told_before_what_follows_from_it():
    with pytest.raises(MetadataError) as caught:
        import_phaser({"raw_data": {}, "slices": {"n": 5, "total_thicknes": 100}, "engines": [{"type": "gradient"}]})
    assert "slices.total_thicknes: phaser has no such key: did you mean 'total_thickness'?" in caught.value.line()


def test_a_plan_whose_engines_are_misspelt_is_one_still():
    plan = {"raw_data": {}, "engine": [{"type": "gradient"}]}
    assert looks_like_phaser(plan)
    with pytest.raises(MetadataError, match="engine: phaser has no such parameter"):
        import_phaser(plan)
