"""Words about orientations, and what is read from them."""

from ptylive.schema.advice.orientation import orientation_in, orientation_words, rival_words, rivals_words
from ptylive.schema.calibration import RivalOrientation

RIVAL, OTHER = RivalOrientation(True, 40.0, -80.0), RivalOrientation(False, 100.0, 30.0)
END = ": phases may be wrong; a refinement compares them, or give rotation_deg and detector_transform if you know them"


def test_the_likeliest_rival_is_named_and_the_others_counted():
    assert rivals_words(()) == ""
    named = "(the other handedness, 40.0° with C10 -80 Å)"
    assert rivals_words((RIVAL,)) == f"the data do not exclude another orientation {named}{END}"
    assert rivals_words((RIVAL, OTHER)) == f"the data do not exclude 2 other orientations, for example {named}{END}"


def test_a_defocus_is_no_power_of_ten():
    """Regression: that of a defocused scan was C10 -1.52e+04 Å."""
    assert rival_words(RivalOrientation(False, 100.0, -15234.0)) == "100.0° with C10 -15200 Å"


def test_the_last_orientation_is_heard():
    first, last = (orientation_words(*found, 0.5, "why") for found in (("none", -3.0), ("transpose,flip_rows", 40.04)))
    assert first == "detector transform none, rotation -3.0 ± 0.5°: why"
    assert orientation_in(f"lsq; {first}; {last}; 3 slices") == ("transpose,flip_rows", 40.0)
    assert orientation_in("rotation -3.0 ± 0.5°") is None
