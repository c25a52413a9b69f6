"""Hostile text: schedules and PyPty presets raise their own error, and nothing of the text is executed."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from ptylive.schema import MetadataError
from ptylive.schema.pypty import import_preset
from ptylive.schema.pypty.rows import Support
from ptylive.schema.pypty.table import ROWS
from ptylive.schema.pypty.text import parse_text
from ptylive.schema.schedule import Schedule

PIECES = (
    "epoch x lambda ( ) + - ** if else and 1 1e9 np.inf [ ] , { } 'a' : = . min exp __import__ % / not < ==".split()
)
CODE = st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=True), CODE,
    st.lists(st.one_of(st.integers(-3, 3), st.floats(), st.lists(st.floats(), max_size=3)), max_size=4),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(CODE, st.text(max_size=60)))
def test_any_text_is_a_schedule_or_refused(text):
    with contextlib.suppress(MetadataError):
        value = Schedule.parse(text).at(3)
        assert isinstance(value, float)


@settings(max_examples=100, deadline=None)
@given(st.one_of(CODE, st.text(max_size=60), CODE.map(lambda code: f"p = {{'a': {code}}}")))
def test_presets_as_text(text):
    with contextlib.suppress(MetadataError):
        assert isinstance(parse_text(text, "preset").values, dict)


@settings(max_examples=75, deadline=None)
@given(
    st.dictionaries(st.sampled_from([row.name for row in ROWS if row.support is Support.MAPPED]), VALUES, max_size=3)
)
def test_values_of_any_kind(values):
    with contextlib.suppress(MetadataError):
        import_preset(values, lenient=True)
