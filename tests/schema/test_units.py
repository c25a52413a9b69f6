"""Units as people and files write them."""

import math

import pytest

from ptylive.schema.units import (
    ELECTRONS_PER_PA_US,
    UNITS,
    as_written,
    in_unit_of,
    kind_of_unit,
    number_and_unit,
    unit_factor,
)


@pytest.mark.parametrize(
    ("kind", "unit", "factor"),
    [
        ("energy", "keV", 1e3),
        ("energy", "kev", 1e3),
        ("energy", "MeV", 1e6),
        ("energy", "meV", None),
        ("energy", "mV", None),
        ("length", "nm", 10.0),
        ("length", "NM", 10.0),
        ("length", "A\u030a", 1.0),  # letter and ring apart
        ("length", "\u212b", 1.0),  # the sign for Ångström
        ("length", "\\AA", 1.0),
        ("length", "\u03bcm", 1e4),  # the Greek letter
        ("length", "parsec", None),
        ("frequency", "1/nm", 0.1),
        ("frequency", "1 / nm", 0.1),
        ("frequency", "$nm^{-1}$", 0.1),
        ("frequency", "nm⁻¹", 0.1),
        ("frequency", "1 / nanometer", 0.1),  # as pint and NeXus write out their names
        ("frequency", "angstrom ** -1", 1.0),
        ("frequency", "Å^(-1)", 1.0),
        ("length", "nanometre", 10.0),
        ("length", "picometers", 0.01),
        ("length", "Meter", 1e10),
        ("length", "millimetres", 1e7),
        ("angle", "milliradian", 1.0),
        ("angle", "rad", 1e3),
        ("angle", "°", 1e3 * math.pi / 180),
        ("time", "ms", 1e3),
        ("time", "ns", 1e-3),
        ("dose", "e/nm²", 0.01),
        ("dose", "e-/Å^2", 1.0),
        ("number", "keV", None),
    ],
)
def test_a_unit_in_the_program_s_own(kind, unit, factor):
    found = unit_factor(kind, unit)
    assert found is None if factor is None else found == pytest.approx(factor)


def test_milli_is_never_taken_for_mega():
    """Capitals do not matter otherwise, so that a thousandth would become a million."""
    for kind, units in UNITS.items():
        for name in units:
            if name.startswith("M"):
                assert unit_factor(kind, f"m{name[1:]}") in (None, units.get(f"m{name[1:]}"))


@pytest.mark.parametrize(
    ("unit", "kind"), [("keV", "energy"), ("pm", "length"), ("1/Å", "frequency"), ("pA", "current"), ("ell", None)]
)
def test_the_kind_of_values_a_unit_belongs_to(unit, kind):
    assert kind_of_unit(unit) == kind


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("80 keV", (80.0, "keV")),
        ("80keV", (80.0, "keV")),
        (" -1.5e-3 ", (-1.5e-3, "")),
        ("−2 nm", (-2.0, "nm")),
        (".5  1 / nm", (0.5, "1 / nm")),
        ("nm", None),
        ("e5", None),
        ("", None),
    ],
)
def test_a_number_and_its_unit(text, read):
    assert number_and_unit(text) == read


def test_a_text_has_one_spelling_of_spaces_and_signs():
    assert as_written("  \u22123\u00a0\u03bcm\n") == "-3 \u00b5m"


@pytest.mark.parametrize(
    ("name", "value", "converted"),
    [
        ("total_thickness_A", "10 nm", 100.0),
        ("slice_distances_A", ["1 nm", 20.0, "5"], [10.0, 20.0, "5"]),
        ("tilts_mrad", "0.1 rad", 100.0),
        ("detector_pixel_invA", "1 1/nm", 0.1),
        ("total_thickness_A", "10 mrad", "10 mrad"),  # refused later, with the field's name
        ("num_slices", "10 nm", "10 nm"),
        ("total_thickness_A", True, "true"),
        ("phase_only_obj", True, True),
    ],
)
def test_a_setting_takes_the_unit_that_its_name_ends_with(name, value, converted):
    assert in_unit_of(name, value) == (pytest.approx(converted) if isinstance(converted, float) else converted)


def test_a_current_is_a_number_of_electrons():
    assert ELECTRONS_PER_PA_US == pytest.approx(6.241509, rel=1e-6)
