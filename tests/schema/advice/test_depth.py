"""Thickness as a refinement states it, and as a page reads it."""

import pytest

from ptylive.schema.advice.depth import FoundDepth


@pytest.mark.parametrize(
    "found", [FoundDepth(8, 102, 86.1, 121), FoundDepth(2, 5.21, 4.4, 6.2), FoundDepth(60, 1250, 1050, 1490)]
)
def test_what_is_said_is_heard(found: FoundDepth) -> None:
    heard = FoundDepth.heard(
        f"complex object; 3 slices, 9 Å (1 to 10 Å); {found}: a depth of 20.3 Å already predicts better; 1 probe mode"
    )
    assert heard is not None
    assert heard.slices == found.slices
    for name in ("thickness_A", "thinnest_A", "thickest_A"):
        assert getattr(heard, name) == pytest.approx(getattr(found, name), rel=0.005), "three digits are said"


def test_nothing_is_heard_where_nothing_was_found() -> None:
    assert FoundDepth.heard("one slice: a depth of 20 Å would not predict held-out patterns better") is None
