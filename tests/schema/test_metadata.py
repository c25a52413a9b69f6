"""Names of metadata: what each means, which win, and what is refused."""

import pytest

from ptylive.schema import MetadataError, ScanHeader
from ptylive.schema.metadata import (
    NAMES,
    arrays_and_numbers,
    build,
    check_given_once,
    flat_name,
    locate,
    nearest_name,
    not_overridden,
    overlay,
    questions,
    section_values,
    sections_from,
    to_attributes,
    unstated_by,
)


def header(**sections) -> ScanHeader:
    parts = {name: build(name, sections.get(name, {}), "test") for name in ("scan", "optics", "detector")}
    return ScanHeader("uid", "series", 20, **parts)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_found_flat_and_dotted(name):
    section, key = NAMES[name]
    for written in (name, f"{section}.{key}", f"{section}.{name}"):
        assert locate(written) == (section, key)
        assert flat_name(written) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scan.energy_eV", "unknown setting 'scan.energy_eV'"),
        ("energy", "unknown setting 'energy'"),
        ("dark_reference", "is a file or an array, not a number"),
        ("detector.masks", "is a file or an array, not a number"),
    ],
)
def test_other_names_are_refused(name, words):
    with pytest.raises(MetadataError, match=words):
        locate(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("defocus", "defocus_A"), ("Energy_ev", "energy_eV"), ("scan_stepA", "scan_step_A"), ("defocus_A", None),
     ("scan", None), ("colour", None)],
)  # fmt: skip
def test_abbreviated_and_misspelt_names_are_recognised(name, nearest):
    assert nearest_name(name) == nearest


def test_arrays_are_apart_from_numbers_under_one_name():
    arrays, numbers = arrays_and_numbers({"detector.dark_reference": 1, "masks": 2, "energy_eV": 3})
    assert (arrays, numbers) == ({"dark_reference": 1, "masks": 2}, {"energy_eV": 3})
    with pytest.raises(MetadataError, match="dark_reference is given twice"):
        arrays_and_numbers({"detector.dark_reference": 1, "dark_reference": 2})


@pytest.mark.parametrize(
    ("values", "twice"),
    [
        ({"defocus_A": 1.0, "C10": -1.0}, True),
        ({"defocus_A": 1.0, "optics.C10": -1.0}, True),
        ({"scan_step_A": 1.0, "field_of_view_A": 9.0}, True),
        ({"detector_pixel_mrad": 1.0, "detector_pixel_invA": 0.02}, True),
        ({"energy_eV": 8e4, "optics.energy_eV": 8e4}, True),
        ({"defocus_A": 1.0, "C10": None}, False),
        ({"defocus_A": 1.0, "C30": 1.0, "colour": 3, "sort": 3}, False),
    ],
)
def test_one_quantity_is_given_once(values, twice):
    if not twice:
        check_given_once(values)
        return
    with pytest.raises(MetadataError, match="give"):
        check_given_once(values)


def test_metadata_is_sorted_into_sections():
    values = {"energy_eV": 8e4, "scan.shape": (2, 2), "colour": "red"}
    assert sections_from(values) == {"scan": {"shape": (2, 2)}, "optics": {"energy_eV": 8e4}, "detector": {}}
    with pytest.raises(MetadataError, match="unknown setting 'colour'"):
        sections_from(values, strict=True)
    assert section_values("scan", {"scan_shape": 1, "pattern": 2, "energy_eV": 3}) == {
        "shape": 1,
        "pattern": 2,
        "energy_eV": 3,
    }


def test_an_impossible_value_names_its_source_and_field():
    with pytest.raises(MetadataError, match=r"a\.h5: scan\.flyback_frames"):
        build("scan", {"flyback_frames": -1}, "a.h5")
    assert build("detector", {"shape": (4, 4), "transform": "transpose"}, "").transform_given
    assert not build("detector", {"shape": (4, 4)}, "").transform_given


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        ({"step_A": 1.0, "shape": (4, 8)}, {"field_of_view_A": 16.0}, {"scan_step_A": (2.0, 2.0)}),
        ({"matrix": [1, 1, 0, 2], "shape": (4, 8)}, {"scan_step_A": 3.0}, {"scan_step_A": (3.0, 3.0)}),
        ({"shape": (4, 8), "step_A": 1.0}, {"scan_matrix": [1, 1, 0, 2]}, {"scan_matrix": ((1.0, 1.0), (0.0, 2.0))}),
    ],
)
def test_the_name_of_a_step_that_is_given_last_counts(before, values, after):
    attributes = to_attributes(overlay(header(scan=before, detector={"shape": (4, 4)}), values))
    for name in ("scan_step_A", "scan_matrix"):
        found = attributes.get(name)
        assert (None if found is None else found.tolist()) == (
            None if name not in after else [list(part) if isinstance(part, tuple) else part for part in after[name]]
        )


def test_an_alias_replaces_the_coefficient_it_stands_for_and_none_takes_it_back():
    before = header(optics={"C10": -10.0, "C30": 5.0}, detector={"shape": (4, 4)})
    assert overlay(before, {"defocus_A": 30.0}).optics.aberrations == {"C10": -30.0, "C30": 5.0}
    assert overlay(before, {"defocus_A": None}).optics.aberrations == {"C30": 5.0}
    assert overlay(before, {}) == before


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("energy_eV", True),
        ("scan_step_A", False),
        ("field_of_view_A", False),
        ("scan_matrix", False),
        ("detector_pixel_invA", False),
        ("defocus_A", False),
        ("Cs_A", True),
        ("rotation_deg", True),
    ],
)
def test_only_what_a_scan_does_not_say_is_filled_in(name, missing):
    said = header(scan={"step_A": 1.0}, optics={"C10": 3.0}, detector={"shape": (4, 4), "pixel_mrad": 1.0})
    assert bool(unstated_by(said, {name: 1.0})) is missing


def test_what_lies_beneath_gives_other_quantities():
    values = {"defocus_A": 1.0, "astigmatism_A": 2.0, "scan_step_A": 3.0, "energy_eV": 4.0, "dark_reference": "a.npy"}
    assert not_overridden(values, {"C10": 0.0, "field_of_view_A": 1.0, "detector.dark_reference": "b.npy"}) == {
        "astigmatism_A": 2.0,
        "energy_eV": 4.0,
    }
    assert not_overridden(values, {"C12b": 0.0}).keys() == values.keys() - {"astigmatism_A"}


def test_odd_values_are_questioned():
    assert questions(header(optics={"energy_eV": 80e3}, detector={"shape": (4, 4)})) == ()
    (asked,) = questions(header(optics={"energy_eV": 80.0}, detector={"shape": (4, 4)}))
    assert "energy_eV" in asked
