"""Names and tokens of operators."""

import pytest

from ptylive.schema import PtyliveError
from ptylive.server.process.operators import is_operator, token_of_each, tokens_for


def test_what_is_given_stays_and_who_has_none_gets_one() -> None:
    words = tokens_for(("anna", "ben"), "of-the-operators of-all-the-viewers ben:bens-own-token-1")
    assert words[:3] == ("of-the-operators", "of-all-the-viewers", "ben:bens-own-token-1")
    (anna,) = words[3:]
    assert anna.startswith("anna:") and len(anna) > 40
    made = tokens_for(("anna",))
    assert len({word.rpartition(":")[2] for word in made}) == 3
    assert min(map(len, made)) >= 43  # 256 bits, six per letter


@pytest.mark.parametrize("given", ["a b", "of-the-operators", "same-for-everybody same-for-everybody"])
def test_tokens_that_are_no_secret_are_refused(given: str) -> None:
    """Regression: the page's process was restarted again and again, and ended with this message each time."""
    with pytest.raises(PtyliveError, match=r"^PTYLIVE_DASHBOARD_TOKENS: two different tokens") as refused:
        tokens_for((), given)
    assert refused.value.hint == "leave the variable out, and ptylive serve --token makes them"


def test_each_has_the_address_of_their_own_token() -> None:
    known = token_of_each(("first", "second", "anna:third"))
    assert known == {"operator": "first", "read-only": "second", "operator anna": "third"}
    assert token_of_each(()) == {}


@pytest.mark.parametrize("name", ["", "-x", "a b", "a:b", "ä", "x" * 33, "a\n", None, 7, ["a"]])
def test_what_is_no_name(name: object) -> None:
    assert not is_operator(name)
    assert is_operator("Anna.B-2_x")
