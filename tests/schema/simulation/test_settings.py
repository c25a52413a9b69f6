"""Settings of a simulation: names, units, refusals that name field and remedy, and the documented table."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from ptylive.schema import MetadataError
from ptylive.schema.simulation.groups import MEANINGFUL, SpecimenKind, SpecimenSettings
from ptylive.schema.simulation.settings import GROUPS, HOMES, SimulationSettings, located, table, unit_of


def test_every_name_stands_for_one_setting():
    assert len(HOMES) == sum(len(group.model_fields) for group in GROUPS.values())
    assert not set(HOMES) & set(GROUPS) - {"specimen"}  # the group of this name is a table, the setting a word


def test_units_groups_and_tables_say_the_same():
    plain = SimulationSettings.of({"energy_eV": 200e3, "defocus_A": 50.0, "source_size_A": 0.8, "twist_deg": 3.0})
    for values in (
        {"energy_eV": "200 keV", "defocus_A": "5 nm", "source_size_A": "0.08 nm", "twist_deg": "3°"},
        {"probe.energy_eV": "200 kV", "probe.defocus_A": "5 nm under", "probe.source_size_A": "80 pm", "twist_deg": 3},
        {"probe": {"energy_eV": 2e5, "defocus_A": 50, "source_size_A": 0.8}, "specimen": {"twist_deg": "3 deg"}},
    ):
        found = SimulationSettings.of(values)
        assert found.probe.model_dump() == pytest.approx(plain.probe.model_dump())
        assert found.specimen.twist_deg == pytest.approx(3.0)


def test_one_number_stands_for_both_axes():
    found = SimulationSettings.of({"scan_shape": 12, "scan_step_A": "0.1 nm", "detector_shape": [32, 48]})
    assert found.scan.scan_shape == (12, 12)
    assert found.scan.scan_step_A == (1.0, 1.0)
    assert found.detector.detector_shape == (32, 48)
    for typed in ("12x14", "12, 14", "12 × 14"):
        found = SimulationSettings.of({"scan_shape": typed, "detector_shape": typed})
        assert (found.scan.scan_shape, found.detector.detector_shape) == ((12, 14), (12, 14))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"energy": 80e3}, "unknown setting 'energy'"),
        ({"enery_eV": 80e3}, "did you mean 'energy_eV'"),
        ({"scan.energy_eV": 80e3}, r"energy_eV belongs to \[probe\]"),
        ({"energy_eV": 80}, "did you mean 80 keV"),
        ({"source_size_A": "3 mrad"}, "source_size_A: 'mrad' is not a unit"),
        ({"source_size_A": -1}, "probe.source_size_A = -1"),
        ({"scan_shape": [4, 4, 4]}, "scan.scan_shape"),
        ({"scan_shape": "many"}, "scan.scan_shape"),
        ({"detector_transform": "mirror"}, "unknown detector transform 'mirror'"),
        ({"descan_px": [1, 2]}, "descan_px must be 0, the 4 numbers"),
        ({"dose_e_per_A2": 1, "electrons_per_pattern": 1}, "have the same meaning"),
        ({"energy_eV": 80e3, "probe.energy_eV": 80e3}, "energy_eV is given twice"),
        ({"seed": -1}, "model.seed = -1"),
        ({"vacancies": float("nan")}, "specimen.vacancies"),
        ({"dtype": "i8"}, "detector.dtype"),
        ({"specimen": "circles", "configurations": 2}, "configurations has no meaning for circles"),
        ({"specimen": "monolayer", "twist_deg": 3}, "twist_deg has no meaning for monolayer"),
        ({"specimen": "crystal", "structure_file": "a.cif"}, "takes the place of a built-in specimen"),
        ({"specimen": "particles", "feature_A": 60}, "at most half of thickness_A"),
        ({"drift_A": (1e300, 0)}, "drift_A is at most"),
        ({"position_jitter_A": 1e30}, "scan.position_jitter_A"),
        ({"source_size_A": 1, "source_points": 1}, "source_points = 1 gives no source size"),
        ({"focal_spread_A": 1, "focal_points": 1}, "focal_points = 1 gives no focal spread"),
        ({"astigmatism_A": 1, "C12b": 1}, "have the same meaning"),
        ({"dead_pixels": 4000}, "at most a quarter"),
        ({"source_size_A": True}, "source_size_A: true is not a number: write it in Å"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(MetadataError) as caught:
        SimulationSettings.of(values)
    assert caught.value.hint
    assert re.search(words, caught.value.line())
    assert "\n" not in caught.value.line()


def test_aberrations_are_those_of_the_conventions():
    found = SimulationSettings.of({"defocus_A": 70, "astigmatism_A": 10, "astigmatism_deg": 45, "Cs_A": "1 mm"})
    assert found.aberrations == pytest.approx({"C10": -70.0, "C12a": 10 * np.cos(np.pi / 2), "C12b": 10.0, "C30": 1e7})


def test_a_dose_is_electrons_on_the_area_of_a_step():
    given = SimulationSettings.of({"dose_e_per_A2": 200, "scan_step_A": (0.5, 2.0)})
    assert given.electrons_per_pattern == pytest.approx(200.0)
    assert SimulationSettings.of({"electrons_per_pattern": 7}).electrons_per_pattern == 7


def test_later_layers_win_under_whatever_name():
    """The order of tables and plain names does not matter."""
    assert located({"probe": {"energy_eV": 1e5}, "scan.rotation_deg": 3}) == {"energy_eV": 1e5, "rotation_deg": 3}


def test_the_table_shows_every_setting_with_its_unit():
    text = table()
    document = (Path(__file__).resolve().parents[3] / "docs" / "simulate.md").read_text(encoding="utf-8")
    for row in text.splitlines():
        assert row in document, "run tools/write_tables.py"
    assert all(f"| `{name}` |" in text for name in HOMES)
    assert (unit_of("energy_eV"), unit_of("focal_spread_A"), unit_of("twist_deg"), unit_of("seed")) == (
        "eV",
        "Å",
        "°",
        "",
    )


def test_every_specimen_says_what_it_takes():
    kinds = get_args(SpecimenKind)
    assert set(MEANINGFUL) == {*kinds, "structure_file"}
    everything = set(SpecimenSettings.model_fields) - {"specimen"}
    assert set().union(*MEANINGFUL.values()) == everything
