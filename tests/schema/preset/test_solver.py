"""Settings of a deep generative prior: off by default, bounded, named in error messages."""

import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.describe import unit_of


def test_pixels_are_refined_unless_somebody_says_otherwise():
    assert Preset().prior.method == "pixels"
    assert Preset.from_mapping({"method": "dgp"}).prior.method == "dgp"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "gan"), ("dgp_levels", 0), ("dgp_levels", 7), ("dgp_filters", 1000), ("dgp_activation", "relu"),
        ("dgp_input_noise", -0.1), ("dgp_object_rate", 0.0), ("dgp_held_out", 0.6), ("dgp_epochs", 0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(MetadataError, match=f"refinement setting {name}:"):
        Preset.from_mapping({name: value})


def test_settings_that_count_have_units():
    assert [unit_of(name) for name in ("dgp_epochs", "dgp_batch", "dgp_pretraining")] == ["epochs", "patterns", "steps"]


def test_a_stage_may_have_networks_of_its_own():
    stages = [{"name": "pixels"}, {"name": "networks", "method": "dgp", "dgp_filters": 8}]
    found = Preset.from_mapping({"stages": stages, "dgp_levels": 2}).in_stages()
    assert [stage.preset.prior.method for stage in found] == ["pixels", "dgp"]
    assert [stage.preset.prior.dgp_levels for stage in found] == [2, 2]
