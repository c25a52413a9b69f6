"""The writer and the reader of the message about half a turn agree."""

import pytest

from ptylive.schema.advice.half_turn import half_turn_in, half_turn_words


@pytest.mark.parametrize(("rotation", "c10"), [(164.84, 150.0), (-0.04, -1.2e5), (12.0, -0.00123)])
def test_what_is_said_is_heard(rotation: float, c10: float) -> None:
    words = f"first; {half_turn_words(1.0, 2.0)}: more; {half_turn_words(rotation, c10)}: through a thick specimen"
    heard = half_turn_in(words)
    assert heard is not None
    assert heard[0] == pytest.approx(rotation, abs=0.05)
    assert heard[1] == pytest.approx(c10, rel=5e-3)


def test_other_words_say_nothing() -> None:
    assert half_turn_in("the dark field says half a turn more, rotation 12°") is None
