"""Keys that nearly match the expected ones."""

import pytest

from ptylive.schema.foreign_plans.looked_up_keys import misspelt, watched


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"sdt": 1}, [("sdt", "std")]),
        ({"sdt": 1, "std": 2}, []),
        ({"tsd": 1}, [("tsd", "std")]),
        ({"kernel_size": 5}, []),
        ({"end_iter": None}, []),
        ([{"std": 1}, {"sdt": 1}], [("sdt", "std")]),
        (3, []),
    ],
)
def test_a_key_is_misspelt_where_the_right_one_was_looked_for_in_vain(value, found):
    read = watched(value)
    for one in read if isinstance(read, list) else [read] if isinstance(read, dict) else []:
        one.get("std", 1.0)
        one.get("start_iter")
    assert list(misspelt(read)) == found


def test_tables_within_tables_are_watched_too():
    read = watched({"probe": {"conv_angel": 25}})
    assert "conv_angle" not in read["probe"]
    assert list(misspelt(read)) == [("probe.conv_angel", "conv_angle")]
