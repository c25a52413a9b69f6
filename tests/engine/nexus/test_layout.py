"""Results files checked against their JSON schema, and files of a later layout."""

import h5py
import numpy as np
import pytest
from results_writers import refine, save

from ptylive.engine.nexus.layout import LAYOUT, outline, schema
from ptylive.schema import InputFileError

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "r.h5")
    refine(tmp_path / "r.h5", 1.0)
    return tmp_path / "r.h5"


def faults(path):
    """Places where a file violates the schema."""
    with h5py.File(path) as file:
        checker = jsonschema.Draft202012Validator(schema())
        return sorted("/".join(map(str, error.absolute_path)) for error in checker.iter_errors(outline(file)))


def test_what_is_written_keeps_the_schema(path):
    jsonschema.Draft202012Validator.check_schema(schema())
    assert faults(path) == []
    with h5py.File(path) as file:
        assert file["settings"].attrs["layout"] == LAYOUT == 1


def test_every_member_of_a_map_and_run_that_is_written_is_in_the_schema(path):
    """This ensures that new members are described."""
    with h5py.File(path) as file:
        found = outline(file)["members"]
    told = schema()["properties"]["members"]["properties"]
    run = told["refinements"]["properties"]["members"]["additionalProperties"]["properties"]
    stored = found["refinements"]["members"]["run1"]
    assert set(found) <= set(told)
    assert set(stored["members"]) <= set(run["members"]["properties"])
    assert set(stored["attributes"]) <= set(run["attributes"]["properties"])
    one_map = told["maps"]["properties"]["members"]["additionalProperties"]["properties"]["attributes"]["properties"]
    assert set(found["maps"]["members"]["obf"]["attributes"]) <= set(one_map)


def unlabelled(file):
    del file["refinements/run1/object"].attrs["sampling_A"]


def flat(file):
    del file["maps/obf"]
    file["maps/obf"] = np.ones(4, np.float32)


def without_probe(file):
    del file["refinements/run1/probe"]


def elsewhere(file):
    del file["refinement"]
    file["refinement"] = h5py.SoftLink("/maps/bf")


@pytest.mark.parametrize("spoil", [unlabelled, flat, without_probe, elsewhere])
def test_what_is_wrong_is_found(path, spoil):
    with h5py.File(path, "a") as file:
        spoil(file)
    assert faults(path)


def test_values_that_json_has_no_word_for(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file.attrs.update(a=np.nan, b=b"x", c=[1.0, np.inf], d=np.bool_(True))
        assert outline(file)["attributes"] == {"a": "nan", "b": "x", "c": [1.0, "inf"], "d": True}


def test_a_later_layout_is_refused_and_stays(path):
    with h5py.File(path, "a") as file:
        file["settings"].attrs["layout"] = LAYOUT + 1
    before = path.read_bytes()
    with pytest.raises(InputFileError, match="layout 2, of a later version"):
        save(path)
    assert path.read_bytes() == before


def test_a_layout_that_is_no_number_is_passed_over(path):
    with h5py.File(path, "a") as file:
        file["settings"].attrs["layout"] = ["words", "words"]
    save(path)
    assert faults(path) == []
