"""Presets from papers: the table, the result of a row, and the document."""

from pathlib import Path

import pytest

from ptylive.application.presets import load_preset
from ptylive.schema import MetadataError
from ptylive.schema.foreign_plans.basis_paper import PUBLISHED, published, published_table
from ptylive.schema.preset import Preset

ROOT = Path(__file__).resolve().parents[3]


def test_a_row_in_units_of_its_main_part():
    """Table 1, figure 5 m-p: 6.3e-2 | 5e-5 | 5e-4 | 5e-2 | 5e-2 | 7e-7 | 7e-6."""
    found = published("basis-paper:5m-p")
    ratios = {name: value * 6.3e-2 for name, value in found.items() if name.endswith("weight") or "weight_" in name}
    assert ratios == pytest.approx(
        {
            "perpendicular_weight": 5e-5,
            "perpendicular_weight_dark": 5e-4,
            "edge_weight": 5e-2,
            "probe_reg_constraint_weight": 5e-2,
            "phase_norm_weight": 7e-7,
            "atv_weight": 7e-6,
        },
        rel=5e-3,  # the table keeps three digits
    )
    assert found["algorithm"] == "sqrt_compressed"


def test_of_intensities_positions_move_and_noise_has_no_weight():
    found = published("basis-paper:6a")
    assert found["noise_weighting"] is False
    assert found["update_probe_pos"] is True
    assert "edge_weight" not in found


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_row_is_a_preset(name):
    assert Preset.from_mapping(load_preset(Path(name)).settings).loss.algorithm == PUBLISHED[name].algorithm


def test_names_and_files():
    assert published("preset.toml") is None
    with pytest.raises(MetadataError, match="unknown preset basis-paper:4z"):
        load_preset(Path("basis-paper:4z"))


def test_the_document_is_the_code():
    assert published_table() in (ROOT / "docs" / "compression.md").read_text(encoding="utf-8")
