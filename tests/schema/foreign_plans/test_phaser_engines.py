"""Engines that a plan of phaser runs."""

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.foreign_plans.phaser_engines import engines_of, engines_there


@pytest.mark.parametrize("kind", ["conventional", "gradient", "my.package:run"])
def test_engines_of_known_kinds_and_of_the_users_own(kind):
    assert engines_of({"engines": [{"type": kind}]}) == [{"type": kind}]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"engine": [{"type": "gradient"}]}, "engine: phaser has no such parameter: did you mean 'engines'?"),
        ({"raw_data": {}}, "the plan has no engines"),
        ({"engines": []}, "the plan has no engines"),
        (
            {"engines": [{"type": "gradiant"}]},
            "engines.type: phaser has no type 'gradiant': did you mean 'gradient'?",
        ),
        ({"engines": [{"type": "dream"}]}, "known are conventional, gradient"),
        ({"engines": ["gradient"]}, "is not a table"),
    ],
)
def test_what_names_no_engine_is_not_taken(plan, said):
    with pytest.raises(MetadataError) as caught:
        engines_of(plan)
    assert said in caught.value.line()


def test_engines_that_are_misspelt_are_found():
    assert engines_there({"raw_data": {}, "engine": []}) == "engine"
    assert engines_there({"raw_data": {}}) is None
