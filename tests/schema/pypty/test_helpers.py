"""PyPty's helpers in a script: the same numbers as its own functions give (its source, version 2.2)."""

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.pypty.text import parse_text

SCRIPT = "import pypty\npypty_params = {'scan_size': [6, 8], 'acc_voltage': 80}\n"


def values(line):
    return parse_text(SCRIPT + line, "preset.py").values


def test_points_of_a_rectangle():
    line = "pypty_params = pypty.initialize.create_sub_sequence(pypty_params, left=2, top=1, width=4, height=3, sub=2)"
    assert values(line)["sequence"] == [10, 12, 26, 28]
    assert values("create_sub_sequence(pypty_params, 2, 1, 4, 3, 2)")["sequence"] == [10, 12, 26, 28]


def test_squares_around_places():
    call = "pypty.initialize.create_sequence_from_points(pypty_params, yf=[0, 5], xf=[1, 7], width_roi=2)"
    # rows 4 and 5, columns 6 and 7 of the second; of the first, what does not lie before the scan
    assert values(f"pypty_params['sequence'] = {call}")["sequence"] == [0, 1, 38, 39, 46, 47]


def test_parts_by_size():
    assert values("create_probe_marker_chunks(pypty_params, 4)")["probe_marker"] == "squares:4"
    found = values("create_aberrations_chunks(pypty_params, chop_size=4, n_abs=3)")
    assert found["aberration_marker"] == "squares:4"
    assert found["aberrations_array"] == [[0.0] * 3] * 4


def test_arrays_of_one_value():
    assert values("pypty_params['obj'] = np.ones((1, 1, 2, 3))")["obj"] == [[[[1.0] * 3] * 2]]
    assert values("pypty_params['static_background'] = np.zeros((2, 2))")["static_background"] == [[0.0, 0.0]] * 2


@pytest.mark.parametrize(
    "line",
    [
        "create_sub_sequence(pypty_params, 1.5, 1, 4, 3, 2)",
        "create_sub_sequence(pypty_params, 1, 1, 4)",
        "create_sub_sequence(pypty_params, 1, 1, 4, 3, 0)",
        "pypty_params['obj'] = np.ones((4096, 4096, 4))",
        "pypty_params['obj'] = np.ones('all')",
        "pypty_params['obj'] = np.random.rand(3)",
    ],
)
def test_other_arguments_are_refused(line):
    with pytest.raises(MetadataError, match=r"arguments|whole number|cannot be read"):
        values(line)


def test_the_scan_must_be_known():
    with pytest.raises(MetadataError, match="scan_size"):
        parse_text("a = {'acc_voltage': 80}\ncreate_sub_sequence(a, 0, 0, 1, 1, 1)", "preset.py")
