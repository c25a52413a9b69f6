"""Values that are accepted, questioned or refused, and the units in which they may be written."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptylive.schema import MetadataError, Scan, ScanHeader
from ptylive.schema.metadata import NAMES, build, overlay, questions, typed
from ptylive.schema.plausible import PLANNED, PLAUSIBLE, question, understood
from ptylive.schema.preset import Preset
from ptylive.schema.units import kind_of_unit, unit_factor

NO_NUMBERS = {"scan_shape", "scan_pattern", "detector_transform"}


def test_every_physical_value_has_its_ranges() -> None:
    assert set(PLAUSIBLE) == set(NAMES) - NO_NUMBERS
    for name, rule in PLAUSIBLE.items():
        assert rule.possible[0] <= rule.usual[0] < rule.usual[1] <= rule.possible[1], name


def test_a_defocus_without_numbers_is_no_question() -> None:
    """Regression: IndexError."""
    assert question("C10", np.zeros(0)) == ""


def test_a_number_in_its_own_unit_is_kept_to_the_last_digit() -> None:
    assert typed({"rotation_deg": "-15 deg"}) == {"rotation_deg": -15.0}


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("energy_eV", "80 000 eV", "energy_eV = '80 000 eV' is not a single number: write it without a space"),
        (
            "scan_step_A",
            (1, 2, 3),
            "scan_step_A = 1,2,3 is not a single number: give one number, or two (rows, columns)",
        ),
    ],
)
def test_several_numbers_in_place_of_one_are_told(name: str, value: object, line: str) -> None:
    with pytest.raises(MetadataError) as refused:
        typed({name: value})
    assert refused.value.line() == line


def test_the_ranges_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conventions.md").read_text(encoding="utf-8")
    for name, rule in PLAUSIBLE.items():
        rows = [line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line]
        spans = [f"±{high:g}" if rule.signed else f"{low:g} … {high:g}" for low, high in (rule.usual, rule.possible)]
        end = f"| {rule.unit or '–'} | {' | '.join(spans)} |"
        assert any(row.endswith(end) for row in rows), (name, end)


def test_the_ranges_of_a_plan_are_those_of_its_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
    for name, rule in PLANNED.items():
        (row,) = (line for line in text.splitlines() if line.startswith("| `--") and f"`{name}`" in line)
        spans = [f"{low:g} … {high:g}" for low, high in (rule.usual, rule.possible)]
        assert row.endswith(f"| {rule.unit} | {' | '.join(spans)} |"), name


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("energy_eV", "80 keV", 80e3),
        ("beam_current_pA", "0.05 nA", 50.0),
        ("dose_e_per_A2", "100 e/nm^2", 1.0),
        ("dose_e_per_A2", "100 e-/Å²", 100.0),
        ("energy_eV", "80kV", 80e3),
        ("energy_eV", "0.3 MeV", 300e3),
        ("energy_eV", "300000", 300e3),
        ("energy_eV", "80 eV", 80),
        ("convergence_semiangle_mrad", "30 mrad", 30),
        ("convergence_semiangle_mrad", "0.03 rad", 30),
        ("convergence_semiangle_mrad", "900 µrad", 0.9),
        ("convergence_semiangle_mrad", "900 urad", 0.9),
        ("convergence_semiangle_mrad", "1.5°", 1.5 * math.pi / 0.18),
        ("scan_step_A", "0.1 nm", 1.0),
        ("scan_step_A", "20 pm", 0.2),
        ("scan_step_A", "0.5 Å, 0.1 nm", [0.5, 1.0]),
        ("scan_step_A", ["0.5 A", "0.6 A"], [0.5, 0.6]),
        ("scan_step_A", (0.5, 0.6), [0.5, 0.6]),
        ("scan_step_A", "0.3, 0.4 nm", [3, 4]),
        ("scan_step_A", "0.3 nm, 0.4", [3, 4]),
        ("scan_step_A", "12 Å, 5 Å", [12, 5]),
        ("rotation_deg", "100 mrad", 18 / math.pi),
        ("rotation_deg", "-15.2°", -15.2),
        ("rotation_deg", "−15.2 deg", -15.2),
        ("defocus_A", "10 nm", 100),
        ("defocus_A", "2 µm overfocus", -2e4),
        ("C10", "15 nm underfocus", -150),
        ("C10", "0", 0),
        ("Cs_A", "1.2 mm", 1.2e7),
        ("C30", "2 μm", 2e4),
        ("detector_pixel_invA", "0.2 1/nm", 0.02),
        ("detector_pixel_invA", "0.2 nm^-1", 0.02),
        ("dwell_time_us", "1 ms", 1e3),
        ("beam_center_px", "31.5, 32", [31.5, 32]),
        ("beam_center_px", ["31.5 px", 32], [31.5, 32]),
        ("field_of_view_A", b"20 nm", 200),
        ("energy_eV", np.array([80e3]), 80e3),
    ],
)
def test_values_with_units_are_understood(name, text, value) -> None:
    assert understood(name, text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "says", "remedy"),
    [
        ("energy_eV", 80, "did you mean 80 keV", "'80 keV', or '80 eV' if that is right"),
        ("energy_eV", "80", "did you mean 80 keV", "80 eV"),
        ("energy_eV", 80e9, "is impossible", "from 10 eV to 1e+07 eV"),
        ("energy_eV", "1e9 eV", "energy_eV = 1e+09 eV is impossible", "it can be from 10 eV to 1e+07 eV"),
        ("energy_eV", 0.3, "is impossible (did you mean 0.3 MeV?)", "it can be"),
        ("scan_step_A", 4e-11, "is impossible (did you mean 4e-11 m?)", "it can be"),
        ("convergence_semiangle_mrad", "700 mrad", "is impossible", "it can be from 0.001 mrad to 600 mrad"),
        ("dwell_time_us", "1 ps", "not a unit for a time", "ms"),
        ("detector_pixel_mrad", 500, "is impossible (did you mean 500 µrad?)", "it can be"),
        ("energy_eV", "80 meV", "'meV' is not a unit for an energy", "use MeV"),
        ("energy_eV", "80 nm", "it is one for a length", "keV"),
        ("energy_eV", "-80 keV", "energy_eV = -80000 eV is impossible", "correct"),
        ("energy_eV", 0, "energy_eV = 0 eV is impossible", "correct"),
        ("energy_eV", math.nan, "nan eV is impossible", "correct"),
        ("energy_eV", "nan", "not a number", "80 keV"),
        ("energy_eV", "inf", "not a number", "80 keV"),
        ("energy_eV", math.inf, "impossible", "correct"),
        ("energy_eV", 10**400, "not a number", "80 keV"),
        ("energy_eV", True, "not a number", "80 keV"),
        ("energy_eV", "eighty", "not a number", "80 keV"),
        ("energy_eV", {"a": 1}, "not a number", "80 keV"),
        ("energy_eV", [80e3, 3], "not a single number", "decimal point"),
        ("convergence_semiangle_mrad", 0.025, "did you mean 0.025 rad", "0.025 mrad"),
        ("convergence_semiangle_mrad", "30,5 mrad", "not a single number", "30.5 mrad"),
        ("convergence_semiangle_mrad", "2 rad", "impossible", "it can be from 0.001 mrad to 600 mrad"),
        ("scan_step_A", "0,1 nm", "not a single number", "write a decimal point: 0.1 nm"),
        ("scan_step_A", 1e-9, "impossible", "from 0.0001 Å"),
        ("scan_step_A", 0.001, "did you mean 0.001 µm", "0.001 Å"),
        ("scan_step_A", [1, 25], "very unequal", "'1 Å, 25 Å' for two steps"),
        ("scan_step_A", "12,5", "one number or two", "'12 Å, 5 Å' for two steps"),
        ("scan_step_A", "12,5 nm", "one number or two", "'12 nm, 5 nm' for two steps"),
        ("scan_step_A", [1, 2, 3], "not a single number", "one number"),
        ("rotation_deg", "upright", "not a number", "-12.5 °"),
        ("rotation_deg", 1000, "unusual", "1000 °"),
        ("rotation_deg", 1e9, "impossible", "up to ±"),
        ("defocus_A", "1 parsec", "not a unit for a length", "nm"),
        ("defocus_A", 1e7, "unusual", "1e+07 Å"),
        (
            "defocus_A",
            -50e-9,
            "defocus_A = -5e-08 Å? did you mean -5e-08 m?",
            "'-5e-08 m', or '-5e-08 Å' if that is right",
        ),
        ("C10", 2e-6, "did you mean 2e-06 m?", "'2e-06 Å' if that is right"),
        ("beam_center_px", 4, "beam_center_px", ""),
        ("repeats", -1, "impossible", "from 1 to"),
    ],
)
def test_what_is_questioned_or_refused_says_how_to_go_on(name, value, says, remedy) -> None:
    with pytest.raises(MetadataError) as caught:
        overlay(ScanHeader("", "", 0, Scan()), typed({name: value}))
    assert says in str(caught.value)
    assert remedy in caught.value.hint
    assert name in str(caught.value)


def test_the_unit_answers_the_question_and_lasts() -> None:
    values = {"energy_eV": "80 eV", "scan.step_A": "0.1 nm", "optics.defocus_A": "15 nm"}
    header = overlay(overlay(ScanHeader("", "", 0, Scan()), values), values)
    assert (header.optics.energy_eV, header.scan.step_A) == (80, (1.0, 1.0))
    assert header.optics.aberrations["C10"] == -150
    assert questions(header) == ("energy_eV = 80 eV? did you mean 80 keV?",)


@pytest.mark.parametrize("energy_eV", [500.0, 20e3, 300e3, 3e6])
def test_the_energies_of_real_microscopes_are_accepted(energy_eV: float) -> None:
    """From scanning microscopes to the most powerful ones; below 1 keV with the unit."""
    assert understood("energy_eV", f"{energy_eV} eV") == energy_eV


@pytest.mark.parametrize("defocus_A", [0.0, -0.0, 1e-12, 0.01, -0.5, 1500.0])
def test_no_ordinary_defocus_is_taken_for_metres(defocus_A: float) -> None:
    assert understood("defocus_A", defocus_A) == defocus_A


def test_a_unit_that_was_written_is_not_doubted() -> None:
    """A value that was converted is not the number that was typed."""
    with pytest.raises(MetadataError) as refused:
        understood("convergence_semiangle_mrad", "2 rad")
    assert "did you mean" not in refused.value.line()


def test_none_takes_a_value_back() -> None:
    header = overlay(ScanHeader("", "", 0, Scan()), {"energy_eV": 80e3})
    assert overlay(header, {"energy_eV": None}).optics.energy_eV is None
    assert typed({"rotation_deg": None}) == {"rotation_deg": None}


def test_what_a_file_says_is_only_refused_where_it_is_impossible() -> None:
    assert build("optics", {"energy_eV": 80}, "f.h5").energy_eV == 80
    with pytest.raises(MetadataError, match=r"f\.h5: energy_eV = 1e\+300 eV is impossible"):
        build("optics", {"energy_eV": 1e300}, "f.h5")
    with pytest.raises(MetadataError, match="C30"):
        build("optics", {"aberrations": {"C30": math.inf}}, "f.h5")


def test_capitals_matter_where_they_tell_units_apart() -> None:
    assert unit_factor("energy", "KEV") == unit_factor("energy", "kev") == 1e3
    assert unit_factor("energy", "meV") is None
    assert unit_factor("length", "Nm") == unit_factor("length", "nm")
    assert unit_factor("length", "\u212b") == 1.0
    assert kind_of_unit("parsec") is None


@pytest.mark.parametrize("unit", ["1/nm", "1 / nm", "nm-1", "nm^-1", "nm⁻¹", "$nm^{-1}$", "NM-1"])
def test_frequencies_as_programs_and_people_write_their_units(unit: str) -> None:
    assert unit_factor("frequency", unit) == pytest.approx(0.1)
    assert unit_factor("length", unit) is None


def test_units_in_tex_are_those_of_pyxem() -> None:
    assert unit_factor("frequency", r"$\AA^{-1}$") == unit_factor("frequency", "$A^{-1}$") == 1.0
    assert unit_factor("length", r"$\AA$") == 1.0


def test_settings_of_a_refinement_take_units_too() -> None:
    preset = Preset.from_mapping({"num_slices": 2, "total_thickness_A": "10 nm", "source_size_A": "30 pm"})
    assert (preset.object.total_thickness_A, preset.probe.source_size_A) == (100.0, pytest.approx(0.3))
    with pytest.raises(MetadataError, match="source_size_A"):
        Preset.from_mapping({"source_size_A": "30 eV"})


@pytest.mark.parametrize(
    ("name", "value"), [("total_thickness_A", True), ("defocus_array_A", [True]), ("alpha_near_field_mrad", False)]
)
def test_a_switch_is_no_quantity(name: str, value: Any) -> None:
    """Regression: ``total_thickness_A = true`` was a thickness of 1 Å."""
    with pytest.raises(MetadataError, match=f"refinement setting {name}: '(true|false)' is not a number"):
        Preset.from_mapping({name: value})
