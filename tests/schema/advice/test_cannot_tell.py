"""A refinement's words about what its calibration leaves undetermined are read back as written."""

from ptylive.schema.advice.cannot_tell import cannot_tell_sentences, cannot_tell_words


def test_what_is_said_is_heard_among_other_words() -> None:
    first = cannot_tell_words("the rotation (3.0 ± 2°)", "the scan turned by 90° predicts as well", "rotation_deg")
    second = cannot_tell_words("the half turn of the scan", "nothing shows it", "defocus_A")
    assert first == (
        "calibration: cannot tell the rotation (3.0 ± 2°): the scan turned by 90° predicts as well (give rotation_deg)"
    )
    assert cannot_tell_sentences(f"one slice; {first}; 4 probe modes; {second}") == (first, second)
    assert cannot_tell_sentences("defocus: cannot tell") == ()
