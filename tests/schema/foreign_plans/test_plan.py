"""Treatment of parameters in general: unknown, refused, changed, set aside."""

import numpy as np
import pytest

from ptylive.schema.detector import undo_transform
from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.phaser import ENGINE_ROWS, PLAN_ROWS
from ptylive.schema.foreign_plans.plan import gathered, number_of, transform_of
from ptylive.schema.foreign_plans.ptyrad import ROWS
from ptylive.schema.metadata import NAMES
from ptylive.schema.preset import Preset
from ptylive.schema.pypty.rows import Gathered, Row, Support

FEW = (
    Row("kept", "s", None, Support.MAPPED, ("seed",), "", lambda value, into: into.preset.update(seed=int(value))),
    Row(
        "turned",
        "s",
        1,
        Support.MAPPED,
        ("seed",),
        "the other sign",
        lambda value, into: into.preset.update(seed=-value),
    ),
    Row("aside", "s", None, Support.SET_ASIDE, (), "of no effect"),
    Row("refused", "s", False, Support.REFUSED, (), "not built"),
)


def test_each_fate_has_its_line():
    into = Gathered({}, None)
    values = {"kept": 5, "turned": -3, "aside": 1, "refused": True, "unknwn": 2}
    table = gathered(values, FEW, "other", into, lenient=True)
    assert [each.support for each in table] == ["mapped", "changed", "set aside", "left out", "left out"]
    assert str(table[1]) == "changed: turned = -3 -> seed = 3 (the other sign)"
    assert into.preset == {"seed": 3}


def test_defaults_and_nothing_say_nothing():
    assert (
        gathered({"kept": None, "turned": 1, "refused": False}, FEW, "other", Gathered({}, None), lenient=False) == []
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"refused": True}, "not imported: refused: not built: remove it, or use ptylive preset --lenient"),
        ({"trned": 1}, "other has no such parameter; did you mean 'turned'"),
        ({"kept": "many"}, "kept = 'many': invalid literal"),
    ],
)
def test_what_cannot_be_is_one_line(values, said):
    with pytest.raises(MetadataError) as caught:
        gathered(values, FEW, "other", Gathered({}, None), lenient=False)
    assert said in caught.value.line()


@pytest.mark.parametrize("flips", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_flips_are_done_in_their_order(flips):
    """Flip rows, then columns, then transpose, as PtyRAD's _meas_flipT and phaser's apply_flips do."""
    pattern = np.arange(6).reshape(2, 3)
    expected = pattern[::-1] if flips[0] else pattern
    expected = expected[:, ::-1] if flips[1] else expected
    expected = expected.T if flips[2] else expected
    np.testing.assert_array_equal(undo_transform(pattern, transform_of(list(flips), "x") or "none"), expected)


@pytest.mark.parametrize(("value", "found"), [(3, 3.0), ("1e-3", 1e-3), ("6.09e+6", 6.09e6)])
def test_texts_that_are_numbers_are_read(value, found):
    assert number_of(value, "x") == found


@pytest.mark.parametrize("value", [None, "many", True, float("nan"), [1], 10**400])
def test_what_is_not_a_number_is_refused(value):
    with pytest.raises(MetadataError, match="is not a number"):
        number_of(value, "x")


def test_what_rows_say_they_become_is_ours():
    known = set(Preset.full().settings()) | set(NAMES) | {"…"}
    for row in (*ROWS, *PLAN_ROWS, *ENGINE_ROWS):
        assert set(row.keys) <= known, row.name
        assert (row.convert is not None) == (row.support is Support.MAPPED), row.name
