"""Selection of the patterns of a scan that are refined: text ranges as in Python slices, files of numbers or a mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.sequence import LONGEST, check_sequence, chosen_patterns

COUNT = 20


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("5", [5]),
        ("-1", [19]),
        ("0:4", [0, 1, 2, 3]),
        ("::8", [0, 8, 16]),
        ("18:", [18, 19]),
        (":2, 1:3,  7", [0, 1, 2, 7]),
        ("-2:", [18, 19]),
        ("3, 100", [3]),
        ("0:1000:7", [0, 7, 14]),
    ],
)
def test_ranges_are_numbers_each_once_and_ascending(text, chosen):
    assert check_sequence(text) == text
    assert chosen_patterns(text, COUNT).tolist() == chosen


number = st.one_of(st.none(), st.integers(-30, 30))


@given(number, number, st.one_of(st.none(), st.integers(1, 9)))
def test_a_range_is_a_slice(first, last, step):
    text = f"{'' if first is None else first}:{'' if last is None else last}{'' if step is None else f':{step}'}"
    expected = list(range(COUNT))[slice(first, last, step)]
    if expected:
        assert chosen_patterns(text, COUNT).tolist() == expected
    else:
        with pytest.raises(MetadataError, match="selects none of 20 patterns"):
            chosen_patterns(text, COUNT)


@pytest.mark.parametrize("text", ["", "a", "1;2", "1:2:0", "1:2:-1", "1,,2", "1.5", "0x10", "1:2:3:4"])
def test_what_is_no_range_is_refused_by_name(text):
    with pytest.raises(ValueError, match="is not a range: write 5, 0:100 or 0:100:2"):
        check_sequence(text)


def test_lists_and_numbers_become_text():
    assert check_sequence([3, 1, 2]) == "3, 1, 2"
    assert check_sequence(7) == "7"
    assert chosen_patterns(check_sequence([3, 1, 3]), COUNT).tolist() == [1, 3]


def test_too_many_ranges_are_asked_for_as_a_file():
    with pytest.raises(ValueError, match="put the numbers into an npy file"):
        check_sequence("1," * LONGEST)


@pytest.mark.parametrize("values", [np.array([7, 3, 3, -1, 99]), np.arange(COUNT) % 4 == 3, np.array([[3], [7]])])
def test_files_are_numbers_or_a_mask(tmp_path, values):
    path = tmp_path / "which.npy"
    np.save(path, values)
    expected = [3, 7, 11, 15, 19] if values.dtype == bool else [3, 7]
    assert chosen_patterns(str(path), COUNT).tolist() == expected


@pytest.mark.parametrize("content", [np.array([1.5, 2.0]), np.array(["1"]), None, b"no numbers"])
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "which.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(MetadataError, match=r"sequence .*which\.npy"):
        chosen_patterns(str(path), COUNT)
