"""Settings of the forward model: what is accepted, and what is refused with the setting's name."""

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.probe import ProbeSettings
from ptylive.schema.preset.propagation import InstrumentSettings, PropagationSettings

TAKEN = {
    "propmethod": "yoshida",
    "upsample_pattern": 2,
    "data_shift_vector_px": (1.5, -2.0),
    "flip_ky": True,
    "tilts_mrad": ((0.0, 0.0, 5.0, -1.0, 0.0, 0.0),),
    "tilt_mode": 4,
    "aberrations_array_A": ((10.0, 1.0), (2.0,)),
    "aberration_marker": "rows:2",
    "probe_marker": (0, 1, 1),
    "phase_plate_in_h5": "plates.h5",
    "damping_cutoff_multislice": 2 / 3,
    "smooth_rolloff": 0.1,
    "update_extra_cut": 0.01,
    "lazy_clean": True,
    "recon_type": "near_field",
    "image_pixel_A": 0.2,
    "defocus_array_A": (100.0, -300.0),
    "alpha_near_field_mrad": 0.5,
    "noise_weighting": False,
    "perpendicular_weight": 1e-3,
    "edge_weight": 0.1,
    "update_tilts": True,
    "refined_aberrations": ("C10", "C34b"),
    "detector_psf_px": 0.8,
    "detector_psf": "spread.npy",
    "update_detector_psf": True,
    "source_blur_A": 0.4,
    "fly_scan_share": 1.0,
    "opr_components": 3,
    "field_order": 2,
    "field_terms": ("C10", "tilts", "thickness"),
}
REFUSED = {
    "propmethod": "leapfrog",
    "upsample_pattern": 9,
    "data_shift_vector_px": (1.0,),
    "tilts_mrad": ((1.0, 2.0),),
    "tilt_mode": 5,
    "aberrations_array_A": ((0.0,) * 13,),
    "aberration_marker": "rows:0",
    "probe_marker": (0, -1),
    "damping_cutoff_multislice": 1.1,
    "smooth_rolloff": -0.1,
    "update_extra_cut": 1.0,
    "recon_type": "middle_field",
    "image_pixel_A": 0.0,
    "defocus_array_A": (),
    "alpha_near_field_mrad": -1.0,
    "perpendicular_weight": -1.0,
    "edge_weight": -1.0,
    "refined_aberrations": ("C11",),
    "detector_psf_px": -0.1,
    "source_blur_A": -0.1,
    "fly_scan_share": 1.1,
    "opr_components": 9,
    "field_order": 5,
    "field_terms": (),
}


@pytest.mark.parametrize("name", TAKEN)
def test_values_are_kept(name):
    assert Preset.from_mapping({name: TAKEN[name]}).value(name) == TAKEN[name]


@pytest.mark.parametrize("name", REFUSED)
def test_values_out_of_range_are_refused_by_name(name):
    with pytest.raises(MetadataError, match=name):
        Preset.from_mapping({name: REFUSED[name]})


@pytest.mark.parametrize("marker", ["rows:0", "colums:3", "squares"])
def test_a_division_that_is_none_is_told_what_would_be_one(marker):
    """Regression: it was said to be "not a list", although texts are possible."""
    with pytest.raises(MetadataError, match=f"probe_marker: '{marker}' divides no scan: write rows:4"):
        Preset.from_mapping({"probe_marker": marker})


def test_presets_travel_as_json():
    preset = Preset.from_mapping(TAKEN)
    assert Preset.from_mapping(preset.model_dump(mode="json")) == preset


def test_every_setting_has_its_words_and_lengths_their_unit():
    groups = (PropagationSettings, ProbeSettings, InstrumentSettings)
    fields = {name: field for group in groups for name, field in group.model_fields.items()}
    for name, field in fields.items():
        assert field.description, name
    for name in (
        "tilts_mrad",
        "aberrations_array_A",
        "defocus_array_A",
        "image_pixel_A",
        "alpha_near_field_mrad",
        "source_blur_A",
    ):
        unit = name.rsplit("_", 1)[1].replace("A", "Å")
        assert unit in str(fields[name].description), name
